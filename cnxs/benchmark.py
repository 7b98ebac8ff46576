"""Time what the program promises: `python -m cnxs.benchmark`, and with `--full-size` at Stable Diffusion 2.1's size.

Alternatives take turns within one run, so that whatever else the machine does hits all of them; ratios are of medians.
"""

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, ControlNetXSAdapter, UNet2DConditionModel, UNetControlNetXSModel
from PIL import Image

from cnxs import controls, images, text
from cnxs.backend import Engine, choose_device
from cnxs.history import History
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet, base_structure
from cnxs.protocol import Preview, Result
from cnxs.records import Search
from cnxs.request import Axis, ControlUse, GenerationRequest, defaults
from cnxs.specs import ControlSpec
from cnxs.store import ImageStore
from cnxs.weights import Library

ROOT = Path(__file__).parent.parent
SD21: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
WIDTHS_14M = (4, 8, 16, 16)
LIVE_STEPS = 8


def medians(alternatives: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Return the median seconds of each alternative; they take turns, and one round before is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(rounds + 1):
        for name, call in alternatives.items():
            began = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(title: str, seconds: Mapping[str, float], *, against: str) -> None:
    """Print the seconds of each alternative and its ratio to one of them."""
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<42} {value * 1000:9.1f} ms   x {value / seconds[against]:.3f}")


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


def full_size_step(device: torch.device, *, rounds: int, compare: bool) -> None:
    """Time one step at SD 2.1's size with random weights: plain, coupled, and (`compare`) the peers."""
    torch.manual_seed(0)
    base: Any = UNet2DConditionModel(**SD21)
    base.to(device).eval().requires_grad_(False)
    spec = ControlSpec(
        control_channels=WIDTHS_14M,
        head_channels=8,
        learn_time_embedding=True,
        base_family="sd21",
        condition="canny",
        **base_structure(base),
    )
    control = ControlNetXS(spec).to(device).eval()
    x = torch.randn(1, 4, 64, 64, device=device)
    context, timestep = torch.randn(1, 77, 1024, device=device), torch.tensor(500, device=device)
    control_map = torch.rand(1, 3, 512, 512, device=device)
    with torch.inference_mode():
        hint = control.encode_hint(control_map)
        coupled = CoupledUNet(base, [control])
        alternatives: dict[str, Callable[[], object]] = {
            "plain base": lambda: base(x, timestep, context, return_dict=False),
            "ControlNet-XS 14M, coupled here": lambda: coupled(x, timestep, context, [ControlInput(hint=hint)]),
        }
        if compare:
            alternatives |= _peers(base, x, timestep, context, control_map)
        report(
            "One step at SD 2.1's size (1 x 4 x 64 x 64)", medians(alternatives, rounds=rounds), against="plain base"
        )


def _peers(
    base: Any, x: torch.Tensor, timestep: torch.Tensor, context: torch.Tensor, control_map: torch.Tensor
) -> dict[str, Callable[[], object]]:
    """Return diffusers' own ControlNet-XS and ControlNet on the same base, as their pipelines call them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = ControlNetXSAdapter.from_unet(
            base, size_ratio=0.0125, num_attention_heads=[1, 1, 2, 2], learn_time_embedding=True
        )
        joined: Any = UNetControlNetXSModel.from_unet(base, adapter)
    controlnet: Any = ControlNetModel.from_unet(base)
    for model in (joined, controlnet):
        model.to(x.device).eval()

    def controlled() -> object:
        down, middle = controlnet(x, timestep, context, control_map, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return base(x, timestep, context, **residuals, return_dict=False)

    return {
        "ControlNet-XS 14M, diffusers": lambda: joined(x, timestep, context, control_map, return_dict=False),
        "ControlNet": controlled,
    }


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


def history(count: int) -> None:
    """Keep `count` generated pictures, then time what a gallery asks for, and building the index anew."""
    print(f"\nHistory of {count} pictures")
    picture = Image.effect_noise((64, 64), 90).convert("RGB")

    def timed(name: str, call: Callable[[], Any], *, rounds: int = 5) -> None:
        seconds = medians({name: call}, rounds=rounds)
        print(f"  {name:<42} {seconds[name] * 1000:9.1f} ms")

    with tempfile.TemporaryDirectory() as folder:
        kept = History(Path(folder))
        began = time.perf_counter()
        for number in range(count):
            kept.add(picture, replace(defaults(), prompt=f"picture {number} of {['fox', 'cat', 'dog'][number % 3]}"))
        print(f"  {'keeping one':<42} {(time.perf_counter() - began) / count * 1000:9.1f} ms")
        gallery, page = kept.of(None), 48
        middle = gallery.search(Search(), limit=500)[-1].record_id
        timed("the newest page", lambda: gallery.search(Search(), limit=page))
        timed("a page further back", lambda: gallery.search(Search(), before=middle, limit=page))
        timed("its small pictures", lambda: [gallery.thumbnail(one.record_id) for one in gallery.search(Search())])
        timed("a search for a word", lambda: gallery.search(Search(text="fox"), limit=page))
        timed("a search that finds nothing", lambda: gallery.search(Search(text="unicorn"), limit=page))
        timed("counting what a search finds", lambda: gallery.count(Search(text="fox")))
        timed("recent prompts", lambda: gallery.recent_prompts())
        kept.close()
        (Path(folder) / "index.sqlite3").unlink()
        began = time.perf_counter()
        History(Path(folder)).close()
        print(f"  {'building the index anew':<42} {(time.perf_counter() - began) * 1000:9.1f} ms")


def start_up() -> None:
    """Time the app from its start to the page, and to the model behind it; and `import cnxs`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, str(ROOT / "app.py"), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=1).read()
                break
            except OSError:
                time.sleep(0.05)
        print(f"\nStart\n  page served after {time.perf_counter() - began:.1f} s")
    finally:
        app.terminate()
        app.wait()
    code = "import time; t = time.perf_counter(); import cnxs, json; print(json.dumps(time.perf_counter() - t))"
    seconds = json.loads(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)
    print(f"  import cnxs {seconds * 1000:.0f} ms")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.benchmark", description=text.get("cli.benchmark"))
    parser.add_argument("--full-size", action="store_true", help=text.get("cli.benchmark_full_size"))
    parser.add_argument("--no-peers", action="store_true", help=text.get("cli.benchmark_no_peers"))
    parser.add_argument("--rounds", type=int, default=7, help=text.get("cli.benchmark_rounds"))
    parser.add_argument("--history", type=int, metavar="N", help=text.get("cli.benchmark_history"))
    parser.add_argument("--device", default="auto", help=text.get("cli.app_device"))
    parser.add_argument("--threads", type=int, default=0, help=text.get("cli.app_threads"))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    print(
        f"{device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, median of {options.rounds} rounds"
    )
    if options.history:
        history(options.history)
    elif options.full_size:
        full_size_step(device, rounds=options.rounds, compare=not options.no_peers)
    else:
        engine = Engine(device, Library(), threads=options.threads)
        miniature_step(engine, rounds=10 * options.rounds)
        generation(engine, rounds=options.rounds)
        map_preview(rounds=options.rounds)
        start_up()
    print(f"\nPeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
