"""The examples on the page: pictures of our own with a kind and a prompt, described in `assets/examples`."""

import functools
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

from cnxs import images
from cnxs.ui.view import data_url

FOLDER = Path(__file__).parent.parent.parent / "assets" / "examples"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture to start from."""

    png: bytes
    kind: str
    prompt: str


@functools.cache
def read() -> tuple[Example, ...]:
    """Return the examples, in the order of their list; none if the folder was left out of an installation."""
    described = FOLDER / "examples.json"
    if not described.exists():
        return ()
    return tuple(
        Example(png=(FOLDER / entry["file"]).read_bytes(), kind=entry["kind"], prompt=entry["prompt"])
        for entry in json.loads(described.read_text("utf-8"))
    )


def strip_html() -> str:
    """Return the examples as a row of small pictures, each a button named by its prompt."""
    buttons = [
        f'<button type="button" class="print" data-cell="{index}" title="{escape(example.prompt)}">'
        f'<img src="{data_url(images.load(example.png))}" alt="{escape(example.prompt)}"></button>'
        for index, example in enumerate(read())
    ]
    return f'<div class="strip small">{"".join(buttons)}</div>'
