import contextlib
import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from cnxs import images
from cnxs.errors import InputError


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def refused(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        images.load(data)
    for language in ("en", "de"):
        assert caught.value.sentence(language)
    return caught.value.key


def picture(width: int = 40, height: int = 24, *, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 2))


@pytest.mark.parametrize("kind", [name for name in images.FORMATS if name not in ("JPEG", "WEBP", "AVIF", "GIF")])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    assert np.array_equal(images.load(encode(picture(), kind)), picture())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_stay_close(kind: str) -> None:
    difference = np.abs(np.asarray(images.load(encode(picture(), kind, quality=95)), int) - np.asarray(picture(), int))
    assert difference.mean() < 4


def test_transparency_is_laid_on_white() -> None:
    half = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    half.putpixel((1, 0), (100, 0, 0, 255))
    loaded = images.load(encode(half))
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (100, 0, 0)]
    assert images.load(encode(Image.new("LA", (1, 1), (0, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_transparent_entry_is_laid_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 200, 10, 20])
    palette.putpixel((1, 0), 1)
    loaded = images.load(encode(palette, transparency=0))
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 10, 20)]


def test_a_transparent_colour_is_laid_on_white() -> None:
    data = encode(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert images.load(data).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None]
    grey = np.asarray(images.load(encode(Image.fromarray(ramp))))
    assert np.array_equal(grey[0, :, 0], np.arange(256))


def test_sixteen_bit_pgm_is_scaled() -> None:
    data = b"P5 3 1 65535\n" + struct.pack(">3H", 0, 32768, 65535)
    assert np.asarray(images.load(data))[0, :, 0].tolist() == [0, 128, 255]


def test_float_grey_of_one_is_white_and_nan_is_black() -> None:
    values = np.array([[0.0, 0.5, 1.0, np.nan, -3.0]], np.float32)
    assert np.asarray(images.load(encode(Image.fromarray(values), "TIFF")))[0, :, 1].tolist() == [0, 128, 255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "PNG"), ("L", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("CMYK", "TIFF")]
)
def test_other_modes_become_rgb(mode: str, kind: str) -> None:
    loaded = images.load(encode(Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode), kind))
    assert loaded.mode == "RGB"
    assert loaded.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), (255, 255, 255))
    upright.paste((0, 0, 0), (0, 0, 16, 16))  # black in the top left corner
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = images.load(encode(stored, "JPEG", quality=95, exif=exif))
    assert loaded.size == (48, 32)
    assert max(loaded.getpixel((4, 4))) < 40  # pyright: ignore[reportArgumentType]
    assert min(loaded.getpixel((44, 28))) > 215  # pyright: ignore[reportArgumentType]


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.load(data).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_truncated_files_are_refused(kind: str) -> None:
    data = encode(picture(200, 200), kind)
    assert refused(data[: len(data) // 2]) in ("image_damaged", "image_unreadable")


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert refused(data) in ("image_unreadable", "image_damaged")


@pytest.mark.parametrize("side", [10_001, 13_000, 60_000])
def test_bombs_are_refused_from_their_header(side: int) -> None:
    assert refused(png_header(side, side)) == "image_too_many_pixels"


def test_a_size_just_under_the_limit_is_no_bomb() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refused(png_header(10_000, 10_000)) == "image_damaged"


def test_too_many_bytes_are_refused() -> None:
    assert refused(bytes(images.MAX_BYTES + 1)) == "image_too_many_bytes"


def test_no_damage_escapes_as_another_error() -> None:
    rng = np.random.default_rng(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"):
        options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        whole = np.frombuffer(encode(picture(), kind, **options), np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(0, len(data), rng.integers(1, 30))] = rng.integers(0, 256)
            with contextlib.suppress(InputError):
                assert images.load(data.tobytes()).mode == "RGB"


@pytest.mark.parametrize("placement", ["crop", "fit", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (30_000, 10), (7, 900), (300, 200), (256, 256)])
def test_every_placement_gives_the_size(placement: images.Placement, size: tuple[int, int]) -> None:
    placed = images.place(Image.new("RGB", size, (90, 20, 200)), width=64, height=48, placement=placement)
    assert placed.size == (64, 48)
    inside = np.all(np.asarray(placed) == (90, 20, 200), axis=2)
    assert inside.any() if placement == "fit" else inside.all()


def test_crop_keeps_the_centre() -> None:
    striped = Image.new("RGB", (300, 100), (255, 0, 0))
    striped.paste((0, 255, 0), (100, 0, 200, 100))
    placed = np.asarray(images.place(striped, width=50, height=50, placement="crop"))
    assert np.all(placed[:, 1:-1] == [0, 255, 0])
    assert np.all(placed[:, [0, -1], 1] > 128)


def test_fit_keeps_everything_and_letterboxes() -> None:
    wide = Image.new("RGB", (300, 100), (10, 20, 30))
    on_white = np.asarray(images.place(wide, width=60, height=60, placement="fit"))
    assert np.all(on_white[:20] == 255)
    assert np.all(on_white[20:40] == [10, 20, 30])
    assert np.all(on_white[40:] == 255)
    assert np.all(np.asarray(images.place(wide, width=60, height=60, placement="fit", fill=images.BLACK))[:20] == 0)


def test_stretch_keeps_everything_without_bars() -> None:
    halves = Image.new("RGB", (300, 100), (255, 255, 255))
    halves.paste((0, 0, 0), (0, 0, 150, 100))
    placed = np.asarray(images.place(halves, width=64, height=64, placement="stretch"))
    assert np.all(placed[:, :31] == 0)
    assert np.all(placed[:, 33:] == 255)


def test_the_same_size_changes_no_pixel() -> None:
    source = picture(64, 48)
    for placement in ("crop", "fit", "stretch"):
        assert np.array_equal(images.place(source, width=64, height=48, placement=placement), source)


def test_shrinking_averages_areas() -> None:
    checks = np.indices((1024, 1536)).sum(0) % 2 * 255
    source = Image.fromarray(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8))
    for size in ((100, 150), (256, 384), (300, 450)):
        placed = np.asarray(images.place(source, width=size[1], height=size[0], placement="crop"), float)
        assert np.abs(placed - 127.5).max() < 30
        assert abs(placed.mean() - 127.5) < 1


def test_enlarging_keeps_shapes_in_place() -> None:
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 255
    placed = np.asarray(images.place(Image.fromarray(dot), width=90, height=90, placement="crop"), float)[..., 0]
    rows, columns = np.indices(placed.shape)
    assert (placed * rows).sum() / placed.sum() == pytest.approx(44.5, abs=0.2)
    assert (placed * columns).sum() / placed.sum() == pytest.approx(44.5, abs=0.2)


def test_an_unknown_placement_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        images.place(picture(), width=8, height=8, placement="middle")  # pyright: ignore[reportArgumentType]
    assert caught.value.key == "unknown_placement"


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [((4000, 4000), (256, 256)), ((4000, 3000), (288, 224)), ((3000, 2000), (320, 208)), ((1, 30_000), (144, 448))],
)
def test_default_size_at_the_miniatures_grid(image_size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert images.default_size(image_size, native_size=256, multiple=16) == expected


@pytest.mark.parametrize("aspect", np.linspace(1 / 3, 3, 23).tolist())
def test_default_size_keeps_area_aspect_and_grid(aspect: float) -> None:
    width, height = images.default_size((round(3000 * aspect), 3000), native_size=512, multiple=8)
    assert width % 8 == height % 8 == 0
    assert width * height == pytest.approx(512**2, rel=0.03)
    assert width / height == pytest.approx(aspect, rel=0.03)


def test_png_round_trip_is_exact() -> None:
    assert np.array_equal(images.load(images.encode_png(picture())), picture())


def test_paste_leaves_the_original_untouched_outside_the_mask() -> None:
    original, image = Image.new("RGB", (64, 64), "blue"), Image.new("RGB", (64, 64), "red")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    pasted = np.asarray(images.paste(image, original, mask))
    assert (pasted[:, :32] == (0, 0, 255)).all()
    assert (pasted[:, 40:] == (255, 0, 0)).all()
    assert 0 < pasted[32, 33, 0] < 255  # a soft seam
