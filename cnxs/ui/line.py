"""How a page stays connected: by one stream, since a browser keeps six connections to a server for all its tabs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

PULSE_SECONDS = 5.0


class Page(gr.Blocks):
    """Blocks whose pages keep one stream open: that of their events, which `hold_line` never lets end.

    Gradio would open a second one, for nothing but to learn that a page was closed: with two for each tab, the third
    tab of a browser would wait for ever. The first tells as well, and what is stored of closed pages makes place for
    new ones, the page longest silent first (`state_session_capacity`).
    """

    def get_config_file(self) -> Any:
        """Return Gradio's configuration of the page, without the second stream."""
        return super().get_config_file() | {"connect_heartbeat": False}


def hold_line(page: gr.Blocks, **quiet: Any) -> None:
    """Keep one event of each page running for as long as the page is open.

    Gradio answers all events of a page on one stream, closes it whenever none is pending, and opens it again with
    the next: an answer that falls in between is lost. A stream that always has a pending event is never closed.
    The page's script lets no other event out before this one.
    """
    mark = gr.Textbox(visible=False)
    page.load(_pulse, mark, None, js="() => [window.cnxs.PULSE]", **quiet)


async def _pulse(_: str) -> AsyncIterator[None]:
    while True:
        yield  # where Gradio ends it once the page is gone
        await asyncio.sleep(PULSE_SECONDS)
