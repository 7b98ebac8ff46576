"""How well pictures follow their maps: edges both ways for canny, drawn lines for scribble.

Canny 100/200 without blur finds the edges of every picture. Figures are means over the subjects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cnxs import text
from cnxs.evaluation.bench import Bench, Report, Samples, Subject
from cnxs.metrics import EdgeAgreement, canny_edges, edge_agreement
from cnxs.model import ControlNetXS

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
EDGE_TOLERANCE = 2  # pixels at 256 x 256
LINE_TOLERANCE = 6
GOAL_SHARE = 0.8  # of the autoencoder's ceiling
GOAL_RECALL = 0.7  # of the drawn lines
GOAL_LEAD = 0.3  # over no control, and over the recall against another drawing


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one strength."""

    strength: float
    precision: float
    recall: float
    f: float
    other_recall: float  # against the lines of the next subject: what any busy picture would reach


@dataclass(frozen=True, kw_only=True)
class Following:
    """What one network reached on one set of subjects."""

    network: str
    subjects: str  # "cases" or "drawings"
    tolerance: float
    rows: tuple[Row, ...]
    ceiling: Row | None = None
    samples: dict[float, Samples] = field(default_factory=dict, repr=False)  # by strength, for the sheet

    def at(self, strength: float) -> Row:
        """Return the figures of one of the strengths."""
        return next(row for row in self.rows if row.strength == strength)

    @property
    def title(self) -> str:
        """Return the heading of its part of a sheet."""
        return text.get(f"cli.evaluation_sheet_{self.subjects}", network=self.network)

    def figure(self, subject: Subject, picture: Image.Image) -> str:
        """Return what one picture reaches, for its label."""
        (agreement,) = agreements([subject], [picture], tolerance=self.tolerance)
        return f"F {agreement.f:.2f}" if self.subjects == "cases" else f"recall {agreement.recall:.2f}"


def follow(
    bench: Bench,
    subjects: Sequence[Subject],
    control: ControlNetXS,
    *,
    network: str,
    kind: str,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float,
    references: Sequence[Image.Image] = (),
    report: Report = lambda line: None,
) -> Following:
    """Sample every strength and compare with the subjects' lines.

    Args:
        bench: makes the samples.
        subjects: what to follow, two or more.
        control: the network.
        network: its name.
        kind: what the subjects are: "cases" or "drawings".
        strengths: control scales.
        tolerance: pixels at 256 x 256.
        references: the subjects' own pictures, whose reconstruction is the ceiling; () for none.
        report: takes a line of progress after each strength.
    """
    rows, samples = [], {}
    for strength in strengths:
        samples[strength] = bench.sample(subjects, control, control_scale=strength)
        rows.append(score(subjects, samples[strength].pictures, strength=strength, tolerance=tolerance))
        report(f"{network}, {kind}, {strength:g}: F {rows[-1].f:.3f}, recall {rows[-1].recall:.3f}")
    ceiling = score(subjects, bench.reconstruct(references), strength=1, tolerance=tolerance) if references else None
    return Following(
        network=network, subjects=kind, tolerance=tolerance, rows=tuple(rows), ceiling=ceiling, samples=samples
    )


def agreements(
    subjects: Sequence[Subject], pictures: Sequence[Image.Image], *, tolerance: float
) -> list[EdgeAgreement]:
    """Compare each picture's edges with its subject's lines."""
    return [
        edge_agreement(canny_edges(picture), subject.lines, tolerance=tolerance)
        for subject, picture in zip(subjects, pictures, strict=True)
    ]


def score(subjects: Sequence[Subject], pictures: Sequence[Image.Image], *, strength: float, tolerance: float) -> Row:
    """Return the mean figures of pictures against their own lines and against the next subject's."""
    own = agreements(subjects, pictures, tolerance=tolerance)
    others = agreements([*subjects[1:], *subjects[:1]], pictures, tolerance=tolerance)
    return Row(
        strength=strength,
        precision=float(np.mean([item.precision for item in own])),
        recall=float(np.mean([item.recall for item in own])),
        f=float(np.mean([item.f for item in own])),
        other_recall=float(np.mean([item.recall for item in others])),
    )
