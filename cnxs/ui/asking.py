"""One request of everything that the page says."""

from collections.abc import Sequence
from typing import Protocol

from cnxs.request import Axis, ControlUse, GenerationRequest
from cnxs.ui import form
from cnxs.ui.binding import Updates, Values
from cnxs.ui.sources import Sources


class Panel(Protocol):
    """A part of the page that decides fields of a request of its own."""

    def add_to(self, asked: GenerationRequest, values: Values) -> GenerationRequest:
        """Return the request with what the panel says.

        Where the first control has no map yet, the settings alone are wanted.

        Raises:
            InputError: if what it says cannot be read.
        """
        ...

    def laid_out(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        """Return the updates that bring the panel's part of a request back; what is not here goes to `missing`."""
        ...


class Asking:
    """Asks each panel of the page for its part of a request."""

    def __init__(self, sources: Sources, panels: Sequence[Panel]) -> None:
        self.sources, self.panels = sources, panels

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
        asked = form.build_request(values, control=control, axes=axes)
        for panel in self.panels:
            asked = panel.add_to(asked, values)
        return asked
