"""Control maps drawn by networks with weights of their own. One file per kind, loaded when it is used first.

Each file has `load(files)`, from the paths of its weights to a network on the CPU, and
`draw(image, network=..., device=..., <the kind's parameters>)`, from (H, W, 3) uint8 RGB to a map of the same shape.
"""

import functools
import importlib
import threading
from pathlib import Path
from typing import Any

from cnxs.building import BUILDING
from cnxs.errors import UnavailableError
from cnxs.images import Pixels
from cnxs.registry import CONTROL_KINDS, DETECTORS, DETECTORS_FOLDER

# A loaded network is shared, and is moved to the device and back: one picture at a time.
_ONE_AT_A_TIME = threading.Lock()

Stamp = tuple[tuple[int, int], ...]  # of each file: time of its last change in nanoseconds, bytes


def weight_files(kind: str, folder: Path | None) -> tuple[Path, ...]:
    """Return the files that a kind needs, all of them there; () for a kind without weights.

    Args:
        kind: a name in `registry.CONTROL_KINDS`.
        folder: where weights of detectors lie; None: nowhere.

    Raises:
        UnavailableError: `detector_weights_missing`, naming the first file that is not there, and whence and where to.
    """
    files = []
    for name in CONTROL_KINDS[kind].weights:
        spec = DETECTORS[name]
        place = (folder or Path("models", DETECTORS_FOLDER)) / spec.folder
        for file in spec.files:
            if folder is None or not (place / file).is_file():
                raise UnavailableError(
                    "detector_weights_missing", file=file, repository=spec.repository, folder=str(place)
                )
            files.append(place / file)
    return tuple(files)


def draw(
    image: Pixels, *, kind: str, weights: Path | None, device: str = "cpu", **params: float | bool | str
) -> Pixels:
    """Return the map that the kind's network draws; the weights used last stay in main memory.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        kind: a name in `registry.CONTROL_KINDS` with weights.
        weights: the folder of detectors' weights.
        device: where the network runs; it leaves the device afterwards.
        params: values of all the kind's parameters.

    Raises:
        UnavailableError: `detector_weights_missing`, `detector_package`.
        CheckpointError: if a weight file is damaged, holds code, or is of another network.
    """
    files = weight_files(kind, weights)
    stamp = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    module = importlib.import_module(f"{__name__}.{kind}")
    with _ONE_AT_A_TIME:
        network = _network(kind, files, stamp)
        try:
            return module.draw(image, network=network.to(device), device=device, **params)
        finally:
            network.to("cpu")


@functools.lru_cache(maxsize=1)
def _network(kind: str, files: tuple[Path, ...], _stamp: Stamp) -> Any:
    with BUILDING:
        return importlib.import_module(f"{__name__}.{kind}").load(files).eval()
