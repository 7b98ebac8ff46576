"""The page's edge: no exception leaves a handler except as a sentence."""

import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr

from cnxs import text
from cnxs.errors import UserError
from cnxs.ui import words

logger = logging.getLogger(__name__)


def edge(handler: Callable[..., Any], *, for_page: bool = True) -> Callable[..., Any]:
    """Wrap an event handler (a function or a generator) so that what goes wrong is told in one sentence.

    A `UserError` becomes its own sentence; anything else is logged with its traceback and told plainly. For the page
    the sentence is escaped, since Gradio shows it as HTML there; a program gets it as it is.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any) -> Iterator[Any]:
            with _told(args, for_page=for_page):
                yield from cumulative(handler(*args))

        return stream

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        with _told(args, for_page=for_page):
            return handler(*args)

    return call


def cumulative(stream: Iterable[Mapping[Any, Any]]) -> Iterator[dict[Any, Any]]:
    """Let each yield of a handler say all that the yields before it said, the newest word last.

    Gradio sends the second yield as a difference to the first and applies it in place. Where the browser has not
    shown the first by then, what only the first said is lost: a component that the second leaves out is taken back.
    """
    said: dict[Any, Any] = {}
    for updates in stream:
        for component, change in updates.items():
            if isinstance(component, gr.State):  # never sent to the browser
                said[component] = change
            else:
                said[component] = said.get(component, {}) | (change if is_update(change) else gr.update(value=change))
        yield dict(said)


def is_update(change: Any) -> bool:
    """Return whether a change is one of properties (`gr.update`) rather than a plain value."""
    return isinstance(change, dict) and "__type__" in change


@contextmanager
def _told(args: tuple[Any, ...], *, for_page: bool) -> Iterator[None]:
    language = words.language(next((arg for arg in args if isinstance(arg, gr.Request)), None))
    try:
        yield
    except UserError as error:
        raise toast(error.sentence(language), language=language, for_page=for_page) from None
    except gr.Error:
        raise
    except Exception:
        logger.exception("a handler of the page failed")
        raise toast(text.get("page.unexpected", language), language=language, for_page=for_page) from None


def toast(sentence: str, *, language: str, for_page: bool = True) -> gr.Error:
    """Return `sentence` as an error that Gradio shows on the page; Gradio reads it as HTML, so it is escaped."""
    message = html.escape(sentence) if for_page else sentence
    title = text.get("page.error_title", language)
    return gr.Error(message, duration=15, title=title, print_exception=False)
