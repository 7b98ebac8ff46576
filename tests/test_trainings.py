"""Trainings behind the page: what is refused, and one that runs in its child process, stops and goes on."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnxs.errors import InputError
from cnxs.protocol import TrainingInfo, TrainingOrder
from cnxs.trainings import Trainings
from cnxs.weights import Library

ORDER = TrainingOrder(
    name="mine", base="miniature", condition="canny", minutes=0.05, folder="pictures", caption="a red disc"
)


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    folder = tmp_path / "datasets" / "pictures"
    folder.mkdir(parents=True)
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(folder / f"{number}.png")
    return tmp_path / "datasets"


@pytest.fixture
def desk(datasets: Path, tmp_path: Path) -> Iterator[Trainings]:
    with Trainings(Library(tmp_path / "models"), datasets, threads=1) as desk:
        yield desk


def wait(desk: Trainings, until: Callable[[TrainingInfo], bool]) -> TrainingInfo:
    deadline = time.monotonic() + 240
    while True:
        info = desk.info()
        assert info is not None
        if until(info):
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"name": "../mine"}, "training_name"),
        ({"name": ""}, "training_name"),
        ({"name": "canny"}, "training_name_taken"),
        ({"folder": ".."}, "training_folder"),
        ({"folder": "pictures/../pictures"}, "training_folder"),
        ({"base": "sdxl"}, "unknown_base"),
        ({"condition": "depth_midas"}, "unknown_kind"),
        ({"minutes": 0.0}, "training_minutes"),
        ({"minutes": float("nan")}, "training_minutes"),
    ],
)
def test_orders_that_are_not_allowed(desk: Trainings, datasets: Path, changes: dict[str, object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        desk.start(dataclasses.replace(ORDER, **changes))
    assert caught.value.key == key
    assert desk.info() is None
    assert [path.name for path in datasets.iterdir()] == ["pictures"], "nothing was written"


def test_a_training_runs_beside_the_page_and_its_control_can_be_chosen(desk: Trainings, tmp_path: Path) -> None:
    assert (desk.folders(), desk.bases()) == (("pictures",), ("miniature",))
    desk.start(ORDER)
    with pytest.raises(InputError, match="running already: mine"):
        desk.start(dataclasses.replace(ORDER, name="other"))
    info = wait(desk, lambda info: info.state != "running")
    assert (info.state, info.error, info.prepared, info.pictures) == ("finished", None, 4, 4)
    assert info.steps >= 1
    assert info.held_out
    assert info.sheet is not None
    assert info.network == "mine"
    known = {network.name: network for network in Library(tmp_path / "models").models().networks}
    assert (known["mine"].condition, known["mine"].family) == ("canny", "miniature")
    (tmp_path / "datasets" / "pictures" / "0.png").unlink()
    desk.start(dataclasses.replace(ORDER, condition="scribble"))
    failed = wait(desk, lambda info: info.state != "running")
    assert failed.error is not None
    assert failed.error.key == "training_run_differs"
    assert "scribble" in failed.error.sentence("de")


@pytest.mark.slow  # the browser's test of the drawer does so as well
def test_a_training_that_is_stopped_saves(desk: Trainings) -> None:
    desk.start(dataclasses.replace(ORDER, minutes=60.0))
    wait(desk, lambda info: bool(info.losses))
    desk.stop()
    info = wait(desk, lambda info: info.state not in ("running", "stopping"))
    assert info.state == "stopped"
    assert info.network == "mine"
