"""Many clients at once against a server of its own: `python -m cnxs.load_test --clients 20 --minutes 5`.

Every client asks, cancels, reloads and uploads broken files at random. Each picture that comes back is compared with
what the same request gave alone, before the load: the same bytes, or it is counted as wrong.
"""

import argparse
import contextlib
import hashlib
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageDraw

from cnxs import text
from cnxs.running import running_app

PROMPT = "a red apple, 3d render"
STRENGTHS = [0.5, 1.0]
WARM_SECONDS = 60.0  # in which memory may grow
WINDOW_SECONDS = 15.0  # of memory that is compared
SERVER_OPTIONS = ("threads", "device", "jobs_per_minute", "jobs_per_client", "queue")
SENTENCE = re.compile(r"\w.*[.!?)]$", re.DOTALL)
GRADIO_UNTOLD = "The upstream Gradio app"  # what its client says where the server told nothing

# What a client does next, by how often.
ACTIONS = {"generate": 5, "words": 2, "compare": 1, "cancel": 2, "reload": 1, "bad_upload": 1}
Key = tuple[str, int]  # what was asked, and its seed


@dataclass
class Tally:
    """What happened, counted by all clients together."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        """Count something that went well."""
        with self.lock:
            self.done[name] += 1

    def compare(self, key: Key, got: str, expected: str) -> None:
        """Count an answer, and whether it is what the same request gave alone."""
        with self.lock:
            self.done[key[0]] += 1
            if got != expected:
                self.wrong.append(f"{key[0]}, seed {key[1]}")

    def error(self, where: str, error: Exception) -> None:
        """Count an error: with a sentence it is a refusal, without one it is unexplained."""
        with self.lock:
            if explained(error):
                self.refused[where] += 1
            else:
                self.unexplained.append(f"{where}: {type(error).__name__}: {str(error)[:200]}")


def explained(error: Exception) -> bool:
    """Say whether an error of the server came with a sentence of its own."""
    sentence = str(error).strip()
    untold = (*text.entries()["page.unexpected"].values(), GRADIO_UNTOLD)
    return isinstance(error, AppError) and bool(SENTENCE.search(sentence)) and not sentence.startswith(untold)


class Visitor:
    """One client of the server: a session, and what it does with it."""

    def __init__(self, url: str, folder: Path, number: int, tally: Tally) -> None:
        self.url, self.folder, self.tally = url, folder, tally
        self.got = folder / f"got-{number}"
        self.random = random.Random(number)
        self.client = self._opened()

    def _opened(self) -> Client:
        return Client(self.url, verbose=False, download_files=self.got, analytics_enabled=False)

    def ask(self, key: Key) -> str:
        """Return the digest of the answer to a request."""
        return digest(self.client.predict(**request(key, self.folder)))

    def act(self, expected: dict[Key, str]) -> None:
        """Do one thing by chance."""
        action = self.random.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]
        try:
            getattr(self, f"_{action}")(expected)
        except (AppError, httpx.HTTPError, OSError, ValueError, CancelledError) as error:
            self.tally.error(action, error)

    def _key(self, name: str, expected: dict[Key, str]) -> Key:
        return self.random.choice([key for key in expected if key[0] == name])

    def _checked(self, name: str, expected: dict[Key, str]) -> None:
        key = self._key(name, expected)
        self.tally.compare(key, self.ask(key), expected[key])

    def _generate(self, expected: dict[Key, str]) -> None:
        self._checked("generate", expected)

    def _words(self, expected: dict[Key, str]) -> None:
        self._checked("words", expected)

    def _compare(self, expected: dict[Key, str]) -> None:
        self._checked("compare", expected)

    def _cancel(self, expected: dict[Key, str]) -> None:
        key = self._key("compare", expected)
        job = self.client.submit(**request(key, self.folder))
        time.sleep(self.random.uniform(0.0, 1.5))
        self.client.predict(api_name="/cancel")
        try:
            answer = job.result()
        except AppError as error:
            if not explained(error):
                raise
            self.tally.count("cancel")
        else:  # it was done before
            self.tally.compare(key, digest(answer), expected[key])

    def _reload(self, expected: dict[Key, str]) -> None:
        self.client.submit(**request(self._key("generate", expected), self.folder))
        time.sleep(self.random.uniform(0.0, 0.5))
        self.client.close()
        self.client = self._opened()
        self.tally.count("reload")

    def _bad_upload(self, expected: dict[Key, str]) -> None:
        file = self.random.choice(sorted((self.folder / "bad").iterdir()))
        try:
            self.client.predict("", handle_file(file), steps=1, api_name="/generate")
        except AppError as error:
            if not explained(error):
                raise
            self.tally.count("bad_upload")
        else:
            with self.tally.lock:
                self.tally.wrong.append(f"bad_upload, {file.name}")


def request(key: Key, folder: Path) -> dict[str, Any]:
    """Return the arguments of a request, by what is asked and its seed."""
    name, seed = key
    values: dict[str, Any] = {"prompt": PROMPT, "seed": seed, "steps": 4, "api_name": "/generate"}
    if name == "words":
        return values
    values["image"] = handle_file(folder / "photo.png")
    return values | {"strengths": STRENGTHS, "api_name": "/compare"} if name == "compare" else values


def digest(answer: tuple[Any, Any]) -> str:
    """Return the digest of every picture of an answer, settings inside included."""
    made = answer[1] if isinstance(answer[1], list) else [{"image": answer[0]}]
    return hashlib.sha256(b"".join(Path(one["image"]).read_bytes() for one in made)).hexdigest()


def prepared(folder: Path) -> None:
    """Write a photo, and files that are none."""
    (folder / "bad").mkdir()
    picture = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(picture).ellipse((60, 70, 200, 210), fill="red")
    picture.save(folder / "photo.png")
    whole = (folder / "photo.png").read_bytes()
    (folder / "bad" / "cut_off.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bad" / "text.png").write_text("no picture")
    (folder / "bad" / "too_large.png").write_bytes(whole[:16] + b"\x00\x01\x86\xa0" * 2 + whole[24:])


@contextlib.contextmanager
def served(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, psutil.Process]]:
    """Start the program in a process of its own; yield its address and the process.

    Raises:
        RuntimeError: if it ends, or serves nothing within three minutes.
    """
    given = {"models": folder / "models", "outputs": folder / "outputs"}
    given |= {name: getattr(options, name) for name in SERVER_OPTIONS}
    command = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    environment = {"GRADIO_TEMP_DIR": str(folder / "uploads")}
    with running_app(*command, "--offline", environment=environment, log=folder / "server.log") as (url, app):
        yield url, psutil.Process(app.pid)


def loaded(url: str, server: psutil.Process, folder: Path, options: argparse.Namespace) -> tuple[Tally, list[float]]:
    """Let the clients loose; return what happened, and the server's memory in bytes, second by second."""
    tally = Tally()
    first = Visitor(url, folder, 0, tally)
    expected = {
        (name, seed): first.ask((name, seed))
        for name in ("generate", "words", "compare")
        for seed in range(options.seeds)
    }
    end = time.monotonic() + 60 * options.minutes

    def live(number: int) -> None:
        visitor = Visitor(url, folder, number, tally)
        while time.monotonic() < end:
            visitor.act(expected)
        visitor.client.close()

    memory = []
    with ThreadPoolExecutor(options.clients) as pool:
        lives = [pool.submit(live, number) for number in range(1, options.clients + 1)]
        while time.monotonic() < end:
            memory.append(float(server.memory_info().rss))
            time.sleep(1.0)
        for one in lives:
            one.result()  # what no client expects ends the run
    first.client.close()
    return tally, memory


def growth(memory: Sequence[float]) -> float | None:
    """Return how much memory grew after the first minute, as a share; None if there was too little time to tell.

    Args:
        memory: one value a second.
    """
    steady = memory[round(WARM_SECONDS) :]
    window = round(WINDOW_SECONDS)
    if len(steady) < 2 * window:
        return None
    return statistics.median(steady[-window:]) / statistics.median(steady[:window]) - 1


def report(tally: Tally, memory: Sequence[float]) -> str:
    """Return the figures in words."""
    grown = growth(memory)
    lines = [
        text.get(
            "cli.load_done",
            count=sum(tally.done.values()),
            kinds=", ".join(f"{name} {count}" for name, count in sorted(tally.done.items())),
        ),
        text.get("cli.load_wrong", count=len(tally.wrong)),
        *tally.wrong[:10],
        text.get("cli.load_unexplained", count=len(tally.unexplained)),
        *tally.unexplained[:10],
        text.get("cli.load_refused", count=sum(tally.refused.values())),
        text.get("cli.load_memory", megabytes=round(max(memory, default=0) / 2**20)),
        text.get("cli.load_growth_unknown") if grown is None else text.get("cli.load_growth", share=f"{grown:+.1%}"),
    ]
    return "\n".join(lines)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.load_test", description=text.get("cli.load"))
    add = parser.add_argument
    add("--clients", type=int, default=20, help=text.get("cli.load_clients"))
    add("--minutes", type=float, default=5.0, help=text.get("cli.load_minutes"))
    add("--seeds", type=int, default=8, help=text.get("cli.load_seeds"))
    add("--device", default="auto", help=text.get("cli.app_device"))
    add("--threads", type=int, default=0, help=text.get("cli.app_threads"))
    for name in ("jobs_per_minute", "jobs_per_client", "queue"):
        words = text.get(f"cli.app_{name}", default=100_000)
        add(f"--{name.replace('_', '-')}", type=int, default=100_000, metavar="N", help=words)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Run the command line; the exit status is 1 if anything was wrong or unexplained."""
    options = arguments(given)
    with tempfile.TemporaryDirectory(prefix="cnxs-load-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        prepared(folder)
        with served(folder, options) as (url, server):
            tally, memory = loaded(url, server, folder, options)
    print(report(tally, memory))
    sys.exit(1 if tally.wrong or tally.unexplained else 0)


if __name__ == "__main__":
    main()
