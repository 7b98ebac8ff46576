"""What a trainer reads: batches of latents, control maps and text states, in an order that a number describes."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from cnxs.errors import InputError
from cnxs.miniature.maps import unpack_maps


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one size, in float32.

    Attributes:
        latents: (B, C, H, W), scaled as the U-Net wants them.
        maps: (B, hint channels, factor * H, factor * W) in [0, 1].
        context: (B, S, D) text states.
        added: SDXL's `text_embeds` (B, P) and `time_ids` (B, 6).
    """

    latents: torch.Tensor
    maps: torch.Tensor
    context: torch.Tensor
    added: dict[str, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def part(self, rows: slice, device: torch.device | None = None) -> "Batch":
        """Return some rows, on `device`."""

        def take(tensor: torch.Tensor) -> torch.Tensor:
            return tensor[rows].to(device)

        added = None if self.added is None else {name: take(value) for name, value in self.added.items()}
        return Batch(latents=take(self.latents), maps=take(self.maps), context=take(self.context), added=added)


class TrainingData(Protocol):
    """Precomputed samples."""

    @property
    def buckets(self) -> Sequence[np.ndarray]:
        """Positions of the training samples; those of one bucket have one size."""
        ...

    @property
    def held_out(self) -> Sequence[np.ndarray]:
        """Positions of the samples kept for validation, by bucket."""
        ...

    def batch(self, positions: np.ndarray, *, without_prompt: np.ndarray | None = None) -> Batch:
        """Return samples; where `without_prompt` is true, with the empty prompt's text states."""
        ...

    def latent_shape(self, position: int) -> tuple[int, ...]:
        """Return (C, H, W) of a sample's latent."""
        ...

    def captions(self, positions: np.ndarray) -> list[str]:
        """Return the captions of samples."""
        ...


class BatchOrder:
    """An endless shuffled order of batches. Batch number n depends on the seed and n alone, so a run can go on at n.

    Every epoch shows every sample once, but for a bucket's last batch, which is filled up with samples from its start.
    """

    def __init__(self, buckets: Sequence[np.ndarray], *, batch_size: int, seed: int) -> None:
        self.buckets = [bucket for bucket in buckets if len(bucket)]
        self.batch_size = batch_size
        self.seed = seed
        self.batches_per_epoch = sum(math.ceil(len(bucket) / batch_size) for bucket in self.buckets)

    def starting_at(self, number: int) -> Iterator[np.ndarray]:
        """Yield positions (batch_size,) from batch `number` on."""
        while True:
            epoch, skip = divmod(number, self.batches_per_epoch)
            for positions in self._epoch(epoch)[skip:]:
                yield positions
                number += 1

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        batches: list[np.ndarray] = []
        for bucket in self.buckets:
            count = math.ceil(len(bucket) / self.batch_size)
            batches += np.split(np.resize(rng.permutation(bucket), count * self.batch_size), count)
        return [batches[i] for i in rng.permutation(len(batches))]


class PoolData:
    """Pools of the miniature (`cnxs.miniature.pool`), held on a device: float16 latents and text states, packed maps.

    On a GPU all of a pool lies in its memory, some 20 kB a sample, so that no step waits for the processor.

    Args:
        folders: read one after the other; the first samples of the first are held out.
        condition: which of a pool's maps to train on.
        encode_captions: captions to text states (N, S, D) and pooled states, which the miniature does not have.
        held_out: how many samples to keep for validation.
        device: where samples are kept, and batches come from.

    Raises:
        InputError: `training_pool` if a folder is no pool or has no maps for the condition.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        condition: str,
        encode_captions: Callable[[list[str]], tuple[torch.Tensor, torch.Tensor | None]],
        held_out: int,
        device: torch.device,
    ) -> None:
        latents, maps, self._captions = [], [], []
        for folder in folders:
            if not all((folder / name).is_file() for name in ("pool.json", "latents.npy", f"{condition}.npy")):
                raise InputError("training_pool", folder=folder, condition=condition)
            done = json.loads((folder / "pool.json").read_text("utf-8"))["done"]
            latents.append(np.load(folder / "latents.npy", mmap_mode="r")[:done])
            maps.append(np.load(folder / f"{condition}.npy", mmap_mode="r")[:done])
            self._captions += json.loads((folder / "captions.json").read_text("utf-8"))[:done]
        self.latents = torch.from_numpy(np.concatenate(latents)).to(device)
        self.maps = torch.from_numpy(np.concatenate(maps)).to(device)
        # Few captions are unique, so the states of each are kept once. The last row is the empty prompt.
        unique = {caption: row for row, caption in enumerate(dict.fromkeys(self._captions))}
        words = [*unique, ""]
        chunks = [encode_captions(words[i : i + 256])[0].half() for i in range(0, len(words), 256)]
        self.states = torch.cat(chunks).to(device)
        self.rows = np.array([unique[caption] for caption in self._captions])
        self.buckets = [np.arange(held_out, len(self.latents))]
        self.held_out = [np.arange(min(held_out, len(self.latents)))]
        if not len(self.buckets[0]):
            raise InputError("training_too_few", given=len(self.latents), minimum=held_out + 1)

    def batch(self, positions: np.ndarray, *, without_prompt: np.ndarray | None = None) -> Batch:
        """Return samples; where `without_prompt` is true, with the empty prompt's text states."""
        rows = self.rows[positions]
        if without_prompt is not None:
            rows = np.where(without_prompt, len(self.states) - 1, rows)
        return Batch(
            latents=self.latents[positions].float(),
            maps=unpack_maps(self.maps[positions]),
            context=self.states[rows].float(),
        )

    def latent_shape(self, position: int) -> tuple[int, ...]:
        """Return (C, H, W) of a sample's latent."""
        return tuple(self.latents[position].shape)

    def captions(self, positions: np.ndarray) -> list[str]:
        """Return the captions of samples."""
        return [self._captions[position] for position in positions]
