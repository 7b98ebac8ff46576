"""The right column: status, the picture large, what made it, and the row of images."""

import gradio as gr
from gradio.components import Component

from cnxs.ui.exporting import export_row
from cnxs.ui.inputs import Fields, heading
from cnxs.ui.parts import Strip
from cnxs.ui.second_pass import larger_buttons
from cnxs.ui.words import label


def result_column(fields: Fields) -> None:
    """Add the status line, the stage, its buttons, and the strip."""
    heading("page.heading_result")
    fields["status"] = gr.HTML("", elem_id="status", apply_default_css=False)
    fields["empty"] = gr.HTML(
        label("page.empty_stage"),
        html_template='<div class="empty-stage">${value}</div>',
        apply_default_css=False,
        elem_id="empty-stage",
    )
    with gr.Tabs(selected="picture", visible=False, elem_id="stage-tabs") as fields["stage_tabs"]:
        with gr.Tab(label("page.tab_picture"), id="picture"):
            fields["stage"] = gr.Image(
                label=label("page.result"),
                alt_text=label("page.result"),
                show_label=False,
                interactive=False,
                format="png",
                buttons=["fullscreen"],
                elem_id="stage",
            )
        with gr.Tab(label("page.tab_beside"), id="beside", visible=False) as fields["tab_beside"]:
            fields["slider"] = _slider("slider", "page.slider")
        with gr.Tab(label("page.tab_pair"), id="pair", visible=False) as fields["tab_pair"]:
            fields["pair"] = _slider("pair", "page.tab_pair")
            fields["pair_facts"] = gr.HTML("", elem_id="pair-facts", apply_default_css=False)
    fields["facts"] = gr.HTML("", elem_id="facts", apply_default_css=False)
    with gr.Row(visible=False, elem_id="result-actions", elem_classes="keep-row actions") as fields["actions"]:
        fields["download"] = gr.DownloadButton(label("page.download"), size="sm", elem_id="download", min_width=100)
        for name in ("finer", "as_source", "start_from_result", "reuse_seed", "new_seed"):
            fields[name] = gr.Button(label(f"page.{name}"), size="sm", elem_id=name.replace("_", "-"), min_width=100)
        larger_buttons(fields)
    fields["strip"] = Strip(elem_id="strip")
    export_row(fields)


def _slider(elem_id: str, key: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label=label(key),
        show_label=False,
        interactive=False,
        format="png",
        buttons=["fullscreen"],
        max_height=640,
        elem_id=elem_id,
    )


def outputs(fields: Fields) -> list[Component]:
    """Return everything that a running job changes."""
    stage = "stage tab_beside slider tab_pair facts actions finer download strip export"
    work = "status empty view pace generate cancel compare stage_tabs"
    return [fields[name] for name in f"{work} {stage}".split()]


def restorable(fields: Fields) -> list[Component]:
    """Return everything that settings which come back may change."""
    left_out = ("owner", "arrival", "link", "waking", "view", "job", "restore")
    return [field for name, field in fields.items() if name not in left_out and not isinstance(field, gr.Button)]
