"""What only a CUDA device can show: `python -m pytest -m gpu`. Skipped where there is none.

Tolerances: float32 on a GPU adds in another order, and its convolutions may round their factors to TF32; half precision
keeps three digits. Both are measured on pictures, where 1 is the whole range.
"""

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from cnxs.backend import Engine
from cnxs.checkpoints import native
from cnxs.devices import choose_dtype
from cnxs.errors import UnavailableError
from cnxs.evaluation.bench import Bench
from cnxs.evaluation.subjects import edge_subjects
from cnxs.miniature import ASSETS
from cnxs.model import CoupledUNet
from cnxs.request import Axis, GenerationRequest
from cnxs.store import ImageStore
from cnxs.training.__main__ import main as train
from cnxs.weights import Library
from tests.golden_cases import CASES, load_case
from tests.test_backend import images, pictures, request_, run, with_control  # noqa: F401  fixtures
from tests.tiny_pool import write_pool

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # torch.compile's helpers warn on import, with some releases of PyTorch; nothing here compiles.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CUDA = torch.device("cuda")


def engine(dtype: torch.dtype, **options: object) -> Engine:
    return Engine(CUDA, Library(), dtype=dtype, threads=1, **options)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def on_processor(request_: GenerationRequest, images: ImageStore) -> np.ndarray:  # noqa: F811
    return drawn(Engine(torch.device("cpu"), Library(), threads=1), [request_], images)[0]


@pytest.fixture
def exact() -> Iterator[None]:
    """Convolutions and products in full float32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def drawn(engine: Engine, cells: Sequence[GenerationRequest], store: ImageStore) -> list[np.ndarray]:
    return [picture.astype(np.float64) / 255 for picture in pictures(run(engine, cells, store))]


def test_half_precision_is_the_choice() -> None:
    assert choose_dtype(CUDA) == torch.float16


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_the_authors_tensors_on_the_gpu(name: str, exact: None) -> None:
    case = load_case(name)
    base, control = case.base.to(CUDA), case.control.to(CUDA)
    coupled = CoupledUNet(base, [control])
    hint = control.encode_hint(case.io["in.hint_u8"].to(CUDA).float() / 255)
    added = case.added()
    added = added and {key: value.to(CUDA) for key, value in added.items()}
    x, context = case.io["in.x"].to(CUDA), case.io["in.context"].to(CUDA)
    for key in case.info["runs"]:
        out = coupled(x, case.timesteps(key).to(CUDA), context, [case.input(key, hint)], added_cond_kwargs=added)
        assert (out.cpu() - case.io[f"out.{key}"]).abs().max() <= 1e-4, key  # five times the processor's tolerance


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 0.002), (torch.float16, 0.01), (torch.bfloat16, 0.03)]
)
def test_pictures_are_those_of_the_processor(
    dtype: torch.dtype,
    tolerance: float,
    request_: GenerationRequest,  # noqa: F811
    images: ImageStore,  # noqa: F811
    on_processor: np.ndarray,
) -> None:
    (picture,) = drawn(engine(dtype), [request_], images)
    assert np.abs(picture - on_processor).mean() <= tolerance


def test_strength_zero_is_no_control_bit_for_bit(request_: GenerationRequest, images: ImageStore) -> None:  # noqa: F811
    there = engine(torch.float16)
    plain = dataclasses.replace(request_, controls=())
    (controlled,) = drawn(there, [with_control(request_, control_scale=0.0)], images)
    (without,) = drawn(there, [plain], images)
    (full,) = drawn(there, [request_], images)
    assert np.array_equal(controlled, without)
    assert not np.array_equal(full, without)


def test_a_strip_is_one_batch_of_the_single_pictures(
    request_: GenerationRequest,  # noqa: F811
    images: ImageStore,  # noqa: F811
) -> None:
    there = engine(torch.float32)
    strip = dataclasses.replace(request_, axes=(Axis(name="control_scale", values=(0.0, 0.5, 1.0)),))
    together = drawn(there, strip.cells(), images)
    single = [drawn(there, [cell], images)[0] for cell in strip.cells()]
    for one, other in zip(together, single, strict=True):
        assert np.abs(one - other).mean() <= 0.002  # kernels differ with the batch


@pytest.mark.parametrize("vram", ["medium", "low"])
def test_little_memory_gives_the_same_picture(
    vram: str,
    request_: GenerationRequest,  # noqa: F811
    images: ImageStore,  # noqa: F811
) -> None:
    before = allocated()
    whole = engine(torch.float16)
    (expected,) = drawn(whole, [request_], images)
    everything = allocated() - before
    del whole
    before = allocated()
    spare = engine(torch.float16, vram=vram)
    (picture,) = drawn(spare, [request_], images)
    assert np.array_equal(picture, expected)
    assert allocated() - before < everything / 2


def allocated() -> int:
    """Return the bytes on the GPU that something still refers to."""
    gc.collect()
    return torch.cuda.memory_allocated()


def test_out_of_memory_is_a_sentence_and_the_next_picture_is_made(
    request_: GenerationRequest,  # noqa: F811
    images: ImageStore,  # noqa: F811
) -> None:
    there = engine(torch.float16)
    (before,) = drawn(there, [request_], images)
    many = dataclasses.replace(request_, axes=(Axis(name="seed", values=tuple(range(4))),))
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    hog = []
    try:
        for size in (2**21, 2**19):  # fill what is reserved, large blocks and small, so that the batch finds nothing
            with contextlib.suppress(torch.OutOfMemoryError):
                while True:
                    hog.append(torch.empty(size, dtype=torch.uint8, device=CUDA))
        with pytest.raises(UnavailableError) as caught:
            drawn(there, many.cells(), images)
    finally:
        hog.clear()
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.key.startswith("out_of_memory")
    (after,) = drawn(there, [request_], images)
    assert np.array_equal(before, after)


def test_a_control_is_trained_and_read_anywhere(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", 12)
    arguments = ["--condition", "canny", "--pool", str(pool), "--output", str(tmp_path / "control.safetensors")]
    settings = ["--steps", "3", "--batch-size", "4", "--held-out", "4", "--precision", "bf16", "--widths", "8,8,16"]
    assert train([*arguments, *settings]) == 0
    control = native.load(tmp_path / "control.safetensors")
    assert next(control.parameters()).device.type == "cpu"
    assert all(torch.isfinite(parameter).all() for parameter in control.parameters())


def test_the_evaluation_samples_on_the_gpu() -> None:
    subjects = edge_subjects(2)
    found = []
    for device in (torch.device("cpu"), CUDA):
        control = native.load(ASSETS / "controls" / "canny.safetensors").to(device)
        samples = Bench(steps=3, device=device).sample(subjects, control)
        found.append(np.stack([np.asarray(picture, np.float64) / 255 for picture in samples.pictures]))
    assert np.abs(found[0] - found[1]).mean() <= 0.002
