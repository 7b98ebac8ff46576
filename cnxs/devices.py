"""Where networks run and in which number format, decided here and nowhere else; and what memory there is."""

import sys

import psutil
import torch

from cnxs.errors import InputError, UnavailableError

CPU = torch.device("cpu")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name, or the best there is.

    Raises:
        UnavailableError: if it is not here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UnavailableError("device_not_here", given=name, reason=str(error).split("\n")[0]) from error
    return torch.device(name)


def choose_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """Return the dtype of that name, or half precision on accelerators and float32 on the CPU.

    Raises:
        InputError: if there is no such dtype.
    """
    allowed = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in allowed:
        raise InputError("unknown_dtype", given=name, allowed=", ".join(allowed))
    return allowed[name]


def peak_bytes(device: torch.device | None = None) -> int:
    """Return the most memory this process has had in use at a time, in bytes: on a GPU if `device` is one."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: torch.device) -> str:
    """Return "cpu", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def free_bytes(device: torch.device) -> int:
    """Return how much memory could be taken now, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
