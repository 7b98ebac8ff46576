"""Contact sheets: the images of a comparison on one page, each with its words below."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

MAX_TILE = 512  # pixels, longest side
MAX_COLUMNS = 7

_GAP, _MARGIN = 16, 28
_PAPER, _INK, _PALE = (255, 255, 255), (30, 30, 28), (105, 104, 97)
_TITLE, _TEXT = 22, 16  # sizes of the letters, in pixels


@dataclass(frozen=True)
class Tile:
    """An image on the sheet, with the lines below it; the first stands out."""

    image: Image.Image
    lines: tuple[str, ...]


def draw(tiles: Sequence[Tile], *, title: str, about: str, columns: int = 0) -> Image.Image:
    """Return the sheet, RGB.

    Args:
        tiles: row by row.
        title: above all; long ones are broken into lines.
        about: below the title, in small letters.
        columns: images per row; 0: as many as there are, up to `MAX_COLUMNS`.
    """
    columns = columns or min(len(tiles), MAX_COLUMNS)
    small = [_fitted(tile.image) for tile in tiles]
    cell = (max(image.width for image in small), max(image.height for image in small))
    lines = max(len(tile.lines) for tile in tiles)
    row = cell[1] + 6 + lines * (_TEXT + 5) + _GAP
    width = max(2 * _MARGIN + columns * (cell[0] + _GAP) - _GAP, 480)
    head = [(line, _font(_TITLE), _INK) for line in _broken(title, _font(_TITLE), width - 2 * _MARGIN)]
    head += [(line, _font(_TEXT), _PALE) for line in _broken(about, _font(_TEXT), width - 2 * _MARGIN)]
    top = _MARGIN + sum(round(1.35 * font.size) for _, font, _ in head) + _GAP
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (width, top + rows * row + _MARGIN - _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    y = _MARGIN
    for line, font, colour in head:
        pen.text((_MARGIN, y), line, colour, font)
        y += round(1.35 * font.size)
    for index, (tile, image) in enumerate(zip(tiles, small, strict=True)):
        at = (_MARGIN + index % columns * (cell[0] + _GAP), top + index // columns * row)
        _place(sheet, pen, tile, image, at=at, height=cell[1], width=cell[0])
    return sheet


def _place(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    tile: Tile,
    image: Image.Image,
    *,
    at: tuple[int, int],
    width: int,
    height: int,
) -> None:
    sheet.paste(image, at)
    for number, line in enumerate(tile.lines):
        y = at[1] + height + 6 + number * (_TEXT + 5)
        pen.text((at[0], y), _cut(line, _font(_TEXT), width), _PALE if number else _INK, _font(_TEXT))


def _fitted(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((MAX_TILE, MAX_TILE), Image.Resampling.LANCZOS)
    return small


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow comes with FreeType and a font of its own"
    return font


def _broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return the text in lines of at most `width` pixels."""
    lines: list[str] = []
    for word in _printable(text).split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, font, width))
    return lines


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    text = _printable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text.encode("utf-8", "replace").decode())
