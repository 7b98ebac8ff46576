"""The look: a quiet studio with north light. Plaster walls, graphite, one blue; pictures are the only loud thing."""

import gradio as gr
from gradio.themes.utils import sizes

_GRAPHITE = gr.themes.Color(
    c50="#f4f4f1",
    c100="#eae9e4",
    c200="#d9d8d1",
    c300="#c0beb5",
    c400="#9a988f",
    c500="#76756d",
    c600="#5c5b55",
    c700="#43433f",
    c800="#2b2c2a",
    c900="#1f201f",
    c950="#171817",
    name="graphite",
)
_PRUSSIAN = gr.themes.Color(
    c50="#eef3f6",
    c100="#d9e4ea",
    c200="#b5cad6",
    c300="#8bacbf",
    c400="#5f8aa3",
    c500="#3d6d89",
    c600="#285671",
    c700="#1e465e",
    c800="#18384b",
    c900="#132b39",
    c950="#0c1c26",
    name="prussian",
)


class Studio(gr.themes.Base):
    """The theme of the page, light and dark.

    Fonts come with Gradio, so nothing is fetched; these are the ones that it ships with a whole Latin alphabet.
    """

    def __init__(self) -> None:
        super().__init__(
            primary_hue=_PRUSSIAN,
            secondary_hue=_PRUSSIAN,
            neutral_hue=_GRAPHITE,
            radius_size=sizes.radius_sm,
            text_size=sizes.text_md,
            font=(
                gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)),
                "ui-sans-serif",
                "system-ui",
                "sans-serif",
            ),
            font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
        )
        self.name = "studio"
        self._walls()
        self._blocks()
        self._fields()
        self._buttons()

    def _walls(self) -> None:
        self.set(
            body_background_fill="#f1f0ec",
            body_background_fill_dark="#191a19",
            body_text_color="*neutral_900",
            body_text_color_dark="#e9e7e0",
            body_text_color_subdued="#5f5e57",
            body_text_color_subdued_dark="#a9a79d",
            background_fill_primary="#fbfaf8",
            background_fill_primary_dark="#212221",
            background_fill_secondary="#f1f0ec",
            background_fill_secondary_dark="#1c1d1c",
            border_color_primary="#dbd9d1",
            border_color_primary_dark="#383936",
            border_color_accent="*primary_500",
            border_color_accent_dark="*primary_300",
            color_accent="*primary_600",
            color_accent_soft="*primary_50",
            color_accent_soft_dark="#24323a",
            panel_background_fill="transparent",
            panel_background_fill_dark="transparent",
            layout_gap="14px",
            form_gap_width="14px",
        )

    def _blocks(self) -> None:
        self.set(
            block_background_fill="transparent",
            block_background_fill_dark="transparent",
            block_border_width="0px",
            block_border_width_dark="0px",
            block_shadow="none",
            block_shadow_dark="none",
            block_padding="0",
            block_label_background_fill="transparent",
            block_label_background_fill_dark="transparent",
            block_label_border_width="0",
            block_label_border_width_dark="0",
            block_label_text_color="*body_text_color_subdued",
            block_label_text_color_dark="*body_text_color_subdued",
            block_title_text_color="*body_text_color",
            block_title_text_color_dark="*body_text_color",
            block_title_text_weight="600",
            block_info_text_color="*body_text_color_subdued",
            block_info_text_color_dark="*body_text_color_subdued",
        )

    def _fields(self) -> None:
        self.set(
            input_background_fill="#fdfcfb",
            input_background_fill_dark="#242524",
            input_background_fill_focus="#ffffff",
            input_background_fill_focus_dark="#282a29",
            input_border_color="#8d8b82",
            input_border_color_dark="#6e6f69",
            input_border_color_focus="*primary_600",
            input_border_color_focus_dark="*primary_300",
            input_border_width="1px",
            input_shadow="none",
            input_shadow_focus="0 0 0 2px rgba(40, 86, 113, 0.25)",
            input_shadow_focus_dark="0 0 0 2px rgba(139, 172, 191, 0.35)",
            input_placeholder_color="#77756c",
            input_placeholder_color_dark="#96948b",
            slider_color="*primary_600",
            slider_color_dark="*primary_300",
            checkbox_background_color_selected="*primary_600",
            checkbox_background_color_selected_dark="*primary_500",
            checkbox_border_color="#8d8b82",
            checkbox_border_color_dark="#6e6f69",
            checkbox_label_background_fill="transparent",
            checkbox_label_background_fill_dark="transparent",
            checkbox_label_background_fill_hover="*primary_50",
            checkbox_label_background_fill_hover_dark="#24323a",
            checkbox_label_background_fill_selected="*primary_100",
            checkbox_label_background_fill_selected_dark="#24323a",
            checkbox_label_border_color="*border_color_primary",
            checkbox_label_border_color_dark="*border_color_primary",
            checkbox_label_border_color_selected="*primary_600",
            checkbox_label_border_color_selected_dark="*primary_300",
            checkbox_label_text_color_selected="*primary_800",
            checkbox_label_text_color_selected_dark="*primary_100",
        )

    def _buttons(self) -> None:
        self.set(
            button_primary_background_fill="*primary_700",
            button_primary_background_fill_dark="#a9c6d6",
            button_primary_background_fill_hover="*primary_600",
            button_primary_background_fill_hover_dark="#c3d8e3",
            button_primary_text_color="#ffffff",
            button_primary_text_color_dark="#0c1c26",
            button_primary_border_color="transparent",
            button_secondary_background_fill="transparent",
            button_secondary_background_fill_dark="transparent",
            button_secondary_background_fill_hover="*primary_50",
            button_secondary_background_fill_hover_dark="#24323a",
            button_secondary_text_color="*primary_800",
            button_secondary_text_color_dark="*primary_100",
            button_secondary_border_color="#8d8b82",
            button_secondary_border_color_dark="#6e6f69",
            button_cancel_background_fill="transparent",
            button_cancel_background_fill_dark="transparent",
            button_cancel_text_color="#8c2f22",
            button_cancel_text_color_dark="#eba195",
            button_cancel_border_color="#8c2f22",
            button_cancel_border_color_dark="#a85a4d",
            button_border_width="1px",
            button_large_text_weight="600",
            button_transform_hover="none",
            button_primary_shadow="none",
            button_secondary_shadow="none",
        )
