"""What the figures say beside the paper, in sentences: agrees, disagrees, or too close to call."""

import statistics
from collections.abc import Sequence
from typing import Literal

from cnxs import text
from cnxs.evaluation.ablation import Result
from cnxs.evaluation.bias import Row
from cnxs.evaluation.connections import TENTHS, Effect

Verdict = Literal["agrees", "disagrees", "undecided"]


def peers_verdict(results: Sequence[Result]) -> list[str]:
    """Return how type B stands beside the ControlNets; nothing where one of these rows is missing."""
    rows = {result.row: result for result in results}
    if not {"controlnet", "controlnet-light", "b"} <= rows.keys():
        return []
    ours, full, light = rows["b"], rows["controlnet"], rows["controlnet-light"]
    fields = {"b": _frechet(ours), "controlnet": _frechet(full), "light": _frechet(light)}
    nearer = text.get(f"cli.results_peers_frechet_{nearer_verdict(ours.frechet, full.frechet)}", **fields)
    names = {"b": ours, "controlnet": full, "light": light}
    following = text.get("cli.results_peers_f", **{name: f"{result.full.f:.3f}" for name, result in names.items()})
    costs = text.get("cli.results_peers_costs", **{name: f"{result.step_ratio:.2f}" for name, result in names.items()})
    return [nearer, f"{following} {costs}", text.get("cli.results_peers_settle")]


def nearer_verdict(ours: Sequence[float], theirs: Sequence[float]) -> Verdict:
    """Return whether distances are smaller than others, by more than twice the spread over generation seeds."""
    lead = statistics.mean(theirs) - statistics.mean(ours)
    spread = (statistics.variance(ours) + statistics.variance(theirs)) ** 0.5
    return _verdict(lead, least=2 * spread)


def sizes_verdict(results: Sequence[Result]) -> list[str]:
    """Return which size is best, and whether the largest is of any use over the one before it.

    Args:
        results: of type B, from the smallest to the largest.
    """
    best_f = max(results, key=lambda result: result.full.f)
    best_frechet = min(results, key=lambda result: statistics.mean(result.frechet))
    largest, middle = results[-1], results[-2]
    fields = {
        "f": f"{best_f.full.f:.3f}",
        "f_share": f"{best_f.share:.1%}",
        "frechet": _frechet(best_frechet),
        "frechet_share": f"{best_frechet.share:.1%}",
        "smaller": f"{middle.share:.1%}",
        "largest": f"{largest.share:.1%}",
        "smaller_frechet": _frechet(middle),
        "largest_frechet": _frechet(largest),
    }
    verdict = nearer_verdict(middle.frechet, largest.frechet)
    return [text.get("cli.results_sizes_best", **fields), text.get(f"cli.results_sizes_{verdict}", **fields)]


def bias_verdict(rows: Sequence[Row], *, cases: int) -> list[str]:
    """Return whether the largest control keeps less of the prompt than the smallest, under contradicting maps."""
    full = sorted((r for r in rows if r.maps == "contrary" and r.strength == 1), key=lambda row: row.share)
    if len(full) < 2:
        return []
    small, large = full[0], full[-1]
    error = (2 / cases) ** 0.5  # twice the standard error of the difference of two shares, at most
    said = []
    for name in ("background", "style"):
        kept, lost = getattr(small, name), getattr(large, name)
        if kept is None or lost is None:
            continue
        fields = {
            "small": f"{small.share:.1%}",
            "large": f"{large.share:.1%}",
            "kept": f"{kept:.0%}",
            "lost": f"{lost:.0%}",
            "error": f"{100 * error:.0f}",
        }
        verdict = text.get(f"cli.results_bias_{_verdict(kept - lost, least=error)}", **fields)
        said.append(f"{text.get(f'cli.results_bias_{name}', **fields)} {verdict}")
    return said


def connections_verdict(effects: Sequence[Effect]) -> list[str]:
    """Return which stage and which part of the schedule matter most."""
    stages = [effect for effect in effects if effect.group == "stage"]
    tenths = [effect for effect in effects if effect.group == "schedule"]
    most = min(stages, key=lambda effect: effect.f_change)
    losses = [max(0.0, -effect.f_change) for effect in tenths]
    total = max(sum(losses), 1e-9)
    fields = {
        "stages": ", ".join(f"{effect.name} {effect.f_change:+.3f}" for effect in stages),
        "most": most.name,
        "early": f"{sum(losses[: 3 * TENTHS // 10]) / total:.0%}",
        "late": f"{sum(losses[TENTHS // 2 :]) / total:.0%}",
    }
    return [text.get("cli.results_connections_said", **fields)]


def _verdict(lead: float, *, least: float) -> Verdict:
    if abs(lead) <= least:
        return "undecided"
    return "agrees" if lead > 0 else "disagrees"


def _frechet(result: Result) -> str:
    return f"{1000 * statistics.mean(result.frechet):.1f}"
