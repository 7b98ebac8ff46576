"""The models of this machine: the bundled miniature, what the user has, and what could be fetched."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from cnxs.errors import CheckpointError, InputError
from cnxs.protocol import AddonInfo, BaseInfo, DetectorInfo, Models, NetworkInfo
from cnxs.registry import (
    BASE_MODELS,
    CONTROL_KINDS,
    CONTROL_NETWORKS,
    DETECTORS,
    DETECTORS_FOLDER,
    MINIATURE,
    DetectorSpec,
)
from cnxs.specs import BaseModelSpec, ControlKind, ControlNetworkSpec, ControlSpec
from cnxs.weights import scan

ASSETS = Path(__file__).parent.parent.parent / "assets"
MINIATURE_FOLDER = ASSETS / "miniature"

_PUBLISHED_FILES = {network.filename: network for network in CONTROL_NETWORKS.values() if network.filename}
_NATIVE_SIZES = {"sdxl": 1024}
_STEPS_SHOWN = ("native_size", "size_multiple", "default_steps", "default_guidance_scale", "prompt_tokens")

State = Literal["here", "downloadable", "missing"]
Inspected = scan.Item | CheckpointError


@dataclass(frozen=True)
class FoundBase:
    """A base model and where it lies: a folder in diffusers' layout, or a single file; None where it is not here."""

    spec: BaseModelSpec
    path: Path | None


@dataclass(frozen=True)
class FoundNetwork:
    """A control network, the file or folder it lies in, None where it is not here, and its spec where it is ours."""

    name: str
    label: str
    family: str
    condition: str
    path: Path | None
    spec: ControlSpec | None = None
    published: ControlNetworkSpec | None = None


class Library:
    """The models of this machine.

    Args:
        folder: the user's models; scanned anew at each call, so that a file put there appears without a restart. Each
            file is told by its content, in whatever subfolder it lies.
        offline: nothing can be fetched.
    """

    def __init__(self, folder: Path | None = None, *, offline: bool = False) -> None:
        self.folder = folder
        self.offline = offline or bool(os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"))
        # Files are opened once and again only after they have changed.
        self._inspect: Callable[[Path, tuple[int, int]], Inspected] = lru_cache(4096)(_inspect)

    def models(self) -> Models:
        """Return everything that can be chosen, without a device: what a page shows before torch is loaded."""
        items, unusable = self._scan()
        addons = {kind: tuple(AddonInfo(name=n, family=i.family) for n, i in _named(items, kind).items())
                  for kind in ("lora", "embedding", "vae")}  # fmt: skip
        return Models(
            bases=tuple(self._base_info(base) for base in _bases(items)),
            networks=tuple(self._network_info(network) for network in self._networks(items)),
            kinds=tuple(kind for kind in CONTROL_KINDS.values() if self._has_detectors(kind)),
            detectors=tuple(self._detector_info(spec) for spec in DETECTORS.values()),
            device="",
            loras=addons["lora"],
            embeddings=addons["embedding"],
            vaes=addons["vae"],
            unusable=tuple(unusable),
        )

    def _has_detectors(self, kind: ControlKind) -> bool:
        """Say whether the weights are here that a kind needs to draw its maps."""
        return all(self._has_detector(DETECTORS[name]) for name in kind.weights)

    def _has_detector(self, spec: DetectorSpec) -> bool:
        folder = None if self.folder is None else self.folder / DETECTORS_FOLDER / spec.folder
        return folder is not None and all((folder / file).is_file() for file in spec.files)

    def bases(self) -> tuple[FoundBase, ...]:
        """Return every base model that is known: bundled, known by name, then the user's own."""
        return _bases(self._scan()[0])

    def base(self, name: str) -> FoundBase:
        """Return one base model.

        Raises:
            InputError: if there is none of that name.
        """
        bases = self.bases()
        for base in bases:
            if base.spec.name == name:
                return base
        raise InputError("unknown_base", given=name, allowed=", ".join(base.spec.name for base in bases))

    def base_info(self, name: str) -> BaseInfo:
        """Return one base model as menus show it.

        Raises:
            InputError: if there is none of that name.
        """
        return self._base_info(self.base(name))

    def networks(self) -> tuple[FoundNetwork, ...]:
        """Return every control network that is known: those here, then those that could be."""
        return self._networks(self._scan()[0])

    def network(self, name: str) -> FoundNetwork:
        """Return one control network.

        Raises:
            InputError: if there is none of that name.
        """
        networks = self.networks()
        for network in networks:
            if network.name == name:
                return network
        raise InputError("unknown_network", given=name, allowed=", ".join(n.name for n in networks))

    def addon(self, kind: Literal["lora", "embedding", "vae"], name: str) -> Path:
        """Return the file of a LoRA, an embedding or a VAE of the user's.

        Raises:
            InputError: if there is none of that name.
        """
        named = _named(self._scan()[0], kind)
        if name not in named:
            raise InputError("unknown_addon", given=name, allowed=", ".join(named) or "-")
        return named[name].path

    def unusable(self) -> tuple[CheckpointError, ...]:
        """Return a sentence for each file in the models folder that is damaged or cannot be used."""
        return tuple(self._scan()[1])

    def _scan(self) -> tuple[list[scan.Item], list[CheckpointError]]:
        items: list[scan.Item] = []
        unusable: list[CheckpointError] = []
        if self.folder is None or not self.folder.is_dir():
            return items, unusable
        for path in scan.candidates(self.folder):
            try:
                found = self._inspect(path, scan.stamp(path))
            except OSError:
                continue  # taken away while it was looked at
            (items if isinstance(found, scan.Item) else unusable).append(found)  # pyright: ignore[reportArgumentType]
        return items, unusable

    def _networks(self, items: Iterable[scan.Item]) -> tuple[FoundNetwork, ...]:
        found = {}
        for file in sorted((MINIATURE_FOLDER / "controls").glob("*.safetensors")):
            item = self._inspect(file, scan.stamp(file))
            if isinstance(item, scan.Item):
                found[file.stem] = _found_network(file.stem, item)
        for name, item in _named(items, "control", taken=tuple(found)).items():
            network = _found_network(name, item)
            if network.name in found:
                network = replace(network, name=_long_name(item))
            found[network.name] = network
        for spec in CONTROL_NETWORKS.values():
            network = FoundNetwork(spec.name, spec.label, spec.family, spec.condition, None, published=spec)
            found.setdefault(spec.name, network)
        return tuple(found.values())

    def _base_info(self, found: FoundBase) -> BaseInfo:
        spec = found.spec
        shown: dict[str, Any] = {name: getattr(spec, name) for name in ("name", "label", "family", *_STEPS_SHOWN)}
        files = "model_index.json, unet, vae, text_encoder, tokenizer, scheduler"
        return BaseInfo(
            **shown,
            state=self._state(found.path, *spec.repositories),
            detail=spec.licence,
            licence=spec.licence,
            download_bytes=spec.download_bytes,
            notes=() if found.path else self._where(files, spec.repositories, f"bases/{spec.name}"),
        )

    def _network_info(self, found: FoundNetwork) -> NetworkInfo:
        published = found.published
        notes = ()
        if published is not None and found.path is None:
            adapter = "config.json, diffusion_pytorch_model.safetensors"
            target = "controls" if published.filename else f"controls/{published.name}"
            notes = self._where(published.filename or adapter, (published.repository,), target)
        licence = published.licence if published else found.spec.licence if found.spec else ""
        return NetworkInfo(
            name=found.name,
            label=found.label,
            family=found.family,
            condition=found.condition,
            kinds=kinds_for(found.condition),
            state=self._state(found.path, *([published.repository] if published else [])),
            detail=licence,
            licence=licence,
            download_bytes=published.download_bytes if published else 0,
            notes=notes,
        )

    def _detector_info(self, spec: DetectorSpec) -> DetectorInfo:
        folder = "/".join(filter(None, (DETECTORS_FOLDER, spec.folder)))
        is_here = self._has_detector(spec)
        return DetectorInfo(
            name=spec.name,
            label=spec.label,
            kinds=tuple(kind.name for kind in CONTROL_KINDS.values() if spec.name in kind.weights),
            state="here" if is_here else self._state(None, spec.repository),
            licence=spec.licence,
            commercial_use=spec.commercial_use,
            download_bytes=spec.download_bytes,
            notes=() if is_here else self._where(", ".join(spec.files), (spec.repository,), folder),
        )

    def _state(self, path: Path | None, *repositories: str) -> State:
        if path is not None:
            return "here"
        return "downloadable" if repositories and self.folder is not None and not self.offline else "missing"

    def _where(self, file: str, repositories: tuple[str, ...], target: str) -> Any:
        folder = (self.folder or Path("models")) / target
        return (("note.put_file", {"file": file, "repository": repositories[0], "folder": folder}),)


def kinds_for(condition: str) -> tuple[str, ...]:
    """Return the control kinds that can drive a network of this condition, the closest first."""
    ranked = [
        (kind.conditions.index(condition), kind.name)
        for kind in CONTROL_KINDS.values()
        if condition in kind.conditions and kind.name != "as_is"
    ]
    return (*(name for _, name in sorted(ranked, key=lambda pair: pair[0])), "as_is")


def _inspect(path: Path, _stamp: tuple[int, int]) -> Inspected:
    try:
        return scan.inspect(path)
    except CheckpointError as error:
        return error


def _named(items: Iterable[scan.Item], kind: str, *, taken: Iterable[str] = ()) -> dict[str, scan.Item]:
    """Return the items of a kind by name: the file's without its ending, or with its folder where that is taken."""
    named: dict[str, scan.Item] = {}
    for item in items:
        if item.kind == kind:
            name = item.path.name if item.path.is_dir() else item.path.stem
            named[_long_name(item) if name in named or name in taken else name] = item
    return named


def _long_name(item: scan.Item) -> str:
    return f"{item.path.parent.name}/{item.path.name}"


def _bases(items: Iterable[scan.Item]) -> tuple[FoundBase, ...]:
    own = _named(items, "base", taken=(MINIATURE.name,))
    found = {MINIATURE.name: FoundBase(MINIATURE, MINIATURE_FOLDER)}
    for spec in BASE_MODELS.values():
        item = own.get(spec.name)
        found.setdefault(spec.name, FoundBase(spec, item.path if item and item.family == spec.family else None))
    for given, item in own.items():
        known = BASE_MODELS.get(given)
        if known is None or known.family != item.family:
            name = _long_name(item) if known else given
            found[name] = FoundBase(_own_base(name, item), item.path)
    return tuple(found.values())


def _own_base(name: str, item: scan.Item) -> BaseModelSpec:
    return BaseModelSpec(
        name=name,
        label=name.replace("_", " "),
        family=item.family,
        native_size=item.native_size or _NATIVE_SIZES.get(item.family, 512),
        text_encoders=2 if item.family == "sdxl" else 1,
        prediction_type="v_prediction" if item.prediction_type == "v_prediction" else "epsilon",
    )


def _found_network(name: str, item: scan.Item) -> FoundNetwork:
    published = _PUBLISHED_FILES.get(item.path.name) or CONTROL_NETWORKS.get(name)
    if published is not None and published.family == item.family:
        label, condition = published.label, published.condition
        return FoundNetwork(published.name, label, item.family, condition, item.path, item.spec, published)
    if item.spec is not None:
        condition = item.spec.condition.replace("_", " ").capitalize()
        label = condition if name == item.spec.condition else f"{name} ({condition})"
        return FoundNetwork(name, label, item.family, item.spec.condition, item.path, item.spec)
    said = [condition for condition in ("canny", "depth") if condition in name.lower()]
    condition = said[0] if len(said) == 1 else "unknown"
    return FoundNetwork(name, name.replace("_", " "), item.family, condition, item.path)
