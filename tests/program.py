"""The program itself: `python app.py` in a process of its own, as a user starts it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cnxs.running import running_app


@contextlib.contextmanager
def started(outputs: Path, *options: str) -> Iterator[str]:
    """Start the program on a free port of this machine and yield its address, without a slash at the end."""
    quiet = {"PYTHONWARNINGS": "ignore"}
    with running_app("--threads", "1", "--outputs", str(outputs), *options, environment=quiet) as (url, _):
        yield url
