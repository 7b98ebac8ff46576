"""The folder from which pictures are served."""

import hashlib
import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cnxs import images

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FILES = 400


class PictureFiles:
    """The files that the page may serve: a temporary folder with the newest pictures, gone with the program.

    Pictures reach Gradio as files. Given as pixels it would write them over a file that a browser may be reading at
    that moment; and it would drop what is stored inside finished PNGs.

    Args:
        suffix: of the files' names; tells browsers the format.
        maximum: how many files are kept.
    """

    def __init__(self, *, suffix: str = ".png", maximum: int = MAX_FILES) -> None:
        self._suffix, self._maximum = suffix, maximum
        self._folder = Path(tempfile.mkdtemp(prefix="cnxs-pictures-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._names: OrderedDict[str, None] = OrderedDict()

    def put(self, data: bytes) -> str:
        """Return the path of a file with these bytes of a picture. The oldest of more than `maximum` files goes."""
        name = f"cnxs-{hashlib.sha256(data).hexdigest()[:20]}{self._suffix}"
        path = self._folder / name
        if not path.exists():
            descriptor, part = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(part).replace(path)
        self._keep(name)
        return str(path)

    def parcel(self, name: str, write: Callable[[Path], object]) -> str:
        """Return the path of a file of that name, alone in its folder, whose content `write` makes."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        write(folder / name)
        self._keep(f"{folder.name}/{name}")
        return str(folder / name)

    def _keep(self, name: str) -> None:
        self._names[name] = None
        self._names.move_to_end(name)
        while len(self._names) > self._maximum:
            oldest, _ = self._names.popitem(last=False)
            (self._folder / oldest).unlink(missing_ok=True)

    def put_image(self, image: "Image") -> str:
        """Return the path of a PNG file with this picture."""
        return self.put(images.encode_png(image))
