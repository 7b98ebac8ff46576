"""The figures as Markdown tables, which read well in a terminal and in a README alike."""

from collections.abc import Sequence

from cnxs import text
from cnxs.evaluation.connections import Effect
from cnxs.evaluation.delay import Signal, mean_delays
from cnxs.evaluation.following import GOAL_LEAD, GOAL_RECALL, GOAL_SHARE, Following
from cnxs.evaluation.own import Keeping, Measure


def markdown(columns: str, rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table; `columns` are headings with | between them, the first column is words."""
    cells = [columns.split("|"), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *others = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join([first, *others])} |"

    rule = "|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths))
    return "\n".join([line(cells[0]), f"{rule}|", *map(line, cells[1:])])


def edges_table(following: Following) -> str:
    """Return precision, recall and F at each strength, with the ceiling and the goal."""
    ceiling = following.ceiling
    assert ceiling is not None
    rows = [
        [f"{row.strength:g}", f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f:.3f}", f"{row.f / ceiling.f:.0%}"]
        for row in following.rows
    ]
    of_codec = [f"{ceiling.precision:.3f}", f"{ceiling.recall:.3f}", f"{ceiling.f:.3f}", f"{1:.0%}"]
    rows.append([text.get("cli.evaluation_goal"), "", "", f"{GOAL_SHARE * ceiling.f:.3f}", f"{GOAL_SHARE:.0%}"])
    rows.append([text.get("cli.evaluation_ceiling"), *of_codec])
    return markdown(text.get("cli.evaluation_edges_columns"), rows)


def lines_table(following: Following) -> str:
    """Return the recall of drawn lines, what it stands above, and the precision, with the goals."""
    plain = following.at(0)
    rows = [
        [
            f"{row.strength:g}",
            f"{row.recall:.3f}",
            f"{row.recall - plain.recall:+.3f}",
            f"{row.other_recall:.3f}",
            f"{row.recall - row.other_recall:+.3f}",
            f"{row.precision:.3f}",
        ]
        for row in following.rows
    ]
    goal = [f"{GOAL_RECALL:.3f}", f"{GOAL_LEAD:+.3f}", "", f"{GOAL_LEAD:+.3f}", ""]
    rows.append([text.get("cli.evaluation_goal"), *goal])
    return markdown(text.get("cli.evaluation_lines_columns"), rows)


def keeping_table(kept: Keeping) -> str:
    """Return a control's own measure at each strength: against strength 0, another's map, and the autoencoder's."""
    measure, plain = kept.measure, kept.levels[0].value
    rows = [
        [
            f"{level.strength:g}",
            measure.shown(level.value),
            _change(measure, level.value, plain),
            measure.shown(level.other),
        ]
        for level in kept.levels
    ]
    ceiling = [measure.shown(kept.ceiling), _change(measure, kept.ceiling, plain), ""]
    rows.append([text.get("cli.evaluation_ceiling"), *ceiling])
    return markdown(text.get(f"cli.evaluation_{measure.name}_columns"), rows)


def _change(measure: Measure, value: float, plain: float) -> str:
    """Return what a measure makes of strength 0: an error's share of it, an agreement's lead over it."""
    return f"{value / max(plain, 1e-9):.0%}" if measure.less_is_better else f"{value - plain:+.3f}"


def effects_table(effects: Sequence[Effect]) -> str:
    """Return what switching off each part changes."""
    rows = [[effect.name, f"{effect.f:.3f}", f"{effect.f_change:+.3f}", f"{effect.latent:.0%}"] for effect in effects]
    return markdown(text.get("cli.evaluation_connections_columns"), rows)


def delays_table(probed: dict[str, list[Signal]]) -> str:
    """Return the mean and the largest delay of each architecture's signals, by the stage of the base they act on."""
    rows = []
    for name, signals in probed.items():
        means = [mean_delays(signals, stage) for stage in ("encoder", "middle", "decoder")]
        largest = max(signal.delay for signal in signals)
        rows.append([name, *("-" if mean is None else f"{mean:.1f}" for mean in means), str(largest)])
    return markdown(text.get("cli.evaluation_delay_columns"), rows)
