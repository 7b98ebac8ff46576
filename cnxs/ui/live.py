"""Live sketching: a new picture after each stroke, made in few steps, and finished in many."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.protocol import Failed, Result
from cnxs.ui import form, view, words
from cnxs.ui.asking import Asking
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.owners import owner_of

LIVE_STEPS = 8  # the fewest with which the bundled model follows lines well


class Live:
    """Handlers of the switch and of the strokes."""

    def __init__(self, binding: Binding, asking: Asking) -> None:
        self.backend, self.files, self.asking = binding.backend, binding.files, asking
        self.named, self.updates = binding.named, binding.updates

    def switch(self, on: bool, source: str, seed: float | None, random_seed: bool, request: gr.Request) -> Updates:
        """Rename the button that then finishes a picture, and hold the seed: else each stroke changed everything."""
        language, sketching = words.language(request), on and source == "sketch"
        changes: dict[str, Any] = {"generate": text.get("page.finish" if sketching else "page.generate", language)}
        if sketching:
            changes |= {"random_seed": False, "seed": form.draw_seed() if random_seed or seed is None else seed}
        return self.updates(**changes)

    def frame(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Paint what the strokes show by now. A newer stroke's frame takes this one's place in the backend.

        Changes nothing before its picture is whole, so that the one before it stays until then.
        """
        values, unchanged = self.named(data), self.updates(stage=gr.update())
        if not (values["live"] and values["source"] == "sketch" and SketchCanvas.decode(values["sketch"])):
            return unchanged
        if form.is_starting(self.backend.models()):
            return unchanged  # Generate waits for the models, and says so; a stroke may as well go unanswered
        asked = self.asking.request(values, followed=True)
        asked = replace(asked, live=True, steps=min(asked.steps, LIVE_STEPS))
        language = words.language(request)
        for event in self.backend.events(self.backend.submit(asked, owner_of(request, values["owner"]))):
            if isinstance(event, Result):
                return self.updates(
                    stage=self.files.put_image(event.image),
                    stage_tabs=gr.update(visible=True, selected="picture"),
                    empty=gr.update(visible=False),
                    tab_beside=gr.update(visible=False),
                    tab_pair=gr.update(visible=False),
                    actions=gr.update(visible=False),
                    facts=view.note_html(text.get("page.live_facts", language, steps=event.request.steps)),
                    strip="",
                    status=view.waiting_html("page.status_live", language),
                )
            elif isinstance(event, Failed):
                return self.updates(status=view.waiting_html(f"error.{event.error.key}", language, event.error.fields))
        return unchanged


def outputs(fields: Mapping[str, Any]) -> list[Any]:
    """Return everything that a live frame changes."""
    names = ("stage", "stage_tabs", "empty", "tab_beside", "tab_pair", "actions", "facts", "strip", "status")
    return [fields[name] for name in names]
