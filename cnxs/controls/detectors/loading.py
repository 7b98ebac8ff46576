"""From weight files to networks: pickles of tensors and safetensors, strictly, never code, never the network."""

import contextlib
import importlib
import io
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cnxs.errors import CheckpointError, UnavailableError

_NAMED = 3  # keys of each kind named in an error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow warnings and prints: the package's networks cause both while they are imported and made."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def auxiliary(module: str) -> Any:
    """Return a module of the package `controlnet_aux`, whose import is slow, warns a dozen times and prints.

    Raises:
        UnavailableError: `detector_package` if it cannot be imported: beside mediapipe from 0.10.30 on it cannot.
    """
    try:
        with quiet():
            return importlib.import_module(f"controlnet_aux.{module}")
    except (ImportError, AttributeError) as error:
        raise UnavailableError("detector_package", package="controlnet-aux", reason=str(error)) from error


def read(path: Path, *, under: str = "") -> dict[str, torch.Tensor]:
    """Return a file's tensors by key, on the CPU, without the `module.` that parallel training puts before keys.

    Args:
        path: `.safetensors`, or a pickle.
        under: the entry that holds the tensors, in a pickle that holds more.

    Raises:
        CheckpointError: `file_damaged`, `pickle_with_code`, `file_without_weights`.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError("pickle_with_code", file=path.name) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    content = content.get(under) if under and isinstance(content, dict) else content
    if not isinstance(content, dict) or not content:
        raise CheckpointError("file_without_weights", file=path.name)
    if not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()):
        raise CheckpointError("file_without_weights", file=path.name)
    return {key.removeprefix("module."): value for key, value in content.items()}


def build(make: Callable[[], nn.Module], tensors: Mapping[str, torch.Tensor], *, file: Path) -> nn.Module:
    """Return the network that `make` makes, in float32, with exactly these tensors.

    Raises:
        CheckpointError: `checkpoint_keys`, naming keys that are missing, unexpected or misshapen.
    """
    with torch.device("meta"), quiet():
        network = make()
    expected = network.state_dict()
    _refuse(
        file,
        missing=expected.keys() - tensors.keys(),
        unexpected=tensors.keys() - expected.keys(),
        misshapen=(key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape),
    )
    network.load_state_dict(dict(tensors), assign=True)
    return network.float()


def pretrained(name: str, files: tuple[Path, ...]) -> Any:
    """Return a model of transformers, in float32.

    Args:
        name: the class.
        files: `config.json` and the weights, in one folder.

    Raises:
        CheckpointError: those of `read` and `build`; what the file holds beside the model's keys is left out.
    """
    model_class = getattr(importlib.import_module("transformers"), name)
    config_file, weights = files
    tensors = read(weights)
    try:
        config = model_class.config_class.from_pretrained(config_file.parent, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(config_file, error) from error
    try:
        network, report = model_class.from_pretrained(
            None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True
        )
    except RuntimeError as error:
        raise _damaged(weights, error) from error
    _refuse(weights, missing=report["missing_keys"], misshapen=(key for key, *_ in report["mismatched_keys"]))
    return network


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return CheckpointError("file_damaged", file=path.name, reason=reason)


def _refuse(
    file: Path, *, missing: Iterable[str] = (), unexpected: Iterable[str] = (), misshapen: Iterable[str] = ()
) -> None:
    """Raise `checkpoint_keys` if there is any key."""
    kinds = {"missing": sorted(missing), "unexpected": sorted(unexpected), "misshapen": sorted(misshapen)}
    if any(kinds.values()):
        named = {kind: ", ".join([*keys[:_NAMED], *["..."][: len(keys) - _NAMED]]) for kind, keys in kinds.items()}
        raise CheckpointError(
            "checkpoint_keys", source=file.name, **{kind: keys or "-" for kind, keys in named.items()}
        )
