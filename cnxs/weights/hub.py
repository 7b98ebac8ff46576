"""Fetching models from the hub: what belongs to a model, streamed, resumed, checked, and only then put in place.

The hub's own client knows the addresses, the user's token, mirrors (`HF_ENDPOINT`) and the offline switch. Its download
function starts a file again in every new process, so files of gigabytes are streamed here, through its session.
"""

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from cnxs.errors import CheckpointError, InputError, UnavailableError
from cnxs.registry import BASE_MODELS, CONTROL_NETWORKS, DETECTORS, DETECTORS_FOLDER, REVISIONS, DetectorSpec
from cnxs.specs import BaseModelSpec, ControlNetworkSpec
from cnxs.weights.scan import inspect, read_json

DOWNLOADS = ".downloads"  # below the models folder: what is not whole yet, and notes of what was fetched
SPARE_BYTES = 10**9  # left free on the disk
TIMEOUT_SECONDS = 10.0
ATTEMPTS = 4  # without a new byte
PAUSE_SECONDS = 1.0  # before the next attempt
CHUNK_BYTES = 2**18
_ALSO = re.compile(r"tokenizer(_2)?/[\w-]+\.\w+|model_index\.json")  # what a base may have beside what it needs

Report = Callable[[int, int], None]  # (bytes here, bytes in all)
Spec = BaseModelSpec | ControlNetworkSpec | DetectorSpec


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a model.

    Attributes:
        repository: where it is.
        revision: the commit.
        file: its path there.
        target: its path in the model's folder, or its name where the model is a single file.
        size: in bytes.
        sha256: of its content; "" for a small file, which has `blob`.
        blob: SHA-1 of its content as git counts it.
    """

    repository: str
    revision: str
    file: str
    target: str
    size: int
    sha256: str
    blob: str


def downloadable() -> dict[str, Spec]:
    """Return everything that can be fetched, by name."""
    bases = {name: base for name, base in BASE_MODELS.items() if base.repositories}
    return {**bases, **CONTROL_NETWORKS, **DETECTORS}


def place_of(name: str, models: Path) -> Path:
    """Return the file or folder that a fetched model becomes; a detector's files may share theirs with others'.

    Raises:
        InputError: if no model of that name can be fetched.
    """
    known = downloadable()
    if name not in known:
        raise InputError("unknown_download", given=name, allowed=", ".join(known))
    spec = known[name]
    if isinstance(spec, BaseModelSpec):
        return models / "bases" / name
    if isinstance(spec, DetectorSpec):
        return models / DETECTORS_FOLDER / spec.folder
    return models / "controls" / (spec.filename or name)


def fetch(name: str, models: Path, *, report: Report) -> Path:
    """Fetch a model, going on where an earlier attempt stopped; return its file or folder.

    Args:
        name: of a base model, a control network or a detector of the registry.
        models: the user's models.
        report: told (bytes here, bytes in all) as they grow.

    Raises:
        InputError: if no model of that name can be fetched.
        UnavailableError: if the hub cannot be reached or refuses, the disk is too full, or another process fetches it.
        CheckpointError: if what arrived is not what the hub promised.
    """
    place = place_of(name, models)
    spec = downloadable()[name]
    if _stands(name, models):
        return place
    staging = models / DOWNLOADS / name
    with _told(spec, place), _alone(models, name):
        parts = _plan(spec)
        _check_disk(parts, staging)
        done = 0
        total = sum(part.size for part in parts)
        for part in parts:
            _get(part, staging, report=lambda here, done=done: report(done + here, total))
            done += part.size
        if isinstance(spec, DetectorSpec):
            for part in parts:
                _put_in_place(staging / part.target, place / part.target)
        else:
            _put_in_place(staging if place.suffix == "" else staging / parts[0].target, place)
        shutil.rmtree(staging, ignore_errors=True)
        record = {"name": name, "parts": [asdict(part) for part in parts]}
        _record(name, models).write_text(json.dumps(record, indent=1), "utf-8")
    return place


def was_fetched(name: str, models: Path) -> bool:
    """Say whether this program once fetched a model into its place."""
    return _record(name, models).is_file()


def broken_parts(name: str, models: Path, *, thoroughly: bool = False) -> list[str]:
    """Return the files of a fetched model that are missing or have another size or, thoroughly, another content.

    A model that was not fetched by this program, of which nothing is known, has no broken part by this measure.
    """
    if not was_fetched(name, models):
        return []
    place = place_of(name, models)
    parts = [Part(**part) for part in read_json(_record(name, models))["parts"]]
    files = {part: place if place.suffix else place / part.target for part in parts}
    return [part.target for part, file in files.items() if not _is_whole(file, part, thoroughly=thoroughly)]


def _stands(name: str, models: Path) -> bool:
    """Say whether a model is there and whole, whether fetched or put there by hand."""
    place, spec = place_of(name, models), downloadable()[name]
    if isinstance(spec, DetectorSpec):  # files of any content: whether they can be used is seen when they are
        whole = not broken_parts(name, models, thoroughly=True)
        return whole and all((place / file).is_file() for file in spec.files)
    if not place.exists() or broken_parts(name, models, thoroughly=True):
        return False
    try:
        inspect(place)
    except CheckpointError:
        return False
    return True


def _record(name: str, models: Path) -> Path:
    return models / DOWNLOADS / f"{name}.json"


@contextlib.contextmanager
def _alone(models: Path, name: str) -> Iterator[None]:
    """Hold a model's lock, which the system frees when the process ends in whatever way."""
    (models / DOWNLOADS / name).mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(models / DOWNLOADS / f"{name}.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UnavailableError("download_running", name=name) from error


@contextlib.contextmanager
def _told(spec: Spec, place: Path) -> Iterator[None]:
    """Turn the hub client's errors into sentences that name the file, the repository and the folder."""
    repository = spec.repositories[0] if isinstance(spec, BaseModelSpec) else spec.repository
    by_hand: dict[str, object] = {"file": place.name, "repository": repository, "folder": place.parent}
    if isinstance(spec, DetectorSpec):
        by_hand |= {"file": ", ".join(spec.files), "folder": place}
    try:
        yield
    except HfHubHTTPError as error:
        raise UnavailableError("download_refused", reason=error.response.status_code, **by_hand) from error
    except OfflineModeIsEnabled as error:
        raise UnavailableError("download_offline", **by_hand) from error
    except httpx2.HTTPError as error:
        raise UnavailableError("download_no_network", reason=type(error).__name__, **by_hand) from error
    except OSError as error:
        raise UnavailableError("download_not_written", folder=place.parent, reason=error.strerror or error) from error


# --- what belongs to a model --------------------------------------------------------------------------------------


def _plan(spec: Spec) -> list[Part]:
    """Ask the hub for the files of a model, smallest first."""
    if isinstance(spec, DetectorSpec):
        listed, wanted = _listed(spec.repository), set(spec.files)
    elif isinstance(spec, ControlNetworkSpec):
        listed = _listed(spec.repository)
        wanted = {spec.filename} if spec.filename else {"config.json", "diffusion_pytorch_model.safetensors"}
    else:
        listed = _listed(*spec.repositories)
        wanted = _base_targets(spec)
        if spec.vae_repository:
            vae = _listed(spec.vae_repository)
            listed = {target: part for target, part in listed.items() if not target.startswith("vae/")}
            listed |= {f"vae/{t}": Part(**{**asdict(p), "target": f"vae/{t}"}) for t, p in vae.items() if "/" not in t}
    if lacking := sorted(wanted - listed.keys()):
        given = ", ".join(spec.repositories) if isinstance(spec, BaseModelSpec) else spec.repository
        raise UnavailableError("download_lacks_files", repository=given, files=", ".join(lacking))
    if isinstance(spec, BaseModelSpec):
        wanted |= {target for target in listed if _ALSO.fullmatch(target)}
    parts = [part for target, part in listed.items() if target in wanted]
    return sorted(parts, key=lambda part: (part.size, part.target))


def _base_targets(spec: BaseModelSpec) -> set[str]:
    """Return the files without which a base model in diffusers' layout cannot be loaded."""
    encoders = ["text_encoder", "text_encoder_2"][: spec.text_encoders]
    weights = [f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")]
    weights += [f"{part}/model.safetensors" for part in encoders]
    configs = [f"{part}/config.json" for part in ("unet", "vae", *encoders)]
    tokenizers = [f"{part}/vocab.json" for part in ("tokenizer", "tokenizer_2")[: spec.text_encoders]]
    return {*weights, *configs, *tokenizers, "scheduler/scheduler_config.json"}


def _listed(*repositories: str) -> dict[str, Part]:
    """Return the files of the first repository that is there, by target; half precision stands in for its double.

    They are those of the commit that the registry names, if it names one.
    """
    refused: HfHubHTTPError | None = None
    for repository in repositories:
        try:
            info = HfApi().model_info(
                repository, revision=REVISIONS.get(repository), files_metadata=True, timeout=TIMEOUT_SECONDS
            )
        except HfHubHTTPError as error:
            refused = error
            continue
        except (ValueError, KeyError, TypeError) as error:  # a page of the network's, such as a log-in, instead
            raise httpx2.DecodingError(str(error)) from error
        parts: dict[str, Part] = {}
        for sibling in sorted(info.siblings or [], key=lambda s: ".fp16." in s.rfilename):
            target = sibling.rfilename.replace(".fp16.", ".")
            parts[target] = Part(
                repository=repository,
                revision=info.sha or "main",
                file=sibling.rfilename,
                target=target,
                size=sibling.size or 0,
                sha256=sibling.lfs.sha256 if sibling.lfs else "",
                blob=sibling.blob_id or "",
            )
        return parts
    assert refused is not None, "a model has a repository"
    raise refused


# --- one file -----------------------------------------------------------------------------------------------------


def _get(part: Part, staging: Path, *, report: Callable[[int], None]) -> None:
    """Get one file into the staging folder, whole and checked."""
    target = staging / part.target
    if _is_whole(target, part, thoroughly=True):
        report(part.size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Named by its content: what is left of another version is never gone on with.
    partial = target.with_name(f"{target.name}.{(part.sha256 or part.blob)[:12]}.partial")
    _stream(part, partial, report)
    if not _is_whole(partial, part, thoroughly=True):
        partial.unlink()
        raise CheckpointError("download_damaged", file=part.file, repository=part.repository)
    partial.replace(target)


def _stream(part: Part, partial: Path, report: Callable[[int], None]) -> None:
    partial.touch()
    failures = 0
    while (here := partial.stat().st_size) < part.size:
        try:
            _append(part, partial, report)
        except httpx2.TransportError:
            failures = failures + 1 if partial.stat().st_size <= here else 0
            if failures >= ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS)


def _append(part: Part, partial: Path, report: Callable[[int], None]) -> None:
    """Stream what is missing of a file; a server that knows no ranges gives it from its beginning."""
    url = hf_hub_url(part.repository, part.file, revision=part.revision)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={partial.stat().st_size}-"}
    with http_stream_backoff(
        "GET", url, headers=headers, timeout=TIMEOUT_SECONDS, max_retries=2, retry_on_exceptions=()
    ) as response:
        hf_raise_for_status(response)
        with partial.open("ab" if response.status_code == 206 else "wb", buffering=0) as file:
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
                report(file.tell())


def _is_whole(file: Path, part: Part, *, thoroughly: bool) -> bool:
    if not file.is_file() or file.stat().st_size != part.size:
        return False
    if not thoroughly:
        return True
    with file.open("rb") as stream:
        if part.sha256:
            return hashlib.file_digest(stream, "sha256").hexdigest() == part.sha256
        header = f"blob {part.size}\0".encode()
        return hashlib.sha1(header + stream.read()).hexdigest() == part.blob


def _check_disk(parts: Iterable[Part], staging: Path) -> None:
    here = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
    needed = sum(part.size for part in parts) - here + SPARE_BYTES
    free = shutil.disk_usage(staging).free
    if free < needed:
        gigabytes: Mapping[str, Any] = {"needed": f"{needed / 1e9:.1f}", "free": f"{free / 1e9:.1f}"}
        raise UnavailableError("download_disk_full", folder=staging.parent.parent, **gigabytes)


def _put_in_place(made: Path, place: Path) -> None:
    """Move what is whole to where it is used, in one step; what was there before goes once the new one stands."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        old = made.with_name(f"{made.name}.old")
        place.rename(old)
        made.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        made.replace(place)
