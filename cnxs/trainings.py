"""Trainings behind the page: one at a time, in a child process that runs `python -m cnxs.training`."""

import contextlib
import csv
import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cnxs.errors import InputError, UnavailableError, UserError, error_of
from cnxs.picture_folders import picture_folders, put_files
from cnxs.protocol import TrainingInfo, TrainingOrder, TrainingState
from cnxs.registry import CONTROL_KINDS
from cnxs.weights import Library

ROOT = Path(__file__).resolve().parent.parent
RUNS = ".runs"  # below the root of the picture folders, which shows no hidden ones
MINUTES = (0.05, 10_000.0)
_STOP_SECONDS = 30.0
_POINTS = 300  # of a curve, at most
_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,39}", re.ASCII)
_PREPARED = re.compile(r"(\d+) of (\d+) pictures")


@dataclass
class _Run:
    order: TrainingOrder
    folder: Path
    output: Path
    child: "subprocess.Popen[bytes]"
    before: float  # minutes of earlier starts
    stopping: bool = False
    state: TrainingState = "running"
    error: UserError | None = None


class Trainings:
    """The trainings of this run of the program; the real `cnxs.protocol.TrainingDesk`. Use as a context manager.

    Args:
        library: the models; finished controls are put among the user's own.
        datasets: the folder whose subfolders hold pictures; nothing outside it is read or written.
        threads: of the processor, for a training; 0 leaves it to torch.
        environment: of the child processes; None: this one's.
    """

    def __init__(
        self, library: Library, datasets: Path, *, threads: int = 0, environment: dict[str, str] | None = None
    ) -> None:
        assert library.folder is not None, "finished controls need a place"
        self._library, self._controls = library, library.folder.resolve() / "controls"
        self._datasets, self._threads = datasets.resolve(), threads
        self._environment = environment
        self._lock = threading.Lock()
        self._run: _Run | None = None

    def __enter__(self) -> "Trainings":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders with pictures."""
        return picture_folders(self._datasets)

    def bases(self) -> tuple[str, ...]:
        """Return the names of the base models that can be trained on: those that are here."""
        return tuple(self._base_paths())

    def conditions(self) -> tuple[str, ...]:
        """Return the kinds whose maps the program draws from any picture without further weights."""
        return tuple(kind.name for kind in CONTROL_KINDS.values() if not kind.weights and kind.name != "as_is")

    def start(self, order: TrainingOrder) -> None:
        """Start a training, or go on with the one of that name.

        Raises:
            InputError: `training_running`, `training_name`, `training_name_taken`, `training_folder`,
                `training_minutes`, or those of `put_files` for uploads.
        """
        with self._lock:
            if self._run is not None and self._run.state == "running":
                raise InputError("training_running", name=self._run.order.name)
            self._check(order)
            if order.files:
                put_files(self._datasets, order.name, order.files)
            folder = self._datasets / RUNS / order.name
            folder.mkdir(parents=True, exist_ok=True)
            output = self._controls / f"{order.name}.safetensors"
            before = _minutes(_rows(folder / "curve.csv"))
            with (folder / "log.txt").open("wb") as log:
                child = subprocess.Popen(
                    self._command(order, folder, output, before=before),
                    cwd=ROOT,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self._run = _Run(order, folder, output, child, before)
            threading.Thread(target=self._follow, args=(self._run,), name="training", daemon=True).start()

    def stop(self) -> None:
        """Ask the training to save and stop, which it does after its step."""
        with self._lock:
            if self._run is not None and self._run.state == "running":
                self._run.stopping = True
                self._run.child.terminate()

    def info(self) -> TrainingInfo | None:
        """Return how far the newest training is; None where none was started."""
        run = self._run
        if run is None:
            return None
        rows = _rows(run.folder / "curve.csv")
        sheets = sorted(run.folder.glob("sheet_*.png"))
        prepared, total = _prepared(run.folder / "log.txt")
        return TrainingInfo(
            name=run.order.name,
            base=run.order.base,
            condition=run.order.condition,
            state="stopping" if run.stopping and run.state == "running" else run.state,
            prepared=prepared,
            pictures=total,
            minutes=max(0.0, _minutes(rows) - run.before),
            minutes_asked=run.order.minutes,
            steps=int(rows[-1]["step"]) if rows else 0,
            losses=_thinned([(float(row["images"]), float(row["loss"])) for row in rows if row["loss"] != "nan"]),
            held_out=_thinned([(float(row["images"]), float(row["held_out"])) for row in rows if row["held_out"]]),
            sheet=sheets[-1].read_bytes() if sheets else None,
            network=run.order.name if run.output.is_file() else "",
            error=run.error,
        )

    def close(self) -> None:
        """Stop the training, if one runs, and wait until it has saved."""
        self.stop()
        if self._run is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._run.child.wait(_STOP_SECONDS)
            self._run.child.kill()
            self._run.child.wait()

    def _check(self, order: TrainingOrder) -> None:
        if not _NAME.fullmatch(order.name):
            raise InputError("training_name", given=order.name[:60])
        is_own = (self._datasets / RUNS / order.name).is_dir()
        if not is_own and order.name in {network.name for network in self._library.networks()}:
            raise InputError("training_name_taken", given=order.name)
        if not order.files and order.folder not in self.folders():
            raise InputError("training_folder", given=order.folder, allowed=", ".join(self.folders()) or "-")
        if order.base not in self.bases():
            raise InputError("unknown_base", given=order.base, allowed=", ".join(self.bases()))
        if order.condition not in self.conditions():
            raise InputError("unknown_kind", given=order.condition, allowed=", ".join(self.conditions()))
        if not MINUTES[0] <= order.minutes <= MINUTES[1]:
            raise InputError("training_minutes", given=order.minutes, maximum=f"{MINUTES[1]:g}")

    def _base_paths(self) -> Mapping[str, Path]:
        return {base.spec.name: base.path for base in self._library.bases() if base.path is not None}

    def _command(self, order: TrainingOrder, folder: Path, output: Path, *, before: float) -> list[str]:
        given = {
            "base": self._base_paths()[order.base].resolve(),
            "condition": CONTROL_KINDS[order.condition].conditions[0],
            "images": self._datasets / (order.name if order.files else order.folder),
            "caption": order.caption,
            "minutes": before + order.minutes,
            "output": output,
            "run": folder,
            "threads": self._threads,
            "report-every": 1,
            "save-every": 50,
            "sheet-every": 50,
        }
        options = [f"--{name}={value}" for name, value in given.items()]
        return [sys.executable, "-m", "cnxs.training", *options, "--events"]

    def _follow(self, run: _Run) -> None:
        status = run.child.wait()
        with self._lock:
            if status and not run.stopping:
                run.state, run.error = "failed", _error(run.folder / "log.txt")
            else:
                run.state = "stopped" if run.stopping else "finished"


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")  # a line may be on its way
    return list(csv.DictReader(whole.splitlines()))


def _minutes(rows: list[dict[str, str]]) -> float:
    return float(rows[-1]["minutes"]) if rows else 0.0


def _thinned(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return points spread over all, the last one among them."""
    return tuple(points[:: -(-len(points) // _POINTS) or 1][:-1] + points[-1:])


def _prepared(log: Path) -> tuple[int, int]:
    found = _PREPARED.findall(log.read_text("utf-8", "replace"))
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


def _error(log: Path) -> UserError:
    """Return the error that the child told last, or that it ended without a word of its own."""
    last = next((line for line in reversed(log.read_text("utf-8", "replace").splitlines()) if line.strip()), "")
    try:
        return error_of(json.loads(last))
    except (json.JSONDecodeError, KeyError, TypeError):
        return UnavailableError("training_ended", reason=last[:200] or "-", log=log)
