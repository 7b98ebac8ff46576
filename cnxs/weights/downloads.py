"""Downloads behind the page: each in a child process, so that it can be stopped at any moment and harms nothing."""

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO

from cnxs.errors import InputError, UnavailableError, UserError, error_of
from cnxs.protocol import DownloadInfo
from cnxs.registry import BASE_MODELS, CONTROL_NETWORKS, DETECTORS

ROOT = Path(__file__).resolve().parent.parent.parent
_STOP_SECONDS = 5.0


class Downloads:
    """The downloads of this run of the program. Use as a context manager, or call `close`.

    Args:
        folder: the user's models.
        environment: of the child processes; None: this one's.
    """

    def __init__(self, folder: Path, *, environment: dict[str, str] | None = None) -> None:
        self._folder = folder.resolve()
        self._environment = environment
        self._lock = threading.Lock()
        self._infos: dict[str, DownloadInfo] = {}
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Downloads":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, name: str) -> None:
        """Start to fetch a model, or go on with it; nothing happens while that runs already.

        Raises:
            InputError: if no model of that name can be fetched.
        """
        bases = [base.name for base in BASE_MODELS.values() if base.repositories]
        if name not in (known := [*bases, *CONTROL_NETWORKS, *DETECTORS]):
            raise InputError("unknown_download", given=name, allowed=", ".join(known))
        with self._lock:
            if name in self._children:
                return
            command = [sys.executable, "-m", "cnxs.weights", "--models", str(self._folder), "fetch", name, "--events"]
            child = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            self._children[name] = child
            self._infos[name] = DownloadInfo(name=name, state="running")
            thread = threading.Thread(target=self._follow, args=(name, child), name=f"download-{name}", daemon=True)
            self._threads.append(thread)
        thread.start()

    def infos(self) -> tuple[DownloadInfo, ...]:
        """Return every download of this run, each model once."""
        with self._lock:
            return tuple(self._infos.values())

    def cancel(self, name: str) -> None:
        """Stop a download, if it runs; what is there of it is gone on with by the next `start`."""
        with self._lock:
            child = self._children.pop(name, None)
            if child is not None:
                self._infos[name] = replace(self._infos[name], state="cancelled")
        if child is not None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_STOP_SECONDS)
            child.kill()

    def close(self) -> None:
        """Stop every download."""
        for name in tuple(self._children):
            self.cancel(name)
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def _follow(self, name: str, child: "subprocess.Popen[str]") -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            last = self._read(name, child, lines)
        child.wait()
        with self._lock:
            if self._children.get(name) is child:
                del self._children[name]
                error = None if last.get("finished") else _error_of(last, name)
                state = "failed" if error else "finished"
                self._infos[name] = replace(self._infos[name], state=state, error=error)

    def _read(self, name: str, child: "subprocess.Popen[str]", lines: IO[str]) -> dict[str, object]:
        event: dict[str, object] = {}
        for line in lines:
            event = json.loads(line)
            with self._lock:
                if "done" in event and self._children.get(name) is child:
                    done, total = int(str(event["done"])), int(str(event["total"]))
                    self._infos[name] = replace(self._infos[name], done_bytes=done, total_bytes=total)
        return event


def _error_of(event: dict[str, object], name: str) -> UserError:
    """Return the error that a child told last, or that it ended without a word."""
    if "error" not in event:
        return UnavailableError("download_stopped", name=name)
    return error_of(event)
