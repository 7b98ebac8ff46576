"""The bundled controls belong to the bundled base."""

from pathlib import Path

import pytest

from cnxs.bases import unet_sha256
from cnxs.checkpoints import native
from cnxs.registry import CONTROL_KINDS
from cnxs.weights import MINIATURE_FOLDER

CONTROLS = sorted((MINIATURE_FOLDER / "controls").glob("*.safetensors"))


def test_there_are_controls() -> None:
    assert "canny" in [file.stem for file in CONTROLS]


@pytest.mark.parametrize("file", CONTROLS, ids=lambda file: file.stem)
def test_every_control_was_trained_on_the_base_that_ships(file: Path) -> None:
    spec = native.read_spec(file)
    assert spec.base_sha256 == unet_sha256(MINIATURE_FOLDER)
    assert spec.base_family == "miniature"
    assert spec.condition == file.stem
    assert any(spec.condition == kind.conditions[0] and not kind.weights for kind in CONTROL_KINDS.values())
    assert spec.licence
    assert dict(spec.training)["images"] > 0


def test_base_and_controls_stay_small() -> None:
    size = sum(file.stat().st_size for file in MINIATURE_FOLDER.rglob("*.safetensors"))
    assert size < 75e6
