"""What the machine has, found without torch. Standard library only."""

import shutil
from pathlib import Path

CUDA_INSTALL_PAGE = "https://pytorch.org/get-started/locally/"

_DRIVER = Path("/proc/driver/nvidia/version")


def nvidia_driver() -> bool:
    """Say whether an NVIDIA driver is installed: its `nvidia-smi` is on the path, or the kernel lists it."""
    return shutil.which("nvidia-smi") is not None or _DRIVER.exists()


def gpu_without_cuda(cuda_version: str | None) -> bool:
    """Say whether there is an NVIDIA card that this torch cannot use.

    Args:
        cuda_version: `torch.version.cuda`; None for a build without CUDA.
    """
    return cuda_version is None and nvidia_driver()
