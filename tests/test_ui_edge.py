"""The edge of the page: errors become sentences, words follow the browser's language, pictures become files."""

import logging
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.i18n import I18nData

from cnxs import text
from cnxs.errors import InputError
from cnxs.ui import words
from cnxs.ui.edge import edge
from cnxs.ui.files import MAX_FILES, PictureFiles
from cnxs.ui.page import build_ui, launch_options
from tests.fake_backend import FakeBackend

ENGLISH = gr.Request(headers={"accept-language": "en-GB,en;q=0.9"})
GERMAN = gr.Request(headers={"accept-language": "de-DE,de;q=0.9"})


def test_a_user_error_is_shown_as_its_sentence_in_the_language_of_the_browser() -> None:
    def handler(request: gr.Request) -> None:
        raise InputError("strengths_empty")

    with pytest.raises(gr.Error) as caught:
        edge(handler)(GERMAN)
    assert unescape(caught.value.message) == text.get("error.strengths_empty", "de")


def test_any_other_error_is_logged_and_told_plainly(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield {}
        raise RuntimeError("secret path /home/someone")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as caught:
        list(edge(handler)(ENGLISH))
    assert "secret" not in caught.value.message
    assert "secret" in caplog.text


def test_what_a_stream_said_once_is_in_all_that_follows() -> None:
    with gr.Blocks():
        note, button, memory = gr.HTML(), gr.Button(), gr.State()

    def handler() -> Iterator[dict[Any, Any]]:
        yield {note: "started", button: gr.update(visible=False), memory: 1}
        yield {note: "half done"}
        yield {button: gr.update(interactive=True), memory: 2}

    first, second, third = edge(handler)()
    assert first == {note: gr.update(value="started"), button: gr.update(visible=False), memory: 1}
    assert second == first | {note: gr.update(value="half done")}
    assert third == second | {button: gr.update(visible=False, interactive=True), memory: 2}


@pytest.mark.parametrize(
    ("header", "expected"), [("de-AT,de;q=0.9,en;q=0.5", "de"), ("fr,en;q=0.7", "en"), ("", "en"), ("fr", "en")]
)
def test_the_language_is_the_first_that_is_spoken_here(header: str, expected: str) -> None:
    assert words.language(gr.Request(headers={"accept-language": header})) == expected


def test_every_label_of_the_page_has_its_words() -> None:
    keys = set()
    for block in build_ui(FakeBackend()).blocks.values():
        keys |= {value.key for value in vars(block).values() if isinstance(value, I18nData)}
    assert len(keys) > 20
    assert keys <= set(launch_options()["i18n"].translations_dict["de"])


def test_a_picture_is_written_once_and_the_oldest_go() -> None:
    files = PictureFiles()
    first = files.put(b"0")
    assert files.put(b"0") == first
    for number in range(1, MAX_FILES + 1):
        files.put(str(number).encode())
    assert not Path(first).exists()
