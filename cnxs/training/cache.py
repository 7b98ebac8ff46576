"""Samples of a folder, computed once and kept on disk: latents, maps and text states in shards of safetensors.

A cache lies in the run's folder under a name that its contents decide: other pictures, captions, maps or another base
make another cache. Shards are written whole or not at all, so an interrupted start goes on with the next one.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import save_file

from cnxs.errors import InputError
from cnxs.tensors import to_signed_tensor, to_unit_tensor
from cnxs.training.config import TrainingConfig, hint_channels
from cnxs.training.data import Batch
from cnxs.training.folder import DRAWN, Picture, readable
from cnxs.training.frozen_base import FrozenBase
from cnxs.training.writing import check_space, write_whole

log = logging.getLogger(__name__)

_SHARD = 64  # pictures

Sample = dict[str, torch.Tensor]  # latent (C, h, w), map uint8, context (S, D), and on SDXL pooled (P,), time_ids (6,)


def cache_folder(config: TrainingConfig, pictures: Sequence[Picture], base: FrozenBase) -> Path:
    """Return where the samples of these pictures lie, once they are computed."""
    files = [(p.path.name, p.path.stat().st_size, p.path.stat().st_mtime_ns, p.caption) for p in pictures]
    maps = [(p.map.name, p.map.stat().st_size, p.map.stat().st_mtime_ns) for p in pictures if p.map]
    facts = [files, maps, config.condition, DRAWN, config.flip, base.loaded.sha256, _native_size(config, base)]
    return config.run / f"samples-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"


def estimated_bytes(count: int, *, config: TrainingConfig, base: FrozenBase) -> int:
    """Return about how much disk the samples of `count` pictures take."""
    pixels = _native_size(config, base) ** 2
    codec, family = base.loaded.codec, base.loaded.spec.family
    context, pooled = base.encode_captions([""])
    states = context.numel() + (0 if pooled is None else pooled.numel())
    channels = hint_channels(config.condition, family=family)
    sample = channels * pixels + 2 * codec.latent_channels * pixels // codec.factor**2 + 2 * states
    return count * (2 if config.flip else 1) * sample


def _native_size(config: TrainingConfig, base: FrozenBase) -> int:
    return config.size or base.loaded.spec.native_size


def fill(folder: Path, pictures: Sequence[Picture], *, config: TrainingConfig, base: FrozenBase) -> None:
    """Compute the shards that are not there yet. A damaged picture is named in the log and left out.

    Raises:
        UnavailableError: `training_disk_full` before it starts, or `training_not_written`; finished shards stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    channels = hint_channels(config.condition, family=base.loaded.spec.family)
    shards = {start: folder / f"{start // _SHARD:05d}.safetensors" for start in range(0, len(pictures), _SHARD)}
    missing = {start: path for start, path in shards.items() if not path.is_file()}
    count = min(len(pictures), len(missing) * _SHARD)
    if missing:
        check_space(folder, needed=estimated_bytes(count, config=config, base=base))
    for start, path in missing.items():
        part = list(pictures[start : start + _SHARD])
        tensors: dict[str, torch.Tensor] = {}
        for number, image, control_map in readable(
            part, condition=config.condition, native_size=_native_size(config, base)
        ):
            pairs = [(image, control_map)]
            if config.flip:
                pairs.append((ImageOps.mirror(image), ImageOps.mirror(control_map)))
            for turn, (seen, drawn) in enumerate(pairs):
                sample = _sample(seen, drawn, part[number].caption, base=base, channels=channels)
                tensors |= {f"{start + number}.{turn}.{name}": value for name, value in sample.items()}
        write_whole(path, partial(save_file, {name: value.contiguous() for name, value in tensors.items()}))
        log.info("%d of %d pictures", min(start + _SHARD, len(pictures)), len(pictures))


def _sample(image: Image.Image, control_map: Image.Image, caption: str, *, base: FrozenBase, channels: int) -> Sample:
    device = base.unet.device
    latent = base.loaded.codec.encode(to_signed_tensor(image).to(device))[0]
    pixels = (to_unit_tensor(control_map, channels=channels)[0] * 255).round().byte()
    context, pooled = base.encode_captions([caption])
    sample = {"latent": latent.half().cpu(), "map": pixels, "context": context[0].half().cpu()}
    if pooled is not None:
        size = [image.height, image.width]
        sample |= {
            "pooled": pooled[0].half().cpu(),
            "time_ids": torch.tensor([*size, 0, 0, *size], dtype=torch.float32),
        }
    return sample


class FolderData:
    """The samples of a cache, read from disk when asked for.

    Args:
        folder: a cache, filled.
        captions: of the pictures, in their order.
        base: encodes the empty prompt.
        held_out: pictures kept for validation, at most a tenth; their mirror images are not trained on either.
        seed: decides which.

    Raises:
        InputError: `training_too_few` if not two pictures are left to read.
    """

    def __init__(self, folder: Path, captions: Sequence[str], *, base: FrozenBase, held_out: int, seed: int) -> None:
        self._files = [safe_open(path, framework="pt") for path in sorted(folder.glob("*.safetensors"))]
        self._where = {}
        for file in self._files:
            self._where |= {name.removesuffix(".latent"): file for name in file.keys() if name.endswith(".latent")}  # noqa: SIM118 - not a dict
        self._names = sorted(self._where, key=lambda name: tuple(map(int, name.split("."))))
        numbers = [int(name.split(".")[0]) for name in self._names]
        self._captions = [captions[number] for number in numbers]
        pictures = sorted(set(numbers))
        if len(pictures) < 2:
            raise InputError("training_too_few", given=len(pictures), minimum=2)
        count = max(1, min(held_out, len(pictures) // 10))
        kept = set(np.random.default_rng(seed).permutation(pictures)[:count].tolist())
        sizes = [self.latent_shape(position) for position in range(len(self._names))]
        train = [position for position, number in enumerate(numbers) if number not in kept]
        check = [p for p, number in enumerate(numbers) if number in kept and self._names[p].endswith(".0")]
        self.buckets = _by_size(train, sizes)
        self.held_out = _by_size(check, sizes)
        self._empty, self._empty_pooled = base.encode_captions([""])

    def batch(self, positions: np.ndarray, *, without_prompt: np.ndarray | None = None) -> Batch:
        """Return samples; where `without_prompt` is true, with the empty prompt's text states."""
        samples = [self._read(position) for position in positions]
        for i in [] if without_prompt is None else np.flatnonzero(without_prompt):
            samples[i]["context"] = self._empty[0].cpu()
            if self._empty_pooled is not None:
                samples[i]["pooled"] = self._empty_pooled[0].cpu()
        stacked = {name: torch.stack([sample[name].float() for sample in samples]) for name in samples[0]}
        added = None
        if "pooled" in stacked:
            added = {"text_embeds": stacked["pooled"], "time_ids": stacked["time_ids"]}
        maps = stacked["map"] / 255
        return Batch(latents=stacked["latent"], maps=maps, context=stacked["context"], added=added)

    def latent_shape(self, position: int) -> tuple[int, ...]:
        """Return (C, H, W) of a sample's latent."""
        name = self._names[position]
        return tuple(self._where[name].get_slice(f"{name}.latent").get_shape())

    def captions(self, positions: np.ndarray) -> list[str]:
        """Return the captions of samples."""
        return [self._captions[position] for position in positions]

    def _read(self, position: int) -> Sample:
        name = self._names[position]
        file = self._where[name]
        parts = ["latent", "map", "context", "pooled", "time_ids"]
        return {
            part: file.get_tensor(f"{name}.{part}")
            for part in parts
            if part not in ("pooled", "time_ids") or self._empty_pooled is not None
        }


def _by_size(positions: Sequence[int], sizes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    found: dict[tuple[int, ...], list[int]] = {}
    for position in positions:
        found.setdefault(sizes[position], []).append(position)
    return [np.array(bucket) for _, bucket in sorted(found.items())]
