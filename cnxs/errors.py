"""The errors a user can cause. Each carries a key and fields; its sentence is looked up in `cnxs.text`."""

import json
from collections.abc import Mapping
from typing import Any

from cnxs import text


class UserError(ValueError):
    """Bad input, told in one sentence: what was given, what is allowed, what to do.

    Args:
        key: an entry `error.<key>` of `wording.toml`.
        fields: values for the placeholders of that sentence.
    """

    def __init__(self, key: str, **fields: object) -> None:
        super().__init__(key, fields)
        self.key = key
        self.fields = fields

    def sentence(self, language: str = "en") -> str:
        """Return the error as a sentence in `language` ("en" or "de")."""
        return text.get(f"error.{self.key}", language, **self.fields)

    def __str__(self) -> str:
        return self.sentence()

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (downloads, training): rebuild from key and fields.
        return (_rebuild, (type(self), self.key, self.fields))


class InputError(UserError):
    """A value in a request, an upload or a setting is not allowed."""


class CheckpointError(UserError):
    """A weight file is damaged, incomplete, of another kind, or for another base model."""


class UnavailableError(UserError):
    """Something needed is not here: weights, a device, memory, a free port."""


def line_of(error: UserError) -> str:
    """Return an error as the line of JSON by which a child process tells it."""
    fields = {name: str(value) for name, value in error.fields.items()}
    return json.dumps({"error": type(error).__name__, "key": error.key, "fields": fields})


def error_of(event: Mapping[str, Any]) -> UserError:
    """Return the error of such a line, read.

    Raises:
        KeyError: if the line told no error.
    """
    kinds = {kind.__name__: kind for kind in (InputError, CheckpointError, UnavailableError)}
    return kinds[event["error"]](str(event["key"]), **event["fields"])


def _rebuild(cls: type[UserError], key: str, fields: dict[str, object]) -> UserError:
    return cls(key, **fields)
