"""Reading controls: files made from the published key lists, the golden cases, and diffusers' adapters."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetXSAdapter, UNetControlNetXSModel
from safetensors.torch import load_file, save_file

from cnxs.checkpoints import diffusers_adapter, native
from cnxs.checkpoints.loading import Loaded, load_control
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet
from tests import tiny
from tests.golden_cases import CASES, GOLDEN, load_case

FILES = {
    "sd15_53m": "sd15_encD_canny_53m.ckpt",
    "sd21_14m": "sd21_encD_depth_14m.ckpt",
    "sdxl_20m": "sdxl_encD_canny_20m.safetensors",
    "sdxl_48m": "sdxl_encD_depth_48m.safetensors",
}
# Our names of some tensors, written down by hand from the authors' module order.
SPOTS = {
    "hint_encoder.14.bias": "input_hint_block.14.bias",
    "encoder.0.conv.weight": "control_model.input_blocks.0.0.weight",
    "encoder.3.conv.conv.weight": "control_model.input_blocks.3.0.op.weight",
    "encoder.4.resnet.time_emb_proj.bias": "control_model.input_blocks.4.0.emb_layers.1.bias",
    "encoder.7.resnet.conv_shortcut.weight": "control_model.input_blocks.7.0.skip_connection.weight",
    "encoder.8.attention.transformer_blocks.0.attn2.to_k.weight": (
        "control_model.input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight"
    ),
    "encoder_to_base.5.weight": "enc_zero_convs_out.5.0.weight",
    "encoder_to_ctrl.6.bias": "enc_zero_convs_in.6.0.bias",
    "middle.resnet_out.norm2.weight": "control_model.middle_block.2.out_layers.0.weight",
    "middle_to_base.weight": "middle_block_out.0.weight",
    "decoder_to_base.8.weight": "dec_zero_convs_out.8.0.weight",
}


def random_weights(family: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return half-precision noise under the keys of a published family; halves the size on disk."""
    listed = json.loads((GOLDEN / f"keys_{family}.json").read_text())
    generator = torch.Generator().manual_seed(seed)
    weights = {key: torch.randn(shape, generator=generator).half() for key, (shape, _) in listed.items()}
    weights["scale_list"] = torch.ones_like(weights["scale_list"])
    return weights


def write(weights: Mapping[str, torch.Tensor], path: Path) -> Path:
    if path.suffix == ".ckpt":
        torch.save({"state_dict": dict(weights), "epoch": 3}, path)
    else:
        save_file(dict(weights), path)
    return path


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.half().numpy().tobytes()


@pytest.fixture(scope="module", params=FILES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, torch.Tensor], Loaded]:
    path = tmp_path_factory.mktemp("published") / FILES[request.param]
    weights = random_weights(request.param)
    write(weights, path)
    loaded = load_control(path)
    path.unlink()
    return request.param, weights, loaded


Published = tuple[str, dict[str, torch.Tensor], Loaded]


def test_a_published_file_is_recognised_and_every_tensor_arrives(published: Published) -> None:
    family, weights, loaded = published
    spec, state = loaded.control.spec, loaded.control.state_dict()
    assert (loaded.format, loaded.dtype, spec.licence) == ("authors", torch.float16, "openrail")
    assert f"{spec.base_family}_encD_{spec.condition}" in FILES[family]
    used = {key: value for key, value in weights.items() if "label_emb" not in key and key != "scale_list"}
    assert sorted(map(bits, used.values())) == sorted(map(bits, state.values()))
    for ours, theirs in SPOTS.items():
        assert torch.equal(state[ours], weights[theirs].float()), ours
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_what_does_nothing_is_reported(published: Published) -> None:
    family, _, loaded = published
    notes = dict(loaded.notes)
    if family == "sdxl_48m":
        assert notes["tensors_unused"]["count"] == 4
        assert "control_model.label_emb.0.2.weight" in notes["tensors_unused"]["keys"]
    else:
        assert notes == {}


def test_a_published_file_survives_conversion_bit_for_bit(published: Published, tmp_path: Path) -> None:
    family, weights, loaded = published
    native.save(loaded.control, tmp_path / "ours.safetensors", dtype=loaded.dtype)
    ours = load_control(tmp_path / "ours.safetensors")
    assert ours.control.spec == loaded.control.spec
    assert ours.dtype == torch.float16
    assert same_tensors(ours.control, loaded.control)

    notes = diffusers_adapter.save(loaded.control, tmp_path / "adapter", dtype=loaded.dtype)
    stored = load_file(tmp_path / "adapter" / "diffusion_pytorch_model.safetensors")
    used = [value for key, value in weights.items() if "label_emb" not in key and key != "scale_list"]
    assert sorted(map(bits, stored.values())) == sorted(map(bits, used))
    back = load_control(tmp_path / "adapter")
    assert same_tensors(back.control, loaded.control)
    assert back.control.spec == loaded.control.spec
    # One norm of the 14M's middle and five of the 20M's second level: measured on diffusers' own classes.
    expected = {"sd21_14m": {"count": 1}, "sdxl_20m": {"count": 5}}
    assert dict(notes).get("diffusers_norms") == expected.get(family)


def same_tensors(a: ControlNetXS, b: ControlNetXS) -> bool:
    state_a, state_b = a.state_dict(), b.state_dict()
    return state_a.keys() == state_b.keys() and all(torch.equal(state_a[key], state_b[key]) for key in state_a)


def test_an_adapter_without_its_config_is_recognised_from_its_shapes(tmp_path: Path) -> None:
    loaded = load_control(write(random_weights("sd21_14m"), tmp_path / FILES["sd21_14m"]))
    diffusers_adapter.save(loaded.control, tmp_path / "adapter")
    stored = load_file(tmp_path / "adapter" / "diffusion_pytorch_model.safetensors")
    save_file(stored, tmp_path / "alone_canny.safetensors")  # and without the metadata
    alone = load_control(tmp_path / "alone_canny.safetensors").control
    assert same_tensors(alone, loaded.control)
    assert alone.spec == dataclasses.replace(loaded.control.spec, condition="canny", licence="")


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_golden_case_from_a_file_gives_the_authors_outputs(name: str, tmp_path: Path) -> None:
    case = load_case(name)
    tensors = {k: v for file in case.info["files"]["control"] for k, v in load_file(GOLDEN / file).items()}
    n = case.control.spec.num_connections
    tensors.setdefault("scale_list", torch.ones(n + 1 if case.control.spec.control_type == "A" else 2 * n + 1))
    setting = case.info["control"]
    heads = ("num_heads", "head_channels")[setting["num_heads"] == -1]
    overrides = {
        "base_family": "sdxl" if "sdxl" in name else "sd21",
        heads: max(setting["num_heads"], setting["num_head_channels"]),
    }
    path = tmp_path / f"{name}_canny.{'safetensors' if 'sdxl' in name else 'ckpt'}"
    loaded = load_control(write(tensors, path), overrides=overrides)
    assert loaded.control.spec == dataclasses.replace(case.control.spec, **overrides)
    expected_unused = {"tiny_sdxl_b": 4, "tiny_sd_type_c": 44}
    assert dict(loaded.notes).get("tensors_unused", {}).get("count", 0) == expected_unused.get(name, 0)

    coupled = CoupledUNet(case.base, [loaded.control])
    hint = loaded.control.encode_hint(case.io["in.hint_u8"].float() / 255)
    for run in ("t500", "custom"):
        x, context = case.io["in.x"], case.io["in.context"]
        out = coupled(x, case.timesteps(run), context, [case.input(run, hint)], added_cond_kwargs=case.added())
        assert (out - case.io[f"out.{run}"]).abs().max().item() <= 2e-5


def test_gains_in_a_file_act(tmp_path: Path) -> None:
    """A scale list in a file gives what the same gains give in a call."""
    case = load_case("tiny_sd_b")
    tensors = load_file(GOLDEN / "tiny_sd_b.control.safetensors") | {"scale_list": case.io["scale_list.custom"]}
    path = write(tensors, tmp_path / "gains.safetensors")
    control = load_control(path, overrides={"base_family": "sd21"}).control
    assert control.spec.gains == tuple(case.io["scale_list.custom"].tolist())
    x, context = case.io["in.x"], case.io["in.context"]
    with torch.no_grad():
        hint = control.encode_hint(case.io["in.hint_u8"].float() / 255)
        out = CoupledUNet(case.base, [control])(x, case.timesteps("custom"), context, [ControlInput(hint=hint)])
    assert (out - case.io["out.custom"]).abs().max().item() <= 2e-5


# --- diffusers' own classes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "learned"), [("sd15", False), ("sd21", True), ("sdxl", True)])
def test_diffusers_loads_what_is_written_and_computes_the_same(kind: str, learned: bool, tmp_path: Path) -> None:
    base = tiny.unet(kind, block_out_channels=(32, 32, 32), norm_num_groups=32)
    heads = {"num_heads": 2} if kind == "sd15" else {"head_channels": 16}
    control = tiny.control(base, control_channels=(32, 32, 32), learn_time_embedding=learned, **heads)
    assert diffusers_adapter.save(control, tmp_path) == []
    adapter = ControlNetXSAdapter.from_pretrained(tmp_path, local_files_only=True)
    assert sorted(map(bits, adapter.state_dict().values())) == sorted(map(bits, control.state_dict().values()))
    assert same_tensors(load_control(tmp_path).control, control)

    fused = UNetControlNetXSModel.from_unet(base, adapter).eval()
    for name, module in fused.named_modules():
        # Its blocks forget the base's epsilon, and the middle of the control has another: README of tests/golden, 7.
        if name.split(".")[-1] in ("norm1", "norm2") and isinstance(module, torch.nn.GroupNorm):
            module.eps = 1e-5
    given = tiny.inputs(base)
    hint = control.encode_hint(given.control_map)
    with torch.no_grad():
        ours = CoupledUNet(base, [control])(
            given.sample, given.timestep, given.context, [ControlInput(hint=hint)], added_cond_kwargs=given.added
        )
        theirs = fused(
            given.sample, given.timestep, given.context, given.control_map, 1.0, added_cond_kwargs=given.added
        ).sample
        plain = base(given.sample, given.timestep, given.context, **given.base_kwargs())[0]
    assert (theirs - ours).abs().max().item() <= 2e-5
    assert (plain - ours).abs().max().item() > 0.01


def test_an_adapter_made_by_diffusers_loads(tmp_path: Path) -> None:
    base = tiny.unet("sd21")
    torch.manual_seed(5)
    adapter = ControlNetXSAdapter.from_unet(base, block_out_channels=[8, 8, 16], num_attention_heads=[1, 1, 2])
    adapter.save_pretrained(tmp_path / "my_depth")
    loaded = load_control(tmp_path / "my_depth", overrides={"base_family": "sd21"})
    assert sorted(map(bits, loaded.control.state_dict().values())) == sorted(map(bits, adapter.state_dict().values()))
    assert (loaded.control.spec.condition, loaded.control.spec.head_channels) == ("depth", 8)
    CoupledUNet(base, [loaded.control])


@pytest.mark.parametrize("widths", [(8, 8, 16), (16, 16, 32), (12, 20, 28), (32, 32, 32)])
def test_the_norms_that_diffusers_groups_otherwise_are_counted(widths: tuple[int, ...], tmp_path: Path) -> None:
    base = tiny.unet("sd21", block_out_channels=(32, 32, 64), norm_num_groups=32)
    control = tiny.control(base, control_channels=widths, head_channels=4)
    notes = diffusers_adapter.save(control, tmp_path)
    adapter = ControlNetXSAdapter.from_pretrained(tmp_path, local_files_only=True)
    fused = UNetControlNetXSModel.from_unet(base, adapter)
    ours = sorted(norm_groups(control))
    theirs = sorted(norm_groups(torch.nn.ModuleList(ctrl_norms(fused))))
    assert len(ours) == len(theirs)
    counted = dict(notes).get("diffusers_norms", {}).get("count", 0)
    assert counted == len(ours) - sum(pairs_in_common(ours, theirs))


def norm_groups(module: torch.nn.Module) -> list[tuple[int, int]]:
    return [(m.num_channels, m.num_groups) for m in module.modules() if isinstance(m, torch.nn.GroupNorm)]


def ctrl_norms(fused: UNetControlNetXSModel) -> Iterator[torch.nn.Module]:
    yield fused.mid_block.ctrl_midblock
    for block in fused.down_blocks:
        yield from (part for part in (*block.ctrl_resnets, *block.ctrl_attentions) if part is not None)


def pairs_in_common(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> Iterator[int]:
    yield from (min(ours.count(pair), theirs.count(pair)) for pair in set(ours))
