"""How fast each row of the ablation is: all of them timed side by side in one process, each in its turn."""

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from cnxs.evaluation.ablation import Task
from cnxs.evaluation.measure import Speed
from cnxs.evaluation.rows import RowTrainer
from cnxs.training.data import PoolData
from cnxs.training.frozen_base import load_base
from cnxs.training.writing import write_whole

_TRAINING_ROUNDS = 6
_SAMPLING_ROUNDS = 31


def run_speeds(tasks: Sequence[Task], folder: Path) -> dict[str, Speed]:
    """Time all rows, or return what is kept of that in `speeds.json`, which holds while the rows are the same.

    Whatever else the machine does falls on all rows alike, but makes all of them slow: `speeds.json` can be deleted,
    and is then measured again.
    """
    path = folder / "speeds.json"
    if path.is_file():
        kept = {name: Speed(**speed) for name, speed in json.loads(path.read_text("utf-8")).items()}
        if list(kept) == [task.row.name for task in tasks]:
            return kept
    torch.set_num_threads(tasks[0].budget.threads)
    with tempfile.TemporaryDirectory() as runs:
        trainers = _untrained(tasks, Path(runs))
    rates, ratios = _rates(trainers), _step_ratios(trainers)
    speeds = {
        task.row.name: Speed(rate=rate, step_ratio=ratio)
        for task, rate, ratio in zip(tasks, rates, ratios, strict=True)
    }
    records = {name: dataclasses.asdict(speed) for name, speed in speeds.items()}
    write_whole(path, lambda partial: partial.write_text(json.dumps(records, indent=1) + "\n", "utf-8"))
    return speeds


def _untrained(tasks: Sequence[Task], runs: Path) -> list[RowTrainer]:
    """Return a trainer for each row, at its first step: time does not depend on what was learned."""
    base = load_base("miniature", device=torch.device("cpu"), dtype=torch.float32)
    first = tasks[0].config()
    data = PoolData(
        first.pools, condition=first.condition, encode_captions=base.encode_captions, held_out=first.held_out
    )
    trainers = []
    for task in tasks:
        config = dataclasses.replace(task.config(), run=runs / task.row.name)
        accelerator = Accelerator(cpu=True, mixed_precision=config.precision)
        trainers.append(RowTrainer(task.row, config, base=base, data=data, accelerator=accelerator))
    return trainers


def _rates(trainers: Sequence[RowTrainer]) -> list[float]:
    order = trainers[0].order.starting_at(0)
    batches: list[np.ndarray] = [next(order) for _ in range(_TRAINING_ROUNDS)]
    rounds = [[_seconds(lambda t=t, b=batch: t.update(b)) for t in trainers] for batch in batches]
    return [len(batches[0]) / seconds for seconds in _medians(rounds)]


@torch.inference_mode()
def _step_ratios(trainers: Sequence[RowTrainer]) -> list[float]:
    unet: Any = trainers[0].base.unet
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, unet.config.in_channels, 16, 16, generator=generator)
    context = torch.randn(2, 24, unet.config.cross_attention_dim, generator=generator)
    timestep = torch.tensor(500)
    calls: list[Callable[[], object]] = [lambda: unet(x, timestep, context, return_dict=False)]
    for trainer in trainers:
        network = trainer.peer()
        hint = network.encode_hint(torch.zeros(2, 1, 256, 256))
        calls.append(lambda n=network, h=hint: n.predict(x, timestep, context, h, control_scale=1.0))
    plain, *coupled = _medians([[_seconds(call) for call in calls] for _ in range(_SAMPLING_ROUNDS)])
    return [seconds / plain for seconds in coupled]


def _medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each column, without the first round, which warms up."""
    return [statistics.median(column) for column in zip(*rounds[1:], strict=True)]


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
