"""The folder from which finished pictures are served."""

import tempfile
from collections import OrderedDict
from pathlib import Path

MAX_FILES = 400


class PictureFiles:
    """Files that the page may serve: a temporary folder with the newest pictures, gone with the program.

    Finished images are handed to Gradio as files, because it would re-encode pictures and drop what is in them.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cnxs-pictures-")
        self._names: OrderedDict[str, None] = OrderedDict()

    def put(self, name: str, data: bytes) -> str:
        """Write `data` as file `name` and return its path. The oldest of more than `MAX_FILES` files goes."""
        path = Path(self._folder.name) / name
        path.write_bytes(data)
        self._names[name] = None
        self._names.move_to_end(name)
        while len(self._names) > MAX_FILES:
            oldest, _ = self._names.popitem(last=False)
            (Path(self._folder.name) / oldest).unlink(missing_ok=True)
        return str(path)
