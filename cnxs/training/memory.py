"""How much memory this process has used at most."""

import sys

import psutil


def peak_bytes() -> int:
    """Return the most memory this process has had in use at a time, in bytes."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
