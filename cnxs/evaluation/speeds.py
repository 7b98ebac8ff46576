"""How fast each row of the ablation is: all of them timed side by side in one process, each in its turn."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnxs.benchmark.timing import medians
from cnxs.devices import device_name
from cnxs.evaluation.ablation import Task, row_trainers
from cnxs.evaluation.measure import Speed
from cnxs.evaluation.rows import RowTrainer
from cnxs.training.writing import write_whole

_TRAINING_ROUNDS = 5
_SAMPLING_ROUNDS = 30


def run_speeds(tasks: Sequence[Task], folder: Path) -> dict[str, Speed]:
    """Time all rows on the tasks' device in float32, or return what is kept of that in `speeds.json`.

    Float32, whatever the rows were trained in: half precision slows a processor that has no instructions for it. What
    is kept holds while the rows are the same. Whatever else the machine does falls on all rows alike, but makes all of
    them slow: `speeds.json` can be deleted, and is then measured again.
    """
    path = folder / "speeds.json"
    if path.is_file():
        kept = {name: Speed(**speed) for name, speed in json.loads(path.read_text("utf-8")).items()}
        if list(kept) == [task.row.name for task in tasks]:
            return kept
    torch.set_num_threads(tasks[0].budget.threads)
    with tempfile.TemporaryDirectory() as runs:
        exact = [replace(task, budget=replace(task.budget, precision="no")) for task in tasks]
        trainers = row_trainers(exact, runs=Path(runs))  # untrained: time does not depend on what was learned
    rates, ratios, device = _rates(trainers), _step_ratios(trainers), device_name(trainers[0].accelerator.device)
    speeds = {
        task.row.name: Speed(rate=rate, step_ratio=ratio, device=device)
        for task, rate, ratio in zip(tasks, rates, ratios, strict=True)
    }
    records = {name: dataclasses.asdict(speed) for name, speed in speeds.items()}
    write_whole(path, lambda partial: partial.write_text(json.dumps(records, indent=1) + "\n", "utf-8"))
    return speeds


def _rates(trainers: Sequence[RowTrainer]) -> list[float]:
    def step(trainer: RowTrainer, order: Iterator[np.ndarray]) -> float:
        return trainer.update(next(order))

    calls = {t.row.name: partial(step, t, t.order.starting_at(0)) for t in trainers}
    return [trainers[0].config.batch_size / seconds for seconds in medians(calls, rounds=_TRAINING_ROUNDS).values()]


@torch.inference_mode()
def _step_ratios(trainers: Sequence[RowTrainer]) -> list[float]:
    unet: Any = trainers[0].base.unet
    generator = torch.Generator().manual_seed(0)
    device = trainers[0].accelerator.device
    x = torch.randn(2, unet.config.in_channels, 16, 16, generator=generator).to(device)
    context = torch.randn(2, 24, unet.config.cross_attention_dim, generator=generator).to(device)
    timestep = torch.tensor(500, device=device)
    calls: dict[str, Callable[[], object]] = {"plain": partial(unet, x, timestep, context, return_dict=False)}
    for trainer in trainers:
        network = trainer.peer()
        hint = network.encode_hint(torch.zeros(2, 1, 256, 256, device=device))
        calls[trainer.row.name] = partial(network.predict, x, timestep, context, hint, control_scale=1.0)
    plain, *coupled = medians(calls, rounds=_SAMPLING_ROUNDS).values()
    return [seconds / plain for seconds in coupled]
