"""The results page: written from the measurements' files alone, and honest about what they say beside the paper."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnxs.evaluation import __main__ as command
from cnxs.evaluation.ablation import Reference, Result
from cnxs.evaluation.ablation_report import budget_line, table, width_charts
from cnxs.evaluation.bias import Row as BiasRow
from cnxs.evaluation.connections import Effect
from cnxs.evaluation.following import Row as Figures
from cnxs.evaluation.measure import Budget, Speed
from cnxs.evaluation.verdicts import bias_verdict, connections_verdict, nearer_verdict, peers_verdict, sizes_verdict

ORIGIN = {"command": "python -m cnxs.evaluation results", "date": "2026-11-24", "machine": "two cores"}


def figures(f: float) -> Figures:
    return Figures(strength=1, precision=f, recall=f, f=f, other_recall=0.1)


def result(row: str, *, share: float, f: float, frechet: float) -> Result:
    return Result(
        row=row,
        label=row,
        budget=Budget(minutes=20),
        parameters=round(share * 16_700_000),
        stream_parameters=round(share * 10_000_000),
        share=share,
        images=20_000,
        minutes=20.0,
        peak_bytes=2**30,
        half=figures(f / 2),
        full=figures(f),
        loss=0.17,
        plain_loss=0.24,
        frechet=(frechet, frechet + 0.002, frechet - 0.002),
        points=((2500, f / 3), (20_000, f)),
        speed=Speed(rate=17.0, step_ratio=1.0 + share),
    )


PEERS = [
    result("controlnet", share=0.55, f=0.41, frechet=0.09),
    result("controlnet-light", share=0.16, f=0.3, frechet=0.1),
    result("b", share=0.163, f=0.47, frechet=0.06),
]
SIZES = [result("b-4-8-8", share=0.02, f=0.3, frechet=0.08), PEERS[2], result("b-96", share=0.5, f=0.5, frechet=0.07)]


def bias_row(share: float, *, kept: float, style: float | None = 0.5, maps: str = "contrary") -> BiasRow:
    values = {"network": f"b {share}", "share": share, "strength": 1.0, "maps": maps, "f": 0.4}
    return BiasRow(**values, style=style, background=kept)


def effects() -> list[Effect]:
    stages = [
        Effect(name=name, group="stage", f=0.3, f_change=change, latent=0.5)
        for name, change in (("encoder", -0.2), ("middle", -0.01), ("decoder", -0.1))
    ]
    tenths = [
        Effect(name=f"{i}", group="schedule", f=0.3, f_change=-0.1 if i < 4 else 0.01, latent=0.1) for i in range(10)
    ]
    return [*stages, *tenths]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Return a folder with finished measurements of all parts."""
    folder = tmp_path / "work"
    (folder / "ablation").mkdir(parents=True)
    plain = figures(0.15)
    reference = Reference(
        cases=128, steps=20, plain=plain, plain_frechet=(0.1, 0.1, 0.1), ceiling=figures(0.77), ceiling_frechet=0.01
    )
    rows = [dataclasses.asdict(row) for row in (*PEERS, SIZES[0], SIZES[2])]
    content = {"provenance": ORIGIN, "reference": dataclasses.asdict(reference), "rows": rows}
    (folder / "ablation" / "ablation.json").write_text(json.dumps(content), "utf-8")
    bias = [bias_row(0.0, kept=0.9, maps="none"), bias_row(0.02, kept=0.8), bias_row(0.5, kept=0.5)]
    about = {"cases": 128, "provenance": ORIGIN}
    records = [dataclasses.asdict(row) for row in bias]
    bias_content = {**about, "style_accuracy": 0.91, "background_accuracy": 0.98, "results": records}
    (folder / "bias.json").write_text(json.dumps(bias_content), "utf-8")
    acting = {**about, "network": "canny", "results": [dataclasses.asdict(effect) for effect in effects()]}
    (folder / "connections.json").write_text(json.dumps(acting), "utf-8")
    for name in ("ablation/ablation", "ablation/sheet", "ablation/widths", "bias", "connections"):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


def test_the_page_has_every_part_with_its_origin_and_the_papers_figures_as_theirs(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page"
    assert command.main(["results", "--page-only", "--output", str(measured), "--page", str(page)]) == 0
    written = (page / "README.md").read_text("utf-8")
    assert written.count("\n## ") == 4
    assert written.count("`python -m cnxs.evaluation results`; 2026-11-24; two cores.") == 4
    assert written.count("paper's own figures") == 2
    assert "15.13" in written
    assert str(tmp_path) not in written
    assert {path.name for path in page.iterdir()} == {
        "README.md", "ablation.png", "bias.png", "connections.png", "sheet.png", "widths.png",
    }  # fmt: skip
    assert all(f"]({path.name})" in written for path in page.glob("*.png"))
    capsys.readouterr()


def test_a_part_that_is_not_measured_says_so(measured: Path, tmp_path: Path) -> None:
    (measured / "bias.json").unlink()
    assert command.main(["results", "--page-only", "--output", str(measured), "--page", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "README.md").read_text("utf-8").count("Not measured yet.") == 1


def test_without_pools_there_is_nothing_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["results", "--output", str(tmp_path)]) == 2
    assert "--page-only" in capsys.readouterr().err


def test_distances_agree_disagree_or_lie_within_their_spread() -> None:
    assert nearer_verdict((0.06, 0.061, 0.062), (0.09, 0.091, 0.092)) == "agrees"
    assert nearer_verdict((0.09, 0.091, 0.092), (0.06, 0.061, 0.062)) == "disagrees"
    assert nearer_verdict((0.06, 0.09, 0.12), (0.07, 0.1, 0.13)) == "undecided"


def test_verdicts_say_which_way_it_came_out() -> None:
    assert "The miniature agrees" in peers_verdict(PEERS)[0]
    worse = [dataclasses.replace(row, frechet=(0.2, 0.201, 0.199)) if row.row == "b" else row for row in PEERS]
    assert "The miniature disagrees" in peers_verdict(worse)[0]
    assert peers_verdict(PEERS[:2]) == []
    untimed = [dataclasses.replace(row, speed=None) for row in PEERS]
    assert "One step" in peers_verdict(PEERS)[1]
    assert "One step" not in peers_verdict(untimed)[1]
    best, largest = sizes_verdict(SIZES)
    assert "50.0% of the base (0.500)" in best
    assert "agrees" in largest
    (said,) = bias_verdict([bias_row(0.02, kept=0.8, style=None), bias_row(0.5, kept=0.5, style=None)], cases=128)
    assert "this agrees with it" in said
    near = bias_verdict([bias_row(0.02, kept=0.8), bias_row(0.5, kept=0.79)], cases=128)
    assert all("does not say" in sentence for sentence in near)
    (acting,) = connections_verdict(effects())
    assert "the encoder matters most" in acting
    assert "75%" in acting


def test_what_was_not_timed_is_not_drawn() -> None:
    untimed = [dataclasses.replace(size, speed=None) for size in SIZES]
    assert 3 * width_charts(untimed).height == 2 * width_charts(SIZES).height


def test_the_budget_is_told_as_it_was_given() -> None:
    def told(**length: Any) -> str:
        return budget_line(dataclasses.replace(PEERS[0], budget=Budget(**length)))

    assert "Budget of each row: 7,200 training images; batch 24" in told(images=7200)
    assert "row: 2.5 minutes of training;" in told(minutes=2.5)
    assert "row: 48 training images or 1 minutes, whichever came first;" in told(images=48, minutes=1)


def test_the_table_of_the_ablation_has_its_parts_on_the_page(measured: Path, tmp_path: Path) -> None:
    assert command.main(["results", "--page-only", "--output", str(measured), "--page", str(tmp_path / "page")]) == 0
    content = json.loads((measured / "ablation" / "ablation.json").read_text("utf-8"))
    whole = table([Result.from_record(row) for row in content["rows"]], Reference.from_record(content["reference"]))
    page = (tmp_path / "page" / "README.md").read_text("utf-8")
    for line in whole.splitlines()[3:-1]:
        assert all(cell.strip() in page for cell in line.split("|"))
