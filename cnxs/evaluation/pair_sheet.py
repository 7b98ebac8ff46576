"""A sheet of two controls together: for each case both maps, and a square of pictures by both strengths."""

from PIL import Image, ImageDraw, ImageFont

from cnxs import text
from cnxs.evaluation.together import STRENGTHS, Pair

_TILE, _GAP, _MARGIN, _LABEL = 112, 4, 12, 18  # pixels
_BLOCKS = 3  # cases beside each other
_COLOURS = 256
_INK, _PALE, _PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)


def pair_sheet(pair: Pair, *, shown: int = 9) -> Image.Image:
    """Return a sheet about 1,500 pixels wide of the first `shown` cases."""
    count = min(shown, len(pair.partners[0].subjects))
    pitch = _TILE + _GAP
    width, height = (1 + len(STRENGTHS)) * pitch + 2 * _MARGIN, 2 * _LABEL + len(STRENGTHS) * pitch + _MARGIN
    head = _MARGIN + _LABEL
    columns, lines = min(_BLOCKS, count), -(-count // _BLOCKS)
    sheet = Image.new("RGB", (_MARGIN + columns * width, head + lines * height), _PAPER)
    names = dict(zip(("first", "second"), (partner.network for partner in pair.partners), strict=True))
    ImageDraw.Draw(sheet).text((_MARGIN, 8), text.get("cli.evaluation_sheet_together", **names), _INK, _font(15))
    for number in range(count):
        row, column = divmod(number, _BLOCKS)
        _block(sheet, pair, number, left=_MARGIN + column * width, top=head + row * height)
    return sheet.quantize(_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)


def _block(sheet: Image.Image, pair: Pair, number: int, *, left: int, top: int) -> None:
    draw, pitch = ImageDraw.Draw(sheet), _TILE + _GAP
    draw.text((left, top), pair.partners[0].subjects[number].caption, _INK, _font(12))
    grid_left, grid_top = left + _TILE + _MARGIN + _GAP, top + 2 * _LABEL
    for place, strength in enumerate(STRENGTHS):
        heading = f"{pair.partners[1].network} {strength:g}"
        draw.text((grid_left + place * pitch, top + _LABEL), heading, _PALE, _font(12))
    for place, partner in enumerate(pair.partners):
        at = (left, grid_top + place * pitch)
        sheet.paste(_tile(partner.subjects[number].control_map), at)
    for place, (first, second) in enumerate(pair.samples):
        row, column = divmod(place, len(STRENGTHS))
        at = (grid_left + column * pitch, grid_top + row * pitch)
        sheet.paste(_tile(pair.samples[first, second].pictures[number]), at)
    _side_labels(sheet, pair, at=(grid_left - 2, grid_top))


def _side_labels(sheet: Image.Image, pair: Pair, *, at: tuple[int, int]) -> None:
    """Write the strengths of the first control upright, left of their rows."""
    for place, strength in enumerate(STRENGTHS):
        label = Image.new("RGB", (_TILE, 14), _PAPER)
        ImageDraw.Draw(label).text((0, 0), f"{pair.partners[0].network} {strength:g}", _PALE, _font(11))
        upright = label.rotate(90, expand=True)
        sheet.paste(upright, (at[0] - upright.width, at[1] + place * (_TILE + _GAP)))


def _tile(picture: Image.Image) -> Image.Image:
    return picture.resize((_TILE, _TILE), Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
