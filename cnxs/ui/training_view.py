"""A training as HTML: its status line, and its loss as a curve that is drawn in the page's own colours."""

from collections.abc import Callable, Sequence
from html import escape

from cnxs import text
from cnxs.protocol import TrainingInfo
from cnxs.ui import view

Points = Sequence[tuple[float, float]]
Place = Callable[[float, float], str]  # pictures seen and loss -> "x,y"

_WIDTH, _HEIGHT, _LEFT, _BELOW = 640, 240, 62, 22
_RULES = 4


def status_html(info: TrainingInfo | None, language: str) -> str:
    """Return the status line: what happens, how far it is, how long it will take, or what went wrong."""
    if info is None:
        return ""
    if info.error is not None:
        return view.alert_html(info.error.sentence(language))
    sentence, fraction = escape(_sentence(info, language)), _fraction(info)
    bar = ""
    if info.state == "running":
        bar = (
            f'<div class="bar" role="progressbar" aria-valuenow="{round(100 * fraction)}" aria-valuemin="0"'
            f' aria-valuemax="100" aria-label="{sentence}"><i style="width:{100 * fraction:.1f}%"></i></div>'
        )
    return (
        f'<div class="status {info.state}" data-state="{info.state}">{bar}<span role="status">{sentence}</span></div>'
    )


def _sentence(info: TrainingInfo, language: str) -> str:
    if info.state != "running":
        return text.get(f"page.train_{info.state}", language, name=info.name)
    if info.losses or info.held_out:
        left = view.duration(60 * max(0.0, info.minutes_asked - info.minutes), language)
        return text.get("page.train_running", language, name=info.name, steps=info.steps, time=left)
    if info.pictures:
        return text.get("page.train_preparing", language, done=info.prepared, count=info.pictures)
    return text.get("page.train_starting", language)


def _fraction(info: TrainingInfo) -> float:
    if info.losses:
        return min(1.0, info.minutes / info.minutes_asked) if info.minutes_asked else 0.0
    return info.prepared / info.pictures if info.pictures else 0.0


def curve_html(info: TrainingInfo | None, language: str) -> str:
    """Return the loss over the pictures seen, in training and on pictures kept aside; an empty frame before that."""
    if info is None or len(info.losses) < 2:
        words = escape(text.get("page.train_idle", language))
        return f'<div class="empty-stage empty-curve">{words}</div>'
    points = [*info.losses, *info.held_out]
    right = max(seen for seen, _ in points) or 1.0
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    low, high = low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3

    def place(seen: float, loss: float) -> str:
        x = _LEFT + seen / right * (_WIDTH - _LEFT - 8)
        y = 8 + (high - loss) / (high - low) * (_HEIGHT - _BELOW - 8)
        return f"{x:.1f},{y:.1f}"

    rules = "".join(_rule(low + (high - low) * i / _RULES, place, language) for i in range(_RULES + 1))
    held_out = "".join(
        f'<circle class="held-out" cx="{x}" cy="{y}" r="3"/>'
        for x, y in (place(*point).split(",") for point in info.held_out)
    )
    legend = "".join(
        f'<span class="{name}">{escape(text.get(key, language))}</span>'
        for name, key in (("loss", "page.train_loss"), ("held-out", "page.train_held_out"))
    )
    seen = escape(text.get("page.train_seen", language, count=view.number(round(right), language)))
    return (
        f'<figure class="curve"><figcaption>{legend}<span class="seen">{seen}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{seen}">{rules}'
        f'<polyline class="loss" points="{_line(info.losses, place)}"/>'
        f'<polyline class="held-out" points="{_line(info.held_out, place)}"/>{held_out}</svg></figure>'
    )


def _line(points: Points, place: Place) -> str:
    return " ".join(place(*point) for point in points)


def _rule(loss: float, place: Place, language: str) -> str:
    y = place(0.0, loss).split(",")[1]
    words = view.number(round(loss, 3), language)
    return f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y}" y2="{y}"/><text x="{_LEFT - 6}" y="{y}">{words}</text>'
