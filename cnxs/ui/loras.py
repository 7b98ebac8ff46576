"""LoRAs: small files beside the base that change its style or let it paint in few steps."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import InputError
from cnxs.protocol import Models
from cnxs.request import GenerationRequest
from cnxs.ui import form, words
from cnxs.ui.binding import Binding, Updates, Values
from cnxs.ui.edge import edge
from cnxs.ui.words import label

SLOTS = 4
FAST_STEPS = 6  # where the file's name does not say for how many it was made
MAX_FAST_STEPS = 16

_SLOTS = range(1, SLOTS + 1)
_FEW_STEPS = re.compile(r"(?<![a-z])(lcm|hyper(sd)?|turbo|lightning|tcd|dmd)(?![a-z])")
_STEPS = re.compile(r"(\d+)[-_ ]?steps?")
# One after the other: an offer that was asked for before a click on *Fast* must not land after it, and undo its choice.
_IN_TURN: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": 1,
    "concurrency_id": "loras",
}


def few_steps(name: str) -> int | None:
    """Return the steps that a LoRA was made for, by its name; None if it does not look like one for few steps."""
    if not _FEW_STEPS.search(name.casefold()):
        return None
    found = _STEPS.search(name.casefold())
    return min(max(int(found[1]), 1), MAX_FAST_STEPS) if found else FAST_STEPS


def fitting(models: Models, base: str) -> tuple[str, ...]:
    """Return the LoRAs that fit a base, and those whose files do not say for which one they were made."""
    family = form.base_info(models, base).family
    return tuple(lora.name for lora in models.loras if lora.family in ("", family))


def loras_panel(fields: dict[str, Any]) -> None:
    """Add the menus, folded away; they show where there are LoRAs that fit."""
    with gr.Accordion(label("page.loras_panel"), open=False, visible=False, elem_id="loras") as fields["loras_panel"]:
        fields["fast"] = gr.Button(label("page.fast"), size="sm", elem_id="fast")
        gr.HTML(label("hint.fast"), html_template='<p class="note">${value}</p>', apply_default_css=False)
        for slot in _SLOTS:
            with gr.Row(visible=slot == 1, elem_id=f"lora-row-{slot}") as fields[f"lora_row_{slot}"]:
                fields[f"lora_{slot}"] = gr.Dropdown(
                    [(label("page.lora_none"), "")],
                    value="",
                    label=label("page.lora"),
                    allow_custom_value=True,
                    elem_id=f"lora-{slot}",
                    min_width=150,
                )
                fields[f"lora_weight_{slot}"] = gr.Slider(
                    -2,
                    2,
                    1.0,
                    step=0.05,
                    label=label("page.lora_weight"),
                    elem_id=f"lora-weight-{slot}",
                    min_width=150,
                    buttons=[],
                )


class Loras:
    """Handlers of the menus, and what they add to a request."""

    def __init__(self, binding: Binding) -> None:
        self.backend, self.fields = binding.backend, binding.fields
        self.named, self.updates = binding.named, binding.updates

    def add_to(self, asked: GenerationRequest, values: Values) -> GenerationRequest:
        """Return the request with the chosen LoRAs."""
        chosen = []
        for slot in _SLOTS:
            if name := values[f"lora_{slot}"]:
                weight = form.read({"lora_weight": values[f"lora_weight_{slot}"]}, {"lora_weight": float})
                chosen.append((str(name), weight["lora_weight"]))
        return replace(asked, loras=tuple(chosen))

    def offer(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Offer what fits the base; what was chosen stays where it does, and so does what is chosen meanwhile."""
        values = self.named(data)
        names = fitting(self.backend.models(), values["base"])
        chosen = [values[f"lora_{slot}"] for slot in _SLOTS]
        left = [name if name in names else "" for name in chosen]
        laid = self._laid(names, left, words.language(request))
        for slot, before, after in zip(_SLOTS, chosen, left, strict=True):
            if before == after:
                del laid[self.fields[f"lora_{slot}"]]["value"]
        return laid

    def fast(self, data: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Set sampler, steps and guidance for a LoRA of few steps; choose one if none is chosen yet.

        Raises:
            InputError: `no_fast_lora`.
        """
        values = self.named(data)
        names = fitting(self.backend.models(), values["base"])
        chosen = [str(values[f"lora_{slot}"] or "") for slot in _SLOTS]
        steps = next((few_steps(name) for name in chosen if few_steps(name)), None)
        if steps is None:
            found = next((name for name in names if few_steps(name)), None)
            if found is None or "" not in chosen:
                raise InputError("no_fast_lora")
            chosen[chosen.index("")], steps = found, few_steps(found)
        laid = self._laid(names, chosen, words.language(request))
        return laid | self.updates(sampler="lcm", steps=steps, guidance_scale=1)

    def laid_out(self, asked: GenerationRequest, missing: list[str], language: str) -> Updates:
        """Return the updates that bring the LoRAs of a request back; what is not here is added to `missing`."""
        models = self.backend.models()
        known = asked.base in (base.name for base in models.bases)
        names = fitting(models, asked.base) if known else ()
        here = [(name, weight) for name, weight in asked.loras if name in names][:SLOTS]
        missing += [f"{text.get('page.lora', language)}: {name}" for name, w in asked.loras if (name, w) not in here]
        weights = {f"lora_weight_{slot}": weight for slot, (_, weight) in zip(_SLOTS, here, strict=False)}
        padded = [*(name for name, _ in here), *[""] * (SLOTS - len(here))]
        return self._laid(names, padded, language) | self.updates(**weights)

    def _laid(self, names: tuple[str, ...], chosen: list[str], language: str) -> Updates:
        """Show as many menus as are in use, and one more."""
        choices = [(text.get("page.lora_none", language), ""), *((name, name) for name in names)]
        last = max((slot for slot, name in zip(_SLOTS, chosen, strict=True) if name), default=0)
        changes: dict[str, Any] = {"loras_panel": gr.update(visible=bool(names))}
        for slot, name in zip(_SLOTS, chosen, strict=True):
            changes[f"lora_{slot}"] = gr.update(choices=choices, value=name)
            changes[f"lora_row_{slot}"] = gr.update(visible=slot <= last + 1)
        return self.updates(**changes)


def wire(page: gr.Blocks, handlers: Any) -> None:
    """Connect the menus to what changes what they offer."""
    fields, loras = handlers.fields, handlers.loras
    menus = [fields[f"lora_{slot}"] for slot in _SLOTS]
    rows = [fields[f"lora_row_{slot}"] for slot in _SLOTS]
    laid = [*menus, *rows, fields["loras_panel"]]
    gr.on(
        [page.load, fields["base"].change, fields["models"].expand, fields["models_again"].click]
        + [menu.input for menu in menus],
        edge(loras.offer),
        {fields["base"], *menus},
        laid,
        **_IN_TURN,
    )
    fields["fast"].click(
        edge(loras.fast),
        {fields["base"], *menus},
        [*laid, *(fields[name] for name in ("sampler", "steps", "guidance_scale"))],
        **_IN_TURN,
    )
