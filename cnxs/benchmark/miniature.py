"""The bundled model: one guided step, whole images, and the map of a large photo."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cnxs import controls, images
from cnxs.backend import Engine
from cnxs.benchmark.timing import medians, report
from cnxs.model import ControlInput, CoupledUNet
from cnxs.protocol import Preview, Result
from cnxs.request import Axis, ControlUse, GenerationRequest
from cnxs.store import ImageStore

ROOT = Path(__file__).parent.parent.parent
LIVE_STEPS = 8


def miniature_step(engine: Engine, *, rounds: int) -> None:
    """Time one guided U-Net step of the miniature, with and without its control."""
    pipeline = engine.pipeline("miniature")
    network = engine.network("canny", pipeline)
    unet: Any = pipeline.base.unet
    device = pipeline.device
    x = torch.randn(2, 16, 16, 16, device=device, dtype=pipeline.dtype)
    context = torch.randn(2, 24, 192, device=device, dtype=pipeline.dtype)
    timestep = torch.tensor(500, device=device)
    hint = network.encode_hint(torch.zeros(2, 1, 256, 256, device=device, dtype=pipeline.dtype))
    coupled = CoupledUNet(unet, [network])
    with torch.inference_mode():
        seconds = medians(
            {
                "plain base": lambda: unet(x, timestep, context, return_dict=False),
                "coupled": lambda: coupled(x, timestep, context, [ControlInput(hint=hint)]),
            },
            rounds=rounds,
        )
    report("One guided step of the miniature (2 x 16 x 16 x 16)", seconds, against="plain base")


def generation(engine: Engine, *, rounds: int) -> None:
    """Time whole images through the engine: 20 steps, a live frame, a strip of six strengths over six plain images."""
    store = ImageStore(None)
    picture = images.load((ROOT / "assets" / "examples" / "red_apple.png").read_bytes())
    placed = images.place(picture, width=256, height=256, placement="crop")
    map_id = store.put(controls.draw(placed, kind="canny", params={}).map)
    use = ControlUse(network="canny", map_id=map_id, kind="canny")
    request = GenerationRequest(base="miniature", prompt="a red apple, 3d render", controls=(use,))
    six = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)

    def run(asked: GenerationRequest) -> None:
        events = engine.generate(asked.cells(), store, lambda: False)
        assert sum(isinstance(event, Result) for event in events) == len(asked.cells())

    seconds = medians(
        {
            "20 steps, guidance, control": lambda: run(request),
            "20 steps, guidance, no control": lambda: run(replace(request, controls=())),
            f"live frame: {LIVE_STEPS} steps, guidance, control": lambda: run(replace(request, steps=LIVE_STEPS)),
            "strip of six strengths": lambda: run(replace(request, axes=(Axis(name="control_scale", values=six),))),
            "six plain images": lambda: run(
                replace(request, controls=(), axes=(Axis(name="seed", values=tuple(range(6))),))
            ),
        },
        rounds=rounds,
    )
    report("Images of the miniature, 256 x 256", seconds, against="20 steps, guidance, no control")
    print(
        f"  strip of six over six plain images: x {seconds['strip of six strengths'] / seconds['six plain images']:.3f}"
    )
    began = time.perf_counter()
    for event in engine.generate(request.cells(), store, lambda: False):
        if isinstance(event, Preview):
            print(f"  first preview after {(time.perf_counter() - began) * 1000:.0f} ms")
            break


def map_preview(*, rounds: int) -> None:
    """Time placing a 12-megapixel picture at 1024 pixels and drawing its Canny map."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    photo = Image.fromarray(noise).resize((4000, 3000))

    def draw() -> object:
        return controls.draw(images.place(photo, width=1024, height=768, placement="crop"), kind="canny", params={})

    report("Canny map of a 12-megapixel picture at 1024 pixels", medians({"map": draw}, rounds=rounds), against="map")
