"""Stable Diffusion at its true size with random weights: one step beside the peers, and whole images from files."""

import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from diffusers import ControlNetModel, ControlNetXSAdapter, UNetControlNetXSModel
from PIL import Image

from cnxs.backend import Engine
from cnxs.benchmark.counting import step_inputs
from cnxs.benchmark.random_models import (
    NATIVE_SIZES,
    PUBLISHED,
    empty_control,
    empty_unet,
    filled,
    save_base,
    save_control,
)
from cnxs.benchmark.timing import medians, report
from cnxs.model import ControlInput, CoupledUNet
from cnxs.protocol import Result
from cnxs.request import Axis, ControlUse, GenerationRequest
from cnxs.store import ImageStore
from cnxs.weights import Library

ARMS = ("coupled", "diffusers", "controlnet")
PLAIN = "plain base"
GIB = 2**30
SIX = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def steps(name: str, arms: Sequence[str], *, device: torch.device, dtype: torch.dtype, rounds: int) -> None:
    """Time one U-Net call with a control, beside the plain base and the peers.

    At 1024 pixels each arm gets a process of its own, which times the plain base again: two large models do not share
    the memory of a small machine.
    """
    family = PUBLISHED[name].family
    if family == "sdxl" and len(arms) > 1:
        for arm in arms:
            command = [sys.executable, "-m", "cnxs.benchmark", "--full-size", name, "--arms", arm, "--no-images"]
            options = ["--rounds", str(rounds), "--device", str(device), "--dtype", str(dtype).removeprefix("torch.")]
            options += ["--threads", str(torch.get_num_threads())]
            subprocess.run([*command, *options], check=True)
        return
    size = NATIVE_SIZES[family]
    control_map = torch.rand(1, 3, size, size, device=device, dtype=dtype)
    with torch.inference_mode():
        calls = _calls(name, arms, control_map)
        title = f"One step, {name}, {size} x {size}, without guidance"
        report(title, medians(calls, rounds=rounds), against=PLAIN)


def _calls(name: str, arms: Sequence[str], control_map: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return what takes turns, on the map's device and in its dtype.

    Diffusers' own port holds a copy of the base: alone, it is the plain base as well.
    """
    family, here = PUBLISHED[name].family, {"device": control_map.device, "dtype": control_map.dtype}
    empty = empty_unet(family)
    given = step_inputs(empty, size=NATIVE_SIZES[family], **here)
    call, added = (given["sample"], given["timestep"], given["context"]), given["added"]
    calls: dict[str, Callable[[], object]] = {}
    if set(arms) != {"diffusers"}:
        base = filled(empty, **here)
        calls[PLAIN] = lambda: base(*call, added_cond_kwargs=added, return_dict=False)
        if "coupled" in arms:
            control = filled(empty_control(name), **here)
            coupled, hint = CoupledUNet(base, [control]), control.encode_hint(control_map)
            calls["coupled here"] = lambda: coupled(*call, [ControlInput(hint=hint)], added_cond_kwargs=added)
        if "controlnet" in arms:
            calls["ControlNet"] = _controlnet(base, call, added, control_map)
    if "diffusers" in arms:
        port = filled(_port(name), **here)
        calls.setdefault(PLAIN, lambda: port(*call, control_map, added_cond_kwargs=added, apply_control=False))
        calls["ControlNet-XS of diffusers"] = lambda: port(*call, control_map, added_cond_kwargs=added)
    return calls


def _port(name: str) -> Any:
    """Return diffusers' `UNetControlNetXSModel` of a published control's shapes, without weights."""
    published = PUBLISHED[name]
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = empty_unet(published.family)
        adapter = ControlNetXSAdapter.from_unet(
            base,
            block_out_channels=list(published.control_channels),
            num_attention_heads=[max(1, width // 64) for width in published.control_channels],
            learn_time_embedding=published.learn_time_embedding,
        )
        return UNetControlNetXSModel.from_unet(base, adapter)


def _controlnet(
    base: Any, call: tuple[torch.Tensor, ...], added: dict[str, torch.Tensor] | None, control_map: torch.Tensor
) -> Callable[[], object]:
    """Return a step under diffusers' ControlNet, as its pipelines call it."""
    with torch.device("meta"):
        empty: Any = ControlNetModel.from_unet(base, load_weights_from_unet=False)
    controlnet = filled(empty, device=control_map.device, dtype=control_map.dtype)

    def controlled() -> object:
        down, middle = controlnet(*call, control_map, added_cond_kwargs=added, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return base(*call, added_cond_kwargs=added, **residuals, return_dict=False)

    return controlled


def images(name: str, *, device: torch.device, dtype: torch.dtype, strip: bool) -> None:
    """Write base and control as files, load them through the backend, generate, and print times and memory.

    On a GPU the memory printed is still the process's own: the GPU's peak is the command's last line.
    `strip` adds six strengths over six plain images, two steps each.
    """
    family = PUBLISHED[name].family
    size = NATIVE_SIZES[family]
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        save_base(family, models / "random")
        save_control(name, models / f"{name}.safetensors")
        engine = Engine(device, Library(models), dtype=dtype)
        store = ImageStore(None)
        lines = np.random.default_rng(0).random((size, size)) > 0.95
        map_id = store.put(Image.fromarray(np.repeat(lines[..., None], 3, 2).astype(np.uint8) * 255))
        use = ControlUse(network=name, map_id=map_id)
        # At 1024 pixels one evaluation without guidance is what a processor can be asked for.
        asked = GenerationRequest(base="random", controls=(use,), width=size, height=size, steps=2, guidance_scale=4.0)
        if family == "sdxl":
            asked = replace(asked, steps=1, guidance_scale=1.0)
        print(f"\n{name} from files, through the backend, {size} x {size}, {asked.steps} steps")
        _load(engine, name)
        for title, request in (("with control", asked), ("without control", replace(asked, controls=()))):
            with measured() as spent:
                pictures = _generate(engine, request, store)
            print(f"  {title:<42} {spent['seconds']:9.1f} s   peak {spent['peak'] / GIB:.2f} GiB")
            assert all(picture.size == (size, size) for picture in pictures)
        if strip:
            _strip(engine, asked, store)


def _load(engine: Engine, name: str) -> None:
    with measured() as spent:
        pipeline = engine.pipeline("random")
        control = engine.network(name, pipeline)
    modules = [*pipeline.base.modules, control]
    weights = sum(parameter.nbytes for module in modules for parameter in module.parameters())
    grown = spent["peak"] - spent["before"]
    print(f"  {'loaded':<42} {spent['seconds']:9.1f} s   peak {grown / GIB:.2f} GiB above the state before")
    print(f"  {'its weights as used':<42} {weights / GIB:9.2f} GiB: peak x {grown / weights:.2f}")


def _strip(engine: Engine, asked: GenerationRequest, store: ImageStore) -> None:
    strip = replace(asked, axes=(Axis(name="control_scale", values=SIX),))
    plain = replace(asked, controls=(), axes=(Axis(name="seed", values=tuple(range(6))),))
    seconds = medians(
        {
            "six plain images": lambda: _generate(engine, plain, store),
            "six strengths": lambda: _generate(engine, strip, store),
        },
        rounds=1,
    )
    report("  A comparison of six strengths", seconds, against="six plain images")


def _generate(engine: Engine, request: GenerationRequest, store: ImageStore) -> list[Image.Image]:
    events = engine.generate(request.cells(), store, lambda: False)
    return [event.image for event in events if isinstance(event, Result)]


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Measure seconds, and anonymous memory of this process in bytes: `before`, and its `peak`, looked at often."""
    spent: dict[str, float] = {"before": _anonymous()}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            spent["peak"] = max(spent.get("peak", 0.0), _anonymous())

    watcher = threading.Thread(target=watch, daemon=True)
    began = time.perf_counter()
    watcher.start()
    try:
        yield spent
    finally:
        spent["seconds"] = time.perf_counter() - began
        done.set()
        watcher.join()
        spent["peak"] = max(spent.get("peak", 0.0), _anonymous())


def _anonymous() -> float:
    memory = psutil.Process().memory_info()
    return float(memory.rss - getattr(memory, "shared", 0))  # mapped files are not the program's own
