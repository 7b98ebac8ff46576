"""A training that is killed, or whose disk is full: a sentence where one can be said, and nothing finished is lost."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# Everything is imported once. Each line that comes in, "limit folder", starts the command in a child, whose files may
# get no larger than the limit, in bytes (0: none). It says the child's process id, then how it ended.
NURSERY = """
import os, resource, sys
from cnxs.training import cache
from cnxs.training.__main__ import main

cache._SHARD = 2

def train(limit, folder):
    log = os.open(folder + "/log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    data = ["--condition", "canny", "--images", folder + "/../pictures", "--size", "64", "--widths", "8,8,8"]
    length = ["--steps", "8", "--batch-size", "2", "--save-every", "2", "--sheet-every", "0", "--threads", "1"]
    return main([*data, *length, "--output", folder + "/mine.safetensors"])

os.write(1, b"ready\\n")
for line in sys.stdin:
    limit, folder = line.strip().split(" ", 1)
    child = os.fork()
    if not child:
        os._exit(train(int(limit), folder))
    os.write(1, f"{child}\\n".encode())
    os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\\n".encode())
"""


@dataclass
class Nursery:
    """Starts trainings of the pictures beside a folder, in it."""

    order: IO[str]
    told: IO[str]

    def train(self, folder: Path, *, limit: int = 0, kill_after: float | None = None) -> int:
        """Return the exit status, -9 after a kill."""
        folder.mkdir(exist_ok=True)
        self.order.write(f"{limit} {folder}\n")
        self.order.flush()
        child = int(self.told.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it was done before
                os.kill(child, signal.SIGKILL)
        return int(self.told.readline())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # a process with threads cannot be forked
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process.stdin, process.stdout)
        process.stdin.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with six pictures in it."""
    place = tmp_path_factory.mktemp("killed")
    (place / "pictures").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(place / "pictures" / f"{number}.png")
        (place / "pictures" / f"{number}.txt").write_text("noise", "utf-8")
    return place


@dataclass
class Whole:
    """A run that nothing stopped: its result, and how long it took."""

    control: dict[str, torch.Tensor]
    seconds: float


@pytest.fixture(scope="module")
def whole(nursery: Nursery, place: Path) -> Whole:
    begin = time.monotonic()
    assert nursery.train(place / "whole") == 0, (place / "whole" / "log").read_text("utf-8")
    return Whole(load_file(place / "whole" / "mine.safetensors"), time.monotonic() - begin)


def finished_shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("mine.run/samples-*/*.safetensors")}


def steps_saved(folder: Path) -> int:
    """Return the step of the run's state, whose every part can be read, as can the control beside it."""
    state = folder / "mine.run" / "state.pt"
    if not state.is_file():
        return 0
    if (folder / "mine.safetensors").is_file():
        load_file(folder / "mine.safetensors")
    return torch.load(state, weights_only=True)["counts"][0]


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_chance_moments_lose_nothing_finished(nursery: Nursery, place: Path, whole: Whole, kills: int) -> None:
    moments, folder = random.Random(kills), place / f"{kills}-0"
    shards: dict[str, bytes] = {}
    saved = runs = cut = 0
    for number in range(kills):
        status = nursery.train(folder, kill_after=moments.uniform(0.1, 1.0) * whole.seconds)
        now, step = finished_shards(folder), steps_saved(folder)
        assert all(now.get(name) == content for name, content in shards.items())
        assert step >= saved
        cut += status == -signal.SIGKILL
        shards, saved = now, step
        if status == 0 or number == kills - 1:
            assert nursery.train(folder) == 0
            result = load_file(folder / "mine.safetensors")
            assert all(torch.equal(result[name], value) for name, value in whole.control.items())
            folder, shards, saved, runs = place / f"{kills}-{number + 1}", {}, 0, runs + 1
    sys.stdout.write(f"{cut} kills in {runs} runs\n")
    assert cut


def test_a_full_disk_ends_in_a_sentence_and_keeps_what_was_saved(nursery: Nursery, place: Path) -> None:
    folder = place / "full"
    assert nursery.train(folder, limit=20_000) == 2
    assert "00000.safetensors could not be written" in (folder / "log").read_text("utf-8")
    assert nursery.train(folder, limit=400_000) == 2, "room for samples, none for the state"
    assert "state.pt could not be written" in (folder / "log").read_text("utf-8")
    shards = finished_shards(folder)
    assert len(shards) == 3
    assert list(folder.rglob("*.partial")) == []
    assert nursery.train(folder) == 0
    assert finished_shards(folder) == shards
    assert steps_saved(folder) == 8
