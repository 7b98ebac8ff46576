"""From what a program asks to a request: defaults filled in, every value checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnxs import images
from cnxs.errors import InputError
from cnxs.protocol import Backend, ControlMap
from cnxs.request import MAX_CONTROL_SCALE, Axis, GenerationRequest, defaults
from cnxs.ui import form

_SETTINGS = ("sampler", "guidance_rescale", "placement", "start", "end", "clip_skip", "prediction")
_TYPES = form.REQUEST_FIELDS | form.CONTROL_FIELDS


@dataclass(frozen=True)
class Source:
    """A picture to follow: its digest, and its width and height in pixels."""

    digest: str
    size: tuple[int, int]


class Asked:
    """What a program asks for.

    Args:
        backend: knows what can be chosen.
        given: values by the names of the endpoint's parameters; None and "" stand for defaults.
        source: the picture to follow; None: words alone.

    Raises:
        InputError: if a value is of a wrong type, or names something that is not there.
    """

    def __init__(self, backend: Backend, given: Mapping[str, Any], source: Source | None) -> None:
        self._backend, self._source = backend, source
        self._models = backend.models()
        settings = given.get("settings") or {}
        if not isinstance(settings, dict):
            raise InputError("api_type", name="settings", given=str(settings)[:40], allowed="{...}")
        own = {name: value for name, value in settings.items() if name in _SETTINGS}
        self._params = {name: value for name, value in settings.items() if name not in _SETTINGS}
        names = {name: value for name, value in given.items() if name != "settings"} | own
        names["kind"] = names.pop("condition", None)
        self._values = self._with_defaults({name: _checked(name, value) for name, value in names.items()})

    def _with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        base = form.base_info(self._models, given.get("base") or self._models.bases[0].name)
        size = (base.native_size, base.native_size)
        if self._source is not None:
            size = images.default_size(self._source.size, native_size=base.native_size, multiple=base.size_multiple)
        start = defaults()
        filled = {
            **{name: getattr(start, name) for name in form.REQUEST_FIELDS},
            "steps": base.default_steps,
            "guidance_scale": base.default_guidance_scale,
            "width": size[0],
            "height": size[1],
            "kind": "canny",
            "control_scale": 1.0,
            "start": 0.0,
            "end": 1.0,
            "network": "",
        }
        values = filled | {name: value for name, value in given.items() if value not in (None, "")}
        values["base"] = base.name
        if given.get("seed") is None:
            values["seed"] = form.draw_seed()
        return values

    def drawn(self) -> tuple[ControlMap, str]:
        """Return the control map, and the name of the control network that it is for."""
        assert self._source is not None
        network = self._network()
        drawn = self._backend.control_map(
            self._source.digest,
            kind=self._values["kind"],
            params=self._kind_params(),
            network=network,
            **form.read(self._values, {"width": int, "height": int, "placement": str}),
        )
        return drawn, network

    def request(self, axes: Sequence[Axis]) -> GenerationRequest:
        """Return the request, its control map drawn."""
        control = None
        if self._source is not None:
            drawn, network = self.drawn()
            control = form.build_control(
                {**self._values, "network": network},
                map_id=drawn.map_id,
                source_id=self._source.digest,
                params=self._kind_params(),
            )
        elif self._params:
            raise InputError("unknown_setting", given=_first(self._params), allowed=", ".join(_SETTINGS))
        return form.build_request(self._values, control=control, axes=axes)

    def _kind_params(self) -> dict[str, float | bool | str]:
        kind = self._values["kind"]
        known = form.kind_params(self._models, kind, {})
        unknown = {name: value for name, value in self._params.items() if name not in known}
        if unknown:
            raise InputError("unknown_setting", given=_first(unknown), allowed=", ".join((*_SETTINGS, *known)))
        return known | self._params

    def _network(self) -> str:
        kind, base, wanted = (self._values[name] for name in ("kind", "base", "network"))
        form.kind_params(self._models, kind, {})  # refuses a kind that there is not
        choices = {choice.kind.name: choice.networks for choice in form.kind_choices(self._models, base)}
        names = [network.name for network in choices.get(kind, ())]
        if not names:
            raise InputError("no_network_for_kind", kind=kind, base=base)
        if wanted and wanted not in names:
            raise InputError("unknown_network", given=wanted, allowed=", ".join(names))
        return wanted or names[0]


def strengths_from(given: Any) -> tuple[float, ...]:
    """Return control strengths in rising order, without repeats, 0 first.

    Raises:
        InputError: if there is none above 0, or one is no number or out of range.
    """
    if not isinstance(given, (list, tuple)):
        raise InputError("api_type", name="strengths", given=str(given)[:40], allowed="[0.5, 1]")
    values = {0.0, *(float(_checked("control_scale", value) or 0.0) for value in given)}
    if len(values) == 1:
        raise InputError("strengths_empty")
    for value in values:
        if not 0 <= value <= MAX_CONTROL_SCALE:
            raise InputError("strength_out_of_range", given=str(value), maximum=MAX_CONTROL_SCALE)
    return tuple(sorted(values))


def _checked(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    if value is None or (kind is str and isinstance(value, str)):
        return value
    if kind is str:
        raise InputError("api_type", name=name, given=str(value)[:40], allowed='"..."')
    whole = kind is not int or (isinstance(value, (int, float)) and float(value).is_integer())
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not whole:
        raise InputError("api_type", name=name, given=str(value)[:40], allowed="1" if kind is int else "0.5")
    return value


def _first(given: Mapping[str, Any]) -> str:
    return str(next(iter(given)))[:40]
