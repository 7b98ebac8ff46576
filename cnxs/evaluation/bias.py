"""What a control takes from the prompt: how often its style and its background colour survive.

The maps hold neither. Whatever a control changes about them is a bias of its own (arXiv 2312.06573 says that large
controls bring one). Measured with each case's own map, and with the map of a case that shows something else, in another
style, on another background.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from cnxs.errors import InputError
from cnxs.evaluation.bench import Bench, Report, Samples, Subject
from cnxs.evaluation.following import EDGE_TOLERANCE, score
from cnxs.evaluation.styles import StyleNet, recognised
from cnxs.evaluation.subjects import case_pictures, edge_subjects
from cnxs.miniature.cases import Case, load_cases
from cnxs.miniature.scenes import BACKGROUNDS
from cnxs.model import ControlNetXS
from cnxs.tensors import to_signed_tensor

STRENGTHS = (0.5, 1.0)
LEAST_ACCURACY = 0.8  # of the style classifier, by chance 0.25; below it says more of itself than of the controls
_RIM = 6  # pixels

Maps = Literal["none", "own", "contrary"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One control at one strength under one kind of maps.

    Attributes:
        network: its name; "" without control.
        share: its parameters over the base's.
        f: agreement of the pictures' edges with the maps given; without control with the cases' own.
        style: share of pictures whose style is the prompt's; None where the classifier is no good.
        background: share of pictures whose ground has the prompt's colour.
    """

    network: str
    share: float
    strength: float
    maps: Maps
    f: float
    style: float | None
    background: float


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What decides of styles and backgrounds, and how often it is right on the cases' own pictures."""

    net: StyleNet
    style_accuracy: float
    background_accuracy: float

    @property
    def trusted(self) -> bool:
        """Say whether the styles that it sees mean anything."""
        return self.style_accuracy >= LEAST_ACCURACY


def contrary_cases(cases: Sequence[Case]) -> list[int]:
    """Return for each case the next one of another subject, another style and another background.

    Raises:
        InputError: `bias_too_few` if a case has none.
    """
    found = []
    for i, case in enumerate(cases):
        order = ((i + step) % len(cases) for step in range(1, len(cases)))
        fitting = (j for j in order if _contrary(case, cases[j]))
        j = next(fitting, None)
        if j is None:
            raise InputError("bias_too_few", given=len(cases))
        found.append(j)
    return found


def _contrary(case: Case, other: Case) -> bool:
    names, others = ({item.name for item in one.recipe.items} for one in (case, other))
    styles = case.recipe.items[0].style, other.recipe.items[0].style
    return names.isdisjoint(others) and len(set(styles)) == 2 and case.recipe.background != other.recipe.background


def background_of(picture: Image.Image) -> str:
    """Return the name of the colour in BACKGROUNDS that is nearest to a picture's rim."""
    pixels = np.asarray(picture.convert("RGB"), np.float64)
    rim = np.ones(pixels.shape[:2], bool)
    rim[_RIM:-_RIM, _RIM:-_RIM] = False
    ground = np.median(pixels[rim], axis=0)
    return min(BACKGROUNDS, key=lambda name: float(np.square(ground - BACKGROUNDS[name]).sum()))


def judge(bench: Bench, net: StyleNet, cases: Sequence[Case]) -> Judge:
    """Return a judge of styles with its accuracy on the cases' own pictures, as the autoencoder has them."""
    own = encoded(bench, case_pictures(len(cases)))
    unproven = Judge(net=net, style_accuracy=1.0, background_accuracy=1.0)
    style, background = kept(unproven, cases, own)
    return replace(unproven, style_accuracy=style or 0.0, background_accuracy=background)


def kept(judged_by: Judge, cases: Sequence[Case], samples: Samples) -> tuple[float | None, float]:
    """Return the shares of pictures with the style and with the background of their cases."""
    grounds = [
        background_of(picture) == case.recipe.background for picture, case in zip(samples.pictures, cases, strict=True)
    ]
    if not judged_by.trusted:
        return None, float(np.mean(grounds))
    seen = recognised(judged_by.net, samples.latents.float().cpu())
    styles = [style == case.recipe.items[0].style for style, case in zip(seen, cases, strict=True)]
    return float(np.mean(styles)), float(np.mean(grounds))


@torch.inference_mode()
def encoded(bench: Bench, pictures: Sequence[Image.Image]) -> Samples:
    """Return pictures as if they had been generated: their latents, and what the autoencoder makes of these."""
    codec = bench.pipeline.base.codec
    latents = torch.cat([codec.encode(to_signed_tensor(picture).to(bench.device)) for picture in pictures])
    shown = tuple(picture for latent in latents.split(1) for picture in bench.pipeline.decode(latent))
    return Samples(latents=latents, pictures=shown)


def measure_bias(
    bench: Bench,
    controls: Mapping[str, ControlNetXS],
    judged_by: Judge,
    *,
    count: int,
    report: Report = lambda line: None,
) -> list[Row]:
    """Sample the first cases without control, then with each control under own and contrary maps.

    Raises:
        InputError: `bias_too_few`.
    """
    cases, own = load_cases()[:count], edge_subjects(count)
    contrary = [_under(own[i], own[j]) for i, j in enumerate(contrary_cases(cases))]
    unet: Any = bench.pipeline.base.unet
    total = sum(parameter.numel() for parameter in unet.parameters())

    def row(network: str, subjects: Sequence[Subject], strength: float, maps: Maps) -> Row:
        control = controls.get(network)
        samples = (
            bench.sample_plain(subjects) if control is None else bench.sample(subjects, control, control_scale=strength)
        )
        style, background = kept(judged_by, cases, samples)
        share = 0.0 if control is None else sum(p.numel() for p in control.parameters()) / total
        f = score(subjects, samples.pictures, strength=strength, tolerance=EDGE_TOLERANCE).f
        report(f"{network or '-'} {strength:g} {maps}: F {f:.3f}, background {background:.0%}")
        return Row(network=network, share=share, strength=strength, maps=maps, f=f, style=style, background=background)

    rows = [row("", own, 0.0, "none")]
    kinds: tuple[tuple[Maps, Sequence[Subject]], ...] = (("own", own), ("contrary", contrary))
    for network in controls:
        for maps, subjects in kinds:
            rows += [row(network, subjects, strength, maps) for strength in STRENGTHS]
    return rows


def _under(subject: Subject, other: Subject) -> Subject:
    """Return a subject that is to follow another's map."""
    return replace(subject, name=f"{subject.name} under {other.name}", control_map=other.control_map, lines=other.lines)
