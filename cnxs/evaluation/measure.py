"""What every row of the ablation is measured with: the budget, the cases, the feature space, the stop watch."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cnxs.errors import InputError
from cnxs.evaluation.bench import Bench, Samples, Subject
from cnxs.evaluation.features import FeatureSpace
from cnxs.evaluation.following import EDGE_TOLERANCE, score
from cnxs.evaluation.following import Row as Figures
from cnxs.evaluation.peer_sampling import sample_peer
from cnxs.evaluation.peers import Peer
from cnxs.evaluation.rows import RowTrainer
from cnxs.evaluation.subjects import case_pictures, edge_subjects
from cnxs.metrics import frechet_distance
from cnxs.miniature.base_training import stratified_timesteps
from cnxs.tensors import to_signed_tensor, to_unit_tensor
from cnxs.training.config import Precision
from cnxs.training.data import Batch
from cnxs.training.frozen_base import FrozenBase

_LOSS_DRAWS = 3  # of timesteps and noise for every case


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every row gets alike: a length, whichever of the two comes first, and how it is measured."""

    images: int | None = None  # training images
    minutes: float | None = None  # of training
    batch_size: int = 24
    seed: int = 0
    held_out: int = 256  # samples of the pool that no row trains on
    cases: int = 128
    steps: int = 20  # of sampling
    threads: int = 1
    precision: Precision = "no"  # of the training; it is measured in float32

    def check(self) -> None:
        """Check that the budget has an end, and holds one batch or more.

        Raises:
            InputError: `ablation_budget`.
        """
        if (self.images is None and self.minutes is None) or (self.images or self.batch_size) < self.batch_size:
            raise InputError("ablation_budget", given=self.images or "-", minimum=self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a row's network costs in time.

    Attributes:
        rate: training images per second.
        step_ratio: one guided step of one image over the plain base's, the hint encoded before.
        device: "cpu", or the name of the GPU.
    """

    rate: float
    step_ratio: float
    device: str = "cpu"


@dataclass(frozen=True)
class Measure:
    """The bench, the cases and the feature space that all rows are measured with."""

    bench: Bench
    base: FrozenBase
    subjects: Sequence[Subject]
    features: FeatureSpace

    @classmethod
    def of(cls, budget: Budget, base: FrozenBase, device: torch.device) -> "Measure":
        """Return the measure of a budget, on the base's device."""
        bench = Bench(steps=budget.steps, base=base.loaded, device=device)
        features = FeatureSpace(bench.pipeline.base, case_pictures(budget.cases))
        return cls(bench, base, edge_subjects(budget.cases), features)

    def generate(
        self, network: Peer, control_scale: float, *, seed_offset: int = 0, count: int | None = None
    ) -> Samples:
        """Sample the first `count` cases, or all."""
        subjects = self.subjects[:count]
        return sample_peer(self.bench, subjects, network, control_scale=control_scale, seed_offset=seed_offset)

    def plain(self, *, seed_offset: int = 0) -> Samples:
        """Sample all cases without control."""
        moved = [dataclasses.replace(subject, seed=subject.seed + seed_offset) for subject in self.subjects]
        return self.bench.sample_plain(moved)

    def figures(self, samples: Samples, control_scale: float) -> Figures:
        """Return the edge agreement of samples of the first cases with their maps."""
        subjects = self.subjects[: len(samples.pictures)]
        return score(subjects, samples.pictures, strength=control_scale, tolerance=EDGE_TOLERANCE)

    def frechet(self, samples: Samples) -> float:
        """Return the Frechet distance of samples to the held-out pictures."""
        return frechet_distance(self.features.of(samples.pictures), self.features.references)

    @torch.no_grad()
    def loss(self, trainer: RowTrainer, *, control_scale: float) -> float:
        """Return the averaged network's prediction error on the cases, with the same timesteps and noise every time."""
        codec, generator = self.base.loaded.codec, torch.Generator().manual_seed(6)
        pictures = case_pictures(len(self.subjects))
        maps = [to_unit_tensor(s.control_map, channels=trainer.spec.hint_channels) for s in self.subjects]
        batch = Batch(
            latents=torch.cat([codec.encode(to_signed_tensor(picture).to(self.bench.device)) for picture in pictures]),
            maps=torch.cat(maps).to(self.bench.device),
            context=self.base.encode_captions([subject.caption for subject in self.subjects])[0],
        )
        module = trainer.coupled(trainer.average)
        losses = []
        for _ in range(_LOSS_DRAWS):
            timesteps = stratified_timesteps(len(batch), generator)
            noise = torch.randn(batch.latents.shape, generator=generator)
            for i in range(0, len(batch), 32):
                rows = slice(i, i + 32)
                part = (batch.part(rows), timesteps[rows], noise[rows])
                losses.append(trainer.predict_loss(module, *part, control_scale=control_scale))
        return float(torch.cat(losses).mean())
