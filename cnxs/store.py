"""Pictures kept by content: uploads, drawings and control maps, named by the digest of their pixels."""

import hashlib
import logging
import os
import re
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cnxs.errors import InputError

_DIGEST = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger(__name__)


class ImageStore:
    """A thread-safe, content-addressed store of RGB pictures.

    Args:
        folder: where PNG files are kept, made when first needed; None keeps pictures in memory only.
        max_memory_bytes: bound on the pixels kept in memory, oldest use goes first. The newest picture is always
            kept. Without a folder, what goes is gone.
    """

    def __init__(self, folder: Path | None, *, max_memory_bytes: int = 256 * 2**20) -> None:
        self._folder = folder
        self._max_memory_bytes = max_memory_bytes
        self._recent: OrderedDict[str, Image.Image] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, image: Image.Image) -> str:
        """Keep an RGB picture; return its digest: SHA-256 of size and pixels, as 64 hex characters."""
        assert image.mode == "RGB"
        pixels = np.asarray(image)
        digest = _digest(pixels)
        if self._folder is not None:
            path = _path(self._folder, digest)
            try:
                os.utime(path)  # in use again: `remove_unnamed` looks at it
            except FileNotFoundError:
                _write(path, pixels)
        self._remember(digest, image.copy())
        return digest

    def get(self, digest: str) -> Image.Image:
        """Return the picture of that digest; changing it does not change the store.

        Raises:
            InputError: `unknown_image`: there is none, its file is damaged, or `digest` is not 64 hex characters.
        """
        if not _DIGEST.fullmatch(digest):
            raise InputError("unknown_image")
        with self._lock:
            if digest in self._recent:
                self._recent.move_to_end(digest)
                return self._recent[digest].copy()
        if self._folder is None:
            raise InputError("unknown_image")
        image = _read(_path(self._folder, digest), digest)
        self._remember(digest, image.copy())
        return image

    def remove_unnamed(self, named: Collection[str], *, older_than: float) -> None:
        """Remove the files of pictures that are not among these digests and were last put so many seconds ago."""
        assert self._folder is not None
        for path in self._folder.glob("??/*.png"):
            if path.stem not in named and time.time() - path.stat().st_mtime >= older_than:
                path.unlink(missing_ok=True)

    def _remember(self, digest: str, image: Image.Image) -> None:
        with self._lock:
            if digest not in self._recent:
                self._bytes += _size(image)
            self._recent[digest] = image
            self._recent.move_to_end(digest)
            while self._bytes > self._max_memory_bytes and len(self._recent) > 1:
                self._bytes -= _size(self._recent.popitem(last=False)[1])


def _path(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / f"{digest}.png"


def _size(image: Image.Image) -> int:
    return image.width * image.height * 3


def _digest(pixels: np.ndarray) -> str:
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def _write(path: Path, pixels: np.ndarray) -> None:
    # The fastest PNG setting: a photo of 12 megapixels is put while its owner waits.
    written, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [int(cv2.IMWRITE_PNG_COMPRESSION), 1])
    assert written
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path, digest: str) -> Image.Image:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("unknown_image") from error
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if pixels is None or _digest(pixels) != digest:
        logger.warning("stored picture %s is damaged", path.name)
        raise InputError("unknown_image")
    return Image.fromarray(pixels)
