"""Sheets to look at: each subject's map and what every strength makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from PIL import Image, ImageDraw, ImageFont

from cnxs import text
from cnxs.evaluation.bench import Samples, Subject

_TILE = 128  # pixels
_GAP, _MARGIN, _LABEL = 4, 10, 18
_BLOCKS = 2  # subjects beside each other
_COLOURS = 256  # of the file's palette: a sheet is for looking at, not for measuring
_INK, _PALE, _PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)


class Followed(Protocol):
    """What a network made of some subjects."""

    @property
    def samples(self) -> Mapping[float, Samples]:
        """Return the samples of every strength."""
        ...

    @property
    def title(self) -> str:
        """Return the heading."""
        ...

    def figure(self, subject: Subject, picture: Image.Image) -> str:
        """Return what one picture reaches."""
        ...


Kind = TypeVar("Kind", bound=Followed)


@dataclass(frozen=True)
class Section(Generic[Kind]):
    """One network on some subjects; its samples of every strength are shown."""

    subjects: Sequence[Subject]
    followed: Kind


def contact_sheet(sections: Sequence[Section[Any]], *, rows: int = 12) -> Image.Image:
    """Return a sheet about 1,600 pixels wide.

    Args:
        sections: one below the other.
        rows: subjects shown of each, from the front.
    """
    drawn = [_section(section, rows) for section in sections]
    sheet = Image.new("RGB", (max(part.width for part in drawn), sum(part.height for part in drawn) + _MARGIN), _PAPER)
    top = 0
    for part in drawn:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet.quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)


def _section(section: Section[Any], rows: int) -> Image.Image:
    followed = section.followed
    shown = section.subjects[:rows]
    columns = 1 + len(followed.samples)
    block = columns * (_TILE + _GAP) + _MARGIN
    head = _MARGIN + 2 * _LABEL
    lines = -(-len(shown) // _BLOCKS)
    height = head + lines * (_LABEL + _TILE + _GAP)
    sheet = Image.new("RGB", (_MARGIN + _BLOCKS * block, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 2), followed.title, _INK, _font(15))
    for x in range(_MARGIN, _MARGIN + min(_BLOCKS, len(shown)) * block, block):
        headings = [text.get("cli.evaluation_sheet_map"), *(f"{strength:g}" for strength in followed.samples)]
        for column, heading in enumerate(headings):
            draw.text((x + column * (_TILE + _GAP), head - _LABEL), heading, _PALE, _font(13))
    for number, subject in enumerate(shown):
        row, column = divmod(number, _BLOCKS)
        x, y = _MARGIN + column * block, head + row * (_LABEL + _TILE + _GAP)
        pictures = [samples.pictures[number] for samples in followed.samples.values()]
        _place(sheet, draw, [subject.control_map, *pictures], label=_label(section, number), at=(x, y))
    return sheet


def _place(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    pictures: Sequence[Image.Image],
    *,
    label: str,
    at: tuple[int, int],
) -> None:
    x, y = at
    draw.text((x, y), label, _INK, _font(12))
    for column, picture in enumerate(pictures):
        tile = picture.resize((_TILE, _TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (x + column * (_TILE + _GAP), y + _LABEL))


def _label(section: Section[Any], number: int) -> str:
    """Return a subject's caption and what its picture of the last strength reaches."""
    followed, subject = section.followed, section.subjects[number]
    (strength, samples), *_ = reversed(followed.samples.items())
    return f"{subject.caption}   ({strength:g}: {followed.figure(subject, samples.pictures[number])})"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
