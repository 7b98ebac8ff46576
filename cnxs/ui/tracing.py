"""Lines as a start for the sketch: a photo's edges, or a control map, as ink that brush and eraser change."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from cnxs import images
from cnxs.errors import InputError
from cnxs.ui import form
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.edge import edge
from cnxs.ui.sources import Sources

PAPER_SIDE = 768  # pixels: the paper's longer side is about this, or the map's own where that is longer

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}


class Tracing:
    """Handlers that lay lines on the paper. They become one step of the drawing, which undo takes back."""

    def __init__(self, binding: Binding, sources: Sources) -> None:
        self.backend, self.sources = binding.backend, sources
        self.named, self.updates = binding.named, binding.updates

    def photo(self, data: Mapping[Any, Any]) -> Updates:
        """Lay the photo's edges on the paper."""
        values = self.named(data)
        if not values["photo"]:
            raise InputError("no_photo_to_trace")
        models = self.backend.models()
        source_id = self.sources.digest_of(values["photo"])
        base = form.base_info(models, values["base"])
        shape = self.backend.get_image(source_id).size
        width, height = images.default_size(shape, native_size=base.native_size, multiple=base.size_multiple)
        drawn = self.backend.control_map(
            source_id,
            kind="canny",
            params=form.kind_params(models, "canny", values),
            width=width,
            height=height,
            placement="crop",
        )
        return self.updates(sketch=_laid(drawn.map))

    def edit_map(self, data: Mapping[Any, Any]) -> Updates:
        """Lay the shown map on the paper, and go there; what is drawn is the map then, and drives the same network."""
        drawn = self.sources.drawn(self.named(data))
        return self.updates(
            sketch=_laid(drawn.map), source="sketch", source_tabs=gr.update(selected="sketch"), kind="as_is"
        )


def _laid(lines: Image.Image) -> dict[str, Any]:
    """Return an update of the canvas: white lines on black become black ink on paper of the same shape."""
    larger = max(1, round(PAPER_SIDE / max(lines.size)))
    ink = images.encode_png(ImageOps.invert(lines))
    return {
        **SketchCanvas.set_paper(lines.width * larger, lines.height * larger),
        **SketchCanvas.set_trace(ink),
    }


def wire(handlers: Any, everything: set[Any]) -> None:
    """Connect the buttons."""
    fields, tracing = handlers.fields, Tracing(handlers, handlers.sources)
    fields["trace"].click(edge(tracing.photo), everything, fields["sketch"], **_QUIET)
    fields["edit_map"].click(
        edge(tracing.edit_map),
        everything,
        [fields[name] for name in ("sketch", "source", "source_tabs", "kind")],
        **_QUIET,
    )
