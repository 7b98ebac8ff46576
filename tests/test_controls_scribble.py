"""Scribble against drawings whose true lines are known: paper, light, pens and everything that is no line."""

import io
import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from cnxs.controls import scribble
from cnxs.errors import InputError

SIZE = 256
WHITE = (255, 255, 255)
PAPER = (250, 248, 242)
BLACK_PEN = (30, 30, 35)


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 2 * np.pi) -> np.ndarray:
    angle = np.linspace(start, end, 80)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def line(*points: tuple[float, float]) -> np.ndarray:
    return np.concatenate([np.linspace(a, b, 25) for a, b in itertools.pairwise(points)])


CAT = [
    arc(0.5, 0.55, 0.28, 0.25),
    line((0.28, 0.4), (0.25, 0.15), (0.42, 0.3)),
    line((0.58, 0.3), (0.75, 0.15), (0.72, 0.4)),
    arc(0.4, 0.5, 0.03, 0.03),
    arc(0.6, 0.5, 0.03, 0.03),
    line((0.46, 0.6), (0.54, 0.6), (0.5, 0.64), (0.46, 0.6)),
    arc(0.455, 0.64, 0.045, 0.045, 0, np.pi),
    arc(0.545, 0.64, 0.045, 0.045, 0, np.pi),
    *(line((0.5 + side * 0.3, y), (0.5 + side * 0.12, 0.61)) for side in (-1, 1) for y in (0.57, 0.67)),
]


def ink(strokes: list[np.ndarray], *, size: int = SIZE, width: float = 2.5, seed: int = 0) -> np.ndarray:
    """Draw wobbling strokes, `width` pixels at 256; return coverage, (H, W) from 0 to 1."""
    rng, zoom = np.random.default_rng(seed), 4
    canvas = np.zeros((size * zoom, size * zoom), np.uint8)
    for stroke in strokes:
        drift = np.cumsum(rng.normal(0, 1, stroke.shape), axis=0)
        drift -= np.linspace(0, 1, len(stroke))[:, None] * drift[-1]
        points = stroke * size + drift / np.abs(drift).max() * 2 * size / 256
        cv2.polylines(
            canvas, [np.rint(points * zoom).astype(np.int32)], False, 255, round(width * zoom * size / 256), cv2.LINE_AA
        )
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64) / 255


def on_paper(
    coverage: np.ndarray, pen: tuple[int, int, int] = BLACK_PEN, paper: tuple[int, int, int] = PAPER
) -> np.ndarray:
    share = coverage[..., None]
    return share * np.array(pen, float) + (1 - share) * np.array(paper, float)


def in_shadow(picture: np.ndarray, darkest: float = 0.35) -> np.ndarray:
    y, x = np.indices(picture.shape[:2]) / picture.shape[0]
    return picture * (1 - (1 - darkest) * np.clip(0.7 * x + 0.5 * y - 0.1, 0, 1))[..., None]


def ruled(
    picture: np.ndarray,
    colour: tuple[int, int, int] = (150, 170, 215),
    *,
    count: int = 14,
    tilt: float = 1.5,
    squared: bool = False,
) -> np.ndarray:
    size = picture.shape[0]
    lines = []
    for k in range(count):
        y, rise = (k + 0.5) / count, np.tan(np.deg2rad(tilt)) / 2
        lines.append(line((0, y - rise), (1, y + rise)))
        if squared:
            lines.append(line((y + rise, 0), (y - rise, 1)))
    zoom = 4
    canvas = np.zeros((size * zoom, size * zoom), np.uint8)
    for points in lines:
        cv2.polylines(
            canvas, [np.rint(points * size * zoom).astype(np.int32)], False, 255, zoom * size // 200, cv2.LINE_AA
        )
    share = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255
    return np.minimum(picture, share * np.array(colour) + (1 - share) * 255)


def noisy(picture: np.ndarray, sigma: float = 4) -> np.ndarray:
    return picture + np.random.default_rng(1).normal(0, sigma, picture.shape)


def pixels(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels(picture)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def in_perspective(picture: np.ndarray) -> np.ndarray:
    s = picture.shape[0] / 512
    corners = np.array([[0, 0], [512, 0], [512, 512], [0, 512]], np.float32) * s
    seen = np.array([[20, 10], [490, 0], [560, 520], [-60, 540]], np.float32) * s
    return cv2.warpPerspective(
        picture, cv2.getPerspectiveTransform(corners, seen), picture.shape[:2], borderMode=cv2.BORDER_REPLICATE
    )


def agreement(control_map: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return recall and precision of the map's lines against the true ones, within 3 pixels at 256."""
    lines, tolerance = control_map[..., 0] > 0, 3 * truth.shape[0] / 256
    to_truth, to_lines = (cv2.distanceTransform((~m).astype(np.uint8), cv2.DIST_L2, 5) for m in (truth, lines))
    return float((to_lines[truth] <= tolerance).mean()), float((to_truth[lines] <= tolerance).mean())


def draw(picture: np.ndarray, *, thickness: float = 3, detail: float = 0.5, polarity: str = "auto") -> np.ndarray:
    return scribble.draw(picture, thickness=thickness, detail=detail, polarity=polarity)


CASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black on white": lambda c: on_paper(c, (0, 0, 0), WHITE),
    "white on black": lambda c: on_paper(c, WHITE, (0, 0, 0)),
    "shadow gradient": lambda c: noisy(in_shadow(on_paper(c)), 3),
    "ruled paper": lambda c: ruled(on_paper(c)),
    "dark blue ruled paper": lambda c: ruled(on_paper(c), (60, 90, 190), count=12),
    "squared paper": lambda c: ruled(on_paper(c), (190, 200, 225), count=20, tilt=2, squared=True),
    "jpeg": lambda c: jpeg(on_paper(c), 20),
    "blue pen": lambda c: on_paper(c, (40, 70, 190)),
    "blue pen, ruled, shadow, jpeg": lambda c: jpeg(
        noisy(in_shadow(ruled(on_paper(c, (45, 65, 160)), tilt=-2), 0.5)), 60
    ),
    "pencil on ruled paper": lambda c: noisy(in_shadow(ruled(on_paper(c, (95, 95, 97)), (185, 200, 228)), 0.6), 2),
    "blackboard": lambda c: noisy(in_shadow(on_paper(c, (225, 225, 215), (35, 50, 42)), 0.6)),
    "yellow chalk": lambda c: noisy(on_paper(c, (240, 200, 90), (30, 45, 40))),
    "noise": lambda c: noisy(on_paper(c), 14),
    "pale pencil": lambda c: noisy(on_paper(c, (165, 165, 168)), 3),
    "kraft paper": lambda c: noisy(on_paper(c, (40, 35, 30), (190, 150, 105))),
    "blue on yellow": lambda c: on_paper(c, (40, 70, 190), (245, 225, 120)),
}


@pytest.mark.parametrize("size", [256, 448])
@pytest.mark.parametrize("case", CASES)
def test_the_drawn_lines_are_found_and_nothing_else(case: str, size: int) -> None:
    coverage = ink(CAT, size=size)
    recall, precision = agreement(draw(pixels(CASES[case](coverage))), coverage > 0.5)
    assert recall >= 0.97
    assert precision >= 0.97


@pytest.mark.parametrize("width", [1.2, 6.0])
def test_thin_and_thick_pens_become_the_same_lines(width: float) -> None:
    truth = ink(CAT, width=1.5) > 0.5
    recall, precision = agreement(draw(pixels(on_paper(ink(CAT, width=width)))), truth)
    assert recall >= 0.95
    assert precision >= 0.95


def test_a_photograph_of_ruled_paper_in_perspective() -> None:
    coverage = ink(CAT, size=512)
    photo = in_perspective(noisy(in_shadow(ruled(on_paper(coverage)), 0.5), 3))
    recall, precision = agreement(draw(jpeg(photo, 50)), in_perspective(coverage) > 0.5)
    assert recall >= 0.97
    assert precision >= 0.97


def test_a_hand_drawn_grid_is_no_squared_paper() -> None:
    bars = [line((0.05, y), (0.95, y)) for y in (0.3, 0.45, 0.6, 0.75, 0.9)]
    bars += [line((x, 0.25), (x, 0.95)) for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
    coverage = ink(bars)
    recall, _ = agreement(draw(pixels(on_paper(coverage))), coverage > 0.5)
    assert recall >= 0.97


def filled() -> tuple[np.ndarray, np.ndarray]:
    """Return a filled black disc with a leaf, on white, and its outline."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(mask, (128, 140), 75, 1, -1)
    cv2.ellipse(mask, (90, 60), (25, 45), -20, 0, 360, 1, -1)
    outline = mask - cv2.erode(mask, np.ones((3, 3), np.uint8))
    return np.repeat((255 * (1 - mask))[..., None], 3, axis=2).astype(np.uint8), outline > 0


@pytest.mark.parametrize("inverted", [False, True])
def test_a_filled_shape_becomes_its_outline(*, inverted: bool) -> None:
    shape, outline = filled()
    recall, precision = agreement(draw(255 - shape if inverted else shape), outline)
    assert recall >= 0.95
    assert precision >= 0.95


def test_a_coloured_picture_becomes_its_edges() -> None:
    face = np.full((SIZE, SIZE, 3), 255, np.uint8)
    truth = np.zeros((SIZE, SIZE), np.uint8)
    for centre, radius, colour in (((128, 140), 85, (250, 200, 60)), ((100, 120), 11, (60, 40, 30))):
        cv2.circle(face, centre, radius, colour, -1, cv2.LINE_AA)
        cv2.circle(truth, centre, radius, 1, 1)
    recall, precision = agreement(draw(face), truth > 0)
    assert recall >= 0.95
    assert precision >= 0.95


def test_dots_are_kept_and_grains_are_not() -> None:
    paper = on_paper(ink(CAT))
    cv2.circle(paper, (30, 220), 3, BLACK_PEN, -1)
    for x, y in ((200, 230), (215, 20), (20, 30)):
        paper[y, x] = (120, 120, 120)
    lines = draw(pixels(paper))[..., 0]
    assert lines[216:225, 26:35].any()
    for x, y in ((200, 230), (215, 20), (20, 30)):
        assert not lines[y - 4 : y + 5, x - 4 : x + 5].any()


def test_thickness_is_the_width_of_the_strokes() -> None:
    picture = pixels(on_paper(ink([line((0.1, 0.5), (0.9, 0.5))])))
    for thickness in (1, 3, 8):
        column = draw(picture, thickness=thickness)[:, SIZE // 2, 0] > 0
        assert thickness <= column.sum() <= thickness + 1


def test_more_detail_keeps_paler_strokes() -> None:
    bold, pale = ink([line((0.1, 0.3), (0.9, 0.3))]), ink([line((0.1, 0.7), (0.9, 0.7))])
    picture = pixels(on_paper(np.maximum(bold, 0.33 * pale)))
    assert draw(picture, detail=0)[: SIZE // 2].any()
    assert not draw(picture, detail=0)[SIZE // 2 :].any()
    assert draw(picture, detail=1)[SIZE // 2 :].any()


def test_polarity_can_be_forced() -> None:
    dark = pixels(on_paper(ink(CAT), (0, 0, 0), WHITE))
    assert np.array_equal(draw(dark, polarity="dark_lines"), draw(dark))
    assert np.array_equal(draw(255 - dark, polarity="light_lines"), draw(dark))
    assert not np.array_equal(draw(dark, polarity="light_lines"), draw(dark))


BLANK = np.zeros((SIZE, SIZE))


@pytest.mark.parametrize(
    "picture",
    [
        on_paper(BLANK, paper=WHITE),
        on_paper(BLANK, paper=(0, 0, 0)),
        noisy(on_paper(BLANK), 10),
        noisy(in_shadow(on_paper(BLANK))),
        ruled(on_paper(BLANK)),
        jpeg(ruled(on_paper(BLANK), count=20, squared=True), 40),
    ],
    ids=["white", "black", "noise", "shadow", "ruled", "squared jpeg"],
)
def test_empty_paper_is_refused_with_a_sentence(picture: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        draw(pixels(picture))
    assert caught.value.key == "empty_sketch"
