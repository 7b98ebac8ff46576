"""The results page: tables, plots and what they say beside the paper, written from JSON files of measurements alone."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnxs import text
from cnxs.evaluation.ablation import Reference, Result
from cnxs.evaluation.ablation_report import budget_line, table_cells
from cnxs.evaluation.bias import Row as BiasRow
from cnxs.evaluation.bias_command import bias_table, judge_line
from cnxs.evaluation.connections import Effect
from cnxs.evaluation.tables import effects_table, markdown
from cnxs.evaluation.verdicts import bias_verdict, connections_verdict, peers_verdict, sizes_verdict

# The paper's FID on COCO2017 val with Stable Diffusion 1.5: canny, MiDaS depth; less is better.
PUBLISHED: dict[str, Sequence[tuple[str, ...]]] = {
    "peers": (
        ("ControlNet", "361M", "21.18", "19.01"),
        ("ControlNet-XS, A", "53M", "17.40", "17.11"),
        ("ControlNet-XS, B", "55M", "15.13", "16.36"),
        ("ControlNet-XS, C", "117M", "15.34", "16.24"),
    ),
    "sizes": (
        ("ControlNet-XS, B", "491M", "15.90", "16.91"),
        ("ControlNet-XS, B", "55M", "15.13", "16.36"),
        ("ControlNet-XS, B", "12M", "16.56", "17.90"),
    ),
}
_COSTS, _QUALITIES = range(9), (0, *range(9, 17))  # columns of the ablation's table


def write_page(folder: Path, page: Path) -> None:
    """Write `README.md` and the plots into `page`, from what there is of `ablation/`, bias and connections in `folder`.

    A part that is not there says so.
    """
    page.mkdir(parents=True, exist_ok=True)
    parts = [f"# {text.get('cli.results_title')}", text.get("cli.results_intro")]
    for name, write in (("peers", _peers), ("sizes", _sizes), ("bias", _bias), ("connections", _connections)):
        body = write(folder, page) or [text.get("cli.results_missing")]
        parts += [f"## {text.get(f'cli.results_{name}')}", *body, *_published(name)]
    (page / "README.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _origin(content: dict[str, Any]) -> str:
    return text.get("cli.results_origin", **content["provenance"])


def _plots(folder: Path, page: Path, *names: str) -> list[str]:
    """Copy plots that there are, and return the lines that show them."""
    shown = []
    for name in names:
        if (folder / f"{name}.png").is_file():
            shutil.copyfile(folder / f"{name}.png", page / f"{name}.png")
            shown.append(f"![{text.get(f'cli.results_plot_{name}')}]({name}.png)")
    return shown


def _published(name: str) -> list[str]:
    if name not in PUBLISHED:
        return []
    columns = text.get("cli.results_published_columns")
    return [text.get("cli.results_published"), markdown(columns, PUBLISHED[name])]


def _ablation(folder: Path) -> tuple[dict[str, Any], list[Result], Reference] | None:
    content = _read(folder / "ablation" / "ablation.json")
    if content is None:
        return None
    results = [Result.from_record(record) for record in content["rows"]]
    return content, results, Reference.from_record(content["reference"])


def _columns(results: Sequence[Result], reference: Reference, which: Sequence[int]) -> str:
    names = text.get("cli.ablation_columns").split("|")
    cells = table_cells(results, reference)
    if which is _COSTS:
        cells = cells[1:-1]  # the base alone and its autoencoder cost nothing
    return markdown("|".join(names[i] for i in which), [[row[i] for i in which] for row in cells])


def _tables(results: Sequence[Result], reference: Reference) -> list[str]:
    return [_columns(results, reference, _COSTS), _columns(results, reference, _QUALITIES)]


def _peers(folder: Path, page: Path) -> list[str]:
    if (found := _ablation(folder)) is None:
        return []
    content, results, reference = found
    peers = [result for result in results if not result.row.startswith("b-")]
    plots = _plots(folder / "ablation", page, "ablation", "sheet")
    said = [_origin(content), budget_line(results[0]), *_tables(peers, reference), *peers_verdict(peers), *plots]
    return said


def _sizes(folder: Path, page: Path) -> list[str]:
    found = _ablation(folder)
    sizes = [] if found is None else [r for r in found[1] if r.row == "b" or r.row.startswith("b-")]
    if found is None or len(sizes) < 2:
        return []
    content, _, reference = found
    sizes.sort(key=lambda result: result.share)
    plots = _plots(folder / "ablation", page, "widths")
    said = [_origin(content), *_tables(sizes, reference), *sizes_verdict(sizes), *plots]
    return said


def _bias(folder: Path, page: Path) -> list[str]:
    if (content := _read(folder / "bias.json")) is None:
        return []
    rows = [BiasRow(**record) for record in content["results"]]
    accuracies = {name: content[name] for name in ("style_accuracy", "background_accuracy")}
    said = [_origin(content), judge_line(cases=content["cases"], **accuracies), bias_table(rows)]
    return [*said, *bias_verdict(rows, cases=content["cases"]), *_plots(folder, page, "bias")]


def _connections(folder: Path, page: Path) -> list[str]:
    if (content := _read(folder / "connections.json")) is None:
        return []
    effects = [Effect(**record) for record in content["results"]]
    title = text.get("cli.evaluation_connections_title", network=content["network"])
    said = [_origin(content), title, effects_table(effects), *connections_verdict(effects)]
    return [*said, *_plots(folder, page, "connections")]
