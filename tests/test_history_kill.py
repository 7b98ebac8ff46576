"""A process that is killed while it writes the history: nothing finished is lost, nothing half-written is shown."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from PIL import Image

from cnxs.history import History
from cnxs.records import Record

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

KILLS = 50

# Everything is imported once. Each line that comes in, "number folder", starts a writer, told by its process id. It
# says what it has finished: "kept", a favourite, or "gone": every fourth, which was deleted.
NURSERY = """
import os, sys
from dataclasses import replace
from pathlib import Path
from PIL import Image
from cnxs.history import History
from cnxs.request import ControlUse, defaults
from cnxs.store import ImageStore

def say(words):
    os.write(1, (words + "\\n").encode())

def write(folder, number):
    history, store = History(folder), ImageStore(None)
    say("ready")
    while True:
        number += 1
        pictures = [Image.effect_noise((160, 160), 90).convert("RGB") for _ in range(2)]
        use = ControlUse(network="n", kind="canny", map_id=store.put(pictures[0]), source_id=store.put(pictures[1]))
        done = history.add(pictures[0], replace(defaults(), prompt=f"picture {number}", controls=(use,)), images=store)
        if number % 4:
            history.favourite(done, on=True)
            say(f"kept {done}")
        else:
            history.delete(done)
            say(f"gone {done}")

for line in sys.stdin:
    child = os.fork()
    if not child:
        number, folder = line.strip().split(" ", 1)
        write(Path(folder), int(number))
    say(str(child))
    os.waitpid(child, 0)
    say("ended")
"""


@pytest.fixture
def nursery() -> Iterator[tuple[IO[str], IO[str]]]:
    """Yield the pipes to and from a process that starts writers."""
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdin, process.stdout
        process.stdin.close()


def kill_a_writer(
    pipes: tuple[IO[str], IO[str]], folder: Path, number: int, *, records: int, seconds: float
) -> list[str]:
    """Kill a writer some time after it has finished some records; return what it said before its end."""
    order, told = pipes
    order.write(f"{number} {folder}\n")
    order.flush()
    first = [told.readline().strip(), told.readline().strip()]  # which of the two speaks first is chance
    writer = int(next(line for line in first if line != "ready"))
    said = [told.readline().strip() for _ in range(records)]
    time.sleep(seconds)
    os.kill(writer, signal.SIGKILL)
    while (line := told.readline().strip()) != "ended":
        said.append(line)
    return said


def every(history: History) -> dict[str, Record]:
    records: list[Record] = []
    while page := history.search(limit=500, before=records[-1].record_id if records else None):
        records += page
    return {record.record_id: record for record in records}


def check_record(history: History, record: Record) -> None:
    with Image.open(io.BytesIO(history.png(record.record_id))) as image:
        image.load()
    use = record.request.controls[0]
    assert history.images.get(use.map_id).tobytes() == image.tobytes()
    history.images.get(use.source_id)
    with Image.open(io.BytesIO(history.thumbnail(record.record_id))) as small:
        small.load()


def check(folder: Path, said: list[str], checked: set[str]) -> None:
    """Open the history as the next start does, and look at everything that was not looked at before."""
    history = History(folder)
    shown = every(history)
    kept = {line.removeprefix("kept ") for line in said if line.startswith("kept ")}
    gone = {line.removeprefix("gone ") for line in said if line.startswith("gone ")}
    assert kept <= shown.keys()
    assert not gone & shown.keys()
    assert all(shown[record_id].favourite for record_id in kept)
    for record_id in shown.keys() - checked:
        check_record(history, shown[record_id])
    for record_id in gone - checked:
        history.undo_delete(record_id)
        check_record(history, history.get(record_id))
        history.delete(record_id)
    checked |= shown.keys() | gone
    history.close()


def test_sigkill_loses_nothing_finished_and_shows_nothing_half_written(
    tmp_path: Path, nursery: tuple[IO[str], IO[str]]
) -> None:
    moments = random.Random(7)
    said: list[str] = []
    checked: set[str] = set()
    halves: set[Path] = set()
    for number in range(KILLS):
        said += kill_a_writer(
            nursery, tmp_path, number, records=moments.randrange(3), seconds=moments.uniform(0.0, 0.04)
        )
        halves |= set(tmp_path.rglob("*.part"))
        check(tmp_path, said, checked)
    check(tmp_path, said, set())
    sys.stdout.write(f"{KILLS} kills, {len(said)} records finished before them, {len(halves)} files cut off\n")
    assert any(line.startswith("kept") for line in said)
    assert any(line.startswith("gone") for line in said)
