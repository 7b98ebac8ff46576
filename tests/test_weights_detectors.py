"""Weights of control kinds: listed, fetched from a stand-in hub, checked, and offered once they are here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cnxs.errors import CheckpointError, UnavailableError
from cnxs.registry import DETECTORS, DETECTORS_FOLDER
from cnxs.weights import Library, __main__, hub
from tests.hub_stand_in import Hub, serve
from tests.test_weights_download import fetch, online

NAME = "line-art-realistic"  # of two files, which share their folder with other detectors
SPEC = DETECTORS[NAME]
CONTENT = {"sk_model.pth": b"fine" * 5000, "sk_model2.pth": b"coarse" * 5000}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    others = {"ControlNetHED.pth": b"not asked for"}
    with serve(Hub({SPEC.repository: {**CONTENT, **others}})) as server:
        online(monkeypatch, server.address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield server


def kinds(models: Path) -> list[str]:
    return [kind.name for kind in Library(models).models().kinds]


def test_a_detector_arrives_and_brings_its_kind(stand_in: Hub, tmp_path: Path) -> None:
    before = next(info for info in Library(tmp_path).models().detectors if info.name == NAME)
    assert (before.state, before.kinds) == ("downloadable", ("line_art_realistic",))
    assert "line_art_realistic" not in kinds(tmp_path)
    place, told = fetch(tmp_path, NAME)
    assert place == tmp_path / DETECTORS_FOLDER
    assert {file.name: file.read_bytes() for file in place.iterdir()} == CONTENT
    assert told[-1] == (50_000, 50_000)
    assert "line_art_realistic" in kinds(tmp_path)
    assert hub.broken_parts(NAME, tmp_path, thoroughly=True) == []


def test_its_neighbours_stay_and_a_damaged_one_is_fetched_again(stand_in: Hub, tmp_path: Path) -> None:
    neighbour = tmp_path / DETECTORS_FOLDER / "ControlNetHED.pth"
    neighbour.parent.mkdir()
    neighbour.write_bytes(b"mine")
    fetch(tmp_path, NAME)
    (neighbour.parent / "sk_model.pth").write_bytes(b"eat" * 5000)
    assert hub.broken_parts(NAME, tmp_path) == ["sk_model.pth"]
    fetch(tmp_path, NAME)
    assert (neighbour.parent / "sk_model.pth").read_bytes() == CONTENT["sk_model.pth"]
    assert neighbour.read_bytes() == b"mine"


def test_wrong_bytes_are_never_put_in_place(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.damaged = {"sk_model2.pth"}
    with pytest.raises(CheckpointError) as caught:
        fetch(tmp_path, NAME)
    assert caught.value.key == "download_damaged"
    assert not (tmp_path / DETECTORS_FOLDER).exists()


def test_offline_a_detector_names_its_files_and_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError) as caught:
        fetch(tmp_path, "midas")
    assert "config.json, pytorch_model.bin" in str(caught.value)
    assert str(tmp_path / DETECTORS_FOLDER / "dpt-hybrid-midas") in str(caught.value)
    info = next(info for info in Library(tmp_path, offline=True).models().detectors if info.name == "midas")
    assert info.state == "missing"
    assert dict(info.notes[0][1])["folder"] == tmp_path / DETECTORS_FOLDER / "dpt-hybrid-midas"


def test_the_list_tells_of_detectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    __main__.main(["--models", str(tmp_path), "list"])
    lines = capsys.readouterr().out.splitlines()
    for spec in DETECTORS.values():
        line = next(line for line in lines if line.strip().startswith(f"{spec.name} "))
        assert spec.licence in line
