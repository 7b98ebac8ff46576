"""The training loop: one control, one frozen base, resumable bit for bit."""

import contextlib
import copy
import dataclasses
import datetime
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from cnxs.checkpoints import native
from cnxs.errors import CheckpointError, InputError
from cnxs.miniature.base_training import stratified_timesteps
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec
from cnxs.training.checkpointing import checkpoint_blocks
from cnxs.training.config import TrainingConfig, control_spec
from cnxs.training.coupled import CoupledTraining
from cnxs.training.curve import Curve
from cnxs.training.data import Batch, BatchOrder, TrainingData
from cnxs.training.frozen_base import FrozenBase
from cnxs.training.optimizer import learning_rate, make_optimizer
from cnxs.training.sheet import sample_sheet
from cnxs.training.writing import write_whole, writing

# What a control to start from may differ in.
_PROVENANCE = {"base_family", "condition", "base_sha256", "licence", "training"}
_MOST_SKIPPED = 100  # steps in a row, after which a run has diverged
_VALIDATION_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        loss: mean over the steps since the last report.
        rate: training images per second since the last report, validation and sheets included.
        seconds_left: by the run's own pace.
        held_out: v- or noise-prediction error on held-out samples, by quarter of the schedule from low to high noise,
            then the mean; only where a save has just measured it.
    """

    step: int
    images: int
    minutes: float
    loss: float
    learning_rate: float
    rate: float
    seconds_left: float
    held_out: tuple[float, ...] | None = None

    def line(self) -> str:
        """Return it as one line."""
        left = f"{self.seconds_left / 60:.1f} min left"
        held_out = "" if self.held_out is None else "  held-out " + " ".join(f"{value:.4f}" for value in self.held_out)
        return f"step {self.step}  images {self.images}  loss {self.loss:.4f}  {self.rate:.1f}/s  {left}{held_out}"


class Trainer:
    """A control, its moving average and its optimiser; together with a run folder, everything a run is.

    All chance (prompts dropped, timesteps, noise) is drawn for the whole batch by one generator that every process
    has, and each process takes its rows: so any number of processes, or of accumulated parts, means the same run.

    Raises:
        InputError: `training_run_differs` if the run's folder holds a run with other settings.
        CheckpointError: `training_init_differs` if the control to start from has another structure.
    """

    def __init__(
        self, config: TrainingConfig, *, base: FrozenBase, data: TrainingData, accelerator: Accelerator
    ) -> None:
        config.check(processes=accelerator.num_processes)
        self.config, self.base, self.data, self.accelerator = config, base, data, accelerator
        self.spec = control_spec(config, base.unet, family=base.loaded.spec.family, base_sha256=base.loaded.sha256)
        self.init_facts: tuple[tuple[str, str | float], ...] = ()
        control = self._starting_control().train().to(memory_format=torch.channels_last)
        base.unet.to(accelerator.device)
        self.average = copy.deepcopy(control).requires_grad_(False).eval().to(accelerator.device)
        if config.gradient_checkpointing:
            checkpoint_blocks(base.unet, control)
        optimizer = make_optimizer(control.parameters(), config)
        self.module, self.optimizer = accelerator.prepare(self.coupled(control), optimizer)
        self.control: Any = accelerator.unwrap_model(self.module).control
        self.generator = torch.Generator().manual_seed(config.seed)
        self.order = BatchOrder(data.buckets, batch_size=config.batch_size, seed=config.seed)
        self.step, self.images, self.elapsed = 0, 0, 0.0
        self.running_loss, self.skipped_in_a_row = math.nan, 0
        self.curve = Curve(config.run)
        if self.state_path.is_file():
            self._load()

    @property
    def state_path(self) -> Path:
        """Return where the run's state lies."""
        return self.config.run / "state.pt"

    def coupled(self, control: Any) -> torch.nn.Module:
        """Return the module that is trained: it registers `control` under that name, and refers to the base."""
        return CoupledTraining(self.base.unet, control)

    def _starting_control(self) -> Any:
        if self.config.init is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.config.seed)
                return ControlNetXS(self.spec)
        control = native.load(self.config.init)
        for name in {field.name for field in dataclasses.fields(ControlSpec)} - _PROVENANCE:
            if getattr(control.spec, name) != getattr(self.spec, name):
                raise CheckpointError("training_init_differs", file=self.config.init.name, name=name)
        before: dict[str, Any] = dict(control.spec.training)
        seen = before.get("images", 0) + before.get("init_images", 0)
        self.init_facts = (("init", self.config.init.name), ("init_images", seen))
        control.spec = self.spec
        return control

    @property
    def fraction(self) -> float:
        """Return how much of the run is over, 0 to 1."""
        by_steps = 0.0 if self.config.steps is None else self.step / self.config.steps
        by_time = 0.0 if self.config.minutes is None else self.elapsed / (60 * self.config.minutes)
        return min(1.0, max(by_steps, by_time))

    def predict_loss(
        self, module: torch.nn.Module, batch: Batch, timesteps: torch.Tensor, noise: torch.Tensor, **scale: float
    ) -> torch.Tensor:
        """Return the squared error (B,) of noise or velocity, as the base predicts it, weighted uniformly.

        Weights that favour low noise leave the layout of a picture, decided at high noise, nearly untrained.
        """
        device = self.accelerator.device
        latents, noise, timesteps = batch.latents.to(device), noise.to(device), timesteps.to(device)
        scheduler = self.base.scheduler
        noisy = scheduler.add_noise(latents, noise, timesteps).contiguous(memory_format=torch.channels_last)
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
        prediction = module(noisy, timesteps, batch.context, batch.maps, batch.added, **scale)
        return (prediction.float() - target).square().mean((1, 2, 3))

    def update(self, positions: np.ndarray) -> float:
        """Take one optimiser step on samples at `positions` and return their mean loss."""
        config = self.config
        B = len(positions)
        without_prompt = (torch.rand(B, generator=self.generator) < config.prompt_dropout).numpy()
        timesteps = stratified_timesteps(B, self.generator)
        noise = torch.randn(B, *self.data.latent_shape(positions[0]), generator=self.generator)
        loss = torch.zeros((), device=self.accelerator.device)
        size = B // (self.accelerator.num_processes * config.accumulation)
        for part in range(config.accumulation):
            first = (self.accelerator.process_index * config.accumulation + part) * size
            rows = slice(first, first + size)
            batch = self.data.batch(positions[rows], without_prompt=without_prompt[rows])
            batch = batch.part(slice(None), self.accelerator.device)
            last = part == config.accumulation - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.module):
                mean = self.predict_loss(self.module, batch, timesteps[rows], noise[rows]).mean() / config.accumulation
                self.accelerator.backward(mean)
            loss += mean.detach()
        value = self._mean(loss).item()
        if self._is_spike(value):
            self.optimizer.zero_grad()
        else:
            self._optimize()
        self.step += 1
        self.images += B
        return value

    def _mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean over all processes."""
        mean = self.accelerator.reduce(values, "mean")
        assert isinstance(mean, torch.Tensor)
        return mean

    def _is_spike(self, loss: float) -> bool:
        spike = not math.isfinite(loss) or loss > self.config.spike * self.running_loss
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if spike else 0
        if self.skipped_in_a_row >= _MOST_SKIPPED:
            raise InputError("training_diverged", steps=_MOST_SKIPPED)
        if math.isnan(self.running_loss):
            self.running_loss = loss
        elif not spike:
            self.running_loss += 0.02 * (loss - self.running_loss)
        return spike

    def _optimize(self) -> None:
        rate = learning_rate(self.config, step=self.step, fraction=self.fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.accelerator.clip_grad_norm_(self.control.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 12))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.control.parameters()), 1 - decay)

    @torch.no_grad()
    def validate(self, *, control_scale: float = 1.0) -> tuple[float, ...]:
        """Return the average's error on held-out samples: by quarter of the schedule, low noise first, and its mean.

        Draws the same timesteps and noise every time.
        """
        generator = torch.Generator().manual_seed(5)
        module = self.coupled(self.average)
        losses, times = [], []
        for bucket in self.data.held_out:
            for start in range(0, len(bucket), _VALIDATION_BATCH):
                positions = bucket[start : start + _VALIDATION_BATCH]
                batch = self.data.batch(positions).part(slice(None), self.accelerator.device)
                timesteps = stratified_timesteps(len(positions), generator)
                noise = torch.randn(batch.latents.shape, generator=generator)
                with self.accelerator.autocast():
                    loss = self.predict_loss(module, batch, timesteps, noise, control_scale=control_scale)
                losses.append(loss.cpu())
                times.append(timesteps)
        loss, time_of = torch.cat(losses), torch.cat(times)
        quarters = [loss[(time_of >= low) & (time_of < low + 250)].mean().item() for low in (0, 250, 500, 750)]
        return tuple(round(value, 5) for value in (*quarters, loss.mean().item()))

    def save(self) -> None:
        """Write the run's state, and the average as a finished control, each replaced only when complete.

        Raises:
            UnavailableError: `training_not_written`; what was saved before is as it was.
        """
        if not self.accelerator.is_main_process:
            return
        state = {
            "identity": self._identity(),
            "control": self.control.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "counts": (self.step, self.images, self.elapsed, self.running_loss, self.skipped_in_a_row),
            "init_facts": self.init_facts,
        }
        write_whole(self.state_path, partial(torch.save, state))
        self._write_output()

    def _write_output(self) -> None:
        self.average.spec = self.finished_spec()
        with writing(self.config.output):
            native.save(self.average, self.config.output)

    def write_config(self) -> None:
        """Write the settings of this start beside the run's state, for people."""
        settings = self.config.to_json() + "\n"
        write_whole(self.config.run / "config.json", lambda path: path.write_text(settings, "utf-8"))

    def finished_spec(self) -> ControlSpec:
        """Return the spec with what is known of the training so far."""
        facts: tuple[tuple[str, str | float], ...] = (
            ("images", self.images),
            ("steps", self.step),
            ("minutes", round(self.elapsed / 60, 1)),
            ("batch_size", self.config.batch_size),
            ("learning_rate", self.config.learning_rate),
            ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
        )
        return dataclasses.replace(self.spec, training=facts + self.init_facts)

    def _identity(self) -> dict[str, Any]:
        return self.config.identity() | {"base_sha256": self.base.loaded.sha256}

    def _load(self) -> None:
        """Go on from the run's saved state."""
        state = torch.load(self.state_path, weights_only=True, map_location="cpu")
        for name, value in self._identity().items():
            # A run that is older than a setting was made with what is now its default.
            if (saved := state["identity"].get(name, getattr(TrainingConfig, name, None))) != value:
                given = value
                raise InputError("training_run_differs", run=self.config.run, name=name, given=given, saved=saved)
        self.control.load_state_dict(state["control"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        self.step, self.images, self.elapsed, self.running_loss, self.skipped_in_a_row = state["counts"]
        self.init_facts = tuple(tuple(fact) for fact in state["init_facts"])

    def run(self, stop: threading.Event) -> Iterator[Progress]:
        """Train until the run is over or `stop` is set, saving at the end either way, and yield reports."""
        begin, before = time.monotonic(), self.elapsed
        if self.accelerator.is_main_process:
            self.curve.cut(self.step)
        meter = _Meter(start=begin, images=self.images, fraction=self.fraction)
        for positions in self.order.starting_at(self.step):
            stopped = self._agree(stop=stop.is_set(), elapsed=before + time.monotonic() - begin)
            if stopped or self.fraction >= 1:
                break
            meter.losses.append(self.update(positions))
            if self.step == self.config.steps:
                break
            saving = self.step % self.config.save_every == 0
            if saving or self.step % self.config.report_every == 0:
                yield self._report(meter, saving=saving)
        if self.fraction >= 1:
            yield self._report(meter, saving=True)
        else:
            self.save()

    def _agree(self, *, stop: bool, elapsed: float) -> bool:
        """Set the time that all processes go by, and return whether any was asked to stop."""
        if self.accelerator.num_processes > 1:
            values = torch.tensor([float(stop), elapsed], device=self.accelerator.device)
            stopping, self.elapsed = self._mean(values).tolist()
            return stopping > 0
        self.elapsed = elapsed
        return stop

    def _report(self, meter: "_Meter", *, saving: bool) -> Progress:
        """Save first, as a stop may follow; then measure."""
        config, main = self.config, self.accelerator.is_main_process
        if saving:
            self.save()
        now = time.monotonic()
        done = self.fraction - meter.first_fraction
        progress = Progress(
            step=self.step,
            images=self.images,
            minutes=self.elapsed / 60,
            loss=float(np.mean(meter.losses)) if meter.losses else math.nan,
            learning_rate=learning_rate(config, step=self.step, fraction=self.fraction),
            rate=(self.images - meter.images) / max(now - meter.clock, 1e-9),
            seconds_left=(1 - self.fraction) * (now - meter.start) / done if done > 0 else 0.0,
            held_out=self.validate() if saving and main else None,
        )
        meter.losses, meter.images, meter.clock = [], self.images, now
        if main:
            self.curve.add(progress)
        if main and config.sheet_every and (self.step % config.sheet_every == 0 or self.fraction >= 1):
            sheet = sample_sheet(self.base, self.average, self.data, accelerator=self.accelerator)
            write_whole(config.run / f"sheet_{self.step:07d}.png", partial(sheet.save, format="PNG"))
        return progress


class _Meter:
    """What the next report covers."""

    def __init__(self, *, start: float, images: int, fraction: float) -> None:
        self.start = self.clock = start
        self.images = images
        self.first_fraction = fraction
        self.losses: list[float] = []
