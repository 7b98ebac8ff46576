"""Strict loading: every key must fit, and what does not is named as the file names it."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from cnxs.errors import CheckpointError
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec

_NAMED = 5  # keys of each kind named in an error


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    *,
    source: str,
    unknown: Iterable[str] = (),
    name: Callable[[str], str] = str,
) -> None:
    """Put tensors into a module, converted to its dtype, or assigned where the module is on the meta device.

    Args:
        module: what the tensors are for.
        tensors: by the module's own keys.
        source: the file's name, for the error.
        unknown: keys of the file that stand for nothing in the module.
        name: from a key of the module to the file's, for the error.

    Raises:
        CheckpointError: naming up to five missing, unexpected and misshapen keys each.
    """
    expected = module.state_dict()
    missing = sorted(name(key) for key in expected.keys() - tensors.keys())
    unexpected = sorted([*unknown, *(name(key) for key in tensors.keys() - expected.keys())])
    misshapen = sorted(
        f"{name(key)} {tuple(tensor.shape)} instead of {tuple(expected[key].shape)}"
        for key, tensor in tensors.items()
        if key in expected and expected[key].shape != tensor.shape
    )
    if missing or unexpected or misshapen:
        raise CheckpointError(
            "checkpoint_keys",
            source=source,
            missing=_list(missing),
            unexpected=_list(unexpected),
            misshapen=_list(misshapen),
        )
    on_meta = any(tensor.is_meta for tensor in expected.values())
    module.load_state_dict(dict(tensors), strict=True, assign=on_meta)


def build(
    spec: ControlSpec,
    tensors: Mapping[str, torch.Tensor],
    *,
    names: Iterable[tuple[str, str]],
    source: str,
) -> ControlNetXS:
    """Return a control with these tensors, in float32 on the CPU, nothing shared with them.

    Args:
        spec: what to build.
        tensors: by the file's keys.
        names: (our module name, the file's module name).
        source: the file's name, for the error.

    Raises:
        CheckpointError: naming what does not fit.
    """
    theirs = dict(names)
    renamed, unknown = rename_all(tensors, {their: our for our, their in theirs.items()})
    with torch.device("meta"):
        control = ControlNetXS(spec)
    copies = {key: tensor.to(torch.float32, copy=True) for key, tensor in renamed.items()}
    load_strict(control, copies, source=source, unknown=unknown, name=lambda key: rename(key, theirs) or key)
    return control.eval()


def rename(key: str, table: Mapping[str, str]) -> str | None:
    """Return `key` with its longest prefix that `table` knows, up to a dot, replaced; None where it knows none."""
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in table:
            return table[prefix] + key[len(prefix) :]
    return None


def rename_all(
    tensors: Mapping[str, torch.Tensor], table: Mapping[str, str]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors under their new names, and the keys that `table` has no name for."""
    renamed: dict[str, torch.Tensor] = {}
    unknown = []
    for key, tensor in tensors.items():
        new = rename(key, table)
        if new is None or new in renamed:
            unknown.append(key)
        else:
            renamed[new] = tensor
    return renamed, unknown


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "-"
