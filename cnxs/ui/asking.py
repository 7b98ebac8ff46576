"""One request of everything that the page says."""

from collections.abc import Sequence
from dataclasses import replace

from cnxs.request import Axis, ControlUse, GenerationRequest
from cnxs.ui import form
from cnxs.ui.binding import Values
from cnxs.ui.sources import Sources
from cnxs.ui.start_picture import StartPicture


class Asking:
    """Asks each panel of the page for its part of a request."""

    def __init__(self, sources: Sources, start: StartPicture) -> None:
        self.sources, self.start = sources, start

    def request(self, values: Values, *, axes: Sequence[Axis] = (), followed: bool = False) -> GenerationRequest:
        """Return what the page asks for, every map drawn.

        Args:
            values: the page's, by name.
            axes: over which several images differ.
            followed: refuse words alone.

        Raises:
            InputError: saying what is missing, or cannot be read.
        """
        return self.complete(values, self.sources.control(values, needed=followed), axes=axes)

    def complete(self, values: Values, control: ControlUse | None, *, axes: Sequence[Axis] = ()) -> GenerationRequest:
        """Return what the page asks for around its first control."""
        return replace(form.build_request(values, control=control, axes=axes), **self.start.of(values))
