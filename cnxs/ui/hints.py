"""Hints: a small picture beside a slider's label that shows what it does, and three first steps for a new user.

The browser's scripts `hints.js` and `tour.js` place and open them; the words come from the page, in its language.
"""

import functools
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import gradio as gr

from cnxs.ui.words import label

FOLDER = Path(__file__).parent.parent.parent / "assets" / "hints"
STEPS = ("lines", "words", "strengths")


@functools.cache
def rows() -> dict[str, list[float]]:
    """Return the values in each picture, by the slider that they belong to; none if the folder was left out."""
    described = FOLDER / "hints.json"
    return json.loads(described.read_text("utf-8")) if described.exists() else {}


def _figure(name: str, values: list[float]) -> str:
    picture = b64encode((FOLDER / f"{name}.webp").read_bytes()).decode("ascii")
    numbers = "".join(f"<span>{value:g}</span>" for value in values)
    return (
        f'<figure><img src="data:image/webp;base64,{picture}" alt=""><div class="numbers">{numbers}</div>'
        "<figcaption>${value}</figcaption></figure>"
    )


def hint_pictures() -> None:
    """Add the pictures, unseen until one is asked for. Each belongs to the component whose id is in its own."""
    with gr.Column(elem_id="hints"):
        for name, values in rows().items():
            gr.HTML(
                label(f"hint.picture_{name}"),
                html_template=_figure(name, values),
                apply_default_css=False,
                elem_id=f"hint-{name.replace('_', '-')}",
                elem_classes="hint-picture",
            )


def tour() -> None:
    """Add the first steps, unseen until the browser finds that it has not shown them yet."""
    fields: dict[str, Any] = {}
    with gr.Column(elem_id="tour"):
        gr.HTML(label("page.tour"), html_template="<h2>${value}</h2>", apply_default_css=False, elem_id="tour-title")
        for step in STEPS:
            gr.HTML(
                label(f"page.tour_{step}"),
                html_template="<p>${value}</p>",
                apply_default_css=False,
                elem_id=f"tour-{step}",
                elem_classes="tour-step",
            )
        with gr.Row(elem_classes="keep-row"):
            for name in ("next", "close"):
                fields[name] = gr.Button(label(f"page.tour_{name}"), size="sm", elem_id=f"tour-{name}", min_width=90)
    for name, button in fields.items():
        button.click(None, js=f"() => window.cnxsTour.{name}()", show_progress="hidden", api_visibility="private")
