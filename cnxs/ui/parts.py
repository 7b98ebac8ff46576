"""Small components of our own."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

STATIC = Path(__file__).parent / "static"


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
