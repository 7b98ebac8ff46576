"""A request as text: the JSON inside PNGs and settings files, and the short form that a link carries.

Standard library only. Reading never guesses: what does not fit is refused with a sentence.
"""

import base64
import binascii
import dataclasses
import functools
import json
import math
import types
import typing
from typing import Any, Literal

from cnxs.errors import InputError
from cnxs.request import ControlUse, GenerationRequest, validate

FORMAT = "cnxs-request"
VERSION = 1
MAX_JSON_CHARACTERS = 500_000
MAX_LINK_CHARACTERS = 8_000  # of a link's settings; longer ones do not survive every mail program


def to_json(request: GenerationRequest) -> str:
    """Return a request as JSON text in ASCII, with the format's name and version."""
    return json.dumps({"format": FORMAT, "version": VERSION, **dataclasses.asdict(request)})


def from_json(text: str) -> GenerationRequest:
    """Read a request that `to_json` wrote; fields that are missing get their defaults.

    Raises:
        InputError: if the text is damaged, longer than 500 000 characters or from a newer format, has a field that
            is unknown or of the wrong type, or holds a value that no request may have.
    """
    if len(text) > MAX_JSON_CHARACTERS:
        raise InputError("settings_damaged", reason=f"> {MAX_JSON_CHARACTERS} characters")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("settings_damaged", reason=str(error)) from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise InputError("settings_damaged", reason=f"format is not {FORMAT}")
    version = values.pop("version", None)
    if type(version) is not int or version < 1:
        raise InputError("settings_damaged", reason="version")
    if version > VERSION:
        raise InputError("settings_newer", given=version, maximum=VERSION)
    request = _converted(values, GenerationRequest, "request")
    validate(request, size_multiple=1)
    return request


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _converted(value: Any, kind: Any, where: str) -> Any:
    """Return a JSON value as the annotated type `kind`; never guesses."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)
        if unknown := value.keys() - hints.keys():
            raise InputError("settings_damaged", reason=f"{where}: {min(unknown)[:50]}")
        fields = {name: _converted(item, hints[name], f"{where}.{name}") for name, item in value.items()}
        try:
            return kind(**fields)
        except TypeError as error:  # a field without a default is missing
            raise InputError("settings_damaged", reason=str(error)) from error
    if origin is tuple and isinstance(value, list):
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_converted(item, one, where) for item, one in zip(value, kinds, strict=True))
    allowed = arguments if origin is types.UnionType else (kind,)
    # JSON has one number type: a whole number stands for a float; a switch never stands for a number.
    fits = type(value) in allowed or (type(value) is int and float in allowed)
    if origin is Literal and isinstance(value, str):
        fits = value in arguments
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError("settings_damaged", reason=where)
    return value


# --- links --------------------------------------------------------------------------------------------------------

_PICTURES = ("map_id", "source_id", "region_id", "init_id", "mask_id")


def without_pictures(request: GenerationRequest) -> GenerationRequest:
    """Return a request that names no picture: what can be told to somebody who does not have them."""
    uses = tuple(dataclasses.replace(use, map_id="", source_id="", region_id="") for use in request.controls)
    return dataclasses.replace(request, controls=uses, init_id="", mask_id="")


def to_link(request: GenerationRequest) -> str:
    """Return a request without its pictures as base64url text; values that are the defaults are left out.

    Raises:
        InputError: `link_too_long`: over 8,000 characters.
    """
    request = without_pictures(request)
    values = _changed(request)
    if request.controls:
        values["controls"] = [_changed(use) for use in request.controls]
    text = json.dumps({"format": FORMAT, "version": VERSION, **values}, separators=(",", ":"))
    link = base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")
    if len(link) > MAX_LINK_CHARACTERS:
        raise InputError("link_too_long", given=len(link), maximum=MAX_LINK_CHARACTERS)
    return link


def from_link(link: str) -> GenerationRequest:
    """Read what `to_link` wrote.

    Raises:
        InputError: as `from_json`; also if the text is longer than a link may be.
    """
    if len(link) > MAX_LINK_CHARACTERS:
        raise InputError("link_too_long", given=len(link), maximum=MAX_LINK_CHARACTERS)
    try:
        text = base64.b64decode(link + "=" * (-len(link) % 4), altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise InputError("settings_damaged", reason="base64") from error
    return without_pictures(from_json(text))


def _changed(value: GenerationRequest | ControlUse) -> dict[str, Any]:
    """Return the fields that differ from their defaults, and those without one."""
    values = dataclasses.asdict(value)
    fields = {field.name: field.default for field in dataclasses.fields(value) if field.name not in _PICTURES[1:]}
    return {name: values[name] for name, default in fields.items() if getattr(value, name) != default}
