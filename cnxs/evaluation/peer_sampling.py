"""Sampling with a control of any architecture: the pipeline's prompts, noise and scheduler around one prediction."""

import dataclasses
from collections.abc import Sequence

import torch

from cnxs.evaluation.bench import Bench, Samples, Subject
from cnxs.evaluation.peers import Peer
from cnxs.samplers import guide, make_scheduler
from cnxs.tensors import to_unit_tensor


@torch.inference_mode()
def sample_peer(
    bench: Bench, subjects: Sequence[Subject], peer: Peer, *, control_scale: float, seed_offset: int = 0
) -> Samples:
    """Generate one picture per subject with the settings of the bench; for a ControlNet-XS, what `Bench.sample` gives.

    Args:
        bench: the base, the steps, the images of one call.
        subjects: what to show.
        peer: follows their maps.
        control_scale: how strongly; 0 is the base alone.
        seed_offset: added to every subject's seed, for other noise.
    """
    moved = [dataclasses.replace(subject, seed=subject.seed + seed_offset) for subject in subjects]
    if control_scale == 0:
        return bench.sample_plain(moved)
    latents, pictures = [], []
    for start in range(0, len(moved), bench.batch_size):
        latents.append(_denoise(bench, moved[start : start + bench.batch_size], peer, control_scale))
        pictures += bench.pipeline.decode(latents[-1])
    return Samples(latents=torch.cat(latents), pictures=tuple(pictures))


def _denoise(bench: Bench, batch: Sequence[Subject], peer: Peer, control_scale: float) -> torch.Tensor:
    pipeline = bench.pipeline
    requests = bench.requests(batch)
    scheduler = make_scheduler("ddim", pipeline.base.scheduler_config)
    scheduler.set_timesteps(bench.steps, device=bench.device)
    states = [pipeline.encode_prompt(subject.caption, "", 0) for subject in batch]
    context = torch.cat([away.context for _, away in states] + [towards.context for towards, _ in states])
    maps = torch.cat([to_unit_tensor(subject.control_map, channels=1) for subject in batch]).to(bench.device)
    hint = peer.encode_hint(maps).repeat(2, 1, 1, 1)
    scales = [asked.guidance_scale for asked in requests]
    scale = torch.tensor(scales, device=bench.device, dtype=pipeline.dtype)
    latents = pipeline.prepare_latents(requests) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        both = torch.cat([latents, latents])
        output = peer.predict(both, timestep, context, hint, control_scale=control_scale)
        latents = scheduler.step(guide(output, scale), timestep, latents).prev_sample
    return latents
