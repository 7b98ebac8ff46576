"""What a run will need, told before it starts: memory by following every tensor of a step that computes nothing, and
time by one step that does. Both are estimates: buffers of the device's libraries are not seen.
"""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec
from cnxs.training.checkpointing import checkpoint_blocks
from cnxs.training.config import TrainingConfig
from cnxs.training.coupled import CoupledTraining
from cnxs.training.data import Batch
from cnxs.training.optimizer import STATE_BYTES

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class LiveBytes(TorchDispatchMode):
    """Follows the memory of all tensors that are made while it is on.

    Attributes:
        now: bytes of those that are still there.
        peak: the most there were at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        kwargs = kwargs or {}
        self._seen.update(_storages((args, kwargs)))  # there before, or counted when it was made
        result = func(*args, **kwargs)
        for storage in _storages(result):
            if storage not in self._seen:
                self._seen.add(storage)
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        weakref.finalize(storage, self._gone, size).atexit = False
        self.now += size
        self.peak = max(self.peak, self.now)

    def _gone(self, size: int) -> None:
        self.now -= size


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of a run's device memory.

    Attributes:
        base: the frozen networks.
        control: weights, their moving average and their gradients, all float32.
        optimizer: its moments.
        activations: what forward and backward pass of one part of a batch keep at most.
    """

    base: int
    control: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.base + self.control + self.optimizer + self.activations


def memory(
    config: TrainingConfig,
    unet_config: dict[str, Any],
    spec: ControlSpec,
    *,
    size: int,
    base_bytes: int,
    half_base: bool = False,
    processes: int = 1,
) -> Memory:
    """Return about what a run needs in each process. Computes nothing, and holds no weights.

    Args:
        config: batch, parts, precision, optimiser, checkpointing.
        unet_config: of the base's U-Net.
        spec: of the control.
        size: side in pixels of a square picture.
        base_bytes: of all networks of the base.
        half_base: whether the base is held in the precision of `config`.
        processes: that share a batch.
    """
    images = config.batch_size // (processes * config.accumulation)
    dtype = _HALVES.get(config.precision, torch.float32)
    with FakeTensorMode():
        unet: Any = UNet2DConditionModel.from_config(unet_config)
        unet.eval().requires_grad_(False)
        if half_base:
            unet.to(dtype)
        control = ControlNetXS(spec).train()
        if config.gradient_checkpointing:
            checkpoint_blocks(unet, control)
        batch = blank_batch(unet, spec, images=images, size=size)
        with LiveBytes() as live:
            _pass(CoupledTraining(unet, control), batch, dtype=dtype)
        weights = sum(parameter.numel() for parameter in control.parameters())
        gradients = 4 * weights
    return Memory(
        base=base_bytes,
        control=4 * weights * 2 + gradients,
        optimizer=STATE_BYTES[config.optimizer] * weights,
        activations=max(0, live.peak - gradients),
    )


def blank_batch(unet: Any, spec: ControlSpec, *, images: int, size: int, tokens: int = 77) -> Batch:
    """Return samples of noise in the shapes that a base takes for pictures of `size` x `size` pixels."""
    side = size // spec.hint_factor
    added = None
    if unet.config.addition_embed_type == "text_time":
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        added = {"text_embeds": torch.randn(images, pooled), "time_ids": torch.ones(images, 6) * size}
    return Batch(
        latents=torch.randn(images, spec.latent_channels, side, side),
        maps=torch.zeros(images, spec.hint_channels, spec.hint_factor * side, spec.hint_factor * side),
        context=torch.randn(images, tokens, spec.context_width),
        added=added,
    )


def _pass(module: CoupledTraining, batch: Batch, *, dtype: torch.dtype) -> None:
    timesteps = torch.zeros(len(batch), dtype=torch.long)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        prediction = module(batch.latents, timesteps, batch.context, batch.maps, batch.added)
    prediction.float().square().mean().backward()


class BlankData:
    """Noise in place of samples, for a trainer whose step is timed."""

    def __init__(self, unet: Any, spec: ControlSpec, *, count: int, size: int) -> None:
        self._batch = blank_batch(unet, spec, images=1, size=size)
        self.buckets = [np.arange(count)]
        self.held_out = [np.arange(1)]

    def batch(self, positions: np.ndarray, *, without_prompt: np.ndarray | None = None) -> Batch:
        """Return as many samples as positions, all the same."""
        one, count = self._batch, len(positions)
        added = None if one.added is None else {name: value.expand(count, -1) for name, value in one.added.items()}
        return Batch(
            latents=one.latents.expand(count, -1, -1, -1),
            maps=one.maps.expand(count, -1, -1, -1),
            context=one.context.expand(count, -1, -1),
            added=added,
        )

    def latent_shape(self, position: int) -> tuple[int, ...]:
        """Return (C, H, W) of the latents."""
        return tuple(self._batch.latents.shape[1:])

    def captions(self, positions: np.ndarray) -> list[str]:
        """Return no words."""
        return [""] * len(positions)


def seconds_per_step(trainer: Any) -> float:
    """Return the time of a trainer's second step; the first one also warms up."""
    order = trainer.order.starting_at(0)
    trainer.update(next(order))
    begin = time.monotonic()
    trainer.update(next(order))  # reads its loss at the end, so it has been computed
    return time.monotonic() - begin
