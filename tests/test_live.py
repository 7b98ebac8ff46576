"""A stroke's handler, without a browser."""

import gradio as gr

from cnxs.ui.live import Live
from tests.fake_backend import FakeBackend
from tests.test_ui import ENGLISH, Session


def test_a_stroke_with_live_off_changes_nothing() -> None:
    session = Session(FakeBackend())
    told = Live(session.handlers, session.handlers.asking).frame(session.values, ENGLISH)
    assert list(told.values()) == [gr.update()]
    assert session.backend.requests == []
