"""What models there are: the folder of the user's, told by content, and lists that need no torch."""

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from cnxs.checkpoints.metadata import read_shapes
from cnxs.errors import CheckpointError, InputError
from cnxs.registry import BASE_MODELS, CONTROL_NETWORKS, DETECTORS, DETECTORS_FOLDER
from cnxs.weights import MINIATURE_FOLDER, Library, __main__, hub, scan

ROOT = Path(__file__).resolve().parent.parent
CONTROL_KEYS = {
    "input_hint_block.0.weight": (16, 3, 3, 3),
    "enc_zero_convs_in.0.0.weight": (320, 320, 1, 1),
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (4, 1024),
}
UNET = "model.diffusion_model.input_blocks."
CHECKPOINT_KEYS = {
    f"{UNET}0.0.weight": (320, 4, 3, 3),
    f"{UNET}1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
LORA_KEYS = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 4),
}
FLUX_KEYS = {"double_blocks.0.img_attn.qkv.weight": (9, 3)}


def put(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: np.zeros(shape, np.float16) for key, shape in shapes.items()}, path)
    return path


def put_pickle(path: Path, shapes: dict[str, tuple[int, ...]], *, zipped: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: torch.zeros(shape, dtype=torch.float16) for key, shape in shapes.items()}
    torch.save({"state_dict": weights, "epoch": 3, "kind": torch.float16}, path, _use_new_zipfile_serialization=zipped)
    return path


def put_base(folder: Path, *, width: int = 768, sample_size: int = 64, prediction: str = "epsilon") -> Path:
    for part in ("unet", "vae", "text_encoder"):
        put(folder / part / "diffusion_pytorch_model.safetensors", {"a": (2,)})
        (folder / part / "config.json").write_text("{}")
    (folder / "tokenizer").mkdir()
    (folder / "scheduler").mkdir()
    config = {"cross_attention_dim": width, "sample_size": sample_size}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": prediction}))
    (folder / "model_index.json").write_text("{}")
    return folder


# --- the registry -------------------------------------------------------------------------------------------------


def test_the_registry_names_the_eight_files_and_four_conversions() -> None:
    files = {network.filename for network in CONTROL_NETWORKS.values() if network.filename}
    sizes = {"sd15": ("53m.ckpt",), "sd21": ("14m.ckpt",), "sdxl": ("20m.safetensors", "48m.safetensors")}
    assert files == {
        f"{family}_encD_{condition}_{end}"
        for condition in ("canny", "depth")
        for family, ends in sizes.items()
        for end in ends
    }
    assert {network.repository for network in CONTROL_NETWORKS.values() if not network.filename} == {
        f"UmerHA/Testing-ConrolNetXS-{base}-{condition}"
        for base in ("SD2.1", "SDXL")
        for condition in ("canny", "depth")
    }


def test_every_model_of_the_registry_is_complete() -> None:
    for network in CONTROL_NETWORKS.values():
        assert BASE_MODELS[network.base].family == network.family
        assert network.licence
        assert network.download_bytes > 10**7
        assert network.hint == ("near_white" if network.condition == "depth" else "white_lines")
    for base in BASE_MODELS.values():
        assert base.licence
        assert bool(base.repositories) == bool(base.download_bytes)


# --- files told by their content ----------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_shapes_of_a_pickle_are_those_that_torch_loads(tmp_path: Path, zipped: bool) -> None:
    path = put_pickle(tmp_path / "a.ckpt", CONTROL_KEYS, zipped=zipped)
    loaded = torch.load(path, weights_only=True)["state_dict"]
    assert read_shapes(path) == {key: tuple(value.shape) for key, value in loaded.items()} == CONTROL_KEYS


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "bad.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Touch()}))
    with pytest.raises(CheckpointError) as error:
        read_shapes(path)
    assert error.value.key == "pickle_with_code"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps({"state_dict": Touch()}))
    with pytest.raises(CheckpointError):
        read_shapes(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("length", [0, 1, 9, 100, 700, -1])
@pytest.mark.parametrize("write", [put, put_pickle])
def test_a_truncated_file_is_damaged_wherever_it_ends(write: Callable[..., Path], length: int, tmp_path: Path) -> None:
    path = write(tmp_path / ("a.safetensors" if write is put else "a.ckpt"), CHECKPOINT_KEYS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError) as error:
        scan.inspect(path)
    assert error.value.key == "file_damaged"
    assert path.name in str(error.value)


@pytest.mark.parametrize(
    ("shapes", "kind", "family"),
    [
        (CONTROL_KEYS, "control", "sd21"),
        (CHECKPOINT_KEYS, "base", "sd15"),
        (LORA_KEYS, "lora", "sdxl"),
        ({"emb_params": (2, 768)}, "embedding", "sd15"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "embedding", "sdxl"),
        ({"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)}, "vae", ""),
    ],
)
def test_a_file_is_told_by_its_keys(shapes: dict[str, tuple[int, ...]], kind: str, family: str, tmp_path: Path) -> None:
    item = scan.inspect(put(tmp_path / "any.safetensors", shapes))
    assert (item.kind, item.family) == (kind, family)


def test_what_cannot_be_used_is_named_and_the_rest_is_listed(tmp_path: Path) -> None:
    put(tmp_path / "flux.safetensors", FLUX_KEYS)
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 50)
    (tmp_path / "notes.txt").write_text("no model")
    put(tmp_path / "half.safetensors.partial", CHECKPOINT_KEYS)
    put(tmp_path / ".hidden" / "x.safetensors", CHECKPOINT_KEYS)
    put(tmp_path / "loras" / "ink.safetensors", LORA_KEYS)
    (put_base(tmp_path / "lacking") / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    models = Library(tmp_path).models()
    assert {error.key for error in models.unusable} == {"file_is_flux", "file_damaged", "base_part_missing"}
    assert [(lora.name, lora.family) for lora in models.loras] == [("ink", "sdxl")]
    assert [base.name for base in models.bases] == list(BASE_MODELS)


# --- the library --------------------------------------------------------------------------------------------------


def test_models_appear_and_go_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    library = Library(tmp_path / "models")
    before = library.models()
    assert {base.name: base.state for base in before.bases} == {
        "miniature": "here", "sd15": "downloadable", "sd21-base": "downloadable", "sdxl": "downloadable"
    }  # fmt: skip
    mine = put(tmp_path / "models" / "checkpoints" / "mine.safetensors", CHECKPOINT_KEYS)
    put_pickle(tmp_path / "models" / "controls" / "sd21_encD_canny_14m.ckpt", CONTROL_KEYS)
    after = library.models()
    assert next(base for base in after.bases if base.name == "mine").family == "sd15"
    assert next(net for net in after.networks if net.name == "sd21-canny-14m").state == "here"
    mine.unlink()
    assert "mine" not in {base.name for base in library.models().bases}


def test_a_file_is_opened_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    inspect = scan.inspect
    monkeypatch.setattr(scan, "inspect", lambda path: (opened.append(path), inspect(path))[1])
    path = put(tmp_path / "mine.safetensors", CHECKPOINT_KEYS)
    library = Library(tmp_path)
    library.models()
    library.models()
    assert opened.count(path) == 1
    put(path, {**CHECKPOINT_KEYS, "more": (3,)})
    library.models()
    assert opened.count(path) == 2


def test_a_base_folder_shows_its_family_size_and_prediction(tmp_path: Path) -> None:
    put_base(tmp_path / "bases" / "sd21-base", width=1024)
    put_base(tmp_path / "bases" / "my v model", width=1024, sample_size=96, prediction="v_prediction")
    put_base(tmp_path / "bases" / "sd15", width=1024)
    library = Library(tmp_path)
    assert library.base("sd21-base").path == tmp_path / "bases" / "sd21-base"
    assert library.base("sd15").path is None  # what lies there is no SD 1.5
    assert library.base("bases/sd15").spec.family == "sd21"
    spec = library.base("my v model").spec
    assert (spec.family, spec.native_size, spec.prediction_type) == ("sd21", 768, "v_prediction")


def test_a_control_of_the_same_name_as_a_bundled_one_is_listed_beside_it(tmp_path: Path) -> None:
    bundled = MINIATURE_FOLDER / "controls" / "canny.safetensors"
    shutil.copy(bundled, tmp_path / "canny.safetensors")
    library = Library(tmp_path)
    assert library.network("canny").path == bundled
    mine = library.network(f"{tmp_path.name}/canny.safetensors")
    assert mine.path == tmp_path / "canny.safetensors"
    assert mine.condition == "canny"


def test_adapters_of_diffusers_are_folders(tmp_path: Path) -> None:
    keys = {
        "controlnet_cond_embedding.conv_in.weight": (1,),
        "up_connections.0.ctrl_to_base.0.bias": (1,),
        "a.attn2.to_k.weight": (4, 2048),
    }
    for name, sort in (("sdxl-depth-48m-diffusers", "ControlNetXSAdapter"), ("old", "ControlNetXSModel")):
        put(tmp_path / name / "diffusion_pytorch_model.safetensors", keys)
        (tmp_path / name / "config.json").write_text(json.dumps({"_class_name": sort}))
    library = Library(tmp_path)
    network = library.network("sdxl-depth-48m-diffusers")
    assert (network.path, network.condition) == (tmp_path / "sdxl-depth-48m-diffusers", "depth")
    assert [error.key for error in library.unusable()] == ["file_is_controlnet_xs_old"]


def test_offline_what_is_not_here_is_missing_and_told_where_to_put(tmp_path: Path) -> None:
    models = Library(tmp_path, offline=True).models()
    sd15 = next(base for base in models.bases if base.name == "sd15")
    assert sd15.state == "missing"
    ((key, fields),) = sd15.notes
    assert key == "note.put_file"
    assert fields["folder"] == tmp_path / "bases" / "sd15"
    canny = next(network for network in models.networks if network.name == "sd15-canny-53m")
    assert canny.notes[0][1]["file"] == "sd15_encD_canny_53m.ckpt"


def test_addons_are_found_by_name_alone(tmp_path: Path) -> None:
    path = put(tmp_path / "loras" / "ink.safetensors", LORA_KEYS)
    library = Library(tmp_path)
    assert library.addon("lora", "ink") == path
    with pytest.raises(InputError) as error:
        library.addon("lora", "../../etc/passwd")
    assert error.value.key == "unknown_addon"


def test_lists_need_neither_torch_nor_the_hubs_client() -> None:
    script = "import sys, cnxs.weights as w; w.Library().models(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "diffusers", "transformers", "huggingface_hub", "gradio"} & set(run.stdout.split())


# --- the command line ---------------------------------------------------------------------------------------------


def test_list_and_verify_name_good_and_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "mine.safetensors", CHECKPOINT_KEYS)
    __main__.main(["--models", str(tmp_path), "list"])
    words = capsys.readouterr().out
    assert "mine " in words
    assert "miniature" in words
    assert "CreativeML OpenRAIL-M" in words
    __main__.main(["--models", str(tmp_path), "verify"])
    (tmp_path / "mine.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(SystemExit):
        __main__.main(["--models", str(tmp_path), "verify"])
    assert "mine.safetensors is damaged" in capsys.readouterr().out


def test_fetch_offline_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as ended:
        __main__.main(["--models", str(tmp_path), "fetch", "sd15"])
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in str(ended.value.code)


def test_sdxl_needs_two_text_encoders_and_all_that_others_need() -> None:
    wanted = hub._base_targets(BASE_MODELS["sdxl"])
    assert "text_encoder_2/model.safetensors" in wanted
    assert "tokenizer_2/vocab.json" in wanted
    assert hub._base_targets(BASE_MODELS["sd15"]) < wanted


def test_weights_of_detectors_are_no_models_and_bring_their_kind(tmp_path: Path) -> None:
    library = Library(tmp_path)
    assert "soft_edge_hed" not in [kind.name for kind in library.models().kinds]
    file = tmp_path / DETECTORS_FOLDER / DETECTORS["hed"].folder / DETECTORS["hed"].files[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert list(scan.candidates(tmp_path)) == []
    assert library.models().unusable == ()
    assert "soft_edge_hed" in [kind.name for kind in library.models().kinds]
