"""The program itself: `python app.py` in a process of its own, as a user starts it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE = 120.0  # seconds until the page must be served


@contextlib.contextmanager
def started(outputs: Path, *options: str) -> Iterator[str]:
    """Start the program on a free port of this machine and yield its address, without a slash at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--threads", "1", "--outputs", str(outputs), *options]
    app = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE
    try:
        while not _answers(url):
            assert app.poll() is None, "the program ended by itself"
            assert time.monotonic() < deadline, "the page was not served"
            time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/theme.css", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
