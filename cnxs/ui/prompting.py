"""Handlers of the help with words: styles, and a prompt by chance."""

from typing import Any

import gradio as gr

from cnxs import text
from cnxs.ui import form, styles, words
from cnxs.ui.binding import Binding, Updates
from cnxs.ui.edge import edge

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_NEWEST: dict[str, Any] = {**_QUIET, "trigger_mode": "always_last"}


def wire(page: gr.Blocks, binding: Binding) -> None:
    """Tie styles and surprises to the prompt."""
    fields = binding.fields
    helping = PromptHelp(binding)
    prompts = [fields["prompt"], fields["negative_prompt"]]
    seen = [fields["base"], fields["prompt"], fields["surprised"]]
    gr.on([page.load, fields["base"].change], edge(helping.offer), seen, [fields["style"]], **_QUIET)
    fields["prompt"].change(edge(helping.look), seen, [fields["style"], fields["surprise"]], **_NEWEST)
    fields["style"].input(edge(helping.choose), [fields["base"], fields["style"], *prompts], prompts, **_NEWEST)
    fields["surprise"].click(
        edge(helping.surprise), [fields["base"]], [fields["prompt"], fields["surprised"]], **_QUIET
    )


class PromptHelp:
    """Handlers of the styles and of the prompt by chance."""

    def __init__(self, binding: Binding) -> None:
        self.backend, self.updates = binding.backend, binding.updates

    def _styles(self, base: str) -> tuple[styles.Style, ...]:
        return styles.styles_for(form.base_info(self.backend.models(), base).family)

    def offer(self, base: str, prompt: str, surprised: str, request: gr.Request) -> Updates:
        """Offer the styles that the base knows, in the language of the browser."""
        language, known = words.language(request), self._styles(base)
        choices = [(text.get("page.style_none", language), styles.NONE)]
        choices += [(style.names[language], style.prompt) for style in known]
        found = styles.find(prompt, known)
        return self.updates(style=gr.update(choices=choices, value=found.prompt if found else styles.NONE))

    def look(self, base: str, prompt: str, surprised: str) -> Updates:
        """Show the style that the prompt is in. Words that somebody typed are never replaced by chance."""
        found = styles.find(prompt, self._styles(base))
        return self.updates(
            style=found.prompt if found else styles.NONE, surprise=gr.update(visible=prompt in ("", surprised))
        )

    def choose(self, base: str, style: str, prompt: str, negative: str) -> Updates:
        """Put the words of a style into the prompts."""
        known = self._styles(base)
        chosen = next((one for one in known if one.prompt == style), None)
        prompt, negative = styles.apply(prompt, negative, chosen, known)
        return self.updates(prompt=prompt, negative_prompt=negative)

    def surprise(self, base: str) -> Updates:
        """Write a prompt by chance."""
        prompt = styles.surprise(form.base_info(self.backend.models(), base).family)
        return self.updates(prompt=prompt, surprised=prompt)
