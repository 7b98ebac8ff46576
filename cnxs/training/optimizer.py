"""The optimisers to choose from, and the learning rate over a run."""

from collections.abc import Iterable

import torch

from cnxs.errors import UnavailableError
from cnxs.training.config import TrainingConfig

STATE_BYTES = {"adamw": 8, "adamw8bit": 2}  # of each weight: two moments


def make_optimizer(parameters: Iterable[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimiser that `config` names: AdamW, or AdamW whose two moments take a byte each.

    Raises:
        UnavailableError: `package_missing` where bitsandbytes, which has the second, is not installed.
    """
    settings = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **settings)
    return _eight_bit()(parameters, **settings)


def check_optimizer(config: TrainingConfig) -> None:
    """Check that the optimiser can be had, before anything large is loaded.

    Raises:
        UnavailableError: as `make_optimizer`.
    """
    if config.optimizer == "adamw8bit":
        _eight_bit()


def _eight_bit() -> type[torch.optim.Optimizer]:
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports] - optional
    except ImportError as error:
        raise UnavailableError("package_missing", package="bitsandbytes", given="--optimizer adamw8bit") from error
    return AdamW8bit


def learning_rate(config: TrainingConfig, *, step: int, fraction: float) -> float:
    """Return the rate of a step: a linear warm-up, a plateau, a linear fall over the last part.

    Args:
        config: sets the rate and its shape.
        step: steps taken before it.
        fraction: 0 to 1, how much of the run is over.
    """
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    into_decay = (fraction - (1 - config.decay_fraction)) / config.decay_fraction if config.decay_fraction else 0.0
    decay = 1 - (1 - config.final_rate) * min(1.0, max(0.0, into_decay))
    return config.learning_rate * warmup * decay
