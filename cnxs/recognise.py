"""What a weight file is, told from its keys and shapes alone: no weights are read, no torch is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cnxs.checkpoints.kinds import kind_of
from cnxs.checkpoints.metadata import Shape, read_shapes
from cnxs.errors import CheckpointError

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CONTEXT_WIDTHS = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
_REFINER_WIDTH = 1280
# A ControlNet-XS: the authors' names, diffusers', and our own.
_CONTROL = re.compile(r"(enc|dec)_zero_convs_|.*\.(ctrl_to_base|base_to_ctrl)\.|(encoder|decoder)_to_(base|ctrl)\.")
# A video model's file has the same names as Stable Diffusion's beside these.
_TEMPORAL = re.compile(r".*(time_stack|time_mixer|temporal|motion_modules)")
# Why a file of another kind is no base, as error keys.
_REFUSALS = {
    "flux": "file_is_flux",
    "sd3": "file_is_sd3",
    "control": "no_base_control",
    "controlnet": "no_base_controlnet",
    "controlnet_xs_old": "no_base_controlnet_xs_old",
    "embedding": "no_base_embedding",
    "ip_adapter": "no_base_ip_adapter",
    "lora": "no_base_lora",
    "t2i_adapter": "no_base_t2i_adapter",
    "text_encoder": "no_base_text_encoder",
    "unet": "no_base_unet",
    "unknown": "no_base_unknown",
    "vae": "no_base_vae",
}


@dataclass(frozen=True)
class Recognised:
    """What a file is.

    Attributes:
        kind: "base", "control" (a ControlNet-XS), "lora", "embedding", "vae", "unet", "text_encoder", "controlnet",
            "controlnet_xs_old", "t2i_adapter", "ip_adapter", "flux", "sd3" or "unknown".
        family: "sd15", "sd21" or "sdxl"; "" where the file does not say.
        problem: why a base cannot be used, as an error key; "" where it can.
    """

    kind: str
    family: str = ""
    problem: str = ""

    def as_base(self, file: str) -> str:
        """Return the family of a file that can be used as a base model.

        Args:
            file: its name, for the sentence.

        Raises:
            CheckpointError: saying what it is instead.
        """
        if self.kind != "base":
            raise CheckpointError(_REFUSALS[self.kind], file=file)
        if self.problem:
            raise CheckpointError(self.problem, file=file)
        return self.family


def recognise(path: Path) -> Recognised:
    """Say what a `.safetensors`, `.ckpt` or `.pt` file is.

    Raises:
        CheckpointError: if the file is damaged, or a pickle that holds more than weights.
    """
    return recognise_shapes(read_shapes(path))


def recognise_shapes(shapes: Mapping[str, Shape]) -> Recognised:
    """Say what weights with these keys and shapes are."""
    if any(_CONTROL.match(key) for key in shapes):
        return Recognised("control")
    found = kind_of(shapes)
    kind = "unknown" if found is None else found.removeprefix("file_is_")
    if kind == "checkpoint":
        return _recognise_base(shapes)
    if kind == "lora":
        return Recognised(kind, _family_by_attention(shapes, r".*attn2[._]to_k.*(lora_down|lora_A|lora\.down)"))
    if kind == "embedding":
        return Recognised(kind, _embedding_family(shapes))
    if kind == "unet":
        return Recognised(kind, _family_by_attention(shapes, r".*attn2\.to_k\.weight"))
    return Recognised(kind)


def _recognise_base(shapes: Mapping[str, Shape]) -> Recognised:
    unet = {key.removeprefix(UNET): shape for key, shape in shapes.items() if key.startswith(UNET)}
    if "input_blocks.0.0.weight" not in unet or any(_TEMPORAL.match(key) for key in unet):
        return Recognised("unknown")
    channels = unet["input_blocks.0.0.weight"][1]
    widths = [shape[-1] for key, shape in unet.items() if key.endswith("attn2.to_k.weight")]
    open_clip_first = any(key.startswith("conditioner.embedders.0.model.") for key in shapes)
    if open_clip_first or (not any(key.startswith("conditioner.") for key in shapes) and _REFINER_WIDTH in widths):
        return Recognised("base", "sdxl", "base_is_refiner")
    if "time_embed.cond_proj.weight" in unet:
        return Recognised("base", _base_family(shapes, widths), "base_is_distilled")
    problem = {4: "", 9: "base_is_inpainting"}.get(channels, "base_channels")
    family = _base_family(shapes, widths)
    return Recognised("base", family, problem) if family else Recognised("unknown")


def _base_family(shapes: Mapping[str, Shape], widths: list[int]) -> str:
    """Tell the family from the text encoders' names, or from the text width where there are none."""
    for prefix, family in (
        ("conditioner.embedders.", "sdxl"),
        ("cond_stage_model.model.", "sd21"),
        ("cond_stage_model.transformer.", "sd15"),
    ):
        if any(key.startswith(prefix) for key in shapes):
            return family
    return next((CONTEXT_WIDTHS[width] for width in widths if width in CONTEXT_WIDTHS), "")


def _family_by_attention(shapes: Mapping[str, Shape], pattern: str) -> str:
    for key, shape in shapes.items():
        if re.match(pattern, key):
            return CONTEXT_WIDTHS.get(shape[1] if len(shape) > 1 else 0, "")
    return ""


def _embedding_family(shapes: Mapping[str, Shape]) -> str:
    if {"clip_l", "clip_g"} <= shapes.keys():
        return "sdxl"
    return next((CONTEXT_WIDTHS.get(shape[-1], "") for shape in shapes.values() if shape), "")
