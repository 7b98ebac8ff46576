"""Where a control acts: what changes when a connection, a stage or a tenth of the schedule is switched off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from cnxs.evaluation.bench import ALWAYS, Bench, Report, Samples, Subject, with_gains
from cnxs.evaluation.following import EDGE_TOLERANCE, agreements
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec

TENTHS = 10

Group = Literal["whole", "stage", "connection", "schedule"]
Window = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What the pictures are like with one part of the control off."""

    name: str
    group: Group
    f: float  # mean F of the pictures' edges against their maps
    f_change: float  # against the whole control
    latent: float  # distance of the final latents from the whole control's; 1: as far as without any control


@dataclass(frozen=True, kw_only=True)
class _Part:
    name: str
    group: Group
    off: frozenset[int] = frozenset()  # connections
    windows: tuple[Window, ...] = (ALWAYS,)


def measure_connections(
    bench: Bench, subjects: Sequence[Subject], control: ControlNetXS, *, report: Report = lambda line: None
) -> list[Effect]:
    """Sample with each part off in turn, and compare with the whole control at strength 1.

    A connection that is off adds nothing to the base; the control stream runs on, so later connections still see it.
    """
    plain = bench.sample_plain(subjects)
    whole = bench.sample(subjects, control)

    def effect(name: str, group: Group, samples: Samples) -> Effect:
        f, full = _mean_f(subjects, samples), _mean_f(subjects, whole)
        distance = _distances(samples, whole) / _distances(plain, whole).clamp(min=1e-12)
        return Effect(name=name, group=group, f=f, f_change=f - full, latent=float(distance.mean()))

    effects = [effect("none", "whole", whole), effect("all", "whole", plain)]
    for part in _parts(control.spec):
        gains = [0.0 if i in part.off else gain for i, gain in enumerate(control.spec.connection_gains)]
        samples = bench.sample(subjects, with_gains(control, gains), windows=part.windows)
        effects.append(effect(part.name, part.group, samples))
        report(f"{part.name}: F {effects[-1].f:.3f}")
    return effects


def connection_names(spec: ControlSpec) -> list[str]:
    """Return a name for every connection, in the order of `connection_gains`; encoder and decoder count from 0."""
    encoder = 0 if spec.control_type == "A" else spec.num_connections
    decoder = len(spec.connection_gains) - encoder - 1
    return [f"encoder {i}" for i in range(encoder)] + ["middle 0"] + [f"decoder {i}" for i in range(decoder)]


def _parts(spec: ControlSpec) -> Iterator[_Part]:
    names = connection_names(spec)
    for stage in dict.fromkeys(name.split()[0] for name in names):
        off = frozenset(i for i, name in enumerate(names) if name.split()[0] == stage)
        yield _Part(name=stage, group="stage", off=off)
    for i, name in enumerate(names):
        yield _Part(name=name, group="connection", off=frozenset([i]))
    for tenth in range(TENTHS):
        before, after = (0.0, tenth / TENTHS), ((tenth + 1) / TENTHS, 1.0)
        windows = tuple(window for window in (before, after) if window[0] < window[1])
        yield _Part(name=f"{tenth * 10}-{tenth * 10 + 10} %", group="schedule", windows=windows)


def _mean_f(subjects: Sequence[Subject], samples: Samples) -> float:
    return float(np.mean([item.f for item in agreements(subjects, samples.pictures, tolerance=EDGE_TOLERANCE)]))


def _distances(samples: Samples, others: Samples) -> torch.Tensor:
    """Return the distance of each pair of latents, (N,)."""
    return (samples.latents - others.latents).flatten(1).norm(dim=1)
