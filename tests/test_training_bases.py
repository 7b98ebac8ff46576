"""Which base models can be trained on: a folder, a single file, a name."""

import json
import struct
from functools import partial
from pathlib import Path

import pytest
import torch

from cnxs.bases import load_single_file
from cnxs.errors import CheckpointError, InputError, UnavailableError
from cnxs.miniature import ASSETS
from cnxs.registry import MINIATURE
from cnxs.training import frozen_base
from cnxs.training.frozen_base import find_base, load_base
from tests import ldm_names
from tests.test_recognise import shapes_of

CPU = torch.device("cpu")


def write_header(path: Path, family: str) -> Path:
    """Write a safetensors file of a family's true names and shapes; its bytes are a hole that takes no disk."""
    header, end = {}, 0
    for name, shape in shapes_of(family).items():
        start, end = end, end + torch.Size(shape).numel()
        header[name] = {"dtype": "U8", "shape": list(shape), "data_offsets": [start, end]}
    written = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(written)) + written)
        file.truncate(8 + len(written) + end)
    return path


def test_the_miniature_by_name_and_by_folder() -> None:
    assert find_base("miniature").spec is find_base(str(ASSETS)).spec is MINIATURE
    assert load_base("miniature", device=CPU, dtype=torch.float32).scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_a_single_file_is_told_by_its_content(family: str, tmp_path: Path) -> None:
    file = write_header(tmp_path / "mine.safetensors", family)
    found = find_base(str(file))
    assert (found.spec.family, found.path) == (family, file)
    by_name = find_base("mine", tmp_path)
    assert (by_name.spec.family, by_name.path) == (family, file)


def test_what_is_no_base_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is no base model"):
        find_base(str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"no base model nobody.*miniature"):
        find_base("nobody", tmp_path)
    with pytest.raises(UnavailableError, match="not on this machine"):
        find_base("sd21", tmp_path)
    with pytest.raises(CheckpointError, match="canny"):
        find_base(str(ASSETS / "controls" / "canny.safetensors"))


def test_a_single_file_that_shows_nothing_needs_to_be_told_what_it_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ldm_names.parts("sd21")  # of random weights, which predict nothing
    file = ldm_names.save_single(parts, tmp_path / "mine.safetensors")
    small = partial(load_single_file, configs=ldm_names.save_configs(parts, tmp_path / "configs"))
    monkeypatch.setattr(frozen_base.bases, "load_base", small)
    with pytest.raises(InputError, match="--prediction"):
        load_base(str(file), device=CPU, dtype=torch.float32)
    base = load_base(str(file), device=CPU, dtype=torch.float32, prediction="v_prediction")
    assert base.scheduler.config.prediction_type == "v_prediction"
    states, pooled = base.encode_captions(["a cat", ""])
    assert pooled is None
    assert states.shape == (2, 77, parts.unet.config["cross_attention_dim"])
