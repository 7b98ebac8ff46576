"""Generate from the command line: `python -m cnxs.generate --control photo.jpg --prompt "..." --strengths 0,0.5,1`.

The same requests through the same backend as the page, hence the same pixels. A folder of pictures, or a CSV of
prompts, makes a batch; finished files are skipped when the command runs again.
"""

import argparse
import csv
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cnxs import images, text
from cnxs.backend import make_engine
from cnxs.errors import InputError, UserError
from cnxs.jobs import Studio
from cnxs.protocol import LAST_EVENTS, Failed, NetworkInfo, Progress, Result
from cnxs.registry import BASE_MODELS, CONTROL_KINDS, DETECTORS_FOLDER
from cnxs.request import Axis, ControlUse, GenerationRequest
from cnxs.store import ImageStore

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
OWNER = "command line"


@dataclass(frozen=True)
class Task:
    """One prompt on one picture; `name` begins its files' names."""

    name: str
    prompt: str
    picture: Path | None


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.generate", description=text.get("cli.generate"))
    add = parser.add_argument
    add("--control", type=Path, help=text.get("cli.generate_control"))
    add("--condition", default="canny", choices=list(CONTROL_KINDS), help=text.get("cli.generate_condition"))
    add("--network", default="", help=text.get("cli.generate_network"))
    add("--prompt", default="", help=text.get("cli.generate_prompt"))
    add("--negative", default="", help=text.get("cli.generate_negative"))
    add("--prompts", type=Path, help=text.get("cli.generate_prompts"))
    add("--strengths", type=_numbers, default=(1.0,), help=text.get("cli.generate_strengths"))
    add("--seeds", type=_whole_numbers, default=(0,), help=text.get("cli.generate_seeds"))
    add("--base", default="miniature", help=text.get("cli.generate_base"))
    add("--steps", type=int, help=text.get("cli.generate_steps"))
    add("--guidance", type=float, help=text.get("cli.generate_guidance"))
    add("--rescale", type=float, default=0.0, help=text.get("cli.generate_rescale"))
    add("--sampler", default="ddim", help=text.get("cli.generate_sampler"))
    add("--size", type=_whole_numbers, metavar="W,H", help=text.get("cli.generate_size"))
    add("--placement", default="crop", choices=["crop", "fit", "stretch"], help=text.get("cli.generate_placement"))
    add("--frames", action="store_true", help=text.get("cli.generate_frames"))
    add("--out", type=Path, default=Path("outputs"), help=text.get("cli.generate_out"))
    add("--models", type=Path, default=Path("models"), help=text.get("cli.app_models"))
    add("--device", default="auto", help=text.get("cli.app_device"))
    add("--threads", type=int, default=0, help=text.get("cli.app_threads"))
    add("--no-safety-checker", action="store_true", help=text.get("cli.app_no_safety_checker"))
    add("--dtype", default="auto", help=text.get("cli.app_dtype"))
    return parser.parse_args(given)


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Yield every prompt on every picture that the options name.

    Raises:
        InputError: if a file is not there, a folder holds no picture, or the CSV has no column `prompt`; or if
            frames of a clip are asked for and more than one picture would be made of each.
    """
    prompts = [("", options.prompt)]
    if options.frames:
        _check_frames(options)
    if options.prompts:
        with _existing(options.prompts).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or "prompt" not in rows[0]:
            raise InputError("prompts_csv", file=options.prompts.name)
        prompts = [(row.get("name") or f"{i:04d}", row["prompt"]) for i, row in enumerate(rows)]
    pictures: list[Path | None] = [None]
    if options.control:
        path = _existing(options.control)
        files = [file for file in path.iterdir() if file.suffix.lower() in PICTURES] if path.is_dir() else [path]
        found = sorted(files, key=_in_order if options.frames else None)
        if not found:
            raise InputError("no_pictures", folder=path.name, allowed=", ".join(PICTURES))
        pictures = list(found)
    for picture in pictures:
        for name, prompt in prompts:
            parts = [part for part in (picture.stem if picture else "", name) if part]
            yield Task("-".join(parts) or "image", prompt, picture)


def _check_frames(options: argparse.Namespace) -> None:
    folder = options.control is not None and _existing(options.control).is_dir()
    if not folder or options.prompts or len(options.seeds) != 1 or len(options.strengths) != 1:
        raise InputError("frames_one")


def _in_order(file: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Return the place of a numbered file: frame2 comes before frame10."""
    parts = re.findall(r"\d+|\D+", file.stem)
    return [(0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in parts], file.name


def request_for(task: Task, options: argparse.Namespace, studio: Studio) -> GenerationRequest:
    """Return the request of a task, its control map drawn."""
    base = BASE_MODELS.get(options.base) or BASE_MODELS["miniature"]
    request = GenerationRequest(
        base=options.base,
        prompt=task.prompt,
        negative_prompt=options.negative,
        steps=options.steps or base.default_steps,
        guidance_scale=base.default_guidance_scale if options.guidance is None else options.guidance,
        guidance_rescale=options.rescale,
        sampler=options.sampler,
        placement=options.placement,
        threads=options.threads,
        axes=(Axis(name="seed", values=options.seeds),),
    )
    size = tuple(options.size) if options.size else (base.native_size, base.native_size)
    if task.picture is None:
        return replace(request, width=size[0], height=size[1])
    source_id = studio.put_image(task.picture.read_bytes())
    if not options.size:
        source_size = studio.get_image(source_id).size
        size = images.default_size(source_size, native_size=base.native_size, multiple=base.size_multiple)
    network = _network(options, studio)
    drawn = studio.control_map(
        source_id,
        kind=options.condition,
        params={},
        width=size[0],
        height=size[1],
        placement=options.placement,
        network=network.name,
    )
    use = ControlUse(network=network.name, kind=options.condition, map_id=drawn.map_id, source_id=source_id)
    strengths = Axis(name="control_scale", values=options.strengths)
    axes = (strengths, *request.axes)
    return replace(request, width=size[0], height=size[1], controls=(use,), axes=axes)


def file_name(task: Task, cell: GenerationRequest, *, frames: bool = False) -> str:
    """Return the file of one image: its task, strength and seed; of a frame, the name that it came with."""
    if frames:
        return f"{task.name}.png"
    strength = f"-s{cell.controls[0].control_scale:g}" if cell.controls else ""
    return f"{task.name}{strength}-{cell.seed}.png"


def run(task: Task, options: argparse.Namespace, studio: Studio) -> int:
    """Generate what is missing of a task; return the number of new files."""
    request = request_for(task, options, studio)
    written = 0
    for cell in request.cells():
        path = options.out / file_name(task, cell, frames=options.frames)
        if path.exists():
            continue
        job_id = studio.submit(cell, OWNER)
        for event in studio.events(job_id):
            if isinstance(event, Progress):
                print(f"\r{path.name}  {event.step}/{event.steps}", end="", file=sys.stderr, flush=True)
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Result):
                partial = path.with_suffix(".partial")
                partial.write_bytes(studio.png(job_id, event.cell))
                partial.replace(path)
                agreement = "" if event.edge_agreement is None else f"  edges {event.edge_agreement:.2f}"
                notes = [text.get(key, "en", **dict(fields)) for key, fields in event.notes]
                print(f"\r{path.name}  {event.seconds:.1f} s{agreement}", *notes, sep="  ", file=sys.stderr)
                written += 1
            if isinstance(event, LAST_EVENTS):
                break
    return written


def open_studio(options: argparse.Namespace) -> Studio:
    """Return the backend that the options ask for, its engine started; it keeps no history."""
    engine = make_engine(
        device=options.device,
        models_dir=options.models,
        threads=options.threads,
        offline=False,
        dtype=options.dtype,
        safety=not options.no_safety_checker,
    )
    detectors = options.models / DETECTORS_FOLDER
    return Studio([engine], images=ImageStore(None), history=None, catalogue=engine.models, detectors=detectors)


def main(given: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = arguments(given)
    logging.basicConfig(level=logging.WARNING)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with open_studio(options) as studio:
            began = time.monotonic()
            written = sum(run(task, options, studio) for task in tasks(options))
            seconds = time.monotonic() - began
        print(text.get("cli.generate_done", count=written, folder=options.out))
        if options.frames and written:
            print(text.get("cli.generate_rate", rate=f"{written / seconds:.2f}"))
    except UserError as error:
        sys.exit(str(error))


def _network(options: argparse.Namespace, studio: Studio) -> NetworkInfo:
    """Return the named network, or the first one here that the condition can drive on this base."""
    family = next((base.family for base in studio.models().bases if base.name == options.base), "")
    here = [n for n in studio.models().networks if n.family == family and n.state == "here"]
    fitting = [n for n in here if (n.name == options.network or not options.network) and options.condition in n.kinds]
    if not fitting:
        raise InputError("no_network_for_kind", kind=options.condition, base=options.base)
    return min(fitting, key=lambda network: network.kinds.index(options.condition))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError("file_not_found", file=path)
    return path


def _numbers(given: str) -> tuple[float, ...]:
    return tuple(float(part) for part in given.split(","))


def _whole_numbers(given: str) -> tuple[int, ...]:
    return tuple(int(part) for part in given.split(","))


if __name__ == "__main__":
    main()
