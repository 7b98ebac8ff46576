"""The bias of controls: the classifier of styles, grounds and contrary maps, and the command at a tiny budget."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnxs.errors import InputError
from cnxs.evaluation import __main__ as command
from cnxs.evaluation import styles
from cnxs.evaluation.bias import background_of, contrary_cases
from cnxs.evaluation.options import CONTROLS
from cnxs.evaluation.styles import learn, read_pools, recognised, style_of
from cnxs.evaluation.subjects import case_pictures
from cnxs.miniature.artwork import STYLES
from cnxs.miniature.cases import load_cases
from tests.tiny_pool import write_pool

CASES = 8


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "_BATCH", 2 * CASES)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pool of the first cases under made-up names, so that a classifier may learn their styles by heart."""
    folder = write_pool(tmp_path_factory.mktemp("bias") / "pool", CASES)
    (folder / "concepts.json").write_text(json.dumps([["something made up"]] * CASES), "utf-8")
    return folder


def test_captions_name_their_style_in_either_order() -> None:
    assert style_of("a red apple, 3d render, blue background") == "3d"
    assert style_of("flat illustration of a bear, green background") == "flat"
    assert style_of("cartoon of sticker album, pink background") == "cartoon"
    assert style_of("a flat tyre") is None
    assert [style_of(case.caption) for case in load_cases()] == [case.recipe.items[0].style for case in load_cases()]


def test_the_classifier_learns_and_the_same_seed_learns_the_same(pool: Path) -> None:
    samples = read_pools([pool])
    net = learn(samples, steps=40, seed=0)
    assert recognised(net, samples.latents) == [STYLES[position] for position in samples.styles]
    again = learn(samples, steps=40, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_held_out_concepts_teach_nothing(pool: Path) -> None:
    concepts = json.loads((pool / "concepts.json").read_text("utf-8"))
    names = [[item.name for item in case.recipe.items] for case in load_cases()[:CASES]]
    (pool / "concepts.json").write_text(json.dumps(names), "utf-8")
    with pytest.raises(InputError, match="no two samples"):
        read_pools([pool])
    (pool / "concepts.json").write_text(json.dumps(concepts), "utf-8")
    with pytest.raises(InputError, match="no pool"):
        read_pools([pool.parent])


def test_the_ground_is_the_rims_colour() -> None:
    picture = Image.new("RGB", (256, 256), (240, 150, 66))
    picture.paste((0, 0, 255), (30, 30, 226, 226))
    assert background_of(picture) == "orange"
    grounds = [background_of(picture) for picture in case_pictures(128)]
    wanted = [case.recipe.background for case in load_cases()]
    assert sum(a == b for a, b in zip(grounds, wanted, strict=True)) >= 122


def test_contrary_maps_show_something_else_in_another_style_on_another_ground() -> None:
    cases = load_cases()
    for case, j in zip(cases, contrary_cases(cases), strict=True):
        one, other = case.recipe, cases[j].recipe
        assert one.background != other.background
        assert one.items[0].style != other.items[0].style
        assert {item.name for item in one.items}.isdisjoint(item.name for item in other.items)
    with pytest.raises(InputError, match="--cases"):
        contrary_cases(cases[:1])


@pytest.mark.parametrize(("learn_steps", "trusted"), [(40, True), (2, False)])
def test_the_command_says_how_far_its_judge_is_right(
    learn_steps: int, trusted: bool, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot, figures = tmp_path / "bias.png", tmp_path / "bias.json"
    given = ["bias", "--pools", str(pool), "--cases", str(CASES), "--steps", "1", "--learn-steps", str(learn_steps)]
    given += [
        "--judge-cases",
        str(CASES),
        "--controls",
        str(CONTROLS / "canny.safetensors"),
        "--plot",
        str(plot),
        "--json",
        str(figures),
    ]
    assert command.main(given) == 0
    printed = capsys.readouterr().out
    assert ("styles are left out" in printed) != trusted
    written = json.loads(figures.read_text("utf-8"))
    assert [row["maps"] for row in written["results"]] == ["none", "own", "own", "contrary", "contrary"]
    assert all((row["style"] is None) != trusted for row in written["results"])
    assert written["provenance"]["command"].startswith("python -m cnxs.evaluation")
    assert str(tmp_path) not in figures.read_text("utf-8")
    with Image.open(plot) as picture:
        assert picture.height == (2 if trusted else 1) * 420
