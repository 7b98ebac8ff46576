"""Load the golden cases: the authors' own outputs, see tests/golden/README.md."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from cnxs.checkpoints.authors import prefixes, unused_keys
from cnxs.checkpoints.strict import load_strict
from cnxs.model import ControlInput, ControlNetXS, base_structure
from cnxs.specs import ControlSpec

GOLDEN = Path(__file__).parent / "golden"
CASES = ("tiny_sd_a", "tiny_sd_b", "tiny_sd_c", "tiny_sdxl_a", "tiny_sdxl_b", "tiny_sd_type_a", "tiny_sd_type_c")
TYPES = {"encoder": "A", "encoder_double": "B", "full": "C"}


@dataclass(frozen=True)
class Case:
    """One golden case, in float32."""

    name: str
    info: Mapping
    base: UNet2DConditionModel
    control: ControlNetXS
    io: Mapping[str, torch.Tensor]

    def added(self) -> dict[str, torch.Tensor] | None:
        if "in.text_embeds" not in self.io:
            return None
        return {"text_embeds": self.io["in.text_embeds"], "time_ids": self.io["in.time_ids"]}

    def timesteps(self, run: str) -> torch.Tensor:
        return torch.tensor(self.info["runs"][run]["timesteps"])

    def input(self, run: str, hint: torch.Tensor) -> ControlInput:
        """The golden runs set correction strength (scale list) and embedding strength (control scale) apart."""
        scale_list, control_scale = (self.info["runs"][run][key] for key in ("scale_list", "control_scale"))
        if isinstance(scale_list, float | int):
            return ControlInput(hint=hint, control_scale=float(scale_list), embedding_scale=control_scale)
        gains = self.io["scale_list.custom"].tolist()
        return ControlInput(hint=hint, gains=gains, embedding_scale=control_scale)


def load_case(name: str) -> Case:
    info = json.loads((GOLDEN / f"{name}.json").read_text())

    def tensors(kind: str) -> dict[str, torch.Tensor]:
        merged = {key: value for file in info["files"][kind] for key, value in load_file(GOLDEN / file).items()}
        return {key: value.float() if value.is_floating_point() else value for key, value in merged.items()}

    base = UNet2DConditionModel(**info["unet_config"])
    base.load_state_dict(tensors("base"))
    spec = case_spec(info, base)
    control = ControlNetXS(spec)
    load_strict(control, ours(tensors("control"), spec), source=name)
    return Case(name, info, base.eval(), control.eval(), tensors("io"))


def ours(theirs: Mapping[str, torch.Tensor], spec: ControlSpec) -> dict[str, torch.Tensor]:
    renamed = {}
    for key, value in theirs.items():
        if key == "scale_list" or key.startswith(unused_keys(spec)):
            continue
        for our_prefix, their_prefix in prefixes(spec):
            if key.startswith(f"{their_prefix}."):
                renamed[our_prefix + key.removeprefix(their_prefix)] = value
    return renamed


def case_spec(info: Mapping, base: UNet2DConditionModel) -> ControlSpec:
    control = info["control"]
    xl = info["family"].startswith("SDXL")
    fixed = control["num_heads"] != -1
    return ControlSpec(
        control_type=TYPES[control["guiding"]],
        control_channels=tuple(control["control_channels"]),
        num_heads=control["num_heads"] if fixed else None,
        head_channels=None if fixed else control["num_head_channels"],
        transformer_norm_eps=1e-5 if xl else 1e-6,
        learn_time_embedding=control["learn_embedding"],
        base_family="sdxl" if xl else "sd21",
        condition="canny",
        **base_structure(base),
    )
