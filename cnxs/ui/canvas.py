"""The sketch canvas: a Gradio component of our own, drawn on with mouse, pen or finger.

The browser keeps the strokes (and keeps them over a reload); Python receives one flattened PNG per pen-up. The scripts
and the style sheet lie in `cnxs/ui/static/` and travel inside the page, so nothing is fetched.
"""

import base64
import binascii
import functools
import json
import secrets
from importlib import resources
from typing import Any, Literal, TypedDict

import gradio as gr

from cnxs import text
from cnxs.errors import InputError

MAX_PNG_MEGABYTES = 20

_PREFIX = "data:image/png;base64,"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SCRIPTS = ("canvas_drawing.js", "canvas_tools.js", "canvas.js")


class SketchValue(TypedDict):
    """What the canvas sends: the flattened drawing in the paper's size, and what is in it."""

    png: str
    width: int
    height: int
    strokes: int
    empty: bool
    ground: str  # name of the picture below a mask, "" where there is none


class SketchCanvas(gr.HTML):
    """Draw black on white paper; the value is a `SketchValue` dictionary, or None before anything was drawn.

    `change` and `input` fire once per pen-up, undo, redo, clear and restore, never in the middle of a stroke. The
    program may set the paper's size and a picture, with the update made by `set_paper` and its siblings; strokes stay.
    The value itself is the browser's: an event must not return one.

    Args:
        document_size: width and height of the paper, and of the PNG, in pixels.
        background: a picture the page starts with, as `set_picture` makes it.
        storage_key: where the browser keeps the strokes; one per canvas.
        language: "en" or "de"; None takes the browser's.
        mask: paint a mask over the ground of `set_ground`: black ink is shown as a veil, and the browser keeps nothing
            over a reload.
    """

    def __init__(
        self,
        *,
        document_size: tuple[int, int] = (768, 768),
        background: dict[str, Any] | None = None,
        storage_key: str = "cnxs.sketch",
        language: str | None = None,
        mask: bool = False,
        elem_id: str | None = None,
        elem_classes: list[str] | str | None = None,
        visible: bool | Literal["hidden"] = True,
        scale: int | None = None,
        min_width: int | None = None,
        render: bool = True,
    ) -> None:
        super().__init__(
            # A constant template: Gradio has no reason to touch the page inside it again.
            html_template='<div class="cnxs-canvas"></div>',
            js_on_load=_script(storage_key, language, tuple(document_size), mask=mask),
            apply_default_css=False,
            elem_id=elem_id,
            elem_classes=elem_classes,
            visible=visible,
            scale=scale,
            min_width=min_width,
            render=render,
            document_size=list(document_size),
            background=background,
        )
        # Gradio asks a component for each argument by name, and would take one that is missing for an event.
        self.storage_key, self.language, self.mask = storage_key, language, mask

    def preprocess(self, payload: Any) -> Any:
        """Return the browser's value as it came; `decode` is what checks it, where an error can be shown."""
        return payload

    def postprocess(self, value: Any) -> Any:
        """Return the value as it is."""
        return value

    def api_info(self) -> dict[str, Any]:
        """Describe a `SketchValue` to programs that call the page's functions."""
        kinds = {"png": "string", "width": "integer", "height": "integer", "strokes": "integer", "empty": "boolean"}
        named = {name: {"type": kind} for name, kind in {**kinds, "ground": "string"}.items()}
        return {"type": "object", "properties": named}

    def example_payload(self) -> None:
        """Return what an example holds: an untouched canvas."""

    def example_value(self) -> None:
        """Return what an example holds: an untouched canvas."""

    @staticmethod
    def decode(value: Any) -> bytes | None:
        """Return the PNG file inside a value of the canvas, or None for untouched or empty paper.

        Raises:
            InputError: `sketch_damaged`, if the value is not one that the canvas sends, or over 20 MB.
        """
        if value is None:
            return None
        png = value.get("png") if isinstance(value, dict) else None
        if not isinstance(png, str) or not png.startswith(_PREFIX):
            raise _damaged("no PNG")
        if len(png) - len(_PREFIX) > MAX_PNG_MEGABYTES * 2**20 * 4 / 3:
            raise _damaged("too large")
        try:
            data = base64.b64decode(png.removeprefix(_PREFIX), validate=True)
        except binascii.Error as error:
            raise _damaged("base64") from error
        if not data.startswith(_PNG_SIGNATURE):
            raise _damaged("no PNG")
        return None if value.get("empty") is True else data

    @staticmethod
    def set_paper(width: int, height: int) -> dict[str, Any]:
        """Return an update of the canvas: paper of another size or shape, with the strokes kept.

        Updates combine: `{**SketchCanvas.set_paper(512, 768), **SketchCanvas.set_picture(png)}`.
        """
        return gr.update(document_size=[width, height])

    @staticmethod
    def set_picture(png: bytes, *, opacity: float = 1.0, guide: bool = False) -> dict[str, Any]:
        """Return an update of the canvas: a picture below the strokes, fitted on the paper.

        Args:
            png: a PNG file.
            opacity: 0 (white paper) to 1 (the picture itself).
            guide: shown for drawing only, not part of the PNG that Python receives.
        """
        return _background("guide" if guide else "picture", png, opacity)

    @staticmethod
    def set_trace(png: bytes) -> dict[str, Any]:
        """Return an update of the canvas: dark lines on light ground, given as a PNG file, become ink of the drawing.

        The user can erase, undo and draw over them.
        """
        return _background("trace", png, 1.0)

    @staticmethod
    def set_ground(name: str, png: bytes, *, marks: bytes | None = b"") -> dict[str, Any]:
        """Return an update of a canvas for masks: the picture that is painted over.

        Args:
            name: comes back as `ground` of the values that are painted on it.
            png: a PNG file.
            marks: what the mask begins with, dark on light, as a PNG file; empty: nothing; None: it stays as it is.
        """
        ink = marks if marks is None else _address(marks) if marks else ""
        told = {"id": secrets.token_hex(8), "kind": "ground", "name": name, "image": _address(png), "marks": ink}
        return gr.update(background=told)

    @staticmethod
    def remove_picture() -> dict[str, Any]:
        """Return an update of the canvas: plain white paper below the strokes."""
        return _background("picture", None, 1.0)


def _background(kind: str, png: bytes | None, opacity: float) -> dict[str, Any]:
    image = None if png is None else _address(png)
    # The id tells the browser a new wish from an old one that a rebuilt page repeats.
    return gr.update(background={"id": secrets.token_hex(8), "kind": kind, "image": image, "opacity": opacity})


def _address(png: bytes) -> str:
    return _PREFIX + base64.b64encode(png).decode("ascii")


def _damaged(reason: str) -> InputError:
    return InputError("sketch_damaged", reason=reason, maximum=MAX_PNG_MEGABYTES)


@functools.cache
def _script(storage_key: str, language: str | None, size: tuple[int, ...], *, mask: bool) -> str:
    static = resources.files("cnxs.ui").joinpath("static")
    start = "page.canvas_"
    names = {key.removeprefix(start): key for key in text.entries() if key.startswith(start)}
    if mask:
        names |= {name: f"page.mask_{name}" for name in ("label", "clear")}
    config = {
        "css": static.joinpath("canvas.css").read_text("utf-8"),
        "words": {code: {name: text.get(key, code) for name, key in names.items()} for code in text.LANGUAGES},
        "language": language,
        "storageKey": storage_key,
        "size": size,
        "mask": mask,
    }
    scripts = [static.joinpath(name).read_text("utf-8") for name in _SCRIPTS]
    return "\n".join([f"const CONFIG = {json.dumps(config)};", *scripts])
