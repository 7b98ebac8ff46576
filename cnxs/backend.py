"""One device's engine: loads models when they are first needed, keeps them, and turns requests into images."""

import gc
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image

from cnxs import images, metrics
from cnxs.bases import load_base, load_tokenizer
from cnxs.bases.loaded import UNDECIDED
from cnxs.bases.loras import apply_loras
from cnxs.bases.safety import SafetyChecker, hidden, load_checker
from cnxs.building import BUILDING
from cnxs.checkpoints import families
from cnxs.checkpoints.loading import load_control
from cnxs.controls.thin import thin
from cnxs.devices import choose_device, choose_dtype
from cnxs.errors import InputError, UnavailableError
from cnxs.hardware import CUDA_INSTALL_PAGE, gpu_without_cuda
from cnxs.model import ControlNetXS
from cnxs.pipeline import Control, Pipeline, Start, batch_key, first_step
from cnxs.prompts import count_tokens
from cnxs.protocol import BaseInfo, Event, Loading, Models, Preview, Progress, Result
from cnxs.registry import CONTROL_KINDS, MINIATURE
from cnxs.request import GenerationRequest
from cnxs.residency import HOME, VRAM, choose_plan, device_memory
from cnxs.specs import BaseModelSpec
from cnxs.store import ImageStore
from cnxs.weights import Library

log = logging.getLogger(__name__)

Note = tuple[str, Mapping[str, object]]

BATCH_ON_ACCELERATOR = 4
PREVIEW_SECONDS = 0.15  # at most one preview per image in this time, so that previews never slow sampling
_CACHED_NETWORKS = 8
# The terms are the same in every language.
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v-prediction", UNDECIDED: "epsilon / v-prediction?"}


def make_engine(
    *,
    device: str,
    models_dir: Path | None,
    threads: int,
    offline: bool,
    dtype: str = "auto",
    vram: VRAM = "auto",
    safety: bool = True,
) -> "Engine":
    """Build the engine of one device, with the bundled model loaded. Called in the worker thread that will use it.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        models_dir: the user's models.
        threads: CPU threads; 0 leaves torch's choice.
        offline: never ask the hub.
        dtype: "auto", "float32", "float16" or "bfloat16".
        vram: "auto", "high", "medium" or "low"; see `cnxs.residency`.
        safety: use the safety checker of bases that ship one.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    chosen = choose_device(device)
    library = Library(models_dir, offline=offline)
    number_format = choose_dtype(chosen, dtype)
    engine = Engine(chosen, library, threads=threads, dtype=number_format, vram=vram, safety=safety)
    engine.prepare(MINIATURE.name)
    return engine


@dataclass
class _Cell:
    """One image on its way."""

    index: int
    request: GenerationRequest
    controls: tuple[Control, ...]
    maps: tuple[Image, ...]
    start: Start | None
    pictures: tuple[Image, Image] | None  # start picture and mask, where both are given
    notes: tuple[Note, ...]


class Engine:
    """Generates images on one device. Called by one worker thread at a time.

    Args:
        device: where the networks run.
        library: the models there are.
        threads: CPU threads for sums; 0 leaves torch's choice. Stored in every request, since sums depend on it.
        dtype: of the networks; None: `choose_dtype`.
        vram: what stays in the device's memory.
        safety: hide what the checker of a base flags, where a base ships one; then no previews are shown either.
    """

    def __init__(
        self,
        device: torch.device,
        library: Library,
        *,
        threads: int = 0,
        dtype: torch.dtype | None = None,
        vram: VRAM = "auto",
        safety: bool = True,
    ) -> None:
        self._vram: VRAM = vram
        self._safety = safety
        self._checker: SafetyChecker | None = None
        self._device, self._dtype, self.library = device, dtype or choose_dtype(device), library
        self.threads = threads or torch.get_num_threads()
        self.batch_size = 1 if device.type == "cpu" else BATCH_ON_ACCELERATOR
        self._pipeline: Pipeline | None = None
        self._loras: tuple[tuple[str, float], ...] = ()
        self._predictions: dict[str, str] = {}  # of the bases loaded so far that could be either, by name
        self.network = lru_cache(_CACHED_NETWORKS)(self._load_network)
        self._tokenizer = lru_cache(load_tokenizer)

    @property
    def device(self) -> str:
        """The device's name for people."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return self._device.type.upper()

    def models(self) -> Models:
        """Return everything that can be chosen, scanned anew."""
        notes = (
            (("note.gpu_without_cuda", {"page": CUDA_INSTALL_PAGE}),) if gpu_without_cuda(torch.version.cuda) else ()
        )
        models = self.library.models()
        bases = tuple(self._with_prediction(info) for info in models.bases)
        return replace(models, bases=bases, device=self.device, notes=notes)

    def base_info(self, name: str) -> BaseInfo:
        """Return one base model as menus show it.

        Raises:
            InputError: if there is none of that name.
        """
        return self._with_prediction(self.library.base_info(name))

    def _with_prediction(self, info: BaseInfo) -> BaseInfo:
        said = (info.detail, self._predictions.get(info.name, ""))
        return replace(info, detail=", ".join(filter(None, said)))

    def count_tokens(self, base: str, prompt: str) -> tuple[int, int]:
        """Return (tokens of the prompt, tokens of one chunk) with that base's tokenizer."""
        # Asked by the page while a job runs: the running pipeline is not touched.
        found = self.library.base(base)
        if found.path is None:
            raise UnavailableError("base_not_here", base=found.spec.label)
        return count_tokens(self._tokenizer(found.path), prompt), found.spec.prompt_tokens

    def prepare(self, base: str) -> None:
        """Load a base ahead of its first request."""
        self.pipeline(base)

    def generate(
        self, cells: Sequence[GenerationRequest], store: ImageStore, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        """Yield Loading, Progress, Preview and Result events of axis-free requests.

        Stops between two steps once `cancelled()` is true.

        Raises:
            UserError: if a model or map is not here or does not fit.
        """
        try:
            yield from self._generate(cells, store, cancelled)
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(cells[0]) from error

    def _generate(
        self, cells: Sequence[GenerationRequest], store: ImageStore, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        if self._pipeline is None or self._pipeline.base.spec.name != cells[0].base:
            yield Loading(model=self.library.base(cells[0].base).spec.label)
        pipeline = self.pipeline(cells[0].base)
        torch.set_num_threads(cells[0].threads or self.threads)
        prepared = (self._prepare(i, cell, pipeline, store) for i, cell in enumerate(cells))
        for _, group in groupby(prepared, key=lambda cell: batch_key(cell.request)):
            while batch := list(islice(group, self.batch_size)):
                self._switch_loras(batch[0].request.loras, pipeline)
                yield from self._run_batch(pipeline, batch, len(cells), cancelled)
                if cancelled():
                    return

    def _out_of_memory(self, cell: GenerationRequest) -> UnavailableError:
        """Free what can be freed, and say what to change: the batch first, then the plan, then the size."""
        fields: dict[str, object] = {"device": self.device, "width": cell.width, "height": cell.height}
        plan = "high" if self._pipeline is None else self._pipeline.residency.plan
        if self._pipeline is not None:
            self._pipeline.forget()
            self._pipeline.residency.free()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch_size > 1:
            fields["batch"], self.batch_size = self.batch_size, 1
            return UnavailableError("out_of_memory_batch", **fields)
        if self._device.type != "cpu" and plan != "low":
            return UnavailableError("out_of_memory_offload", vram="medium" if plan == "high" else "low", **fields)
        return UnavailableError("out_of_memory_size", **fields)

    def _run_batch(
        self, pipeline: Pipeline, batch: list[_Cell], count: int, cancelled: Callable[[], bool]
    ) -> Iterator[Event]:
        started = last_preview = time.monotonic()
        requests = [cell.request for cell in batch]
        columns = list(zip(*(cell.controls for cell in batch), strict=True))
        latents = pipeline.prepare_latents(requests)
        starts = [cell.start for cell in batch if cell.start is not None]
        first = first_step(requests[0])
        for step in pipeline.denoise(requests, latents, columns, starts):
            if cancelled():
                return
            latents = step.latents
            for cell in batch:
                done, steps = step.index + 1 - first, cell.request.steps - first
                yield Progress(cell=cell.index, cells=count, step=done, steps=steps, seconds_left=0.0)
            due = time.monotonic() - last_preview >= PREVIEW_SECONDS and step.index + 1 < requests[0].steps
            if due and self._checker is None:
                for cell, image in zip(batch, pipeline.preview(step.predicted), strict=True):
                    yield Preview(cell=cell.index, image=image)
                last_preview = time.monotonic()
        pictures = pipeline.decode(latents)
        seconds = (time.monotonic() - started) / len(batch)
        for cell, image in zip(batch, pictures, strict=True):
            if cell.pictures:
                image = images.paste(image, *cell.pictures)
            flagged = self._checker is not None and self._checker.flags(image)
            agreement = None if flagged else line_agreement(image, cell)
            yield Result(
                cell=cell.index,
                image=hidden(image) if flagged else image,
                request=cell.request,
                seconds=seconds,
                notes=(*cell.notes, ("note.flagged", {})) if flagged else cell.notes,
                edge_agreement=agreement,
            )

    def _prepare(self, index: int, request: GenerationRequest, pipeline: Pipeline, store: ImageStore) -> _Cell:
        def picture(digest: str, *, error: str = "picture_size") -> Image:
            image = store.get(digest)
            if image.size != (request.width, request.height):
                raise InputError(error, given=image.size, expected=(request.width, request.height))
            return image

        maps = tuple(picture(use.map_id, error="map_size") for use in request.controls)
        controls: list[Control] = []
        notes: list[Note] = []
        for use, control_map in zip(request.controls, maps, strict=True):
            network = self.network(use.network, pipeline)
            notes += self._network_notes(network, pipeline)
            hint = pipeline.encode_hint(network, use.map_id, control_map)
            region = pipeline.latent_mask(picture(use.region_id), control_map.size) if use.region_id else None
            controls.append(Control(network, use, hint, region))
        start, pictures = None, None
        if request.init_id:
            given, mask = picture(request.init_id), picture(request.mask_id) if request.mask_id else None
            start, pictures = pipeline.encode_start(given, mask), (given, mask) if mask else None
        complete = replace(request, threads=request.threads or self.threads)
        return _Cell(index, complete, tuple(controls), maps, start, pictures, tuple(notes))

    def pipeline(self, name: str) -> Pipeline:
        """Return the pipeline of a base, loading it in place of another one.

        Raises:
            UserError: if the base is unknown, not here, or cannot be loaded.
        """
        if self._pipeline is None or self._pipeline.base.spec.name != name:
            found = self.library.base(name)
            if found.path is None:
                raise UnavailableError("base_not_here", base=found.spec.label)
            self._release()
            log.info("loading %s", found.spec.name)
            vae, embeddings = self._addons(found.spec)
            # A base that may not fit on the device as a whole is loaded beside it.
            place = self._device if self._vram == "high" else HOME
            with BUILDING:
                base = load_base(
                    found.path, found.spec, device=place, dtype=self._dtype, vae=vae, embeddings=embeddings
                )
                self._checker = load_checker(found.path, device=self._device) if self._safety else None
            if found.spec.family == "sd21":
                self._predictions[name] = _PREDICTIONS[base.scheduler_config["prediction_type"]]
            needed = sum(p.nbytes for module in base.modules for p in module.parameters())
            memory = device_memory(self._device)
            plan = choose_plan(self._vram, device=self._device, memory_bytes=memory, weight_bytes=needed)
            self._pipeline = Pipeline(base, device=self._device, dtype=self._dtype, plan=plan)
        return self._pipeline

    def _addons(self, spec: BaseModelSpec) -> tuple[Path | None, list[Path]]:
        """Return the VAE named as the base, or as its family, and the embeddings for its family."""
        models = self.library.models()
        vaes = {info.name for info in models.vaes}
        vae = next((name for name in (spec.name, spec.family) if name in vaes), None)
        if spec.family == MINIATURE.family:
            return None, []
        words = [info.name for info in models.embeddings if info.family == spec.family]
        return (
            None if vae is None else self.library.addon("vae", vae),
            [self.library.addon("embedding", name) for name in words],
        )

    def _load_network(self, name: str, pipeline: Pipeline) -> ControlNetXS:
        found = self.library.network(name)
        if found.path is None:
            raise UnavailableError("network_not_here", network=found.label)
        with BUILDING:
            network = load_control(found.path).control
        self._network_notes(network, pipeline)
        network.to(self._dtype).requires_grad_(False)
        pipeline.residency.adopt(network)
        return network

    def _network_notes(self, network: ControlNetXS, pipeline: Pipeline) -> list[Note]:
        """Return what to know of a network on this base.

        Raises:
            CheckpointError: if it was made for another one.
        """
        base = pipeline.base
        said = base.scheduler_config.get("prediction_type")
        predicts = None if said == UNDECIDED else said
        info = families.BaseInfo.of(base.unet, prediction_type=predicts, sha256=base.sha256)
        return [(f"note.{key}", fields) for key, fields in families.check_base_family(network.spec, info)]

    def _switch_loras(self, loras: tuple[tuple[str, float], ...], pipeline: Pipeline) -> None:
        """Put the request's LoRAs on the base, in place of the last one's."""
        if loras == self._loras:
            return
        self._loras = ()
        with BUILDING:
            apply_loras(pipeline.base, [(self.library.addon("lora", name), weight) for name, weight in loras])
        pipeline.residency.renew_leaves()
        pipeline.forget_prompts()
        self._loras = loras

    def _release(self) -> None:
        """Drop the current base and its controls, so that two bases never share the memory."""
        self._pipeline, self._loras, self._checker = None, (), None
        self.network.cache_clear()
        gc.collect()  # networks and their hooks refer to each other in circles, which Python opens only now and then
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def line_agreement(image: Image, cell: _Cell) -> float | None:
    """Return the F-score of an image's edges against its first line map; None without one."""
    for use, control_map in zip(cell.request.controls, cell.maps, strict=True):
        if CONTROL_KINDS[use.kind].line_map:
            lines = np.asarray(thin(np.asarray(control_map)))[..., 0] > 127
            return metrics.edge_agreement(metrics.canny_edges(image), lines).f
    return None
