"""LoRAs on a base: layers of low rank beside the base's own, which a coupled control runs through as through the base.

The one exception to the rule that a base never changes: whoever calls `apply_loras` owns the base at that time.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.loaders.lora_base import set_adapters_for_text_encoder
from diffusers.utils import recurse_remove_peft_layers

from cnxs.bases.loaded import LoadedBase
from cnxs.checkpoints.files import read_tensors
from cnxs.errors import CheckpointError
from cnxs.recognise import recognise_shapes

_ENCODERS = ("text_encoder", "text_encoder_2")


def apply_loras(base: LoadedBase, loras: Sequence[tuple[Path, float]]) -> None:
    """Put LoRAs on U-Net and text encoders, in place of those that are on it.

    Args:
        base: the base to change; its own weights stay as they are.
        loras: (file, weight), in the names of diffusers, peft or kohya; weight 1 is as trained, 0 is off.

    Raises:
        CheckpointError: if a file is something else, damaged, or made for another base. No LoRA is on the base then.
    """
    clear_loras(base)
    try:
        for index, (file, _) in enumerate(loras):
            with warnings.catch_warnings():
                # peft warns of several adapters on one network, which are wanted, and of taking one off after an error.
                warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\.tuners")
                # A file that does not fit is taken off again by diffusers; what peft says then is of no use here.
                warnings.filterwarnings("ignore", "Adapter lora_.* was active which is now deleted")
                _load(base, file, _name(index))
    except CheckpointError:
        clear_loras(base)
        raise
    weights = {_name(index): weight for index, (_, weight) in enumerate(loras)}
    if on_unet := _adapters(base.unet):
        base.unet.set_adapters(on_unet, [weights[name] for name in on_unet])
    for encoder in base.prompts.text_encoders:
        if names := _adapters(encoder):
            set_adapters_for_text_encoder(names, encoder, [weights[name] for name in names])
    modules: tuple[Any, ...] = (base.unet, *base.prompts.text_encoders)
    for module in modules:
        module.to(module.device, module.dtype).eval().requires_grad_(False)


def clear_loras(base: LoadedBase) -> None:
    """Take all LoRAs off: the base is as it was loaded, bit for bit."""
    for module in (base.unet, *base.prompts.text_encoders):
        if _adapters(module):
            recurse_remove_peft_layers(module)
            del module.peft_config
            module._hf_peft_config_loaded = False


def _load(base: LoadedBase, file: Path, name: str) -> None:
    tensors = read_tensors(file)
    found = recognise_shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    if found.kind != "lora":
        raise CheckpointError("lora_is_other", file=file.name)
    if found.family and found.family != base.spec.family:
        raise CheckpointError("lora_other_base", file=file.name, lora=found.family, base=base.spec.label)
    try:
        loader: Any = StableDiffusionLoraLoaderMixin
        state, alphas = loader.lora_state_dict(dict(tensors), unet_config=base.unet.config)
        if not any(key.startswith(("unet.", *(f"{part}." for part in _ENCODERS))) for key in state):
            state = {f"unet.{key}": tensor for key, tensor in state.items()}
        if any(key.startswith("unet.") for key in state):
            base.unet.load_lora_adapter(state, prefix="unet", network_alphas=alphas, adapter_name=name)
        for part, encoder in zip(_ENCODERS, base.prompts.text_encoders, strict=False):
            if any(key.startswith(f"{part}.") for key in state):
                StableDiffusionLoraLoaderMixin.load_lora_into_text_encoder(
                    state, alphas, text_encoder=encoder, prefix=part, adapter_name=name
                )
    except (ValueError, KeyError, RuntimeError, IndexError) as error:
        raise CheckpointError("lora_unfit", file=file.name, reason=str(error).partition("\n")[0]) from error
    in_file = sum((tensor.ndim > 1 and "up." in key) or "lora_B" in key for key, tensor in state.items())
    on_base = sum(_layers(module, name) for module in (base.unet, *base.prompts.text_encoders))
    if on_base != in_file:
        raise CheckpointError("lora_unfit", file=file.name, reason=f"{on_base} / {in_file}")


def _adapters(module: torch.nn.Module) -> list[str]:
    return list(getattr(module, "peft_config", {}))


def _layers(module: torch.nn.Module, name: str) -> int:
    """Count the layers of one adapter on a network."""
    adapted: Any = [part for part in module.modules() if hasattr(part, "lora_B")]
    return sum(name in part.lora_B for part in adapted)


def _name(index: int) -> str:
    return f"lora_{index}"
