"""What models there are, and where: the bundled miniature, and a folder of the user's."""

from dataclasses import dataclass
from pathlib import Path

from cnxs.checkpoints import native
from cnxs.errors import CheckpointError, InputError
from cnxs.registry import BASE_MODELS, CONTROL_KINDS, CONTROL_NETWORKS, MINIATURE
from cnxs.specs import BaseModelSpec, ControlSpec

ASSETS = Path(__file__).parent.parent / "assets"
MINIATURE_FOLDER = ASSETS / "miniature"


@dataclass(frozen=True)
class FoundBase:
    """A base model and the folder it lies in; None where it is not here."""

    spec: BaseModelSpec
    path: Path | None


@dataclass(frozen=True)
class FoundNetwork:
    """A control network, the file it lies in, and its spec; None where it is not here."""

    name: str
    label: str
    family: str
    condition: str
    path: Path | None
    spec: ControlSpec | None = None


class Library:
    """The models of this machine.

    Args:
        folder: the user's models, with subfolders `bases` and `controls`; scanned anew at each call, so that a file put
            there appears without a restart.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def bases(self) -> tuple[FoundBase, ...]:
        """Return every base model that is known, bundled first."""
        found = {MINIATURE.name: FoundBase(MINIATURE, MINIATURE_FOLDER)}
        for spec in BASE_MODELS.values():
            path = self.folder / "bases" / spec.name if self.folder else None
            here = path is not None and (path / "unet").is_dir()
            found.setdefault(spec.name, FoundBase(spec, path if here else None))
        return tuple(found.values())

    def base(self, name: str) -> FoundBase:
        """Return one base model.

        Raises:
            InputError: if there is none of that name.
        """
        for base in self.bases():
            if base.spec.name == name:
                return base
        raise InputError("unknown_base", given=name, allowed=", ".join(base.spec.name for base in self.bases()))

    def networks(self) -> tuple[FoundNetwork, ...]:
        """Return every control network that is known: those here, then those that could be."""
        folders = [MINIATURE_FOLDER / "controls", *([self.folder / "controls"] if self.folder else [])]
        files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.safetensors"))]
        found = {file.stem: network for file in files if (network := _native(file)) is not None}
        for spec in CONTROL_NETWORKS.values():
            found.setdefault(spec.name, FoundNetwork(spec.name, spec.label, spec.family, spec.condition, None))
        return tuple(found.values())

    def network(self, name: str) -> FoundNetwork:
        """Return one control network.

        Raises:
            InputError: if there is none of that name.
        """
        for network in self.networks():
            if network.name == name:
                return network
        raise InputError("unknown_network", given=name, allowed=", ".join(n.name for n in self.networks()))


def kinds_for(condition: str) -> tuple[str, ...]:
    """Return the control kinds that can drive a network of this condition, the closest first."""
    ranked = [
        (kind.conditions.index(condition), kind.name)
        for kind in CONTROL_KINDS.values()
        if condition in kind.conditions and kind.name != "as_is"
    ]
    return (*(name for _, name in sorted(ranked, key=lambda pair: pair[0])), "as_is")


def _native(file: Path) -> FoundNetwork | None:
    try:
        spec = native.read_spec(file)
    except CheckpointError:
        return None  # named by `python -m cnxs.weights list`; a menu shows only what can be chosen
    label = spec.condition.replace("_", " ").capitalize()
    return FoundNetwork(file.stem, label, spec.base_family, spec.condition, file, spec)
