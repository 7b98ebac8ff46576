"""The effects of switching parts of a control off, as a plot."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from cnxs import text
from cnxs.evaluation.connections import Effect

_ROW, _NAMES, _PANEL, _MARGIN, _HEAD = 20, 130, 300, 14, 44
_BARS = {"stage": (60, 90, 160), "connection": (120, 160, 215), "schedule": (220, 140, 60)}
_INK, _RULE, _PAPER = (40, 40, 40), (215, 215, 215), (255, 255, 255)


def effects_plot(effects: Sequence[Effect]) -> Image.Image:
    """Return bars of the loss of F and of the change of the latent, a row for each part that was off."""
    shown = [effect for effect in effects if effect.group != "whole"]
    values = [[-effect.f_change for effect in shown], [effect.latent for effect in shown]]
    size = (_NAMES + 2 * (_PANEL + _MARGIN) + _MARGIN, _HEAD + _ROW * len(shown) + _MARGIN)
    plot = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(plot)
    titles = [text.get("cli.evaluation_plot_f"), text.get("cli.evaluation_plot_latent")]
    for panel, (title, column, form) in enumerate(zip(titles, values, ("{:.3f}", "{:.0%}"), strict=True)):
        left = _NAMES + panel * (_PANEL + _MARGIN)
        draw.text((left, _MARGIN), title, _INK, _font(14))
        low, high = min(0.0, *column), max(1e-9, *column)
        scale = (_PANEL - 50) / (high - low)
        zero = left - low * scale
        for row, (effect, value) in enumerate(zip(shown, column, strict=True)):
            y = _HEAD + row * _ROW
            ends = sorted((zero, zero + value * scale))
            draw.rectangle((ends[0], y + 3, ends[1], y + _ROW - 4), fill=_BARS[effect.group])
            draw.text((ends[1] + 5, y + 2), form.format(value), _INK, _font(11))
        draw.line((zero, _HEAD, zero, size[1] - _MARGIN), _RULE)
    for row, effect in enumerate(shown):
        draw.text((_MARGIN, _HEAD + row * _ROW + 1), effect.name, _INK, _font(12))
    return plot


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
