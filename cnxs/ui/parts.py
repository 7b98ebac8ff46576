"""Small components of our own."""

from collections.abc import Callable, Collection, Set
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

STATIC = Path(__file__).parent / "static"


def on_choice(
    menu: Any, handler: Callable[..., Any], inputs: Collection[Any], outputs: Collection[Any], **options: Any
) -> None:
    """Call a handler when something is chosen in a dropdown, and with None in its place when it is merely left.

    Gradio triggers `input` in both cases, and would have a handler lay out anew what the user has changed since.
    """
    given = sorted(inputs, key=lambda component: component._id) if isinstance(inputs, Set) else list(inputs)
    place, name = given.index(menu), menu.elem_id
    menu.focus(None, menu, None, js=f"(value) => window.cnxs.enter('{name}', value)", **options)
    js = f"(...values) => window.cnxs.choose('{name}', {place}, values)"
    menu.input(handler, inputs, outputs, js=js, **options)


class UploadedImage(gr.Image):
    """An upload that hands over the file as it came, so that orientation, limits and bad files are ours to judge."""

    is_template = True  # Gradio then draws it as its own Image

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the path of the uploaded file, which Gradio has checked to lie in its own upload folder."""
        return payload.path if payload else None


class Strip(gr.HTML):
    """A row of pictures as buttons. Choosing one triggers `click` with its number in `EventData.cell`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(js_on_load=(STATIC / "strip.js").read_text("utf-8"), apply_default_css=False, **options)


class Prints(gr.HTML):
    """A page of small pictures; the value is `Browsing.prints`. Choosing one triggers `click` with its `id`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            html_template='<div class="prints"></div><p class="note prints-empty"></p>',
            js_on_load=(STATIC / "prints.js").read_text("utf-8"),
            apply_default_css=False,
            **options,
        )

    def postprocess(self, value: Any) -> Any:
        """Return the value as it is: a dictionary, not HTML."""
        return value
