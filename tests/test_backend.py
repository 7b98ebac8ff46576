"""The engine and pipeline on the bundled miniature: real weights, few steps."""

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cnxs import backend
from cnxs.backend import Engine
from cnxs.checkpoints import native
from cnxs.devices import choose_device, choose_dtype
from cnxs.errors import CheckpointError, InputError, UnavailableError
from cnxs.protocol import Event, Loading, Preview, Progress, Result
from cnxs.request import Axis, ControlUse, GenerationRequest, Sampler
from cnxs.store import ImageStore
from cnxs.weights import Library

STEPS = 3


def control_map() -> Image.Image:
    picture = Image.new("RGB", (256, 256))
    ImageDraw.Draw(picture).ellipse((60, 60, 196, 196), outline="white")
    return picture


@pytest.fixture(scope="module")
def images() -> ImageStore:
    return ImageStore(None)


@pytest.fixture(scope="module")
def request_(images: ImageStore) -> GenerationRequest:
    use = ControlUse(network="canny", kind="canny", map_id=images.put(control_map()))
    return GenerationRequest(
        base="miniature", prompt="a red apple, 3d render", controls=(use,), steps=STEPS, seed=7, threads=1
    )


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(torch.device("cpu"), Library(), threads=1)


def run(engine: Engine, cells: Sequence[GenerationRequest], images: ImageStore) -> list[Event]:
    return list(engine.generate(cells, images, lambda: False))


def pictures(events: Sequence[Event]) -> list[np.ndarray]:
    return [np.asarray(event.image) for event in events if isinstance(event, Result)]


def with_control(request: GenerationRequest, **changes: object) -> GenerationRequest:
    return dataclasses.replace(request, controls=(dataclasses.replace(request.controls[0], **changes),))


def test_events_tell_every_step_and_end_with_the_result(
    engine: Engine, request_: GenerationRequest, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "PREVIEW_SECONDS", 0)
    fresh = Engine(torch.device("cpu"), Library(), threads=1)
    events = run(fresh, request_.cells(), images)
    assert isinstance(events[0], Loading)
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert sum(isinstance(event, Preview) for event in events) == STEPS - 1
    result = events[-1]
    assert isinstance(result, Result)
    assert result.image.size == (256, 256)
    assert result.request == dataclasses.replace(request_, threads=1)
    assert result.edge_agreement is not None
    assert 0 <= result.edge_agreement <= 1


def test_the_preview_looks_like_the_result(engine: Engine, images: ImageStore) -> None:
    request = GenerationRequest(base="miniature", prompt="a green tree, cartoon", steps=6, seed=1)
    pipeline = engine.pipeline("miniature")
    latents = pipeline.prepare_latents([request])
    *_, last = pipeline.denoise([request], latents, [])
    shown = pipeline.preview(last.latents)[0].resize((64, 64), Image.Resampling.BOX)
    real = pipeline.decode(last.latents)[0].resize((64, 64), Image.Resampling.BOX)
    assert np.corrcoef(np.asarray(shown).ravel(), np.asarray(real).ravel())[0, 1] > 0.9


def test_alone_in_a_batch_and_again_are_the_same_bytes(
    engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    grid = dataclasses.replace(request_, axes=(Axis(name="seed", values=(7, 8)),))
    together = pictures(run(engine, grid.cells(), images))
    alone = pictures(run(engine, request_.cells(), images))[0]
    assert np.array_equal(together[0], alone)
    assert np.array_equal(alone, pictures(run(engine, request_.cells(), images))[0])
    assert not np.array_equal(together[0], together[1])


def test_a_true_batch_agrees_closely(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    # Floating point sums differ with the batch by about 4e-6 a step, hence by at most one level in a picture.
    grid = dataclasses.replace(request_, axes=(Axis(name="control_scale", values=(0.5, 1.0)),))
    batched = Engine(torch.device("cpu"), Library(), threads=1)
    batched.batch_size = 2
    for one, two in zip(
        pictures(run(engine, grid.cells(), images)), pictures(run(batched, grid.cells(), images)), strict=True
    ):
        assert np.abs(one.astype(int) - two.astype(int)).max() <= 1


def test_strength_zero_is_the_image_without_control(
    engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    zero = pictures(run(engine, with_control(request_, control_scale=0.0).cells(), images))[0]
    without = pictures(run(engine, dataclasses.replace(request_, controls=()).cells(), images))[0]
    controlled = pictures(run(engine, request_.cells(), images))[0]
    assert np.array_equal(zero, without)
    assert np.abs(controlled.astype(int) - without.astype(int)).max() > 30


def test_the_control_window_and_gains_act(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    full = pictures(run(engine, request_.cells(), images))[0]
    early = pictures(run(engine, with_control(request_, end=0.5).cells(), images))[0]
    no_detail = pictures(run(engine, with_control(request_, gains=(1.0, 1.0, 0.0)).cells(), images))[0]
    assert not np.array_equal(full, early)
    assert not np.array_equal(full, no_detail)


def test_cancel_stops_between_two_steps(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    steps: list[int] = []
    for event in engine.generate(request_.cells(), images, lambda: len(steps) >= 1):
        assert not isinstance(event, Result)
        if isinstance(event, Progress):
            steps.append(event.step)
    assert steps == [1]


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "unipc", "lcm"])
def test_every_sampler_gives_a_finite_picture_decided_by_its_seed(
    sampler: Sampler, engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    request = dataclasses.replace(request_, sampler=sampler, steps=2)
    first, again = (pictures(run(engine, request.cells(), images))[0] for _ in range(2))
    assert np.array_equal(first, again)
    assert first.std() > 5


def test_guidance_one_needs_no_negative_half(
    engine: Engine, request_: GenerationRequest, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    unet = engine.pipeline("miniature").base.unet
    handle = unet.conv_in.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    run(engine, dataclasses.replace(request_, guidance_scale=1.0).cells(), images)
    run(engine, request_.cells(), images)
    handle.remove()
    assert sizes == [1] * STEPS + [2] * STEPS


def test_rescaled_guidance_reaches_the_picture(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    """Spread of the pixels, not a look: the same picture with less contrast."""
    rescaled = [dataclasses.replace(request_, guidance_scale=8.0, guidance_rescale=rescale) for rescale in (0.0, 1.0)]
    hard, soft = pictures(run(engine, rescaled, images))
    assert soft.std() < 0.95 * hard.std()


def test_the_hint_is_encoded_once_for_a_strip(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    calls: list[int] = []
    pipeline = engine.pipeline("miniature")
    network = engine.network("canny", pipeline)
    handle = network.hint_encoder.register_forward_hook(lambda *_: calls.append(1))
    fresh_map = control_map()
    fresh_map.putpixel((3, 3), (255, 255, 255))
    request = with_control(request_, map_id=images.put(fresh_map))
    run(engine, dataclasses.replace(request, axes=(Axis(name="control_scale", values=(0.5, 1, 1.5)),)).cells(), images)
    handle.remove()
    assert len(calls) == 1


def test_other_sizes_work(engine: Engine, images: ImageStore) -> None:
    wide = Image.new("RGB", (304, 208))
    use = ControlUse(network="canny", map_id=images.put(wide), kind="canny")
    request = GenerationRequest(base="miniature", width=304, height=208, steps=2, controls=(use,))
    assert pictures(run(engine, request.cells(), images))[0].shape == (208, 304, 3)


def test_a_map_of_another_size_is_refused(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    request = with_control(request_, map_id=images.put(Image.new("RGB", (128, 128))))
    with pytest.raises(InputError) as error:
        run(engine, request.cells(), images)
    assert error.value.key == "map_size"


def half_mask() -> Image.Image:
    mask = Image.new("RGB", (256, 256))
    mask.paste((255, 255, 255), (128, 0, 256, 256))
    return mask


def test_a_start_picture_changes_as_much_as_asked(
    engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    plain = dataclasses.replace(request_, controls=(), steps=10)
    picture = Image.new("RGB", (256, 256), (40, 90, 200))
    start = dataclasses.replace(plain, init_id=images.put(picture))
    distances = []
    for change in (0.1, 0.5, 1.0):
        result = pictures(run(engine, dataclasses.replace(start, change=change).cells(), images))[0]
        distances.append(np.abs(result.astype(int) - np.asarray(picture).astype(int)).mean())
    assert distances[0] < 12  # one step of ten: the picture, as the autoencoder gives it back
    assert distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "unipc", "lcm"])
def test_every_sampler_starts_from_a_picture(
    sampler: Sampler, engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    picture = Image.new("RGB", (256, 256), (40, 90, 200))
    start = dataclasses.replace(request_, init_id=images.put(picture), change=0.4, steps=5, sampler=sampler)
    events = run(engine, start.cells(), images)
    assert [(event.step, event.steps) for event in events if isinstance(event, Progress)] == [(1, 2), (2, 2)]
    assert np.asarray(pictures(events)[0])[..., 2].mean() > 120  # still bluish


def test_outside_the_mask_every_pixel_stays(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    picture = Image.effect_noise((256, 256), 60).convert("RGB")
    masked = dataclasses.replace(request_, init_id=images.put(picture), mask_id=images.put(half_mask()))
    result = pictures(run(engine, masked.cells(), images))[0]
    assert np.array_equal(result[:, :128], np.asarray(picture)[:, :128])
    assert np.abs(result[:, 140:].astype(int) - np.asarray(picture)[:, 140:]).mean() > 20


def test_a_region_holds_the_control_back_elsewhere(
    engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    everywhere = pictures(run(engine, request_.cells(), images))[0].astype(int)
    nowhere = with_control(request_, region_id=images.put(Image.new("RGB", (256, 256))))
    without = pictures(run(engine, dataclasses.replace(request_, controls=()).cells(), images))[0].astype(int)
    assert np.abs(pictures(run(engine, nowhere.cells(), images))[0].astype(int) - without).max() <= 1
    right = with_control(request_, region_id=images.put(half_mask()))
    partly = pictures(run(engine, right.cells(), images))[0].astype(int)
    to_left = np.abs(partly - without)[:, :96].mean() / np.abs(partly - everywhere)[:, :96].mean()
    to_right = np.abs(partly - without)[:, 160:].mean() / np.abs(partly - everywhere)[:, 160:].mean()
    assert to_left < to_right


def test_control_on_the_prompt_half_only_differs(
    engine: Engine, request_: GenerationRequest, images: ImageStore
) -> None:
    both = pictures(run(engine, request_.cells(), images))[0]
    half = pictures(run(engine, with_control(request_, prompt_half_only=True).cells(), images))[0]
    assert not np.array_equal(both, half)


def test_two_controls_work_together(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    square = Image.new("RGB", (256, 256))
    ImageDraw.Draw(square).rectangle((20, 20, 80, 80), outline="white")
    second = dataclasses.replace(request_.controls[0], map_id=images.put(square), control_scale=0.7)
    two = dataclasses.replace(request_, controls=(request_.controls[0], second))
    swapped = dataclasses.replace(two, controls=two.controls[::-1])
    result = pictures(run(engine, two.cells(), images))[0]
    assert np.array_equal(result, pictures(run(engine, swapped.cells(), images))[0])
    assert not np.array_equal(result, pictures(run(engine, request_.cells(), images))[0])


def test_models_lists_the_miniature_and_its_controls(engine: Engine) -> None:
    models = engine.models()
    assert models.bases[0].name == "miniature"
    assert models.bases[0].state == "here"
    canny = next(network for network in models.networks if network.name == "canny")
    assert canny.state == "here"
    assert canny.kinds[0] == "canny"


def test_what_is_not_here_is_said(engine: Engine, request_: GenerationRequest, images: ImageStore) -> None:
    with pytest.raises(UnavailableError) as error:
        run(engine, dataclasses.replace(request_, base="sd15").cells(), images)
    assert error.value.key == "base_not_here"
    with pytest.raises(InputError) as unknown:
        run(engine, with_control(request_, network="nothing").cells(), images)
    assert unknown.value.key == "unknown_network"


def test_a_control_for_another_base_is_refused(
    request_: GenerationRequest, images: ImageStore, tmp_path: Path, engine: Engine
) -> None:
    network = engine.network("canny", engine.pipeline("miniature"))
    with torch.device("meta"):
        spec = dataclasses.replace(network.spec, base_channels=(64, 128, 192))
        other = type(network)(spec)
    (tmp_path / "controls").mkdir()
    native.save(other.to_empty(device="cpu"), tmp_path / "controls" / "other.safetensors")
    mismatched = Engine(torch.device("cpu"), Library(tmp_path), threads=1)
    with pytest.raises(CheckpointError) as error:
        run(mismatched, with_control(request_, network="other").cells(), images)
    assert error.value.key == "control_for_other_base"


def test_bfloat16_runs_on_the_cpu(request_: GenerationRequest, images: ImageStore) -> None:
    half = Engine(torch.device("cpu"), Library(), threads=1, dtype=torch.bfloat16)
    assert pictures(run(half, request_.cells(), images))[0].std() > 5


def test_devices_are_chosen_in_one_place() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_dtype(torch.device("cpu")) == torch.float32
    assert choose_dtype(torch.device("cuda")) == torch.float16
    assert choose_dtype(torch.device("cuda"), "bfloat16") == torch.bfloat16
    with pytest.raises(UnavailableError) as error:
        choose_device("nonsense")
    assert error.value.key == "device_not_here"
    with pytest.raises(InputError) as unknown:
        choose_dtype(torch.device("cpu"), "int8")
    assert unknown.value.key == "unknown_dtype"


def test_engines_that_load_at_the_same_time_get_whole_networks() -> None:
    for _ in range(3):  # unguarded, one of two came out without weights in most rounds
        engines = [Engine(torch.device("cpu"), Library(), threads=1) for _ in range(3)]
        together = threading.Barrier(len(engines))

        def load(engine: Engine, together: threading.Barrier = together) -> list[torch.device]:
            together.wait()
            pipeline = engine.pipeline("miniature")
            modules = (*pipeline.base.modules, engine.network("canny", pipeline))
            return [parameter.device for module in modules for parameter in module.parameters()]

        with ThreadPoolExecutor(len(engines)) as pool:
            devices = {device.type for found in pool.map(load, engines) for device in found}
        assert devices == {"cpu"}


def test_tokens_are_counted_without_touching_the_pipeline() -> None:
    engine = Engine(torch.device("cpu"), Library(), threads=1)
    assert engine.count_tokens("miniature", "a red apple, 3d") == (6, 22)
    assert engine._pipeline is None
