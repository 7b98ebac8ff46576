"""Train the miniature's U-Net and text encoder on a pool of latents and captions; resumable by the same command."""

import copy
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from cnxs.devices import CPU

log = logging.getLogger(__name__)

PROMPT_TOKENS = 24  # tokens of a training caption; the text encoder has 32 positions


@dataclass(frozen=True, kw_only=True)
class BaseTrainingConfig:
    """Settings of one run. The run's folder holds its state; starting again with the same folder goes on."""

    pools: tuple[Path, ...]  # finished folders of `cnxs.miniature.pool`
    start: Path  # model folder with unet/, text_encoder/, tokenizer/, scheduler/: used when `run` holds no state
    run: Path
    minutes: float
    batch_size: int = 32
    learning_rate: float = 4e-4
    prompt_dropout: float = 0.1
    ema_decay: float = 0.9985
    decay_fraction: float = 0.35  # the learning rate falls to zero over this last part of the time
    held_out: int = 512  # first samples of the first pool, for validation
    threads: int = 1
    bfloat16: bool = False  # autocast: several times faster on GPUs, and on CPUs that have the instructions
    device: torch.device = CPU
    seed: int = 0


class Pool:
    """Latents and token ids of one or more pool folders, held in memory."""

    def __init__(self, folders: tuple[Path, ...], tokenizer: CLIPTokenizer) -> None:
        self.latents = np.concatenate([np.load(folder / "latents.npy") for folder in folders])
        captions = [caption for folder in folders for caption in json.loads((folder / "captions.json").read_text())]
        assert len(captions) == len(self.latents)
        self.ids = tokenize(tokenizer, captions)

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return latents (B, 16, 16, 16) float16 and token ids (B, T) of these samples."""
        return torch.from_numpy(self.latents[index]), self.ids[index]


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Return token ids (N, PROMPT_TOKENS), padded and cut."""
    tokens = tokenizer(captions, padding="max_length", max_length=PROMPT_TOKENS, truncation=True)
    return torch.tensor(tokens.input_ids)


def stratified_timesteps(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return `count` timesteps in 0..999 in random order, one from each of `count` equal parts of the schedule."""
    device = generator.device
    spread = torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)
    order = torch.randperm(count, generator=generator, device=device)
    return (spread / count * 1000).long().clamp(0, 999)[order]


def velocity_pair(
    latents: torch.Tensor, timesteps: torch.Tensor, alphas_cumprod: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy latents and their v-target (Salimans and Ho 2022, eq. 10): v = alpha * noise - sigma * latents."""
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    alpha = alphas_cumprod[timesteps].sqrt()[:, None, None, None]
    sigma = (1 - alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
    return alpha * latents + sigma * noise, alpha * noise - sigma * latents


class BaseTrainer:
    """Holds the networks, their averages and the optimiser of one run."""

    def __init__(self, config: BaseTrainingConfig) -> None:
        self.config = config
        torch.set_num_threads(config.threads)
        folder = config.start
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet").float().train()
        self.text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float().train()
        if config.device.type == "cpu":
            # PyTorch's fused attention is slow backward on CPUs at so few positions: plain products are 1.4 times as
            # fast.
            self.unet.set_attn_processor(AttnProcessor())
        torch.nn.ModuleList([self.unet, self.text_encoder]).to(config.device)
        scheduler: Any = DDPMScheduler.from_pretrained(folder / "scheduler")
        self.alphas_cumprod = scheduler.alphas_cumprod.clamp(0, 1).to(config.device)
        self.average = copy.deepcopy(torch.nn.ModuleList([self.unet, self.text_encoder])).requires_grad_(False)
        self.parameters = [*self.unet.parameters(), *self.text_encoder.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-2, fused=True
        )
        self.generator = torch.Generator(config.device).manual_seed(config.seed)
        self.step, self.images, self.elapsed = 0, 0, 0.0
        self.empty_ids = tokenize(self.tokenizer, [""])[0].to(config.device)
        if self.state_path.exists():
            self.load()

    @property
    def state_path(self) -> Path:
        return self.config.run / "state.pt"

    def loss(self, latents: torch.Tensor, ids: torch.Tensor, *, average: bool = False) -> torch.Tensor:
        """Return the v-prediction error of each image, (B,) on the device, uniformly weighted.

        min-SNR weights were tried and leave the layout of shapes, decided at high noise, nearly untrained.
        """
        unet, text_encoder = self.average if average else (self.unet, self.text_encoder)
        latents, ids = latents.to(self.config.device).float(), ids.to(self.config.device)
        timesteps = stratified_timesteps(len(latents), self.generator)
        noisy, target = velocity_pair(latents, timesteps, self.alphas_cumprod, self.generator)
        with torch.autocast(self.config.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            context = text_encoder(ids).last_hidden_state
            prediction = unet(noisy, timesteps, context).sample
        return (prediction.float() - target).square().mean((1, 2, 3))

    def update(self, latents: torch.Tensor, ids: torch.Tensor, learning_rate: float) -> float:
        """Take one optimiser step and return its mean loss."""
        device = self.config.device
        without = torch.rand(len(ids), generator=self.generator, device=device) < self.config.prompt_dropout
        ids = torch.where(without[:, None], self.empty_ids, ids.to(device))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self.loss(latents, ids).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 12))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), [p.detach() for p in self.parameters], 1 - decay)
        self.step += 1
        self.images += len(latents)
        return loss.item()

    @torch.no_grad()
    def validate(self, pool: Pool, count: int = 256) -> list[float]:
        """Return the averaged networks' loss by quarter of the schedule, low noise first, then the mean."""
        saved, self.generator = self.generator, torch.Generator(self.config.device).manual_seed(5)
        losses = torch.cat([self.loss(*pool.batch(np.arange(i, i + 64)), average=True) for i in range(0, count, 64)])
        self.generator.manual_seed(5)
        timesteps = torch.cat([self._validation_timesteps() for _ in range(0, count, 64)])
        self.generator = saved
        quarters = [losses[(timesteps >= low) & (timesteps < low + 250)].mean().item() for low in (0, 250, 500, 750)]
        return [round(value, 4) for value in (*quarters, losses.mean().item())]

    def _validation_timesteps(self) -> torch.Tensor:
        timesteps = stratified_timesteps(64, self.generator)
        torch.randn((64, 16, 16, 16), generator=self.generator, device=self.config.device)  # keep in step with `loss`
        return timesteps

    def save(self) -> None:
        """Write the run's state, replacing the old one only when the new one is complete."""
        self.config.run.mkdir(parents=True, exist_ok=True)
        state = {
            "unet": self.unet.state_dict(),
            "text_encoder": self.text_encoder.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "counts": (self.step, self.images, self.elapsed),
        }
        partial = self.state_path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.state_path)

    def load(self) -> None:
        """Go on from the run's saved state."""
        state = torch.load(self.state_path, weights_only=True, map_location=CPU)
        self.unet.load_state_dict(state["unet"])
        self.text_encoder.load_state_dict(state["text_encoder"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.images, self.elapsed = state["counts"]

    def export(self, folder: Path) -> None:
        """Write the averaged networks in half precision, beside tokenizer and scheduler, as a diffusers folder."""
        average: Any = copy.deepcopy(self.average).half()
        unet, text_encoder = average
        unet.save_pretrained(folder / "unet")
        text_encoder.save_pretrained(folder / "text_encoder")
        for name in ("tokenizer", "scheduler"):
            shutil.copytree(self.config.start / name, folder / name, dirs_exist_ok=True)


def train(config: BaseTrainingConfig) -> Iterator[str]:
    """Train for `config.minutes` in all, counting earlier runs in the same folder, and yield lines of progress."""
    trainer = BaseTrainer(config)
    pool = Pool(config.pools, trainer.tokenizer)
    order = np.random.default_rng([config.seed, trainer.step])
    yield f"{len(pool)} samples, from step {trainer.step}, held-out {trainer.validate(pool)}"
    begin, before, losses = time.monotonic(), trainer.elapsed, []
    while (fraction := trainer.elapsed / (config.minutes * 60)) < 1:
        warmup = min(1.0, (trainer.step + 1) / 150)
        decay = min(1.0, max(1 - fraction, 0.02) / config.decay_fraction)
        index = np.sort(order.integers(config.held_out, len(pool), config.batch_size))
        losses.append(trainer.update(*pool.batch(index), config.learning_rate * warmup * decay))
        trainer.elapsed = before + time.monotonic() - begin
        if trainer.step % 100 == 0:
            rate = len(losses) * config.batch_size / (time.monotonic() - begin)
            left = config.minutes - trainer.elapsed / 60
            recent = np.mean(losses[-100:])
            yield f"step {trainer.step} images {trainer.images} loss {recent:.4f} {rate:.1f}/s {left:.1f} min left"
        if trainer.step % 1000 == 0:
            trainer.save()
            yield f"held-out {trainer.validate(pool)}"
    trainer.save()
    trainer.export(config.run / "export")
    yield f"done after {trainer.images} images, held-out {trainer.validate(pool)}"
