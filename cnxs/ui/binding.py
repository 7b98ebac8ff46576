"""What all handlers share: the backend, the components by name, and the folder of pictures."""

from collections.abc import Mapping
from typing import Any

from cnxs.protocol import Backend
from cnxs.ui.files import PictureFiles

Fields = dict[str, Any]  # a component's events are made at run time, so no type is told here
Updates = dict[Any, Any]
Values = Mapping[str, Any]


class Binding:
    """Ties handlers to a backend and a page. Holds no state of a session: that is in `gr.State`."""

    def __init__(self, backend: Backend, fields: Fields, files: PictureFiles) -> None:
        self.backend = backend
        self.fields = fields
        self.files = files

    def named(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the values by the names of their components."""
        return {name: data[component] for name, component in self.fields.items() if component in data}

    def updates(self, **changes: Any) -> Updates:
        """Return changes by component."""
        return {self.fields[name]: change for name, change in changes.items()}
