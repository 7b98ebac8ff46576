"""Files of a run, replaced only by whole ones: neither a full disk nor a kill costs what was there."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from cnxs.errors import UnavailableError

_GB = 1e9


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, and put it in the place of `path` once it is complete.

    Raises:
        UnavailableError: `training_not_written`, for instance where the disk is full; `path` is as it was then.
    """
    partial = path.with_suffix(path.suffix + ".partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in a sentence that `path` could not be written.

    Raises:
        UnavailableError: `training_not_written`.
    """
    try:
        yield
    # torch's writer of archives says it with a RuntimeError.
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UnavailableError("training_not_written", file=path.name, folder=path.parent, reason=reason) from error


def check_space(folder: Path, *, needed: int) -> None:
    """Check that a disk has room before long work fills it.

    Args:
        folder: an existing one on that disk.
        needed: bytes.

    Raises:
        UnavailableError: `training_disk_full`.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UnavailableError(
            "training_disk_full", folder=folder, free=f"{free / _GB:.1f}", needed=f"{needed / _GB:.1f}"
        )
