"""Help with words: styles that put their words into the prompt, and a prompt for those who have none yet.

The data is `assets/styles.toml`. A style lives in the prompt's own text and nowhere else, so it is seen, can be edited,
and comes back with the prompt.
"""

import functools
import json
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from cnxs.ui.words import label

ASSETS = Path(__file__).parent.parent.parent / "assets"
NONE = ""


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style: its words for the two prompts, and other words at the beginning of a prompt that mean the same."""

    families: tuple[str, ...]
    names: dict[str, str]  # by language
    prompt: str
    negative: str = ""
    lead: str = ""


@functools.cache
def _data() -> dict[str, Any]:
    file = ASSETS / "styles.toml"
    return tomllib.loads(file.read_text("utf-8")) if file.exists() else {}


@functools.cache
def read() -> tuple[Style, ...]:
    """Return every style, in the order of the file; none if it was left out of an installation."""
    return tuple(
        Style(
            families=tuple(entry["for"]),
            names=entry["name"],
            prompt=entry["prompt"],
            negative=entry.get("negative", ""),
            lead=entry.get("lead", ""),
        )
        for entry in _data().get("style", ())
    )


def styles_for(family: str) -> tuple[Style, ...]:
    """Return the styles for a family of base models, such as "miniature" or "sd15"."""
    wanted = "miniature" if family == "miniature" else "sd"
    return tuple(style for style in read() if wanted in style.families)


def find(prompt: str, styles: Sequence[Style]) -> Style | None:
    """Return the style whose words are in the prompt; the one with most words where several are."""
    found = [style for style in styles if _words(style.prompt).search(prompt) or _lead(style, prompt)]
    return max(found, key=lambda style: len(style.prompt), default=None)


def apply(prompt: str, negative: str, chosen: Style | None, styles: Sequence[Style]) -> tuple[str, str]:
    """Return the two prompts in the chosen style; the words of another one give way. None: without any."""
    before = find(prompt, styles)
    if before == chosen:
        return prompt, negative
    if before and _lead(before, prompt):
        prompt = prompt[len(before.lead) :].lstrip()
    added = chosen.prompt if chosen else ""
    prompt = _exchanged(prompt, before.prompt if before else "", added)
    return prompt, _exchanged(negative, before.negative if before else "", chosen.negative if chosen else "")


def _lead(style: Style, prompt: str) -> bool:
    return bool(style.lead) and prompt.casefold().startswith(f"{style.lead} ")


def _words(words: str) -> re.Pattern[str]:
    """Match words between commas, with the comma before them."""
    parts = r"\s*,\s*".join(re.escape(part.strip()) for part in words.split(","))
    return re.compile(rf"(^|,)\s*{parts}\s*(?=,|$)", re.IGNORECASE)


def _exchanged(prompt: str, old: str, new: str) -> str:
    """Put `new` where `old` stands, else at the end."""
    if old and (match := _words(old).search(prompt)):
        put = f"{match[1]} {new}".lstrip() if new else ""
        return (prompt[: match.start()] + put + prompt[match.end() :]).lstrip(", ")
    return ", ".join(part for part in (prompt.rstrip().rstrip(","), new) if part)


@functools.cache
def _subjects() -> tuple[str, ...]:
    groups = _data()["surprise"]["miniature"]["groups"]
    concepts = json.loads((ASSETS / "miniature" / "concepts.json").read_text("utf-8"))
    return tuple(concept["name"] for concept in concepts if concept["group"] in groups)


def surprise(family: str) -> str:
    """Return a prompt by chance, in words that the family knows."""
    choice = secrets.choice
    style = choice(styles_for(family)).prompt
    if family != "miniature":
        return f"{choice(_data()['surprise']['sd']['subjects'])}, {style}"
    background = choice(_data()["surprise"]["miniature"]["backgrounds"])
    return f"{choice(_subjects())}, {style}, {background} background"


def prompt_help(fields: dict[str, Any]) -> None:
    """Add, below the prompt, a button for a prompt by chance, the count of word pieces, and the styles."""
    there = bool(read())
    fields["surprised"] = gr.State("")
    with gr.Row(elem_id="prompt-help", elem_classes="keep-row"):
        fields["surprise"] = gr.Button(
            label("page.surprise"), size="sm", elem_id="surprise", min_width=90, scale=0, visible=there
        )
        fields["tokens"] = gr.HTML("", elem_id="tokens", apply_default_css=False)
    fields["style"] = gr.Radio(
        [(label("page.style_none"), NONE)],
        value=NONE,
        label=label("page.style"),
        elem_id="style",
        elem_classes="small-radio",
        visible=there,
    )
