"""Starting from a picture instead of from noise: the picture, how much of it may change, and where."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import images, text
from cnxs.errors import InputError
from cnxs.request import GenerationRequest, defaults
from cnxs.ui import form, masks, view
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.canvas import SketchCanvas
from cnxs.ui.edge import edge
from cnxs.ui.parts import UploadedImage
from cnxs.ui.sources import Sources
from cnxs.ui.words import label

CHANGE = 0.6  # of the slider at first: the picture is known again, and something else

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_NEWEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}


def start_panel(fields: dict[str, Any]) -> None:
    """Add the picture to start from, folded away; what is painted over it shows once it is there."""
    fields["ground"] = gr.State(None)
    with gr.Accordion(label("page.start_panel"), open=False, elem_id="start-panel") as fields["start_panel"]:
        fields["start_picture"] = UploadedImage(
            label=label("page.start_picture"),
            show_label=False,
            sources=["upload", "clipboard"],
            type="filepath",
            image_mode=None,
            buttons=[],
            height=170,
            elem_id="start-picture",
        )
        with gr.Row(elem_classes="keep-row"):
            fields["start_from_photo"] = gr.Button(
                label("page.start_from_photo"), size="sm", elem_id="start-from-photo", min_width=100
            )
        fields["change"] = gr.Slider(
            0.01,
            1,
            CHANGE,
            step=0.01,
            label=label("page.change"),
            info=label("hint.change"),
            elem_id="change",
            buttons=[],
        )
        with gr.Column(visible=False, elem_id="mask-panel") as fields["mask_panel"]:
            gr.HTML(
                label("page.mask_intro"),
                html_template='<p class="note">${value}</p>',
                apply_default_css=False,
            )
            fields["mask"] = SketchCanvas(mask=True, storage_key="cnxs.mask", elem_id="mask")


class StartPicture:
    """Handlers of the panel, and what it adds to a request."""

    def __init__(self, binding: Binding, sources: Sources) -> None:
        self.backend, self.files, self.sources = binding.backend, binding.files, sources
        self.named, self.updates = binding.named, binding.updates

    def add_to(self, asked: GenerationRequest, values: Values) -> GenerationRequest:
        """Return the request with its start; the same without a picture.

        Raises:
            InputError: if picture or mask cannot be read.
        """
        if not values["start_picture"]:
            return asked
        picture, placed = self.sources.digest_of(values["start_picture"]), masks.placed_of(values)
        ground: masks.Ground = values["ground"] or masks.Ground(name="", picture="", placed=placed)
        if (ground.picture, ground.placed) != (picture, placed):
            # The canvas follows a moment later: what was painted belongs to the picture if it is the same.
            name = ground.name if ground.picture == picture else "not shown yet"
            ground = masks.Ground(name=name, picture=picture, placed=placed)
        init_id = self.backend.put_image(images.encode_png(masks.place(self.backend, picture, placed)))
        mask_id = masks.painted(self.backend, values["mask"], ground)
        return replace(asked, init_id=init_id, mask_id=mask_id, **form.read(values, {"change": float}))

    def show(self, data: Mapping[Any, Any]) -> Updates:
        """Lay the picture below the mask. If nothing else gives a size, it does."""
        values = self.named(data)
        if not values["start_picture"]:
            return self.updates(ground=None, mask_panel=gr.update(visible=False))
        picture, before = self.sources.digest_of(values["start_picture"]), values["ground"]
        changes: dict[str, Any] = {}
        if (before is None or before.picture != picture) and self.sources.source_id(values) is None:
            changes = self._size(values, picture)
        placed = masks.placed_of({**values, **changes})
        if before is not None and (before.picture, before.placed) == (picture, placed):
            return self.updates(mask_panel=gr.update(visible=True))
        ground, mask = masks.lay(self.backend, picture, placed=placed, before=before)
        return self.updates(ground=ground, mask=mask, mask_panel=gr.update(visible=True), **changes)

    def _size(self, values: Values, picture: str) -> dict[str, int]:
        base = form.base_info(self.backend.models(), values["base"])
        shape = self.backend.get_image(picture).size
        width, height = images.default_size(shape, native_size=base.native_size, multiple=base.size_multiple)
        return {"width": width, "height": height}

    def from_photo(self, photo: str | None) -> Updates:
        """Start from the photo that is followed."""
        if not photo:
            raise InputError("no_photo_to_start")
        return self.updates(start_picture=photo)

    def from_result(self, picture_of: Callable[[view.JobView], str | None]) -> Callable[..., Updates]:
        """Return the handler that starts from the image that is shown."""

        def start(shown: view.JobView | None) -> Updates:
            path = None if shown is None else picture_of(shown)
            if path is None:
                raise InputError("nothing_to_save")
            return self.updates(start_picture=path, start_panel=gr.update(open=True))

        return start

    def laid_out(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        """Return the updates that bring the start of a request back; what is not here is added to `missing`."""
        empty = self.updates(start_picture=None, ground=None, mask_panel=gr.update(visible=False))
        try:
            picture = self.backend.get_image(asked.init_id) if asked.init_id else None
            if asked.mask_id:
                self.backend.get_image(asked.mask_id)
        except InputError:
            picture = None
        if picture is None:
            if asked.init_id or asked.change != defaults().change:
                missing.append(text.get("page.left_start", language))
            return empty
        path = self.files.put_image(picture)
        placed = (asked.width, asked.height, asked.placement)
        digest = self.sources.digest_of(path)
        ground, mask = masks.lay(self.backend, digest, placed=placed, mask_id=asked.mask_id)
        return self.updates(
            start_picture=path,
            change=asked.change,
            ground=ground,
            mask=mask,
            mask_panel=gr.update(visible=True),
            start_panel=gr.update(open=True),
        )


def wire(handlers: Any, everything: set[Any]) -> None:
    """Connect the panel."""
    fields, start = handlers.fields, handlers.start_picture
    gr.on(
        [fields[name].change for name in ("start_picture", "width", "height", "placement")],
        edge(start.show),
        everything,
        [fields[name] for name in ("ground", "mask", "mask_panel", "width", "height")],
        **_NEWEST,
    )
    fields["start_from_photo"].click(edge(start.from_photo), fields["photo"], fields["start_picture"], **_QUIET)
    fields["start_from_result"].click(
        edge(start.from_result(handlers.picture_of)),
        fields["view"],
        [fields["start_picture"], fields["start_panel"]],
        **_QUIET,
    )
