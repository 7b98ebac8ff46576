"""The second pass: a finished image made larger, a part of it painted anew under the same control at the new size."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import images
from cnxs.errors import InputError
from cnxs.request import ControlUse, GenerationRequest
from cnxs.ui import form, view
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.edge import edge
from cnxs.ui.masks import Placed
from cnxs.ui.words import label

FACTORS = {"larger": 1.5, "largest": 2.0}  # by the names of the buttons
CHANGE = 0.4  # enough for new detail, too little for another picture

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}


def larger_buttons(fields: dict[str, Any]) -> None:
    """Add a button for each factor."""
    for name in FACTORS:
        fields[name] = gr.Button(label(f"page.{name}"), size="sm", elem_id=name, min_width=100)


class SecondPass:
    """Handlers of the buttons."""

    def __init__(self, binding: Binding) -> None:
        self.backend, self.updates = binding.backend, binding.updates

    def larger(self, factor: float) -> Callable[..., Updates]:
        """Return the handler that makes the shown image larger by a factor."""

        def submit(shown: view.JobView | None, owner: str) -> Updates:
            cell = None if shown is None else shown.shown()
            if shown is None or cell is None:
                raise InputError("nothing_to_save")
            picture = images.load(self.backend.png(shown.job_id, shown.selected))
            return self.updates(job=self.backend.submit(self.request(cell.request, picture, factor), owner))

        return submit

    def request(self, made: GenerationRequest, picture: Any, factor: float) -> GenerationRequest:
        """Return the request of the second pass.

        Args:
            made: the request of the finished image; its mask has done its part and is left out.
            picture: the image.
            factor: of width and height, each rounded to what the base takes.

        Raises:
            InputError: `larger_without_source`, if a map cannot be drawn anew.
        """
        multiple = form.base_info(self.backend.models(), made.base).size_multiple
        width, height = (round(side * factor / multiple) * multiple for side in (made.width, made.height))
        start = images.place(picture, width=width, height=height, placement="stretch")
        size: Placed = (width, height, made.placement)
        return replace(
            made,
            width=width,
            height=height,
            controls=tuple(self._redrawn(use, size) for use in made.controls),
            init_id=self.backend.put_image(images.encode_png(start)),
            mask_id="",
            change=CHANGE,
            axes=(),
        )

    def _redrawn(self, use: ControlUse, size: Placed) -> ControlUse:
        width, height, placement = size
        if not use.source_id:
            raise InputError("larger_without_source")
        drawn = self.backend.control_map(
            use.source_id,
            kind=use.kind,
            params=dict(use.params),
            width=width,
            height=height,
            placement=placement,
            network=use.network,
        )
        return replace(use, map_id=drawn.map_id, region_id=self._region(use.region_id, width, height))

    def _region(self, region_id: str, width: int, height: int) -> str:
        if not region_id:
            return ""
        region = images.place(self.backend.get_image(region_id), width=width, height=height, placement="stretch")
        return self.backend.put_image(images.encode_png(region))


def wire(handlers: Any) -> None:
    """Connect the buttons."""
    fields, second = handlers.fields, SecondPass(handlers)
    for name, factor in FACTORS.items():
        fields[name].click(edge(second.larger(factor)), [fields["view"], fields["owner"]], fields["job"], **_QUIET)
