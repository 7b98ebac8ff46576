import io
import json
from dataclasses import replace

import pytest
from PIL import Image, PngImagePlugin

from cnxs import parameters, pnginfo
from cnxs.errors import InputError
from cnxs.request import Axis, ControlUse, GenerationRequest, defaults

FULL = GenerationRequest(
    base="miniature",
    prompt='a red fox, "quoted": (wild:1.3)\nsecond line äöü 狐',
    negative_prompt="blurry, text",
    controls=(
        ControlUse(
            network="miniature-canny",
            map_id="a" * 64,
            kind="canny",
            params=(("low", 80), ("blur", 0.5), ("polarity", "auto"), ("thin", True)),
            source_id="b" * 64,
            control_scale=0.75,
            start=0.1,
            end=0.9,
            gains=(1.0, 0.5, 2.0),
        ),
        ControlUse(network="miniature-scribble", map_id="c" * 64),
    ),
    width=512,
    height=256,
    placement="fit",
    seed=2**32 - 1,
    steps=30,
    guidance_scale=7.25,
    guidance_rescale=0.7,
    sampler="dpmpp_2m",
    clip_skip=1,
    loras=(("watercolour", 0.8),),
    threads=2,
)


def _png(**chunks: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for keyword, text in chunks.items():
        info.add_text(keyword, text)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "request_",
    [
        FULL,
        defaults(),
        replace(FULL, prompt="half a pair \ud83e and \0 zero"),
        replace(FULL, axes=(Axis(name="control_scale", values=(0, 0.5, 1)), Axis(name="prompt", values=("a", "b")))),
        replace(defaults(), live=True),
    ],
)
def test_our_own_png_gives_the_request_back_exactly(request_: GenerationRequest) -> None:
    image = Image.effect_noise((64, 32), 80).convert("RGB")
    data = pnginfo.encode(image, request_, extra={"cnxs-more": "ö"})

    assert pnginfo.read(data) == pnginfo.Restored(request=request_)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.convert("RGB").tobytes() == image.tobytes()
        assert stored.info["cnxs-more"] == "ö"
        assert "Steps: " in stored.info["parameters"]


def test_missing_fields_of_an_older_file_get_their_defaults() -> None:
    text = json.dumps({"format": "cnxs-request", "version": 1, "base": "sd15", "guidance_scale": 5})
    assert pnginfo.from_json(text) == GenerationRequest(base="sd15", guidance_scale=5)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 0},
        {"version": True},
        {"version": 2},
        {"surprise": 1},
        {"steps": "20"},
        {"steps": True},
        {"steps": 10**9},
        {"steps": None},
        {"guidance_scale": float("nan")},
        {"guidance_scale": 1e999},
        {"prompt": ["a"]},
        {"prompt": "a" * 20_000},
        {"sampler": "__import__"},
        {"placement": 3},
        {"controls": {"network": "n"}},
        {"controls": [{"network": "n"}]},
        {"controls": [{"network": "n", "map_id": "m", "gains": [1, 1]}]},
        {"controls": [{"network": "n", "map_id": "m", "control_scale": 9}]},
        {"loras": [["name"]]},
        {"axes": [{"name": "seed", "values": list(range(200))}]},
        {"axes": [{"name": "seed", "values": []}]},
        {"axes": [{"name": "seed", "values": ["x"]}]},
        {"axes": [{"name": "colour", "values": [1]}]},
    ],
    ids=str,
)
def test_json_that_is_no_request_is_refused_with_a_sentence(change: dict[str, object]) -> None:
    text = json.dumps({**json.loads(pnginfo.to_json(defaults())), **change})
    with pytest.raises(InputError) as caught:
        pnginfo.from_json(text)
    assert caught.value.sentence("en")
    assert caught.value.sentence("de")


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, "1" * 10_000, '{"base": 1}', "x" * 600_000])
def test_json_garbage_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        pnginfo.from_json(text)


def test_damaged_files_are_refused() -> None:
    whole = pnginfo.encode(Image.effect_noise((64, 64), 80).convert("RGB"), FULL, extra={})
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    bomb = _png(parameters="a").replace((8).to_bytes(4, "big") * 2, (60_000).to_bytes(4, "big") * 2, 1)
    for data in (b"", b"GIF89a", jpeg.getvalue(), whole[:20], whole[:60], bomb):
        with pytest.raises(InputError, match="PNG"):
            pnginfo.read(data)


def test_text_that_unpacks_to_too_much_is_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a" * 50_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    with pytest.raises(InputError):
        pnginfo.read(buffer.getvalue())


def test_a_png_without_settings_restores_nothing() -> None:
    assert pnginfo.read(_png(Title="holiday")) == pnginfo.Restored(request=None)
    assert pnginfo.read(_png(parameters="just a note")) == pnginfo.Restored(request=None)


# --- A1111 and Forge ----------------------------------------------------------------------------------------------

A1111 = """a fox (wild:1.2), forest <lora:ink_wash:0.6>
in the morning
Negative prompt: blurry,
low quality
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234567890, Size: 512x768, Model hash: 6ce0161689, \
Model: dreamshaper_8, Denoising strength: 0.5, Clip skip: 2, ControlNet 0: "Module: canny, Model: control_v11p [d1], \
Weight: 1, Guidance Start: 0", Hires upscale: 2, Version: v1.9.0"""


def test_a1111_text_is_read_as_far_as_it_maps() -> None:
    restored = pnginfo.read(_png(parameters=A1111))

    assert restored.request == replace(
        defaults(),
        prompt="a fox (wild:1.2), forest \nin the morning",
        negative_prompt="blurry,\nlow quality",
        loras=(("ink_wash", 0.6),),
        steps=28,
        sampler="dpmpp_2m",
        guidance_scale=6.5,
        seed=1234567890,
        width=512,
        height=768,
        clip_skip=1,
    )
    assert restored.unmapped == (
        "Schedule type: Karras",
        "Model: dreamshaper_8",
        "Denoising strength: 0.5",
        "ControlNet 0: Module: canny, Model: control_v11p [d1], Weight: 1, Guidance Start: 0",
        "Hires upscale: 2",
    )


def test_forge_text_is_read_and_a_known_base_is_taken() -> None:
    text = "fox\nSteps: 20, Sampler: Euler, Schedule type: Automatic, CFG scale: 1, Seed: 5, Size: 64x64, Model: sd15"
    restored = pnginfo.read(_png(parameters=text))
    assert restored.request == replace(
        defaults(), prompt="fox", base="sd15", sampler="euler", guidance_scale=1, seed=5, width=64, height=64
    )
    assert restored.unmapped == ()
    other = pnginfo.read(_png(parameters=text.replace("sd15", "own.safetensors")), bases=("own",))
    assert other.request is not None
    assert other.request.base == "own"


@pytest.mark.parametrize("name", ["CFG Rescale", "CFG Rescale φ", "CFG rescale"])
def test_a_rescaled_guidance_is_read_by_the_names_that_others_give_it(name: str) -> None:
    restored = pnginfo.read(_png(parameters=f"fox\nSteps: 20, Sampler: Euler, CFG scale: 5, {name}: 0.7, Seed: 5"))
    assert restored.request is not None
    assert restored.request.guidance_rescale == 0.7
    assert restored.unmapped == ()


def test_values_out_of_range_are_listed_and_not_taken() -> None:
    text = "fox\nSteps: 900, Sampler: Heun, CFG scale: x, Seed: -1, Size: 99999x999, Clip skip: 40"
    restored = pnginfo.read(_png(parameters=text))
    assert restored.request == replace(defaults(), prompt="fox")
    assert restored.unmapped == (
        "Steps: 900",
        "Sampler: Heun",
        "CFG scale: x",
        "Seed: -1",
        "Size: 99999x999",
        "Clip skip: 40",
    )


def test_the_text_that_is_written_is_read_back_as_far_as_it_can() -> None:
    request, unmapped = parameters.read_text(parameters.write(FULL), start=defaults(), bases=("miniature",))
    assert request == replace(FULL, controls=(), placement="crop", threads=0)
    assert [entry.split(":")[0] for entry in unmapped] == ["ControlNet 0", "ControlNet 1"]


@pytest.mark.parametrize(
    "line", ["a " * 50_000, 'Steps: "' * 5_000, "Steps: 1, " + "a:" * 9_000, "Steps: 1, " + 'k: "\\' * 4_000]
)
def test_hostile_text_is_read_quickly_and_bounded(line: str) -> None:
    restored = pnginfo.read(_png(parameters=f"fox\n{line}"))
    assert len(restored.unmapped) <= 50
    assert all(len(entry) <= 120 for entry in restored.unmapped)


# --- ComfyUI ------------------------------------------------------------------------------------------------------


def _graph() -> dict[str, dict[str, object]]:
    def node(kind: str, **inputs: object) -> dict[str, object]:
        return {"class_type": kind, "inputs": inputs}

    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="folder/sd15.safetensors"),
        "2": node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="ink.safetensors", strength_model=0.5),
        "3": node("CLIPTextEncode", text=["9", 0], clip=["2", 1]),
        "4": node("CLIPTextEncode", text="blurry", clip=["2", 1]),
        "5": node("ControlNetApplyAdvanced", positive=["3", 0], negative=["4", 0], strength=0.8),
        "6": node("EmptyLatentImage", width=512, height=640, batch_size=1),
        "7": node(
            "KSampler",
            model=["2", 0],
            positive=["5", 0],
            negative=["5", 1],
            latent_image=["6", 0],
            seed=77,
            steps=25,
            cfg=7,
            sampler_name="uni_pc",
            scheduler="karras",
            denoise=1.0,
        ),
        "8": node("VAEDecode", samples=["7", 0]),
        "9": node("PrimitiveString", value="a fox"),
        "10": node("SaveImage", images=["8", 0]),
    }


def test_a_comfyui_graph_is_read_as_far_as_it_maps() -> None:
    restored = pnginfo.read(_png(prompt=json.dumps(_graph())))
    assert restored.request == replace(
        defaults(),
        base="sd15",
        prompt="a fox",
        negative_prompt="blurry",
        loras=(("ink", 0.5),),
        width=512,
        height=640,
        seed=77,
        steps=25,
        guidance_scale=7,
        sampler="unipc",
    )
    assert restored.unmapped == ("scheduler: karras", "ControlNetApplyAdvanced")


def test_a_comfyui_graph_with_rescaled_guidance_is_read() -> None:
    graph = _graph()
    graph["11"] = {"class_type": "RescaleCFG", "inputs": {"model": ["2", 0], "multiplier": 0.7}}
    graph["7"]["inputs"] |= {"model": ["11", 0]}  # type: ignore[operator]
    restored = pnginfo.read(_png(prompt=json.dumps(graph)))
    assert restored.request is not None
    assert (restored.request.guidance_rescale, restored.request.loras) == (0.7, (("ink", 0.5),))
    assert restored.unmapped == ("scheduler: karras", "ControlNetApplyAdvanced")


def test_a_comfyui_graph_in_circles_or_without_sampler_is_listed() -> None:
    circle = _graph()
    circle["5"] = {"class_type": "Loop", "inputs": {"positive": ["5", 0], "negative": ["5", 0]}}
    circle["2"] = {"class_type": "Loop", "inputs": {"model": ["2", 0]}}
    circle["6"] = {"class_type": "Loop", "inputs": {"width": ["6", 0], "height": ["6", 0]}}
    restored = pnginfo.read(_png(prompt=json.dumps(circle)))
    assert restored.request == replace(defaults(), seed=77, steps=25, guidance_scale=7, sampler="unipc")
    assert {"model", "latent_image"} <= set(restored.unmapped)

    nothing = pnginfo.read(_png(prompt=json.dumps({"1": {"class_type": "FluxSampler", "inputs": {}}})))
    assert nothing == pnginfo.Restored(request=None, unmapped=("FluxSampler",))


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        pnginfo.read(_png(prompt=text))
    assert caught.value.key == "settings_damaged"


@pytest.mark.parametrize("text", ['{"7": {"class_type": "KSampler", "inputs": 3}}', '{"7": {"class_type": []}}'])
def test_a_graph_with_odd_nodes_never_crashes(text: str) -> None:
    assert pnginfo.read(_png(prompt=text)).unmapped
