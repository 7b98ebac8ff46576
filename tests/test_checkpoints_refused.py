"""What is refused, and in which words: damaged and foreign files, other bases, what diffusers cannot express."""

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cnxs.checkpoints import diffusers_adapter, native
from cnxs.checkpoints.__main__ import main
from cnxs.checkpoints.authors import read as read_authors
from cnxs.checkpoints.families import BaseInfo, check_base_family
from cnxs.checkpoints.kinds import kind_of
from cnxs.checkpoints.loading import load_control
from cnxs.errors import CheckpointError
from cnxs.model import ControlNetXS
from tests import tiny
from tests.golden_cases import GOLDEN

BASE = tiny.unet()


def refused(call: Callable[[], object]) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        call()
    assert all(caught.value.sentence(language) for language in ("en", "de"))
    return caught.value


def published(family: str) -> dict[str, torch.Tensor]:
    """Return zeros that take no memory, under the keys of a published family."""
    listed = json.loads((GOLDEN / f"keys_{family}.json").read_text())
    weights = {key: torch.zeros(1).expand(shape) for key, (shape, _) in listed.items()}
    return weights | {"scale_list": torch.ones(weights["scale_list"].shape)}


def read(weights: dict[str, torch.Tensor]) -> ControlNetXS:
    return read_authors(weights, file="a.ckpt", condition="canny", overrides={})[0]


# --- one key too few, too many, or of another shape -------------------------------------------------------------------

KEYS = [
    "scale_list",
    "input_hint_block.0.weight",
    "control_model.input_blocks.0.0.weight",
    "control_model.input_blocks.3.0.op.weight",
    "control_model.input_blocks.1.0.out_layers.3.bias",
    "control_model.time_embed.2.bias",
    "control_model.middle_block.1.proj_in.weight",
    "control_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    "enc_zero_convs_in.3.0.weight",
    "dec_zero_convs_out.11.0.bias",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_and_a_misshapen_key_are_named(key: str) -> None:
    whole = published("sd21_14m")
    error = refused(lambda: read({name: value for name, value in whole.items() if name != key}))
    assert (error.key, error.fields["missing"], error.fields["unexpected"]) == ("checkpoint_keys", key, "-")
    assert key in str(error)

    shape = [whole[key].shape[0] + 1, *whole[key].shape[1:]]
    error = refused(lambda: read(whole | {key: torch.zeros(1).expand(shape)}))
    assert (error.fields["missing"], error.fields["unexpected"]) == ("-", "-")
    assert error.fields["misshapen"] == f"{key} {tuple(shape)} instead of {tuple(whole[key].shape)}"


@pytest.mark.parametrize(
    "key",
    [
        "surplus",
        "control_model.input_blocks.12.0.in_layers.0.weight",
        "control_model.input_blocks.1.1.transformer_blocks.1.norm1.weight",
        "control_model.label_emb.0.0.weight",
        "control_model.output_blocks.0.0.in_layers.0.weight",
        "encoder.0.conv.weight",
    ],
)
def test_a_surplus_key_is_named(key: str) -> None:
    error = refused(lambda: read(published("sd21_14m") | {key: torch.zeros(4)}))
    assert (error.key, error.fields["missing"], error.fields["misshapen"]) == ("checkpoint_keys", "-", "-")
    assert error.fields["unexpected"] == key


def test_no_more_than_the_four_unused_tensors_of_sdxl_are_let_pass() -> None:
    error = refused(lambda: read(published("sdxl_48m") | {"control_model.label_emb.0.4.weight": torch.zeros(4)}))
    assert error.fields["unexpected"] == "control_model.label_emb.0.4.weight"


def test_our_format_and_diffusers_name_keys_as_the_file_does(tmp_path: Path) -> None:
    control = tiny.control(BASE)
    native.save(control, tmp_path / "ours.safetensors")
    diffusers_adapter.save(control, tmp_path / "adapter")
    for path, key, target in (
        (tmp_path / "ours.safetensors", "middle_to_base.bias", tmp_path / "ours.safetensors"),
        (tmp_path / "adapter" / diffusers_adapter.WEIGHTS, "mid_block.ctrl_to_base.bias", tmp_path / "adapter"),
    ):
        weights, metadata = load_file(path), metadata_of(path)
        missing = weights.pop(key)
        save_file(weights | {"surplus.weight": missing}, path, metadata=metadata)
        error = refused(lambda target=target: load_control(target))
        fields = error.fields
        assert (fields["missing"], fields["unexpected"], fields["misshapen"]) == (key, "surplus.weight", "-")


def metadata_of(path: Path) -> dict[str, str]:
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    return json.loads(header[8 : 8 + length])["__metadata__"]


# --- damaged and foreign files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1000])
def test_a_cut_file_is_damaged(ending: str, keep: int, tmp_path: Path) -> None:
    path = tmp_path / f"cut_canny.{ending}"
    weights = load_file(GOLDEN / "tiny_sd_b.control.safetensors")
    save_file(weights, path) if ending == "safetensors" else torch.save({"state_dict": weights}, path)
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(lambda: load_control(path)).key == "file_damaged"


def test_a_page_of_text_and_a_missing_file_are_damaged(tmp_path: Path) -> None:
    page = tmp_path / "sd21_encD_canny_14m.ckpt"
    page.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 56900000\n")
    assert refused(lambda: load_control(page)).key == "file_damaged"
    assert refused(lambda: load_control(tmp_path / "none.ckpt")).key == "file_damaged"


@pytest.mark.parametrize("start", [b"PK", b"\x80"])
def test_a_safetensors_file_is_known_whatever_the_length_of_its_header(start: bytes, tmp_path: Path) -> None:
    """The first bytes of the file are that length, and could be those of a pickle."""
    control, path = tiny.control(BASE), tmp_path / "ours.safetensors"
    native.save(control, path)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    while not length.to_bytes(8, "little").startswith(start):
        length += 8
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + raw[8 + len(header) :])
    assert load_control(path).control.spec == control.spec


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for zipped in (True, False):
        torch.save({"state_dict": {"a": _Code()}}, tmp_path / "bad.ckpt", _use_new_zipfile_serialization=zipped)
        assert refused(lambda: load_control(tmp_path / "bad.ckpt")).key == "pickle_with_code"
    assert not (tmp_path / "ran").exists()


def test_a_pickle_without_named_tensors_is_refused(tmp_path: Path) -> None:
    for content in ([torch.zeros(2)], {}, {"state_dict": {"step": 3}}, {"state_dict": {}}):
        torch.save(content, tmp_path / "other.pt")
        assert refused(lambda: load_control(tmp_path / "other.pt")).key == "file_without_weights"
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("photo.txt", "hello")
    assert refused(lambda: load_control(tmp_path / "photos.zip")).key == "file_damaged"


def test_an_old_pickle_is_read(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "tiny_sd_b.control.safetensors")
    weights.setdefault("scale_list", torch.ones(25))
    torch.save({"state_dict": weights}, tmp_path / "old_canny.ckpt", _use_new_zipfile_serialization=False)
    loaded = load_control(tmp_path / "old_canny.ckpt", overrides={"base_family": "sd21"})
    assert loaded.control.spec.condition == "canny"


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("file_is_controlnet", ["controlnet_down_blocks.0.weight", "down_blocks.0.resnets.0.conv1.weight"]),
        ("file_is_controlnet", ["control_model.zero_convs.0.0.weight", "control_model.input_hint_block.0.weight"]),
        ("file_is_controlnet", ["zero_convs.0.0.weight", "input_hint_block.0.weight", "input_blocks.0.0.weight"]),
        ("file_is_t2i_adapter", ["adapter.body.0.resnets.0.block1.weight", "adapter.conv_in.weight"]),
        ("file_is_t2i_adapter", ["body.0.block1.weight", "conv_in.weight"]),
        ("file_is_lora", ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"]),
        ("file_is_lora", ["unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"]),
        ("file_is_lora", ["unet.up_blocks.1.attentions.0.processor.to_q_lora.down.weight"]),
        ("file_is_lora", ["transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight"]),
        (
            "file_is_checkpoint",
            ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.bias"],
        ),
        ("file_is_flux", ["double_blocks.0.img_attn.qkv.weight", "img_in.weight"]),
        ("file_is_flux", ["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"]),
        ("file_is_flux", ["single_transformer_blocks.0.attn.to_q.weight"]),
        ("file_is_sd3", ["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"]),
        ("file_is_sd3", ["transformer_blocks.0.attn.add_q_proj.weight", "pos_embed.proj.weight"]),
        ("file_is_ip_adapter", ["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"]),
        (
            "file_is_unet",
            ["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "up_blocks.0.resnets.0.conv1.weight"],
        ),
        ("file_is_vae", ["encoder.conv_in.weight", "decoder.conv_out.bias"]),
        ("file_is_text_encoder", ["text_model.embeddings.token_embedding.weight"]),
        ("file_is_embedding", ["emb_params"]),
        (
            "file_is_controlnet_xs_old",
            ["control_model.down_blocks.0.resnets.0.conv1.weight", "down_zero_convs_in.0.bias"],
        ),
        ("file_unknown", ["layer.weight"]),
    ],
)
def test_another_kind_of_file_is_refused_by_its_name(kind: str, keys: list[str], tmp_path: Path) -> None:
    path = tmp_path / "thing.safetensors"
    save_file({key: torch.zeros(2) for key in keys}, path)
    error = refused(lambda: load_control(path))
    assert (error.key, error.fields["file"]) == (kind, "thing.safetensors")


@pytest.mark.parametrize("family", ["sd15_53m", "sd21_14m", "sdxl_20m", "sdxl_48m"])
def test_a_controlnet_xs_is_none_of_the_other_kinds(family: str) -> None:
    assert kind_of(json.loads((GOLDEN / f"keys_{family}.json").read_text())) is None


def test_folders_of_diffusers_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    assert refused(lambda: load_control(tmp_path)).key == "folder_without_weights"
    config = tmp_path / "config.json"
    config.write_text('{"_class_name": "ControlNetXSModel"}')
    assert refused(lambda: load_control(tmp_path)).key == "file_is_controlnet_xs_old"
    for damaged in ("{", "[1]"):
        config.write_text(damaged)
        assert refused(lambda: load_control(tmp_path)).key == "file_damaged"


def test_a_family_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    weights = load_file(GOLDEN / "tiny_sd_b.control.safetensors")
    weights.setdefault("scale_list", torch.ones(25))
    save_file(weights, path)
    error = refused(lambda: load_control(path))
    assert (error.key, error.fields["widths"], error.fields["context"]) == (
        "control_family_unknown",
        (32, 32, 32, 64),
        32,
    )
    loaded = load_control(path, overrides={"base_family": "sd21"})
    assert {key for key, _ in loaded.notes} == {"heads_assumed", "condition_unknown"}
    assert load_control(path, overrides={"base_family": "sd21", "head_channels": 8, "condition": "depth"}).notes == ()


# --- what diffusers cannot express, and bases that do not fit ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("control_type", {"control_type": "A"}),
        ("control_type", {"control_type": "C"}),
        ("gains", {"gains": (1.0,) * 18 + (0.5,)}),
        ("hint_net", {"hint_net": "unshuffle"}),
        ("min_group_channels", {"min_group_channels": 4}),
        ("heads x width", {"num_heads": 8}),
    ],
)
def test_what_diffusers_cannot_express_is_refused_by_name(
    name: str, changes: dict[str, object], tmp_path: Path
) -> None:
    control = tiny.control(BASE, **changes)
    error = refused(lambda: diffusers_adapter.save(control, tmp_path / "adapter"))
    assert (error.key, error.fields["name"]) == ("diffusers_cannot", name)
    assert not (tmp_path / "adapter").exists()


def test_a_miniature_control_is_refused_for_its_latent_channels(tmp_path: Path) -> None:
    control = tiny.control(tiny.unet("miniature"), hint_net="convolutions", hint_factor=8, min_group_channels=1)
    assert refused(lambda: diffusers_adapter.save(control, tmp_path)).fields["name"] == "latent_channels"


def test_an_adapter_with_settings_that_are_not_the_authors_is_refused(tmp_path: Path) -> None:
    diffusers_adapter.save(tiny.control(BASE), tmp_path)
    weights = load_file(tmp_path / diffusers_adapter.WEIGHTS)
    save_file(weights, tmp_path / diffusers_adapter.WEIGHTS)  # as others write it, without our spec
    config = json.loads((tmp_path / "config.json").read_text())
    for name, value in (("conditioning_channel_order", "bgr"), ("time_embedding_mix", 0.5)):
        (tmp_path / "config.json").write_text(json.dumps(config | {name: value}))
        error = refused(lambda: load_control(tmp_path, overrides={"base_family": "sd21"}))
        assert (error.key, error.fields["name"]) == ("adapter_setting", name)


def test_a_control_on_the_wrong_base_is_refused_and_on_a_near_one_noted() -> None:
    spec = dataclasses.replace(tiny.spec(BASE), base_sha256="1" * 64)
    own = BaseInfo.of(BASE, prediction_type="epsilon", sha256="1" * 64)
    assert check_base_family(spec, own) == ()
    error = refused(lambda: check_base_family(spec, dataclasses.replace(own, family="sd15")))
    assert (error.key, error.fields["control"]) == ("control_for_other_family", "Stable Diffusion 2.1")
    assert error.fields["base"] == "Stable Diffusion 1.5"
    error = refused(lambda: check_base_family(spec, BaseInfo.of(tiny.unet("sd15"))))
    assert (error.key, error.fields["name"]) == ("control_for_other_base", "linear_projection")

    (key, fields), *rest = check_base_family(spec, dataclasses.replace(own, prediction_type="v_prediction", sha256="2"))
    assert (key, fields, rest) == ("control_other_prediction", {"control": "epsilon", "base": "v_prediction"}, [])
    assert check_base_family(spec, dataclasses.replace(own, sha256="2" * 64)) == (("control_other_weights", {}),)


# --- the command line -------------------------------------------------------------------------------------------------


def test_convert_there_and_back_keeps_every_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "small_depth.ckpt"
    weights = load_file(GOLDEN / "tiny_sd_b.control.safetensors")  # half precision
    weights.setdefault("scale_list", torch.ones(25, dtype=torch.float16))
    torch.save({"state_dict": weights}, source)
    ours, adapter, again = tmp_path / "ours.safetensors", tmp_path / "adapter", tmp_path / "again.safetensors"
    assert main(["convert", str(source), str(ours), "--family", "sd21", "--licence", "openrail"]) == 0
    assert main(["convert", str(ours), str(adapter)]) == 0
    assert main(["convert", str(adapter), str(again)]) == 0
    stored, returned = load_file(ours).values(), load_file(again).values()
    assert metadata_of(ours) == metadata_of(again)
    assert all(torch.equal(a, b) for a, b in zip(stored, returned, strict=True))
    assert {value.dtype for value in stored} == {torch.float16}
    assert sorted(v.numpy().tobytes() for v in stored) == sorted(
        v.numpy().tobytes() for key, v in weights.items() if key != "scale_list"
    )
    output = capsys.readouterr().out
    assert f"Written: {adapter}" in output
    assert "norms" in output
    assert main(["info", str(again)]) == 0
    output = capsys.readouterr().out
    assert "depth" in output
    assert "openrail" in output


def test_the_command_says_in_one_sentence_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    native.save(tiny.control(BASE, control_type="A"), tmp_path / "a.safetensors")
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "adapter")]) == 1
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "a.onnx")]) == 1
    assert main(["info", str(tmp_path / "none.ckpt")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 3
    assert "control_type is A" in captured.err
