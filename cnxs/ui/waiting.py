"""While a picture is made: whether it is shown as it forms, and whether the browser calls when it is there."""

from typing import Any

import gradio as gr

from cnxs.ui.words import label

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}


def waiting_switches(fields: dict[str, Any]) -> None:
    """Add the two switches; the browser remembers both."""
    with gr.Row():
        fields["previews"] = gr.Checkbox(
            True, label=label("page.previews"), info=label("hint.previews"), elem_id="previews"
        )
        fields["notify"] = gr.Checkbox(False, label=label("page.notify"), info=label("hint.notify"), elem_id="notify")
    # Shown by the page's script where the browser does not allow it.
    gr.HTML(
        label("page.notify_refused"),
        html_template='<p class="note" role="status">${value}</p>',
        apply_default_css=False,
        elem_id="notify-refused",
    )


def wire(fields: dict[str, Any]) -> None:
    """Connect the switches: both concern the browser alone."""
    fields["previews"].input(
        None, fields["previews"], None, js="(previews) => window.cnxs.keep({ previews })", **_QUIET
    )
    fields["notify"].input(
        None, fields["notify"], fields["notify"], js="async (on) => [await window.cnxsNotify(on)]", **_QUIET
    )
