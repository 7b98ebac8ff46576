"""Strict loading: every key must fit, and what does not is named."""

from collections.abc import Mapping

import torch
from torch import nn

from cnxs.errors import CheckpointError

_NAMED = 5  # keys of each kind named in an error


def load_strict(module: nn.Module, tensors: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Put tensors into a module, converted to its dtype, or assigned where the module is on the meta device.

    Raises:
        CheckpointError: naming up to five missing, unexpected and misshapen keys each.
    """
    expected = module.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    shared = expected.keys() & tensors.keys()
    misshapen = sorted(key for key in shared if expected[key].shape != tensors[key].shape)
    if missing or unexpected or misshapen:
        shapes = [f"{key} {tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}" for key in misshapen]
        raise CheckpointError(
            "checkpoint_keys",
            source=source,
            missing=_list(missing),
            unexpected=_list(unexpected),
            misshapen=_list(shapes),
        )
    on_meta = any(tensor.is_meta for tensor in expected.values())
    module.load_state_dict(dict(tensors), strict=True, assign=on_meta)


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "-"
