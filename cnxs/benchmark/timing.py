"""Alternatives that take turns, so that whatever else the machine does hits all of them; ratios are of medians."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


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
