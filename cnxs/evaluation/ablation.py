"""The ablation: each row's network trained and measured alike, and what comes out kept in a folder of the row's own."""

import dataclasses
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cnxs.devices import CPU, device_name, peak_bytes
from cnxs.errors import InputError
from cnxs.evaluation.bench import Report, Samples
from cnxs.evaluation.following import Row as Figures
from cnxs.evaluation.measure import Budget, Measure, Speed
from cnxs.evaluation.rows import Row, RowTrainer, own_parameters, peer
from cnxs.evaluation.subjects import case_pictures
from cnxs.training.config import PRESETS, TrainingConfig
from cnxs.training.data import PoolData
from cnxs.training.frozen_base import load_base

MARKS = (0.125, 0.25, 0.5, 1.0)  # of the budget: where F is measured
SEED_OFFSETS = (0, 10_000, 20_000)  # of the three generations whose Frechet distances are compared
SHOWN = 8  # cases on the sheet
_ON_THE_WAY = 16  # cases by which F is measured at each mark


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a row came to.

    Attributes:
        stream_parameters: those in neither the hint net nor the 1x1 convolutions that read the base.
        peak_bytes: the most memory of the training process, data and base included.
        half, full: edge agreement at strengths 0.5 and 1.
        loss, plain_loss: prediction error on the cases, at strength 1 and of the base alone.
        frechet: to the held-out pictures, one for each generation seed.
        points: training images, and F of the first cases after so many.
        device: "cpu", or the name of the GPU that trained and sampled.
        speed: None until all rows are timed side by side.
    """

    row: str
    label: str
    budget: Budget
    parameters: int
    stream_parameters: int
    share: float
    images: int
    minutes: float
    peak_bytes: int
    half: Figures
    full: Figures
    loss: float
    plain_loss: float
    frechet: tuple[float, ...]
    points: tuple[tuple[int, float], ...]
    device: str = "cpu"
    speed: Speed | None = None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Result":
        """Rebuild a result from its JSON."""
        parts = {
            "budget": Budget(**record["budget"]),
            "half": Figures(**record["half"]),
            "full": Figures(**record["full"]),
            "frechet": tuple(record["frechet"]),
            "points": tuple((int(images), float(f)) for images, f in record["points"]),
            "speed": None if record["speed"] is None else Speed(**record["speed"]),
        }
        return cls(**{**record, **parts})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the rows stand between: the base without control, and what its autoencoder lets through."""

    cases: int
    steps: int
    plain: Figures
    plain_frechet: tuple[float, ...]
    ceiling: Figures
    ceiling_frechet: float

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Reference":
        """Rebuild it from its JSON."""
        parts = {"plain": Figures(**record["plain"]), "ceiling": Figures(**record["ceiling"])}
        return cls(**{**record, **parts, "plain_frechet": tuple(record["plain_frechet"])})


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row to train and measure: all that a process of its own needs to know."""

    row: Row
    budget: Budget
    pools: tuple[Path, ...]
    folder: Path  # of this row
    device: str = "cpu"  # or "cuda"; rounding differs, so one table is one device's

    def finished(self) -> Result | None:
        """Return what is kept of an earlier run.

        Raises:
            InputError: `ablation_differs` if that had another budget.
        """
        if not (self.folder / "row.json").is_file():
            return None
        found = Result.from_record(json.loads((self.folder / "row.json").read_text("utf-8")))
        if found.budget != self.budget:
            raise InputError("ablation_differs", row=self.row.name, folder=self.folder.parent)
        return found

    def config(self) -> TrainingConfig:
        """Return the settings of the training: the miniature's own, for every row the same."""
        budget = self.budget
        steps = None if budget.images is None else budget.images // budget.batch_size
        fields: dict[str, Any] = {
            "base": "miniature",
            "condition": "canny",
            "output": self.folder / "control.safetensors",
            "run": self.folder / "run",
            "pools": self.pools,
            "steps": steps,
            "minutes": budget.minutes,
            "batch_size": budget.batch_size,
            "seed": budget.seed,
            "held_out": budget.held_out,
            "threads": budget.threads,
            "precision": budget.precision,
            "control_type": self.row.control_type,
            "widths": self.row.widths,
            "report_every": min(20, max(1, (steps or 1000) // 16)),  # a mark is noticed at a report
            "save_every": 500,
            "sheet_every": 0,
        }
        return TrainingConfig(**PRESETS["miniature"] | fields)


def run_row(task: Task, stop: threading.Event, *, report: Report = lambda line: None) -> Result | None:
    """Train and measure one row, or go on with it; return None where `stop` was set before the end of the training.

    Raises:
        InputError: as `Task.finished` and the trainer.
    """
    if (found := task.finished()) is not None:
        return found
    torch.set_num_threads(task.budget.threads)
    (trainer,) = row_trainers([task])
    measure = Measure.of(task.budget, trainer.base, trainer.accelerator.device)
    points = train(trainer, measure, task, stop, report=report)
    if points is None:
        return None
    result = _measured(trainer, measure, task, points, peak=peak_bytes(trainer.accelerator.device))
    _write(task.folder / "row.json", dataclasses.asdict(result))
    return result


def row_trainers(tasks: Sequence[Task], *, runs: Path | None = None) -> list[RowTrainer]:
    """Return a trainer for each row, on one base and one copy of the data; with `runs`, with run folders there."""
    config = tasks[0].config()
    accelerator = Accelerator(cpu=tasks[0].device == "cpu", mixed_precision=config.precision)
    base = load_base("miniature", device=accelerator.device, dtype=torch.float32)
    data = PoolData(
        config.pools,
        condition=config.condition,
        encode_captions=base.encode_captions,
        held_out=config.held_out,
        device=accelerator.device,
    )
    configs = [
        task.config() if runs is None else dataclasses.replace(task.config(), run=runs / task.row.name)
        for task in tasks
    ]
    return [
        RowTrainer(task.row, config, base=base, data=data, accelerator=accelerator)
        for task, config in zip(tasks, configs, strict=True)
    ]


def _measured(
    trainer: RowTrainer, measure: Measure, task: Task, points: tuple[tuple[int, float], ...], *, peak: int
) -> Result:
    network = peer(measure.bench.pipeline.base.unet, trainer.average)
    full = [measure.generate(network, 1.0, seed_offset=offset) for offset in SEED_OFFSETS]
    _save_shown(full[0], task.folder)
    parameters, stream = own_parameters(trainer.average)
    return Result(
        row=task.row.name,
        label=task.row.label,
        budget=task.budget,
        parameters=parameters,
        stream_parameters=stream,
        share=parameters / sum(parameter.numel() for parameter in trainer.base.unet.parameters()),
        images=trainer.images,
        minutes=round(trainer.elapsed / 60, 3),
        peak_bytes=peak,
        half=measure.figures(measure.generate(network, 0.5), 0.5),
        full=measure.figures(full[0], 1.0),
        loss=measure.loss(trainer, control_scale=1.0),
        plain_loss=measure.loss(trainer, control_scale=0.0),
        frechet=tuple(measure.frechet(samples) for samples in full),
        points=points,
        device=device_name(trainer.accelerator.device),
    )


def run_reference(budget: Budget, folder: Path, device: torch.device = CPU) -> Reference:
    """Measure the base without any control and the autoencoder alone, or return what is kept of that."""
    path = folder / "reference.json"
    if path.is_file():
        found = Reference.from_record(json.loads(path.read_text("utf-8")))
        if found.cases == budget.cases and found.steps == budget.steps:
            return found
    torch.set_num_threads(budget.threads)
    measure = Measure.of(budget, load_base("miniature", device=device, dtype=torch.float32), device)
    pictures = case_pictures(budget.cases)
    decoded = Samples(latents=torch.empty(0), pictures=tuple(measure.bench.reconstruct(pictures)))
    plain = [measure.plain(seed_offset=offset) for offset in SEED_OFFSETS]
    folder.mkdir(parents=True, exist_ok=True)
    _save_shown(plain[0], folder)
    reference = Reference(
        cases=budget.cases,
        steps=budget.steps,
        plain=measure.figures(plain[0], 0.0),
        plain_frechet=tuple(measure.frechet(samples) for samples in plain),
        ceiling=measure.figures(decoded, 1.0),
        ceiling_frechet=measure.frechet(decoded),
    )
    _write(path, dataclasses.asdict(reference))
    return reference


def _save_shown(samples: Samples, folder: Path) -> None:
    for number, picture in enumerate(samples.pictures[:SHOWN]):
        picture.save(folder / f"case_{number}.png")


def train(
    trainer: RowTrainer, measure: Measure, task: Task, stop: threading.Event, *, report: Report
) -> tuple[tuple[int, float], ...] | None:
    """Train to each mark in turn and measure F there; the time of measuring is not the training's.

    Returns:
        (training images, F) at each mark, or None if `stop` was set on the way.
    """
    path = task.folder / "points.json"
    points: dict[str, list[float]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    task.folder.mkdir(parents=True, exist_ok=True)
    for mark in MARKS:
        if trainer.fraction < mark:
            pause = threading.Event()
            for progress in trainer.run(pause):
                report(f"{task.row.name}: {progress.line()}")
                if trainer.fraction >= mark or stop.is_set():
                    pause.set()
        if stop.is_set():
            return None
        if str(mark) not in points:
            network = peer(measure.bench.pipeline.base.unet, trainer.average)
            figures = measure.figures(measure.generate(network, 1.0, count=_ON_THE_WAY), 1.0)
            points[str(mark)] = [trainer.images, figures.f]
            _write(path, points)
            report(f"{task.row.name}: F {figures.f:.3f} after {trainer.images} images")
    return tuple((int(images), f) for images, f in points.values())


def _write(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    partial.replace(path)
