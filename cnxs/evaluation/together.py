"""Two controls at once, each at several strengths: does each still act, by its own measure, beside the other?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cnxs import text
from cnxs.errors import InputError
from cnxs.evaluation.bench import Bench, Report, Samples, Subject
from cnxs.evaluation.own import Measure, own_measure
from cnxs.evaluation.subjects import colour_subjects, depth_subjects, edge_subjects, line_subjects
from cnxs.evaluation.tables import markdown
from cnxs.model import ControlNetXS

STRENGTHS = (0.0, 0.5, 1.0)
SUBJECTS = {"canny": edge_subjects, "scribble": line_subjects, "colour": colour_subjects, "depth": depth_subjects}


@dataclass(frozen=True)
class Partner:
    """One of two controls, with what it follows."""

    network: str
    control: ControlNetXS
    subjects: Sequence[Subject]

    @property
    def measure(self) -> Measure:
        """Return the measure of its condition."""
        return own_measure(self.control.spec.condition)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What two controls reached together.

    Attributes:
        partners: the two.
        values: for each partner its own measure by (strength of the first, strength of the second).
        samples: the pictures, by the same.
    """

    partners: tuple[Partner, Partner]
    values: tuple[dict[tuple[float, float], float], ...]
    samples: dict[tuple[float, float], Samples] = field(repr=False)

    def gains(self, which: int) -> list[tuple[float, float]]:
        """Return how much a partner's strength 1 is better than its strength 0, for each strength of the other."""
        sign = -1 if self.partners[which].measure.less_is_better else 1
        gains = []
        for other in STRENGTHS:
            off, on = ((own, other) if which == 0 else (other, own) for own in (STRENGTHS[0], STRENGTHS[-1]))
            gains.append((other, sign * (self.values[which][on] - self.values[which][off])))
        return gains

    def record(self) -> dict[str, Any]:
        """Return the figures for a JSON file."""
        rows = [{"strengths": list(at), "values": [values[at] for values in self.values]} for at in self.values[0]]
        measures = [partner.measure.name for partner in self.partners]
        return {"networks": [partner.network for partner in self.partners], "measures": measures, "rows": rows}


def partner(network: str, control: ControlNetXS, *, count: int) -> Partner:
    """Return a control with the first cases as its condition has them.

    Raises:
        InputError: `evaluation_no_measure`.
    """
    condition = control.spec.condition
    if condition not in SUBJECTS:
        raise InputError("evaluation_no_measure", given=condition, allowed=", ".join(SUBJECTS))
    return Partner(network, control, SUBJECTS[condition](count))


def measure_together(bench: Bench, partners: tuple[Partner, Partner], *, report: Report = lambda line: None) -> Pair:
    """Sample every pair of strengths and measure both partners."""
    samples: dict[tuple[float, float], Samples] = {}
    values: tuple[dict[tuple[float, float], float], ...] = ({}, {})
    for strengths in itertools.product(STRENGTHS, repeat=2):
        first, second = strengths
        parts = [(p.subjects, p.control, strength) for p, strength in zip(partners, strengths, strict=True)]
        samples[first, second] = bench.sample_together(parts)
        for found, one in zip(values, partners, strict=True):
            found[first, second] = one.measure.mean(one.subjects, samples[first, second].pictures)
        shown = (p.measure.shown(found[first, second]) for p, found in zip(partners, values, strict=True))
        report(f"{first:g} {second:g}: {', '.join(shown)}")
    return Pair(partners=partners, values=values, samples=samples)


def pair_tables(pair: Pair) -> str:
    """Return a table for each partner: its measure by both strengths, and whether it improves beside the other."""
    first, second = pair.partners
    parts = []
    for which, one in enumerate(pair.partners):
        title = text.get(f"cli.evaluation_{one.measure.name}_title", network=one.network)
        columns = "|".join([f"{first.network} \\ {second.network}", *(f"{strength:g}" for strength in STRENGTHS)])
        rows = [
            [f"{own:g}", *(one.measure.shown(pair.values[which][own, other]) for other in STRENGTHS)]
            for own in STRENGTHS
        ]
        parts.append(f"{title}\n\n{markdown(columns, rows)}\n\n{_verdict(pair, which)}")
    return "\n\n".join(parts)


def _verdict(pair: Pair, which: int) -> str:
    one, other = pair.partners[which], pair.partners[1 - which]
    gains = pair.gains(which)
    key = "better" if all(gain > 0 for _, gain in gains) else "worse"
    shown = ", ".join(f"{_signed(one.measure, gain)} ({strength:g})" for strength, gain in gains)
    return text.get(f"cli.evaluation_together_{key}", network=one.network, other=other.network, gains=shown)


def _signed(measure: Measure, gain: float) -> str:
    return ("+" if gain >= 0 else "-") + measure.shown(abs(gain))
