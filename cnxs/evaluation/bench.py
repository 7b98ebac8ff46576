"""Samples to measure, made in batches by the program's own pipeline on the miniature.

Shapes: N subjects, C latent channels, H W the latent grid.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from cnxs.bases import LoadedBase, load_folder
from cnxs.devices import CPU
from cnxs.miniature import ASSETS, SIZE
from cnxs.model import ControlNetXS, check_match
from cnxs.pipeline import Control, Pipeline
from cnxs.registry import MINIATURE
from cnxs.request import ControlUse, GenerationRequest
from cnxs.tensors import from_signed_tensor, to_signed_tensor

BATCH = 8  # images of one U-Net call; against one at a time latents differ by rounding, some 4e-6
ALWAYS = (0.0, 1.0)

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What one picture shall show, and what it is compared with."""

    name: str  # unique in a run
    caption: str
    seed: int  # of the noise
    control_map: Image.Image  # RGB, 256 x 256
    # (256, 256) bool, one pixel thin; none where the map itself is compared
    lines: np.ndarray = field(default_factory=lambda: np.zeros((SIZE, SIZE), bool))


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Generated pictures, in the subjects' order, and the latents they were decoded from."""

    latents: torch.Tensor  # (N, C, H, W)
    pictures: tuple[Image.Image, ...]


class Bench:
    """The miniature with the settings of the evaluation: DDIM, guidance 4, the cases' own seeds.

    Args:
        steps: of denoising.
        batch_size: images of one U-Net call.
        base: the miniature, loaded on `device` in float32; None: loads it.
        device: where sampling happens.
    """

    def __init__(
        self,
        *,
        steps: int = 20,
        batch_size: int = BATCH,
        base: LoadedBase | None = None,
        device: torch.device = CPU,
    ) -> None:
        base = base or load_folder(ASSETS, MINIATURE, device=device, dtype=torch.float32)
        self.pipeline, self.device = Pipeline(base, device=device, dtype=torch.float32), device
        self.steps, self.batch_size = steps, batch_size
        self._plain: dict[tuple[str, int], tuple[torch.Tensor, Image.Image]] = {}

    def check(self, control: ControlNetXS) -> None:
        """Check that a control fits the base.

        Raises:
            CheckpointError: naming the first value that differs.
        """
        check_match(self.pipeline.base.unet, control.spec)

    def sample(
        self,
        subjects: Sequence[Subject],
        control: ControlNetXS,
        *,
        control_scale: float = 1.0,
        windows: Sequence[tuple[float, float]] = (ALWAYS,),
    ) -> Samples:
        """Generate one picture per subject.

        Args:
            subjects: what to show.
            control: follows their maps.
            control_scale: 0 is the base alone, sampled once and kept.
            windows: where in the schedule the control acts, as fractions; they do not overlap.
        """
        if control_scale == 0:
            return self.sample_plain(subjects)
        latents, pictures = [], []
        for batch in self._batches(subjects):
            columns = [
                [self._control(subject, control, control_scale, window) for subject in batch] for window in windows
            ]
            latents.append(self._denoise(batch, columns))
            pictures += self.pipeline.decode(latents[-1])
        return Samples(latents=torch.cat(latents), pictures=tuple(pictures))

    def sample_together(self, parts: Sequence[tuple[Sequence[Subject], ControlNetXS, float]]) -> Samples:
        """Generate one picture per subject with several controls at once.

        Args:
            parts: for each control the subjects with its maps, itself, and its strength. The subjects of all parts have
                the same captions and seeds; a control of strength 0 is left out.
        """
        acting = [part for part in parts if part[2] != 0]
        if not acting:
            return self.sample_plain(parts[0][0])
        latents, pictures = [], []
        for start in range(0, len(acting[0][0]), self.batch_size):
            rows = slice(start, start + self.batch_size)
            columns = [
                [self._control(subject, control, strength, ALWAYS) for subject in subjects[rows]]
                for subjects, control, strength in acting
            ]
            latents.append(self._denoise(acting[0][0][rows], columns))
            pictures += self.pipeline.decode(latents[-1])
        return Samples(latents=torch.cat(latents), pictures=tuple(pictures))

    def sample_plain(self, subjects: Sequence[Subject]) -> Samples:
        """Generate one picture per subject without any control: from caption and seed alone, each once."""
        missing = [subject for subject in subjects if (subject.caption, subject.seed) not in self._plain]
        for batch in self._batches(missing):
            latents = self._denoise(batch, [])
            for subject, latent, picture in zip(batch, latents, self.pipeline.decode(latents), strict=True):
                self._plain[subject.caption, subject.seed] = latent, picture
        found = [self._plain[subject.caption, subject.seed] for subject in subjects]
        return Samples(
            latents=torch.stack([latent for latent, _ in found]), pictures=tuple(picture for _, picture in found)
        )

    def reconstruct(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """Return what the autoencoder alone makes of pictures: nothing that is generated can be truer."""
        codec = self.pipeline.base.codec
        signed = (to_signed_tensor(picture).to(self.device) for picture in pictures)
        return [from_signed_tensor(codec.decode(codec.encode(pixels)))[0] for pixels in signed]

    def _batches(self, subjects: Sequence[Subject]) -> Iterator[Sequence[Subject]]:
        for start in range(0, len(subjects), self.batch_size):
            yield subjects[start : start + self.batch_size]

    def _control(
        self, subject: Subject, control: ControlNetXS, control_scale: float, window: tuple[float, float]
    ) -> Control:
        start, end = window
        use = ControlUse(network="", map_id=subject.name, control_scale=control_scale, start=start, end=end)
        return Control(control, use, self.pipeline.encode_hint(control, subject.name, subject.control_map))

    def requests(self, batch: Sequence[Subject]) -> list[GenerationRequest]:
        """Return what is asked for each subject, controls apart."""
        return [
            GenerationRequest(
                base=MINIATURE.name,
                prompt=subject.caption,
                seed=subject.seed,
                steps=self.steps,
                guidance_scale=MINIATURE.default_guidance_scale,
            )
            for subject in batch
        ]

    def _denoise(self, batch: Sequence[Subject], columns: Sequence[Sequence[Control]]) -> torch.Tensor:
        requests = self.requests(batch)
        latents = self.pipeline.prepare_latents(requests)
        for step in self.pipeline.denoise(requests, latents, columns):
            latents = step.latents
        return latents


def with_gains(control: ControlNetXS, gains: Sequence[float]) -> ControlNetXS:
    """Return the same weights, held by reference, with another gain on each connection."""
    changed = copy.copy(control)
    changed.spec = dataclasses.replace(control.spec, gains=tuple(gains))
    return changed
