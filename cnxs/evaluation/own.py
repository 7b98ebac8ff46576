"""Each control by its own measure: edges by F, drawn lines by recall, colours by their error, depth by its regions.

Colours are compared on the coarse grid of the map, regions by how a picture's silhouette covers that of the map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cnxs import text
from cnxs.controls import colour_grid, silhouette
from cnxs.errors import InputError
from cnxs.evaluation.bench import Bench, Report, Samples, Subject
from cnxs.evaluation.following import EDGE_TOLERANCE, LINE_TOLERANCE, STRENGTHS
from cnxs.metrics import canny_edges, edge_agreement
from cnxs.model import ControlNetXS

CELLS = 8  # of the colour grid: the app's default
_DIFFERENCE = 32  # of 255: above the faint halos that the autoencoder leaves around objects


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a control is judged by.

    Attributes:
        name: of its wording.
        value: of one picture against its subject.
        less_is_better: whether it is an error rather than an agreement.
    """

    name: str
    value: Callable[[Subject, Image.Image], float]
    less_is_better: bool = False

    def mean(self, subjects: Sequence[Subject], pictures: Sequence[Image.Image]) -> float:
        """Return the mean over pairs of subject and picture."""
        pairs = zip(subjects, pictures, strict=True)
        return float(np.mean([self.value(subject, picture) for subject, picture in pairs]))

    def shown(self, value: float) -> str:
        """Return a value as tables have it."""
        return f"{value:.1f}" if self.less_is_better else f"{value:.3f}"


def colour_error(picture: Image.Image, control_map: Image.Image) -> float:
    """Return the mean absolute difference of two pictures' colour grids, 0 to 255."""
    grid, other = (
        colour_grid.draw(np.asarray(image.convert("RGB")), cells=CELLS).astype(np.float64)
        for image in (picture, control_map)
    )
    return float(np.abs(grid - other).mean())


def region_agreement(picture: Image.Image, depth: Image.Image) -> float:
    """Return the intersection over union, 0 to 1, of a picture's silhouette and what a depth map has before its ground.

    Two empty regions agree.
    """
    seen = silhouette.region(np.asarray(picture.convert("RGB")), difference=_DIFFERENCE)
    wanted = np.asarray(depth.convert("L")) > 0
    union = np.count_nonzero(seen | wanted)
    return np.count_nonzero(seen & wanted) / union if union else 1.0


MEASURES: dict[str, Measure] = {
    "canny": Measure(
        name="edges",
        value=lambda subject, picture: edge_agreement(canny_edges(picture), subject.lines, tolerance=EDGE_TOLERANCE).f,
    ),
    "scribble": Measure(
        name="lines",
        value=lambda subject, picture: (
            edge_agreement(canny_edges(picture), subject.lines, tolerance=LINE_TOLERANCE).recall
        ),
    ),
    "colour": Measure(
        name="colours",
        value=lambda subject, picture: colour_error(picture, subject.control_map),
        less_is_better=True,
    ),
    "depth": Measure(name="depths", value=lambda subject, picture: region_agreement(picture, subject.control_map)),
}


def own_measure(condition: str) -> Measure:
    """Return the measure of a condition.

    Raises:
        InputError: `evaluation_no_measure` if it has none.
    """
    if condition not in MEASURES:
        raise InputError("evaluation_no_measure", given=condition, allowed=", ".join(MEASURES))
    return MEASURES[condition]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One strength by a control's own measure."""

    strength: float
    value: float
    other: float  # against the next subject's map: what any picture of the kind would reach


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What one network kept of the maps of some subjects."""

    network: str
    measure: Measure
    levels: tuple[Level, ...]
    ceiling: float  # of the autoencoder's reconstruction of the subjects' own pictures
    samples: dict[float, Samples] = field(default_factory=dict, repr=False)  # by strength, for the sheet

    @property
    def title(self) -> str:
        """Return the heading of its part of a sheet."""
        return text.get(f"cli.evaluation_sheet_{self.measure.name}", network=self.network)

    def figure(self, subject: Subject, picture: Image.Image) -> str:
        """Return what one picture reaches, for its label."""
        return self.measure.shown(self.measure.value(subject, picture))


def keep(
    bench: Bench,
    subjects: Sequence[Subject],
    control: ControlNetXS,
    *,
    network: str,
    references: Sequence[Image.Image],
    strengths: Sequence[float] = STRENGTHS,
    report: Report = lambda line: None,
) -> Keeping:
    """Sample every strength and measure what is kept of the maps.

    Args:
        bench: makes the samples.
        subjects: what to follow, two or more.
        control: the network; its condition decides the measure.
        network: its name.
        references: the subjects' own pictures.
        strengths: control scales, 0 among them.
        report: takes a line of progress after each strength.

    Raises:
        InputError: `evaluation_no_measure`.
    """
    measure = own_measure(control.spec.condition)
    others = [*subjects[1:], *subjects[:1]]
    levels, samples = [], {}
    for strength in strengths:
        samples[strength] = bench.sample(subjects, control, control_scale=strength)
        pictures = samples[strength].pictures
        level = Level(strength=strength, value=measure.mean(subjects, pictures), other=measure.mean(others, pictures))
        levels.append(level)
        report(f"{network}, {measure.name}, {strength:g}: {measure.shown(level.value)}")
    ceiling = measure.mean(subjects, bench.reconstruct(references))
    return Keeping(network=network, measure=measure, levels=tuple(levels), ceiling=ceiling, samples=samples)
