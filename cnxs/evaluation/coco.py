"""The paper's comparison on a folder of pictures with captions, for those who have a GPU and such a folder.

Each caption is generated under the control map of its picture, with the settings of arXiv 2312.06573 section 4 (50
DDIM steps, guidance 9.5), and compared with the picture: Frechet distance, CLIP score, LPIPS, and how far the map of
the result is from the map that was given. Nothing is downloaded: a measure whose network is not at hand is left out,
and says what it lacks.
"""

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from cnxs import generate, text
from cnxs.codec import PatchCodec
from cnxs.errors import InputError
from cnxs.evaluation.tables import markdown
from cnxs.jobs import Studio
from cnxs.metrics import canny_edges, edge_agreement
from cnxs.miniature import ASSETS
from cnxs.protocol import ControlMap
from cnxs.training.folder import Picture, find_pictures

STEPS, GUIDANCE = 50, 9.5
LINES = ("canny", "scribble", "soft_edge", "line_art")
LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"  # torchvision's own name for the network that LPIPS is built on
# FID on COCO 2017 val with Stable Diffusion 1.5, the paper's table 1: canny, depth.
PUBLISHED = (("ControlNet", "21.18", "19.01"), ("ControlNet-XS, type B, 55M", "15.13", "16.36"))


@dataclass(frozen=True)
class Pair:
    """A picture, what was generated in its place, and the maps of both."""

    caption: str
    real: Image.Image  # RGB, all four of one size
    made: Image.Image
    given_map: Image.Image
    made_map: Image.Image


@dataclass(frozen=True)
class Figure:
    """One measure. `value` is None where it was not measured, and `note` says why."""

    name: str
    value: float | None
    note: str = ""


class Measure(Protocol):
    """Takes pairs one at a time and gives a figure at the end."""

    def add(self, pair: Pair) -> None:
        """Take a pair."""
        ...

    def figures(self) -> list[Figure]:
        """Return what was measured."""
        ...


class ControlError:
    """Edge agreement for lines, mean squared error of maps in [0, 1] for all else."""

    def __init__(self, kind: str) -> None:
        self.lines = kind in LINES
        self.errors: list[float] = []
        self.agreements: list[float] = []

    def add(self, pair: Pair) -> None:
        """Take a pair."""
        given, made = (np.asarray(image.convert("L"), np.float64) / 255 for image in (pair.given_map, pair.made_map))
        self.errors.append(float(np.square(given - made).mean()))
        self.agreements.append(edge_agreement(canny_edges(pair.made), given > 0.5).f)

    def figures(self) -> list[Figure]:
        """Return one figure."""
        if self.lines:
            return [Figure(text.get("cli.coco_edges"), float(np.mean(self.agreements)))]
        return [Figure(text.get("cli.coco_map_error"), float(np.mean(self.errors)))]


class Metric:
    """A metric of torchmetrics, fed in its own way."""

    def __init__(self, name: str, metric: Any) -> None:
        self.name, self.metric = name, metric

    def add(self, pair: Pair) -> None:
        """Take a pair."""
        real, made = as_bytes(pair.real), as_bytes(pair.made)
        if self.name == "FID":
            self.metric.update(real, real=True)
            self.metric.update(made, real=False)
        elif self.name == "CLIP":
            self.metric.update(made, [pair.caption])
        else:
            self.metric.update(real / 127.5 - 1, made / 127.5 - 1)

    def figures(self) -> list[Figure]:
        """Return one figure."""
        return [Figure(self.name, float(self.metric.compute()))]


class NotMeasured:
    """Stands where a measure would, had it its network."""

    def __init__(self, name: str, note: str) -> None:
        self.figure = Figure(name, None, note)

    def add(self, pair: Pair) -> None:
        """Take a pair."""

    def figures(self) -> list[Figure]:
        """Return the name and the reason."""
        return [self.figure]


class MiniatureFeatures(torch.nn.Module):
    """The miniature's encoder as a feature network: mean and spread of each latent channel, (N, 32)."""

    num_features = 32

    def __init__(self) -> None:
        super().__init__()
        self.codec = PatchCodec.load(ASSETS)

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features of uint8 pixels (N, 3, H, W)."""
        small = torch.nn.functional.interpolate(pixels.float() / 127.5 - 1, (256, 256), mode="area")
        latents = self.codec.encode(small)
        return torch.cat([latents.mean((2, 3)), latents.std((2, 3))], dim=1)


def as_bytes(image: Image.Image) -> torch.Tensor:
    """Return uint8 pixels (1, 3, H, W)."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None]


def measures(options: argparse.Namespace) -> list[Measure]:
    """Return every measure, those that lack something in name only.

    Raises:
        InputError: `package_missing` if torchmetrics is not installed.
    """
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        from torchmetrics.multimodal.clip_score import CLIPScore
    except ModuleNotFoundError as error:
        raise InputError("package_missing", package="torchmetrics", given=str(error.name)) from error
    found: list[Measure] = [ControlError(options.condition)]
    if options.features == "miniature":
        found.append(Metric("FID", FrechetInceptionDistance(MiniatureFeatures())))
    elif options.inception is not None:
        inception = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(options.inception))
        found.append(Metric("FID", inception))
    else:
        found.append(NotMeasured("FID", text.get("cli.coco_needs_option", option="--inception FILE")))
    if options.clip is not None:
        folder: Any = str(options.clip)  # annotated with the names on the hub, where a folder does as well
        found.append(Metric("CLIP", CLIPScore(folder)))
    else:
        found.append(NotMeasured("CLIP", text.get("cli.coco_needs_option", option="--clip FOLDER")))
    weights = Path(torch.hub.get_dir(), "checkpoints", LPIPS_WEIGHTS)
    if weights.is_file():
        found.append(Metric("LPIPS", LearnedPerceptualImagePatchSimilarity(net_type="alex")))
    else:
        found.append(NotMeasured("LPIPS", text.get("cli.coco_needs_file", file=LPIPS_WEIGHTS, folder=weights.parent)))
    return found


def pictures_of(options: argparse.Namespace) -> list[Picture]:
    """Return the pictures and captions: from COCO's own file of captions, or as a training folder has them.

    Raises:
        InputError: `captions_damaged`, or those of `find_pictures`.
    """
    if options.captions is None:
        return find_pictures(options.images)[: options.count]
    try:
        listed = json.loads(options.captions.read_text("utf-8"))
        names = {entry["id"]: entry["file_name"] for entry in listed["images"]}
        first: dict[str, str] = {}
        for entry in listed["annotations"]:
            first.setdefault(names[entry["image_id"]], entry["caption"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("captions_damaged", file=options.captions.name) from error
    found = [(options.images / name, caption) for name, caption in sorted(first.items())]
    pictures = [Picture(path=path, caption=caption, map=None) for path, caption in found if path.is_file()]
    if not pictures:
        raise InputError("captions_without_pictures", file=options.captions.name, folder=options.images)
    return pictures[: options.count]


def pairs(pictures: Sequence[Picture], options: argparse.Namespace, studio: Studio) -> Iterator[Pair]:
    """Generate what is missing in the folder of results, and yield every pair."""
    for picture in pictures:
        task = generate.Task(picture.path.stem, picture.caption, picture.path)
        generate.run(task, options, studio)
        request = generate.request_for(task, options, studio)
        (cell,) = request.cells()
        data = (options.out / generate.file_name(task, cell)).read_bytes()
        (use,) = cell.controls

        def drawn(digest: str, cell: Any = cell, network: str = use.network) -> ControlMap:
            sizes = {"width": cell.width, "height": cell.height, "placement": cell.placement}
            return studio.control_map(digest, kind=options.condition, params={}, network=network, **sizes)

        given, made = drawn(use.source_id), drawn(studio.put_image(data))
        with Image.open(io.BytesIO(data)) as image:
            yield Pair(picture.caption, given.placed, image.convert("RGB"), given.map, made.map)


def run(options: argparse.Namespace) -> int:
    """Generate, measure, and print the table beside the published one."""
    pictures, found = pictures_of(options), measures(options)
    if len(pictures) < 2:
        raise InputError("coco_too_few", given=len(pictures))
    given = ["--control", options.images, "--condition", options.condition, "--base", options.base]
    given += ["--network", options.network, "--steps", options.steps, "--guidance", options.guidance]
    given += ["--seeds", options.seed, "--out", options.out, "--models", options.models]
    given += ["--device", options.device, "--threads", options.threads]
    given += ["--size", f"{options.size},{options.size}"] if options.size else []
    settings = generate.arguments([str(value) for value in given])
    with generate.open_studio(settings) as studio:
        for pair in pairs(pictures, settings, studio):
            for measure in found:
                measure.add(pair)
    figures = [figure for measure in found for figure in measure.figures()]
    fields = {"count": len(pictures), "steps": options.steps, "guidance": options.guidance, "seed": options.seed}
    print(text.get("cli.coco_settings", base=options.base, condition=options.condition, **fields))
    print("\n" + figures_table(figures))
    print(f"\n{text.get('cli.coco_published')}\n\n{markdown(text.get('cli.coco_published_columns'), PUBLISHED)}")
    if options.json:
        shown = [{"name": figure.name, "value": figure.value, "note": figure.note} for figure in figures]
        options.json.write_text(json.dumps({**fields, "figures": shown}, indent=1) + "\n", "utf-8")
    return 0


def figures_table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table; what was not measured says so, and why."""
    missing = text.get("cli.coco_not_measured")
    rows = [
        [figure.name, missing if figure.value is None else f"{figure.value:.4f}", figure.note] for figure in figures
    ]
    return markdown(text.get("cli.coco_columns"), rows)


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="FOLDER", help=text.get("cli.coco_images"))
    add("--captions", type=Path, metavar="FILE", help=text.get("cli.coco_captions"))
    add("--base", default="sd15", help=text.get("cli.generate_base"))
    add("--condition", default="canny", help=text.get("cli.generate_condition"))
    add("--network", default="", help=text.get("cli.generate_network"))
    add("--count", type=int, help=text.get("cli.coco_count"))
    add("--size", type=int, help=text.get("cli.coco_size"))
    add("--steps", type=int, default=STEPS, help=text.get("cli.evaluation_steps"))
    add("--guidance", type=float, default=GUIDANCE, help=text.get("cli.generate_guidance"))
    add("--seed", type=int, default=0, help=text.get("cli.generate_seeds"))
    add("--features", choices=("inception", "miniature"), default="inception", help=text.get("cli.coco_features"))
    add("--inception", type=Path, metavar="FILE", help=text.get("cli.coco_inception"))
    add("--clip", type=Path, metavar="FOLDER", help=text.get("cli.coco_clip"))
    add("--out", type=Path, required=True, metavar="FOLDER", help=text.get("cli.generate_out"))
    add("--models", type=Path, default=Path("models"), help=text.get("cli.app_models"))
    add("--device", default="auto", help=text.get("cli.app_device"))
    add("--threads", type=int, default=0, help=text.get("cli.app_threads"))
