"""What a run would take, in a few lines, before anything is written."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from accelerate import Accelerator

from cnxs import text
from cnxs.devices import free_bytes
from cnxs.training.config import TrainingConfig, control_spec
from cnxs.training.data import TrainingData
from cnxs.training.estimate import BlankData, Memory, memory, seconds_per_step
from cnxs.training.frozen_base import FrozenBase
from cnxs.training.trainer import Trainer

_GB = 1e9


def estimates(config: TrainingConfig, base: FrozenBase, accelerator: Accelerator) -> Iterator[str]:
    """Yield lines about memory and time, each called an estimate. Times two steps where the memory suffices."""
    loaded: Any = base.loaded
    spec = control_spec(config, base.unet, family=loaded.spec.family, base_sha256=loaded.sha256)
    size = config.size or loaded.spec.native_size
    held = [parameter for module in loaded.modules for parameter in module.parameters()]
    need = memory(
        config,
        dict(base.unet.config),
        spec,
        size=size,
        base_bytes=sum(parameter.nbytes for parameter in held),
        half_base=base.unet.dtype.itemsize == 2,
        processes=accelerator.num_processes,
    )
    yield _memory_line(need, config, processes=accelerator.num_processes)
    missing = need.total - sum(parameter.nbytes for parameter in held) - free_bytes(accelerator.device)
    if missing > 0:
        yield text.get("cli.training_too_large", missing=f"{missing / _GB:.1f}")
        return
    blank = BlankData(base.unet, spec, count=2 * config.batch_size, size=size)
    yield _time_line(config, base, blank, accelerator)


def _memory_line(need: Memory, config: TrainingConfig, *, processes: int) -> str:
    parts = {name: f"{value / _GB:.2f}" for name, value in dataclasses.asdict(need).items()}
    images = config.batch_size // (processes * config.accumulation)
    return text.get("cli.training_memory", total=f"{need.total / _GB:.2f}", images=images, **parts)


def _time_line(config: TrainingConfig, base: FrozenBase, data: TrainingData, accelerator: Accelerator) -> str:
    apart = dataclasses.replace(config, run=config.run / "none")  # what lies in the run's own folder has no say
    seconds = seconds_per_step(Trainer(apart, base=base, data=data, accelerator=accelerator))
    by_time = None if config.minutes is None else config.minutes * 60 / seconds
    steps = round(min(bound for bound in (config.steps, by_time) if bound is not None))
    return text.get("cli.training_time", seconds=f"{seconds:.3g}", steps=steps, minutes=f"{steps * seconds / 60:.3g}")
