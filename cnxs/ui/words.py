"""Wording for the page: translated by the browser where Gradio can, by the request's language elsewhere."""

from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from cnxs import text


def label(key: str) -> Any:
    """Return a translatable label; the browser shows `key` of `wording.toml` in its own language.

    Typed loosely, since a few components take it without saying so.
    """
    return I18nData(key)


def translations() -> gr.I18n:
    """Return every wording without placeholders, for `launch(i18n=...)`."""
    return gr.I18n(
        **{
            language: {key: words[language] for key, words in text.entries().items() if "{" not in words["en"]}
            for language in text.LANGUAGES
        }
    )


def language(request: gr.Request | None) -> str:
    """Return the first language of the browser that the program speaks, else English."""
    header = request.headers.get("accept-language", "") if request and request.headers else ""
    wanted = (part.split(";")[0].strip().lower()[:2] for part in header.split(","))
    return next((tag for tag in wanted if tag in text.LANGUAGES), "en")
