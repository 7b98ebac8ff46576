"""The published families at full size, on the meta device: keys, shapes, norms, heads, and every connection."""

import json
from collections.abc import Mapping
from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from cnxs.checkpoints.authors import prefixes
from cnxs.checkpoints.families import FAMILIES
from cnxs.checkpoints.strict import rename
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet, base_structure
from cnxs.specs import ControlSpec
from tests.golden_cases import GOLDEN

PUBLISHED = {
    "sd15_53m": ("sd15", (64, 128, 256, 256), False, 52_661_417),
    "sd21_14m": ("sd21", (4, 8, 16, 16), True, 14_186_381),
    "sdxl_20m": ("sdxl", (16, 32, 64), False, 20_178_003),
    "sdxl_48m": ("sdxl", (32, 64, 128), True, 47_669_827),
}
_FOUR_LEVELS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
}
BASES: Mapping[str, Mapping[str, object]] = {
    "sd15": {**_FOUR_LEVELS, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd21": {
        **_FOUR_LEVELS,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
each_published = pytest.mark.parametrize("name", PUBLISHED)


def spec_of(name: str, **changes: object) -> ControlSpec:
    family_name, widths, learned, _ = PUBLISHED[name]
    family = FAMILIES[family_name]
    same = ("base_channels", "transformer_depth", "context_width", "linear_projection")
    heads = ("num_heads", "head_channels", "transformer_norm_eps")
    fields = {
        **{field: getattr(family, field) for field in (*same, *heads)},
        "control_channels": widths,
        "middle_depth": family.transformer_depth[-1] or 1,
        "learn_time_embedding": learned,
        "base_family": family_name,
        "condition": "canny",
    }
    return ControlSpec(**{**fields, **changes})


@cache
def network(name: str) -> ControlNetXS:
    with torch.device("meta"):
        return ControlNetXS(spec_of(name))


def golden(kind: str, name: str) -> dict:
    return json.loads((GOLDEN / f"{kind}_{name}.json").read_text())


def theirs(key: str, control: ControlNetXS) -> str:
    name = rename(key, dict(prefixes(control.spec)))
    assert name is not None, key
    return name


@each_published
def test_keys_and_shapes_are_the_published_ones(name: str) -> None:
    control = network(name)
    ours = {theirs(key, control): list(value.shape) for key, value in control.state_dict().items()}
    listed = {key: shape for key, (shape, _) in golden("keys", name).items()}
    values = sum(torch.Size(shape).numel() for shape in listed.values())
    assert values == PUBLISHED[name][3]
    assert listed.pop("scale_list") == [len(control.spec.connection_gains)]
    unused = {key for key in listed if key.startswith("control_model.label_emb.")}
    assert len(unused) == (4 if name == "sdxl_48m" else 0)
    assert ours == {key: shape for key, shape in listed.items() if key not in unused}


@each_published
def test_every_norm_has_the_authors_groups_and_eps(name: str) -> None:
    control = network(name)
    ours = {
        theirs(f"{path}.weight", control).removesuffix(".weight"): [norm.num_channels, norm.num_groups, norm.eps]
        for path, norm in control.named_modules()
        if isinstance(norm, torch.nn.GroupNorm)
    }
    assert ours == golden("layout", name)["group_norms_channels_groups_eps"]


@each_published
def test_every_attention_has_the_authors_heads(name: str) -> None:
    control = network(name)
    ours = {
        theirs(f"{path}.to_q.weight", control).removesuffix(".to_q.weight"): [
            layer.heads,
            layer.inner_dim // layer.heads,
        ]
        for path, layer in control.named_modules()
        if isinstance(layer, Attention)
    }
    assert ours == golden("layout", name)["attention_heads_dim"]


@pytest.mark.parametrize(
    ("control_type", "learned", "values"),
    [
        ("A", False, 50_685_725 - 13),
        ("A", True, 52_736_285 - 13),
        ("B", True, 54_711_977 - 25),
        ("C", False, 113_845_353 - 814_592 - 25),
        ("C", True, 115_895_913 - 814_592 - 25),
    ],
)
def test_sizes_of_the_papers_types(control_type: str, learned: bool, values: int) -> None:
    """As counted from the authors' classes, less the scale list and what has no effect in type C."""
    with torch.device("meta"):
        control = ControlNetXS(spec_of("sd15_53m", control_type=control_type, learn_time_embedding=learned))
    assert sum(parameter.numel() for parameter in control.parameters()) == values


@each_published
@torch.no_grad()
def test_every_connection_fits_the_true_base(name: str) -> None:
    family = PUBLISHED[name][0]
    with torch.device("meta"):
        base = UNet2DConditionModel(**BASES[family])
        control = network(name)
        coupled = CoupledUNet(base, [control])
        given = {
            "sample": torch.empty(2, 4, 64, 64),
            "timestep": torch.zeros(2),
            "context": torch.empty(2, 77, control.spec.context_width),
        }
        added = None
        if family == "sdxl":
            added = {"text_embeds": torch.empty(2, 1280), "time_ids": torch.empty(2, 6)}
        hint = control.encode_hint(torch.empty(2, 3, 512, 512))
        out = coupled(**given, inputs=[ControlInput(hint=hint)], added_cond_kwargs=added)
    assert base_structure(base)["base_channels"] == control.spec.base_channels
    assert out.shape == given["sample"].shape
