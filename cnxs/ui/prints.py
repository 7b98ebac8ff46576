"""The images of a job as a row of labelled buttons or, where two things vary, as a table of them."""

from html import escape
from typing import TYPE_CHECKING

from cnxs import text
from cnxs.request import GenerationRequest

if TYPE_CHECKING:
    from cnxs.ui.view import JobView

PROMPT_CHARACTERS = 60  # of a caption
PINS = ("a", "b")  # the two sides of the slider


def number(value: float, language: str) -> str:
    """Return a number as it is written in `language`."""
    written = f"{value:g}"
    return written.replace(".", ",") if language == "de" else written


def told(axis: str, request: GenerationRequest, language: str) -> str:
    """Return what sets an image apart along one axis."""
    control = request.controls[0] if request.controls else None
    match axis:
        case "control_scale" if not any(use.control_scale for use in request.controls):
            return text.get("page.caption_none", language)
        case "control_scale" if control:
            return text.get("page.caption_strength", language, strength=number(control.control_scale, language))
        case "guidance_scale":
            return text.get("page.caption_guidance", language, guidance=number(request.guidance_scale, language))
        case "control_end" if control:
            return text.get("page.caption_end", language, end=number(control.end, language))
        case "control" if control:
            return text.get(f"kind.{control.kind}", language)
        case "network" if control:
            return control.network
        case "steps":
            return text.get("page.caption_steps", language, steps=request.steps)
        case "prompt":
            shown = request.prompt
            return shown if len(shown) <= PROMPT_CHARACTERS else shown[: PROMPT_CHARACTERS - 1] + "…"
    return text.get("page.caption_seed", language, seed=request.seed)


def caption(view: "JobView", index: int, language: str) -> str:
    """Return what sets image `index` apart: its strength, its seed, or what else varies."""
    return " · ".join(told(axis, view.cells[index].request, language) for axis in view.varies or ("seed",))


def strip_html(view: "JobView", language: str) -> str:
    """Return the images of a job; empty for a single one."""
    if len(view.cells) == 1:
        return ""
    label = escape(text.get("page.strip_label", language))
    if len(view.varies) == 2:
        return f'<div class="grid-frame" role="group" aria-label="{label}">{_grid(view, language)}</div>'
    prints = [_print(view, index, language) for index in range(len(view.cells))]
    if view.map_thumbnail and "control_scale" in view.varies:
        prints.insert(0, _map(view.map_thumbnail, language))
    return f'<div class="strip" role="group" aria-label="{label}">{"".join(prints)}</div>'


def _map(thumbnail: str, language: str) -> str:
    title = escape(text.get("page.caption_map", language))
    return f'<figure class="print map"><img src="{thumbnail}" alt="{title}"><figcaption>{title}</figcaption></figure>'


def _grid(view: "JobView", language: str) -> str:
    rows, columns = view.varies
    width = len(view.request.axes[1].values)
    heads = [escape(told(columns, cell.request, language)) for cell in view.cells[:width]]
    corner = "" if rows == "control" or not view.map_thumbnail else _map(view.map_thumbnail, language)
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    body = []
    for start in range(0, len(view.cells), width):
        request = view.cells[start].request
        drawn = view.maps.get(request.controls[0].map_id, "") if rows == "control" else ""
        picture = f'<img src="{drawn}" alt="">' if drawn else ""
        cells = "".join(f"<td>{_print(view, index, language)}</td>" for index in range(start, start + width))
        body.append(f'<tr><th scope="row">{picture}{escape(told(rows, request, language))}</th>{cells}</tr>')
    return f'<table class="grid"><thead><tr><td>{corner}</td>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _print(view: "JobView", index: int, language: str) -> str:
    cell = view.cells[index]
    title = escape(caption(view, index, language))
    if cell.thumbnail:
        picture = f'<img src="{cell.thumbnail}" alt="">'
    else:
        picture = '<span class="blank"><i class="making"></i></span>'
    pressed = str(index == view.selected and cell.state == "done").lower()
    disabled = "" if cell.state == "done" else " disabled"
    pins = _pins(view, index, title, language) if cell.state == "done" else ""
    return (
        f'<div class="frame"><button type="button" class="print {cell.state}" data-cell="{index}"'
        f' aria-pressed="{pressed}"{disabled}>{picture}<span class="caption">{title}</span>'
        f'<span class="below">{escape(_below(view, index, language))}</span></button>{pins}</div>'
    )


def _below(view: "JobView", index: int, language: str) -> str:
    cell = view.cells[index]
    if cell.state == "done":
        return (
            "" if cell.agreement is None else text.get("page.agreement", language, percent=round(100 * cell.agreement))
        )
    if cell.state == "working":
        return text.get("page.working", language)
    return text.get("page.waiting", language) if view.running else ""


def _pins(view: "JobView", index: int, title: str, language: str) -> str:
    """Return the two small buttons that put an image on a side of the slider."""
    if view.running:
        return ""
    buttons = [
        f'<button type="button" class="pin" data-cell="{index}" data-pin="{pin}"'
        f' aria-pressed="{str(view.pair.get(pin) == index).lower()}"'
        f' aria-label="{escape(text.get(f"page.pin_{pin}", language))}: {title}"'
        f' title="{escape(text.get(f"page.pin_{pin}", language))}">{pin.upper()}</button>'
        for pin in PINS
    ]
    return f'<span class="pins">{"".join(buttons)}</span>'
