"""Sampling, step by step: encode the prompt, encode the hint, prepare latents, denoise, decode.

Each step is a public method; `denoise` is a generator, so that progress, previews and cancelling are the caller's.
Letters in shapes: B images of a batch, C latent channels, H W the latent grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from PIL.Image import Image

from cnxs import tensors
from cnxs.bases import UNDECIDED, LoadedBase
from cnxs.errors import InputError
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet
from cnxs.prompts import TextStates
from cnxs.request import ControlUse, GenerationRequest, active_steps
from cnxs.residency import Plan, Residency, Stage
from cnxs.samplers import begin_at, guide, make_scheduler, predicted_latents

_CACHED_PROMPTS = 64
_CACHED_HINTS = 8


@dataclass(frozen=True)
class Control:
    """One control at work on one image: its network, what the request says of it, and its encoded map."""

    network: ControlNetXS
    use: ControlUse
    hint: torch.Tensor  # (1, K0, H, W)
    region: torch.Tensor | None = None  # (1, 1, H, W) in [0, 1]: where it acts; None: everywhere


@dataclass(frozen=True)
class Start:
    """A picture to start from, encoded, and where it is painted anew."""

    latents: torch.Tensor  # (1, C, H, W)
    mask: torch.Tensor  # (1, 1, H, W) in [0, 1]: 1 is painted anew


@dataclass(frozen=True)
class Step:
    """The state after one denoising step."""

    index: int  # from 0
    latents: torch.Tensor  # (B, C, H, W), as the scheduler scales them
    predicted: torch.Tensor  # (B, C, H, W), clean latents as predicted: for previews


class Pipeline:
    """A base model and the five steps of sampling with it. Holds no state of a request."""

    def __init__(self, base: LoadedBase, *, device: torch.device, dtype: torch.dtype, plan: Plan = "high") -> None:
        self.base, self.device, self.dtype = base, device, dtype
        codec: Any = base.codec
        stages: dict[Stage, Sequence[torch.nn.Module]] = {
            "text": base.prompts.text_encoders,
            "unet": (base.unet,),
            "codec": (codec.autoencoder,),
        }
        self.residency = Residency(stages, device=device, plan=plan)
        if plan != "high":
            base.codec.spare_memory()
            # Fits what previews need now, while nothing else is on the device: in the middle of a run it would be.
            self.residency.bring("codec")
            self.preview(torch.zeros(1, base.codec.latent_channels, 8, 8, device=device, dtype=dtype))
        # Strengths and seeds vary over a comparison; prompt and map do not, and are encoded once.
        self.encode_prompt = lru_cache(_CACHED_PROMPTS)(self._encode_prompt)
        self.forget_prompts = self.encode_prompt.cache_clear  # when LoRAs change the text encoders
        self._hints = lru_cache(_CACHED_HINTS)(self._encode_hint)

    def forget(self) -> None:
        """Drop what is kept on the device between requests: encoded prompts and hints."""
        self.forget_prompts()
        self._hints.cache_clear()

    def _encode_prompt(self, prompt: str, negative_prompt: str, clip_skip: int) -> tuple[TextStates, TextStates]:
        """Return the states of prompt and negative prompt, of one length."""
        self.residency.bring("text")
        return self.base.prompts.encode(prompt, negative_prompt, clip_skip=clip_skip)

    def encode_hint(self, network: ControlNetXS, map_id: str, control_map: Image) -> torch.Tensor:
        """Return the hint (1, K0, H, W) of a control map; the map's digest is its key in the cache."""
        return self._hints(network, _Keyed(map_id, control_map))

    @torch.inference_mode()
    def _encode_hint(self, network: ControlNetXS, keyed: "_Keyed") -> torch.Tensor:
        self.residency.bring("unet", [network])
        pixels = tensors.to_unit_tensor(keyed.image, channels=network.spec.hint_channels)
        return network.encode_hint(pixels.to(self.device, self.dtype))

    def prepare_latents(self, cells: Sequence[GenerationRequest]) -> torch.Tensor:
        """Return unit noise (B, C, H, W): one CPU generator per image, so that a seed means the same everywhere."""
        codec = self.base.codec
        shape = (1, codec.latent_channels, cells[0].height // codec.factor, cells[0].width // codec.factor)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(cell.seed)) for cell in cells]
        return torch.cat(noise).to(self.device, self.dtype)

    @torch.inference_mode()
    def encode_start(self, picture: Image, mask: Image | None) -> Start:
        """Return a start picture's latents and mask; without a mask all of it may change."""
        self.residency.bring("codec")
        pixels = tensors.to_signed_tensor(picture).to(self.device, self.dtype)
        return Start(self.base.codec.encode(pixels), self.latent_mask(mask, picture.size))

    def latent_mask(self, mask: Image | None, size: tuple[int, int]) -> torch.Tensor:
        """Return a mask (1, 1, H, W) in [0, 1] on the latent grid; all ones without one."""
        factor = self.base.codec.factor
        if mask is None:
            return torch.ones(1, 1, size[1] // factor, size[0] // factor, device=self.device, dtype=self.dtype)
        pixels = tensors.to_unit_tensor(mask, channels=1)
        return torch.nn.functional.avg_pool2d(pixels, factor).to(self.device, self.dtype)

    @torch.inference_mode()
    def denoise(
        self,
        cells: Sequence[GenerationRequest],
        noise: torch.Tensor,
        controls: Sequence[Sequence[Control]],
        starts: Sequence[Start] = (),
    ) -> Iterator[Step]:
        """Yield the state after each step.

        Args:
            cells: axis-free requests that agree in what `batch_key` names.
            noise: (B, C, H, W), of unit variance.
            controls: for each network in turn, its control of each image.
            starts: the pictures to start from, one per image; none: from noise.
        """
        scheduler = make_scheduler(cells[0].sampler, self._schedule(cells[0]))
        scheduler.set_timesteps(cells[0].steps, device=self.device)
        guidance = self._per_image([cell.guidance_scale for cell in cells])
        rescales = [cell.guidance_rescale for cell in cells]
        rescale = self._per_image(rescales) if any(rescales) else None
        guided = any(cell.guidance_scale != 1 for cell in cells)
        context, added = self._conditions(cells, guided=guided)
        coupled = CoupledUNet(self.base.unet, [column[0].network for column in controls])
        hints = [torch.cat([control.hint for control in column]) for column in controls]
        options = _step_options(scheduler, cells)
        first = first_step(cells[0])
        timesteps = scheduler.timesteps[first:]
        latents = noise * scheduler.init_noise_sigma
        if starts:
            given = torch.cat([start.latents for start in starts])
            mask = torch.cat([start.mask for start in starts])
            begin_at(scheduler, first)
            latents = scheduler.add_noise(given, noise, timesteps[:1])

        networks = [column[0].network for column in controls]
        for index, timestep in enumerate(timesteps, first):
            self.residency.bring("unet", networks)
            x = scheduler.scale_model_input(latents, timestep)
            inputs = [
                _control_input(column, hint, index, cells[0].steps, guided=guided)
                for column, hint in zip(controls, hints, strict=True)
            ]
            if guided:
                output = coupled(torch.cat([x, x]), timestep, context, inputs, added_cond_kwargs=added)
                output = guide(output, guidance, rescale)
            else:
                output = coupled(x, timestep, context, inputs, added_cond_kwargs=added)
            stepped = scheduler.step(output, timestep, latents, **options)
            latents = stepped.prev_sample.to(self.dtype)
            if starts:
                # Outside the mask the picture stays: the given latents, as noisy as the step has left the others.
                later = timesteps[index - first + 1 : index - first + 2]
                kept = scheduler.add_noise(given, noise, later) if len(later) else given
                latents = mask * latents + (1 - mask) * kept
            yield Step(index, latents, predicted_latents(scheduler, stepped, latents))

    def _per_image(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, device=self.device, dtype=self.dtype)

    def decode(self, latents: torch.Tensor) -> list[Image]:
        """Return pictures from final latents (B, C, H, W).

        Raises:
            InputError: if the latents are not finite, as half precision gives where a model overflows.
        """
        if not torch.isfinite(latents).all():
            raise InputError("image_not_finite")
        self.residency.bring("codec")
        with torch.inference_mode():
            return tensors.from_signed_tensor(self.base.codec.decode(latents))

    def preview(self, latents: torch.Tensor) -> list[Image]:
        """Return small pictures from latents (B, C, H, W): a linear projection, far cheaper than decoding."""
        with torch.inference_mode():
            return tensors.from_unit_tensor(self.base.codec.preview(latents))

    def _schedule(self, cell: GenerationRequest) -> dict[str, Any]:
        """Return the base's schedule, with the prediction type that the request names where it names one.

        Raises:
            InputError: if neither the base nor the request says what the U-Net predicts.
        """
        config = self.base.scheduler_config
        if cell.prediction != "auto":
            return config | {"prediction_type": cell.prediction}
        if config.get("prediction_type") == UNDECIDED:
            raise InputError("prediction_undecided", base=self.base.spec.label)
        return config

    def _conditions(
        self, cells: Sequence[GenerationRequest], *, guided: bool
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        """Return text states and SDXL's extra conditions, the negative half first where there is guidance."""
        pairs = [self.encode_prompt(cell.prompt, cell.negative_prompt, cell.clip_skip) for cell in cells]
        states = ([negative for _, negative in pairs] if guided else []) + [positive for positive, _ in pairs]
        longest = max(state.context.shape[1] for state in states)
        context = torch.cat([_lengthened(state.context, longest) for state in states])
        pooled = [state.pooled for state in states if state.pooled is not None]
        if not pooled:
            return context, None
        sizes = [(cell.height, cell.width, 0, 0, cell.height, cell.width) for cell in cells] * (1 + guided)
        time_ids = torch.tensor(sizes, device=self.device, dtype=self.dtype)
        return context, {"text_embeds": torch.cat(pooled), "time_ids": time_ids}


def batch_key(cell: GenerationRequest) -> tuple[object, ...]:
    """Return what images of one batch must agree in."""
    networks = tuple((use.network, use.gains, use.prompt_half_only, bool(use.region_id)) for use in cell.controls)
    start = (bool(cell.init_id), cell.change, cell.prediction, cell.loras)
    return (cell.width, cell.height, cell.steps, cell.sampler, cell.guidance_scale == 1, start, networks)


def first_step(cell: GenerationRequest) -> int:
    """Return the step to begin with: 0 from noise, later the less a start picture may change; at least one is run."""
    return min(cell.steps - 1, cell.steps - round(cell.steps * cell.change)) if cell.init_id else 0


@dataclass(frozen=True)
class _Keyed:
    """An image that is equal to another where their digests are."""

    digest: str
    image: Image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _scale_at(use: ControlUse, step: int, steps: int) -> float:
    return use.control_scale if step in active_steps(steps, use.start, use.end) else 0.0


def _connection_gains(control: Control) -> list[float]:
    """Return a gain per connection from the request's three: encoder, middle, decoder."""
    encoder, middle, decoder = control.use.gains
    spec = control.network.spec
    n = spec.num_connections
    return [encoder] * (0 if spec.control_type == "A" else n) + [middle] + [decoder] * n


def _control_input(
    column: Sequence[Control], hint: torch.Tensor, step: int, steps: int, *, guided: bool
) -> ControlInput:
    """Return what one network works with at one step; with guidance the negative half comes first."""
    use = column[0].use
    scales = [_scale_at(control.use, step, steps) for control in column]
    regions = [control.region for control in column if control.region is not None]
    region = torch.cat(regions) if regions else None
    if guided:
        negative = [0.0] * len(scales) if use.prompt_half_only else scales
        hint, scales = torch.cat([hint, hint]), [*negative, *scales]
        region = None if region is None else torch.cat([region, region])
    return ControlInput(hint=hint, control_scale=scales, gains=_connection_gains(column[0]), region=region)


def _lengthened(context: torch.Tensor, length: int) -> torch.Tensor:
    # Prompts of one batch may differ in chunks; repeating the shorter keeps attention's average where it was.
    return context.repeat(1, -(-length // context.shape[1]), 1)[:, :length]


def _step_options(scheduler: Any, cells: Sequence[GenerationRequest]) -> dict[str, Any]:
    # LCM adds noise after each step: from the image's own generator, or a seed would not decide it.
    if type(scheduler).__name__ != "LCMScheduler":
        return {}
    return {"generator": [torch.Generator().manual_seed(cell.seed + 1) for cell in cells]}
