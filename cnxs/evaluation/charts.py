"""Line charts for the results: one panel, named series, a value axis that starts at zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_SIZE = (760, 420)
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 40, 190, 50  # margins; names of series stand at the right
_COLOURS = (
    (204, 102, 34), (226, 170, 60), (70, 140, 90), (50, 90, 170), (130, 70, 160),
    (120, 120, 120), (200, 60, 90), (60, 170, 180), (110, 90, 60),
)  # fmt: skip
_INK, _RULE, _PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)
_TICKS = 5


@dataclass(frozen=True)
class Series:
    """One line: its name, and its points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(series: Sequence[Series], *, title: str, x_label: str, logarithmic: bool = False) -> Image.Image:
    """Return a chart, RGB.

    Args:
        series: lines, each of one point or more.
        title: says what the value axis is.
        x_label: under the other axis.
        logarithmic: the x axis; x must be above 0.
    """
    points = [point for line in series for point in line.points]
    xs = [_x(x, logarithmic=logarithmic) for x, _ in points]
    low, high = min(xs), max(xs)
    step = _step(max(1e-9, *(y for _, y in points)) / _TICKS)
    top = step * _TICKS
    chart = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(chart)
    right, bottom = _SIZE[0] - _RIGHT, _SIZE[1] - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        share = (_x(x, logarithmic=logarithmic) - low) / max(high - low, 1e-9)
        return _LEFT + share * (right - _LEFT), bottom - y / top * (bottom - _TOP)

    for tick in range(_TICKS + 1):
        value = step * tick
        y = place(points[0][0], value)[1]
        draw.line((_LEFT, y, right, y), _RULE)
        draw.text((_LEFT - 8, y), f"{value:.3g}", _INK, ImageFont.load_default(12), anchor="rm")
    for x in sorted({x for x, _ in points}):
        at = place(x, 0)[0]
        draw.line((at, bottom, at, bottom + 5), _INK)
    for x in (min(points)[0], max(points)[0]):
        draw.text((place(x, 0)[0], bottom + 8), f"{x:,.4g}", _INK, ImageFont.load_default(12), anchor="ma")
    draw.text((_LEFT, 12), title, _INK, ImageFont.load_default(15))
    draw.text(((_LEFT + right) / 2, _SIZE[1] - 20), x_label, _INK, ImageFont.load_default(12), anchor="ma")
    _lines(draw, [(line.name, [place(*point) for point in line.points]) for line in series], right=right)
    return chart


def _lines(draw: ImageDraw.ImageDraw, series: Sequence[tuple[str, list[tuple[float, float]]]], *, right: int) -> None:
    for number, (name, places) in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        draw.line(places, colour, 2, joint="curve")
        for x, y in places:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        y = _TOP + 20 * number
        draw.line((right + 14, y, right + 34, y), colour, 3)
        draw.text((right + 40, y), name, _INK, ImageFont.load_default(12), anchor="lm")


def stacked(charts: Sequence[Image.Image]) -> Image.Image:
    """Return charts one below the other."""
    sheet = Image.new("RGB", (max(c.width for c in charts), sum(c.height for c in charts)), _PAPER)
    top = 0
    for chart in charts:
        sheet.paste(chart, (0, top))
        top += chart.height
    return sheet


def _step(least: float) -> float:
    """Return the next round number: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least)


def _x(x: float, *, logarithmic: bool) -> float:
    return math.log(x) if logarithmic else x
