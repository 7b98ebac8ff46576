"""What the ablation hands over: its table, the same figures as CSV and JSON, plots, and a sheet."""

import csv
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cnxs import text
from cnxs.evaluation.ablation import SHOWN, Reference, Result
from cnxs.evaluation.charts import Series, line_chart, stacked
from cnxs.evaluation.following import Row as Figures
from cnxs.evaluation.options import provenance
from cnxs.evaluation.subjects import case_pictures, edge_subjects
from cnxs.evaluation.tables import markdown

_TILE, _GAP, _MARGIN, _HEAD = 96, 4, 10, 34
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def table(results: Sequence[Result], reference: Reference) -> str:
    """Return the table of all rows, between the base alone and what its autoencoder lets through."""
    return markdown(text.get("cli.ablation_columns"), table_cells(results, reference))


def table_cells(results: Sequence[Result], reference: Reference) -> list[list[str]]:
    """Return the table's rows."""
    rows = [_plain_cells(results, reference)]
    for result in results:
        rows.append(
            [
                result.label,
                f"{result.parameters:,}",
                f"{result.share:.1%}",
                f"{result.stream_parameters / result.parameters * result.share:.1%}",
                f"{result.images:,}",
                f"{result.speed.rate:.1f}" if result.speed else "",
                f"{result.peak_bytes / 2**20:.0f}" if result.peak_bytes else "",
                f"{result.speed.step_ratio:.2f}" if result.speed else "",
                *_figures(result.half),
                *_figures(result.full),
                f"{result.loss:.4f}",
                _distance(result.frechet),
            ]
        )
    ceiling = _figures(reference.ceiling)
    autoencoder = text.get("cli.evaluation_ceiling")
    return [*rows, [autoencoder, *[""] * 10, *ceiling, "", f"{1000 * reference.ceiling_frechet:.1f}"]]


def _plain_cells(results: Sequence[Result], reference: Reference) -> list[str]:
    plain = _figures(reference.plain)
    loss = f"{results[0].plain_loss:.4f}" if results else ""
    name = text.get("cli.ablation_plain")
    return [name, *[""] * 6, "1.00", *plain, *plain, loss, _distance(reference.plain_frechet)]


def _figures(row: Figures) -> list[str]:
    return [f"{row.f:.3f}", f"{row.precision:.3f}", f"{row.recall:.3f}"]


def _distance(values: Sequence[float]) -> str:
    return f"{1000 * statistics.mean(values):.1f} ± {1000 * statistics.stdev(values):.1f}"


def budget_line(result: Result) -> str:
    """Return what every row got, and where it was timed, in words."""
    budget = result.budget
    given = {name: value for name in ("images", "minutes") if (value := getattr(budget, name)) is not None}
    lengths = {name: f"{value:,g}" if name == "minutes" else f"{value:,}" for name, value in given.items()}
    kind = "both" if len(given) == 2 else next(iter(given))
    said = text.get(
        "cli.ablation_budget",
        length=text.get(f"cli.ablation_budget_{kind}", **lengths),
        device=result.device,
        **{name: getattr(budget, name) for name in ("batch_size", "seed", "cases", "steps", "threads", "precision")},
    )
    return said if result.speed is None else f"{said} {text.get('cli.ablation_speeds', device=result.speed.device)}"


def write(results: Sequence[Result], reference: Reference, folder: Path) -> None:
    """Write `ablation.json`, `ablation.csv`, `ablation.png`, `sheet.png`, and `widths.png` where there are widths."""
    records = [dataclasses.asdict(result) for result in results]
    content = {"provenance": provenance(), "reference": dataclasses.asdict(reference), "rows": records}
    (folder / "ablation.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    flat = [_flat(record) for record in records]
    with (folder / "ablation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    curves = [Series(result.label, result.points) for result in results]
    title, label = text.get("cli.ablation_plot"), text.get("cli.ablation_plot_images")
    line_chart(curves, title=title, x_label=label).save(folder / "ablation.png", optimize=True)
    sizes = [result for result in results if result.row == "b" or result.row.startswith("b-")]
    if len(sizes) > 1:
        width_charts(sizes).save(folder / "widths.png", optimize=True)
    sheet(results, folder).save(folder / "sheet.png", optimize=True)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{part}": inner for part, inner in value.items()}
        else:
            flat[name] = json.dumps(value) if isinstance(value, tuple) else value
    return flat


def width_charts(results: Sequence[Result]) -> Image.Image:
    """Return F, Frechet distance and, once timed, step ratio over the share of the base, one chart each."""
    ordered = sorted(results, key=lambda result: result.share)
    charts = []
    for name, value in (
        ("f", lambda result: result.full.f),
        ("frechet", lambda result: 1000 * statistics.mean(result.frechet)),
        ("ratio", lambda result: result.speed and result.speed.step_ratio),
    ):
        points = [(100 * result.share, y) for result in ordered if (y := value(result)) is not None]
        if not points:
            continue  # rows are timed once all are finished
        title = text.get(f"cli.ablation_widths_{name}")
        label = text.get("cli.ablation_widths_share")
        charts.append(line_chart([Series("B", points)], title=title, x_label=label, logarithmic=True))
    return stacked(charts)


def sheet(results: Sequence[Result], folder: Path) -> Image.Image:
    """Return the same cases for all rows: a line each, after their maps, their pictures and the base alone."""
    count = min(SHOWN, results[0].budget.cases)
    lines: list[tuple[str, list[Image.Image]]] = [
        (text.get("cli.evaluation_sheet_map"), [subject.control_map for subject in edge_subjects(count)]),
        (text.get("cli.ablation_sheet_picture"), case_pictures(count)),
        (text.get("cli.ablation_plain"), _kept(folder / "reference", count)),
        *((result.label, _kept(folder / result.row, count)) for result in results),
    ]
    width = _MARGIN + count * (_TILE + _GAP) + _MARGIN
    drawn = Image.new("RGB", (width, _MARGIN + len(lines) * (_TILE + _HEAD)), _PAPER)
    draw = ImageDraw.Draw(drawn)
    for row, (name, pictures) in enumerate(lines):
        y = _MARGIN + row * (_TILE + _HEAD)
        draw.text((_MARGIN, y + 4), name, _INK, ImageFont.load_default(14))
        for column, picture in enumerate(pictures):
            tile = picture.resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            drawn.paste(tile, (_MARGIN + column * (_TILE + _GAP), y + _HEAD - 8))
    return drawn.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)


def _kept(folder: Path, count: int) -> list[Image.Image]:
    return [Image.open(folder / f"case_{number}.png").convert("RGB") for number in range(count)]
