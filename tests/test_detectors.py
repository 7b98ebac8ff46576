"""Maps drawn by networks: random weights under the true names; where it has the detector, as controlnet-aux draws."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnxs import controls
from cnxs.controls import detectors
from cnxs.controls.detectors import pictures, pose
from cnxs.controls.detectors.loading import auxiliary
from cnxs.errors import CheckpointError, UnavailableError, UserError
from cnxs.registry import CONTROL_KINDS, DETECTORS
from tests.detector_weights import config_of, write, write_model

WITH_WEIGHTS = [name for name, kind in CONTROL_KINDS.items() if kind.weights]
# Published sizes take seconds and up to 500 MB: the small ones run always.
SMALL = ["soft_edge_hed", "soft_edge_pidinet", "line_art_realistic"]
LARGE = ["line_art_anime", "normal", "pose"]
MODELS = ["depth_midas", "depth_anything", "segmentation"]


def params(kind: str, resolution: int = 64) -> dict[str, Any]:
    return {"resolution": resolution} if any(p.name == "resolution" for p in CONTROL_KINDS[kind].params) else {}


def drawn(image: Image.Image, kind: str, weights: Path, **more: Any) -> np.ndarray:
    return np.asarray(controls.draw(image, kind=kind, params=params(kind) | more, weights=weights).map)


def check(photo: Image.Image, kind: str, weights: Path) -> np.ndarray:
    """Draw twice; check size, type, the picture, and that nothing changes from one time to the next."""
    before = photo.copy()
    control_map = drawn(photo, kind, weights)
    assert control_map.dtype == np.uint8
    assert control_map.shape == (photo.height, photo.width, 3)
    assert photo == before
    detectors._network.cache_clear()
    assert np.array_equal(control_map, drawn(photo, kind, weights))
    return control_map


def refused(kind: str, weights: Path | None, error: type[UserError], key: str) -> UserError:
    with pytest.raises(error) as caught:
        controls.draw(Image.new("RGB", (64, 64)), kind=kind, params=params(kind), weights=weights)
    assert caught.value.key == key
    assert caught.value.sentence("en") != caught.value.sentence("de")
    return caught.value


# --- what the registry says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_each_kind_has_a_file_whose_parameters_are_the_registrys(kind: str) -> None:
    module = pytest.importorskip(f"cnxs.controls.detectors.{kind}")
    assert list(inspect.signature(module.draw).parameters) == [
        "image",
        "network",
        "device",
        *(spec.name for spec in CONTROL_KINDS[kind].params),
    ]


def test_every_detector_serves_a_kind_and_no_two_share_a_file() -> None:
    assert {name for kind in CONTROL_KINDS.values() for name in kind.weights} == set(DETECTORS)
    files = [(spec.folder, file) for spec in DETECTORS.values() for file in spec.files]
    assert len(files) == len(set(files))
    assert all(spec.licence and spec.download_bytes for spec in DETECTORS.values())


def test_controls_load_no_network_library_until_one_is_drawn_with() -> None:
    script = (
        "import sys, cnxs.controls; print([n for n in ('torch', 'transformers', 'controlnet_aux') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- the maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*SMALL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in LARGE)])
def test_networks_of_published_size_draw_maps_of_the_pictures_size(
    kind: str, photo: Image.Image, tmp_path: Path
) -> None:
    write(kind, tmp_path)
    control_map = check(photo, kind, tmp_path)
    if kind != "pose":  # random weights see nobody
        assert control_map.std() > 1
    if kind != "normal":
        assert np.all(control_map == control_map[..., :1])


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_transformers_draw_maps_of_the_pictures_size(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    write_model(kind, tmp_path, config=config_of(kind, tiny=True))
    check_model(kind, check(photo, kind, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_models_of_published_size_draw_maps_of_the_pictures_size(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    write_model(kind, tmp_path, config=config_of(kind, tiny=False))
    check_model(kind, check(photo, kind, tmp_path))


def check_model(kind: str, control_map: np.ndarray) -> None:
    if kind == "segmentation":
        palette = {tuple(colour) for colour in auxiliary("util").ade_palette()}
        colours = {tuple(colour) for colour in control_map.reshape(-1, 3).tolist()}
        assert len(colours) > 1
        assert colours <= palette
    else:
        assert control_map.min() < 10
        assert control_map.max() > 245


@pytest.mark.parametrize("kind", [*SMALL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in LARGE)])
def test_maps_are_those_of_controlnet_aux(kind: str, tmp_path: Path) -> None:
    """At its own working size and with the same weights; it cuts off where this program rounds."""
    noise = np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)
    side = 256 if kind == "line_art_anime" else 64
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    write(kind, tmp_path)
    ours = drawn(image, kind, tmp_path, resolution=side)
    module = __import__(f"cnxs.controls.detectors.{kind}", fromlist=["load"])
    network = module.load(detectors.weight_files(kind, tmp_path)).eval()
    theirs = np.asarray(their_detector(kind, network)(image, detect_resolution=side, image_resolution=side))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def their_detector(kind: str, network: Any) -> Any:
    match kind:
        case "soft_edge_hed":
            return auxiliary("hed").HEDdetector(network)
        case "soft_edge_pidinet":
            return auxiliary("pidi").PidiNetDetector(network)
        case "line_art_realistic":
            return auxiliary("lineart").LineartDetector(network["fine"], network["coarse"])
        case "line_art_anime":
            return auxiliary("lineart_anime").LineartAnimeDetector(network)
        case "normal":
            return auxiliary("normalbae").NormalBaeDetector(network)
    open_pose = auxiliary("open_pose")
    body = object.__new__(open_pose.Body)
    body.model = network
    return open_pose.OpenposeDetector(body)


def test_coarse_strokes_are_drawn_by_the_second_file(photo: Image.Image, tmp_path: Path) -> None:
    write("line_art_realistic", tmp_path)
    fine = drawn(photo, "line_art_realistic", tmp_path)
    (tmp_path / "sk_model.pth").write_bytes((tmp_path / "sk_model2.pth").read_bytes())
    assert np.array_equal(
        drawn(photo, "line_art_realistic", tmp_path, strokes="coarse"), drawn(photo, "line_art_realistic", tmp_path)
    )
    assert not np.array_equal(fine, drawn(photo, "line_art_realistic", tmp_path))


# A person seen from the front: the 18 joints in parts of the picture's sides, and for each limb its two joints and the
# first of its two channels in the network's output.
JOINTS = [
    (0.5, 0.2),
    (0.5, 0.3),
    (0.4, 0.3),
    (0.35, 0.45),
    (0.3, 0.55),
    (0.6, 0.3),
    (0.65, 0.45),
    (0.7, 0.55),
    (0.44, 0.6),
]
JOINTS += [(0.43, 0.75), (0.42, 0.9), (0.56, 0.6), (0.57, 0.75), (0.58, 0.9), (0.47, 0.17), (0.53, 0.17), (0.44, 0.2)]
JOINTS += [(0.56, 0.2)]
LIMBS = [(1, 2, 12), (1, 5, 20), (2, 3, 14), (3, 4, 16), (5, 6, 22), (6, 7, 24), (1, 8, 0), (8, 9, 2), (9, 10, 4)]
LIMBS += [(1, 11, 6), (11, 12, 8), (12, 13, 10), (1, 0, 28), (0, 14, 30), (14, 16, 34), (0, 15, 32), (15, 17, 36)]


class SeesOnePerson(torch.nn.Module):
    """Stands for OpenPose's network: what it would say of the person above, wherever it looks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = pixels.shape[2] // 8, pixels.shape[3] // 8
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        parts = torch.zeros(1, 19, height, width)
        for index, (right, down) in enumerate(JOINTS):
            parts[0, index] = torch.exp(-((x + 0.5 - right * width) ** 2 + (y + 0.5 - down * height) ** 2) / 2)
        limbs = torch.zeros(1, 38, height, width)
        for start, end, channel in LIMBS:
            along = torch.tensor(JOINTS[end]) - torch.tensor(JOINTS[start])
            limbs[0, channel : channel + 2] = (along / along.norm()).view(2, 1, 1)
        return limbs, parts


def test_a_person_is_drawn_where_the_network_sees_one() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    control_map = pose.draw(picture, network=SeesOnePerson(), device="cpu", resolution=256)
    assert control_map.shape == picture.shape
    assert control_map.dtype == np.uint8
    colours = {1: (255, 85, 0), 4: (170, 255, 0), 10: (0, 170, 255)}  # neck, a hand, a foot: OpenPose's colours
    for joint, colour in colours.items():
        right, down = (round(part * 300) for part in JOINTS[joint])
        assert tuple(control_map[down, right]) == colour
    assert 0.005 < (control_map > 0).any(axis=2).mean() < 0.1


def test_near_is_white_in_depth_maps() -> None:
    picture = np.zeros((4, 8, 3), np.uint8)
    inverse_depth = torch.tensor([[-3.0, 5.0, 13.0, 21.0]]).expand(2, 4)
    drawn_map = pictures.depth_map(inverse_depth, picture)
    assert drawn_map.shape == picture.shape
    assert drawn_map[0, 0, 0] == 0
    assert drawn_map[0, -1, 0] == 255
    assert not pictures.depth_map(torch.full((2, 4), 7.0), picture).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2000, 1), (640, 480), (512, 512)])
def test_networks_see_a_bounded_area_of_about_the_pictures_shape(size: tuple[int, int]) -> None:
    height, width = pictures.working_size(np.zeros((*size, 3), np.uint8), resolution=512, multiple=32)
    assert height % 32 == width % 32 == 0
    assert height * width <= 1.3 * 512**2
    if max(size) < 16 * min(size):
        assert height / width == pytest.approx(size[0] / size[1], rel=0.1)


# --- files that are not there, or are others ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_missing_weights_are_told_before_anything_is_loaded(kind: str, tmp_path: Path) -> None:
    (name,) = CONTROL_KINDS[kind].weights
    spec = DETECTORS[name]
    for folder in (None, tmp_path):
        sentence = str(refused(kind, folder, UnavailableError, "detector_weights_missing"))
        assert spec.files[0] in sentence
        assert spec.repository in sentence
        assert str((folder or Path("models/detectors")) / spec.folder) in sentence


def test_a_kind_of_two_files_needs_both(tmp_path: Path) -> None:
    (tmp_path / "sk_model.pth").touch()
    assert "sk_model2.pth" in str(refused("line_art_realistic", tmp_path, UnavailableError, "detector_weights_missing"))


def test_a_damaged_file_is_told_by_name(tmp_path: Path) -> None:
    write("soft_edge_pidinet", tmp_path)
    file = tmp_path / "table5_pidinet.pth"
    file.write_bytes(file.read_bytes()[:100_000])
    assert file.name in str(refused("soft_edge_pidinet", tmp_path, CheckpointError, "file_damaged"))


def test_a_damaged_model_is_told_by_name(tmp_path: Path) -> None:
    write_model("depth_anything", tmp_path, config=config_of("depth_anything", tiny=True))
    weights = tmp_path / "depth-anything-v2-small" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert weights.name in str(refused("depth_anything", tmp_path, CheckpointError, "file_damaged"))
    weights.write_bytes(whole)
    weights.with_name("config.json").write_text("{")
    assert "config.json" in str(refused("depth_anything", tmp_path, CheckpointError, "file_damaged"))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was-run"),)


@pytest.mark.parametrize("kind", [*SMALL, *LARGE, "depth_midas", "segmentation"])
def test_code_in_a_pickle_is_never_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (name,) = CONTROL_KINDS[kind].weights
    for file in DETECTORS[name].files:
        path = tmp_path / DETECTORS[name].folder / file
        path.parent.mkdir(exist_ok=True)
        torch.save({"state_dict": {"weight": Payload()}}, path)
    refused(kind, tmp_path, CheckpointError, "pickle_with_code")
    assert not Path("was-run").exists()


def test_weights_of_another_network_are_refused_by_their_keys(tmp_path: Path) -> None:
    torch.save({"norm": torch.zeros(1, 1), "head": torch.zeros(2)}, tmp_path / "ControlNetHED.pth")
    sentence = str(refused("soft_edge_hed", tmp_path, CheckpointError, "checkpoint_keys"))
    assert "block1.convs.0.bias, block1.convs.0.weight" in sentence
    assert "head" in sentence
    assert "norm" in sentence
    torch.save([1, 2], tmp_path / "ControlNetHED.pth")
    refused("soft_edge_hed", tmp_path, CheckpointError, "file_without_weights")


def test_a_model_that_lacks_weights_is_refused_not_filled_with_random_ones(tmp_path: Path) -> None:
    write_model("segmentation", tmp_path, config=config_of("segmentation", tiny=True))
    file = tmp_path / "upernet-convnext-small" / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    del tensors["decode_head.classifier.weight"]
    torch.save(tensors, file)
    sentence = str(refused("segmentation", tmp_path, CheckpointError, "checkpoint_keys"))
    assert "decode_head.classifier.weight" in sentence


def test_a_segmentation_of_other_classes_is_refused(tmp_path: Path) -> None:
    write_model("segmentation", tmp_path, config=config_of("segmentation", tiny=True, num_labels=19))
    assert "19" in str(refused("segmentation", tmp_path, CheckpointError, "detector_classes"))


def test_a_package_that_breaks_on_import_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "controlnet_aux.py").write_text("import types\ntypes.solutions\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "controlnet_aux"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError) as caught:
        auxiliary("hed")
    assert caught.value.key == "detector_package"
    assert "solutions" in str(caught.value)


def test_new_weights_are_read_without_a_restart(photo: Image.Image, tmp_path: Path) -> None:
    write("soft_edge_pidinet", tmp_path)
    before = drawn(photo, "soft_edge_pidinet", tmp_path)
    file = tmp_path / "table5_pidinet.pth"
    content = torch.load(file, weights_only=True)
    content["state_dict"] = {key: -tensor for key, tensor in content["state_dict"].items()}
    torch.save(content, file)
    assert not np.array_equal(before, drawn(photo, "soft_edge_pidinet", tmp_path))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", SMALL)
def test_maps_on_the_accelerator_are_those_of_the_processor(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    write(kind, tmp_path)
    there = controls.draw(photo, kind=kind, params=params(kind), weights=tmp_path, device="cuda").map
    assert np.abs(np.asarray(there).astype(int) - drawn(photo, kind, tmp_path)).max() <= 2
