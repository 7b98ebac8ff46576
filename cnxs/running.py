"""The program in a process of its own, as a user starts it: to be measured and tested from outside."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 180.0  # for the page to be served


@contextlib.contextmanager
def running_app(
    *options: str, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start the program on a free port of this machine; yield its address, without a slash at the end, and its process.

    Args:
        options: of `app.py`, beside the port.
        environment: variables on top of this process's own.
        log: file for all that it prints; None: where this process prints.

    Raises:
        RuntimeError: if it ends, or serves nothing within three minutes; with the end of its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), *options]
    url = f"http://127.0.0.1:{port}"
    with contextlib.nullcontext() if log is None else log.open("wb") as output:
        app = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not _answers(url):
                if app.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("no page" if log is None else log.read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            yield url, app
        finally:
            app.terminate()
            app.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/theme.css", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
