"""Every control kind: what it promises, and that the registry tells the same story."""

import inspect

import cv2
import numpy as np
import pytest
from PIL import Image

from cnxs import controls
from cnxs.controls import as_is, canny, colour_grid, line_art, polarity, soft_edge, thin
from cnxs.errors import InputError
from cnxs.registry import CONTROL_KINDS
from cnxs.specs import ParamSpec

WITHOUT_WEIGHTS = [name for name, kind in CONTROL_KINDS.items() if not kind.weights]


def scene(height: int = 96, width: int = 128) -> np.ndarray:
    """A red disc and a dark bar on a pale blue ground."""
    picture = np.full((height, width, 3), (200, 220, 245), np.uint8)
    cv2.circle(picture, (width // 3, height // 2), height // 4, (200, 30, 40), -1, cv2.LINE_AA)
    cv2.rectangle(picture, (width * 2 // 3, height // 4), (width * 5 // 6, height * 3 // 4), (30, 40, 60), -1)
    return picture


def drawing() -> np.ndarray:
    """A black circle and a line, 3 pixels wide, on white."""
    paper = np.full((128, 128, 3), 255, np.uint8)
    cv2.circle(paper, (64, 64), 40, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.line(paper, (10, 12), (60, 12), (0, 0, 0), 3, cv2.LINE_AA)
    return paper


def refused(kind: str, **params: float | bool | str) -> InputError:
    with pytest.raises(InputError) as caught:
        controls.draw(Image.fromarray(scene()), kind=kind, params=params)
    assert caught.value.sentence("en") != caught.value.sentence("de")
    return caught.value


def extremes(spec: ParamSpec) -> tuple[float | bool | str, ...]:
    return spec.choices or (spec.minimum, spec.maximum)


def test_registry_and_implementations_name_the_same_kinds_and_parameters() -> None:
    assert set(controls.DRAWERS) == set(WITHOUT_WEIGHTS)
    for name, drawer in controls.DRAWERS.items():
        parameters = list(inspect.signature(drawer).parameters.values())[1:]
        assert [parameter.name for parameter in parameters] == [spec.name for spec in CONTROL_KINDS[name].params]
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)


@pytest.mark.parametrize("kind", WITHOUT_WEIGHTS)
def test_defaults_and_extremes_are_allowed(kind: str) -> None:
    for spec in CONTROL_KINDS[kind].params:
        assert spec.check(spec.default)
        for value in extremes(spec):
            drawn = controls.draw(Image.fromarray(drawing()), kind=kind, params={spec.name: value})
            assert drawn.map.size == (128, 128)


@pytest.mark.parametrize("kind", WITHOUT_WEIGHTS)
@pytest.mark.parametrize("size", [(96, 128), (64, 48), (257, 131)])
def test_maps_are_rgb_of_the_pictures_size_and_leave_it_alone(kind: str, size: tuple[int, int]) -> None:
    picture = scene(*size)
    picture.flags.writeable = False
    before = picture.copy()
    values = {spec.name: spec.default for spec in CONTROL_KINDS[kind].params}
    drawn = controls.DRAWERS[kind](picture, **values)
    assert drawn.dtype == np.uint8
    assert drawn.shape == picture.shape
    assert np.array_equal(picture, before)
    assert np.array_equal(drawn, controls.DRAWERS[kind](picture, **values))
    assert not np.shares_memory(drawn, picture)


@pytest.mark.parametrize("kind", WITHOUT_WEIGHTS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 200), (5, 5), (16, 16)])
def test_tiny_pictures_give_a_map_or_a_sentence(kind: str, size: tuple[int, int]) -> None:
    try:
        drawn = controls.draw(Image.fromarray(scene(*size)), kind=kind, params={})
    except InputError as error:
        drawn = None
        key = error.key
    assert key == "empty_sketch" if drawn is None else drawn.map.size == size[::-1]


def test_missing_parameters_take_their_defaults() -> None:
    image = Image.fromarray(scene())
    given = {"low": 100, "high": 200, "blur": 0.0}
    assert controls.draw(image, kind="canny", params={}) == controls.draw(image, kind="canny", params=given)


def test_an_unknown_kind_is_refused() -> None:
    assert refused("depths").key == "unknown_kind"


def test_an_unknown_parameter_is_refused_by_name() -> None:
    error = refused("canny", threshold=3)
    assert error.key == "unknown_param"
    assert "threshold" in str(error)
    assert "low, high, blur" in str(error)


@pytest.mark.parametrize("value", [0, 255, float("nan"), float("inf"), "100", True])
def test_values_that_are_not_allowed_are_refused_by_name(value: float | bool | str) -> None:
    error = refused("canny", low=value)
    assert error.key == "param_not_allowed"
    assert "low" in str(error)
    assert "1 ... 254" in str(error)


def test_choices_that_are_not_allowed_are_refused_with_those_that_are() -> None:
    assert "auto, keep, invert" in str(refused("as_is", polarity="black"))


def test_canny_finds_the_outline_of_a_square() -> None:
    square = np.zeros((64, 64, 3), np.uint8)
    square[16:48, 16:48] = 255
    edges = canny.draw(square, low=100, high=200, blur=0)[..., 0] > 0
    rows, columns = np.nonzero(edges)
    assert 4 * 28 <= edges.sum() <= 4 * 36
    assert rows.min() >= 14
    assert rows.max() <= 49
    assert not edges[20:44, 20:44].any()
    assert columns.min() >= 14


def test_canny_takes_the_smaller_threshold_as_the_low_one() -> None:
    picture = scene()
    swapped = canny.draw(picture, low=200, high=60, blur=0.5)
    assert np.array_equal(swapped, canny.draw(picture, low=60, high=200, blur=0.5))


def test_canny_without_blur_is_opencvs_own() -> None:
    picture = scene()
    assert np.array_equal(canny.draw(picture, low=100, high=200, blur=0)[..., 1], cv2.Canny(picture, 100, 200))


def test_soft_edges_are_brightest_on_the_edge_and_broad() -> None:
    step = np.zeros((64, 64, 3), np.uint8)
    step[:, 32:] = 255
    profile = soft_edge.draw(step, softness=1, gain=1)[32, :, 0].astype(int)
    assert profile.max() >= 220
    assert profile.argmax() in (31, 32)
    assert (profile > 60).sum() > 8
    assert profile[:8].max() == 0


def test_line_art_finds_dark_lines_and_ignores_flat_areas() -> None:
    art = line_art.draw(drawing(), stroke_width=4, contrast=1)[..., 0]
    lines = drawing()[..., 0] < 40
    assert art[lines].mean() > 100
    assert art[~cv2.dilate(lines.astype(np.uint8), np.ones((5, 5))).astype(bool)].max() < 10


def test_colour_grid_has_flat_cells_of_mean_colour() -> None:
    picture = scene(64, 128)
    grid = colour_grid.draw(picture, cells=4)
    for row in range(4):
        for column in range(8):
            cell = np.s_[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            assert np.all(grid[cell] == grid[cell][0, 0])
            assert np.abs(picture[cell].mean(axis=(0, 1)) - grid[cell][0, 0]).max() <= 1


def test_a_silhouette_is_what_stands_before_the_ground() -> None:
    picture = np.full((120, 160, 3), (230, 200, 90), np.uint8)
    cv2.circle(picture, (80, 60), 40, (60, 40, 160), -1)
    cv2.circle(picture, (80, 60), 4, (230, 200, 90), -1)  # an eye of the ground's colour belongs to it
    picture[100:102, 10:12] = 0  # a speck does not
    silhouette = np.asarray(controls.draw(Image.fromarray(picture), kind="silhouette", params={}).map)
    wanted = np.zeros((120, 160), np.uint8)
    cv2.circle(wanted, (80, 60), 40, 255, -1)
    assert np.array_equal(silhouette, wanted[..., None].repeat(3, axis=2))
    pale = controls.draw(Image.fromarray(picture), kind="silhouette", params={"difference": 128}).map
    assert np.array_equal(pale, silhouette), "the difference in any channel counts"


def test_a_broad_hole_in_a_silhouette_stays_open_and_a_plain_picture_has_none() -> None:
    ring = np.full((100, 100, 3), 255, np.uint8)
    cv2.circle(ring, (50, 50), 30, (0, 0, 0), 10)
    assert controls.DRAWERS["silhouette"](ring, difference=24)[50, 50, 0] == 0
    plain = controls.draw(Image.new("RGB", (48, 32), (12, 200, 99)), kind="silhouette", params={}).map
    assert not np.asarray(plain).any()


def test_a_constant_picture_stays_what_it_is_under_blur_and_grid() -> None:
    flat = Image.new("RGB", (48, 32), (12, 200, 99))
    for kind in ("blur", "colour_grid"):
        assert np.array_equal(controls.draw(flat, kind=kind, params={}).map, flat)


@pytest.mark.parametrize("kind", ["canny", "soft_edge", "line_art"])
def test_a_constant_picture_has_no_edges(kind: str) -> None:
    assert not np.asarray(controls.draw(Image.new("RGB", (48, 32), (12, 200, 99)), kind=kind, params={}).map).any()


def black_shape() -> np.ndarray:
    shape = np.full((200, 200, 3), 255, np.uint8)
    cv2.circle(shape, (100, 105), 70, (0, 0, 0), -1, cv2.LINE_AA)
    cv2.rectangle(shape, (60, 20), (90, 60), (0, 0, 0), -1)
    return shape


def black_shape_with_white_lines() -> np.ndarray:
    shape = black_shape()
    cv2.circle(shape, (80, 90), 10, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.line(shape, (60, 130), (140, 130), (255, 255, 255), 3, cv2.LINE_AA)
    return shape


def large_black_shape() -> np.ndarray:
    shape = np.full((200, 200, 3), 255, np.uint8)
    cv2.ellipse(shape, (100, 100), (92, 90), 0, 0, 360, (0, 0, 0), -1, cv2.LINE_AA)
    return shape


def touching_black_shape() -> np.ndarray:
    shape = np.full((200, 200, 3), 255, np.uint8)
    cv2.rectangle(shape, (40, 90), (160, 200), (0, 0, 0), -1)
    return shape


def canny_of_a_filled_shape() -> np.ndarray:
    return 255 - canny.draw(black_shape(), low=100, high=200, blur=0)


def grey_pencil() -> np.ndarray:
    return np.maximum(drawing(), 130)


DARK_ON_LIGHT = [
    drawing,
    black_shape,
    black_shape_with_white_lines,
    large_black_shape,
    touching_black_shape,
    canny_of_a_filled_shape,
    grey_pencil,
]


@pytest.mark.parametrize("make", DARK_ON_LIGHT, ids=lambda make: make.__name__)
def test_polarity_is_told_from_stroke_width_and_border(make: object) -> None:
    picture = make()  # pyright: ignore[reportCallIssue]
    assert polarity.dark_lines(picture)
    assert not polarity.dark_lines(255 - picture)


@pytest.mark.parametrize(
    "make", [make for make in DARK_ON_LIGHT if make is not grey_pencil], ids=lambda make: make.__name__
)
def test_as_is_turns_dark_lines_white_and_says_so(make: object) -> None:
    picture = make()  # pyright: ignore[reportCallIssue]
    for given, key in ((picture, "note.polarity_inverted"), (255 - picture, "note.polarity_kept")):
        drawn = controls.draw(Image.fromarray(given), kind="as_is", params={})
        assert np.array_equal(drawn.map, 255 - picture)
        assert [note for note, _ in drawn.notes] == [key]


def test_as_is_keeps_depth_maps_and_colours() -> None:
    ramp = np.repeat(np.tile(np.linspace(255, 0, 128), (96, 1))[..., None], 3, axis=2).astype(np.uint8)
    on_white = np.full((96, 96, 3), 255, np.uint8)
    on_white[24:72, 24:72] = (220, 40, 40)
    for kept in (ramp, on_white, scene()):
        assert not as_is.inverted(kept, polarity="auto")


def test_as_is_keeps_and_inverts_on_demand_without_a_note() -> None:
    for choice, expected in (("keep", drawing()), ("invert", 255 - drawing())):
        drawn = controls.draw(Image.fromarray(drawing()), kind="as_is", params={"polarity": choice})
        assert np.array_equal(drawn.map, expected)
        assert drawn.notes == ()


def test_thinned_lines_are_one_pixel_wide_and_in_one_piece() -> None:
    thinned = thin.thin(255 - drawing())
    mask = (thinned[..., 0] > 0).astype(np.uint8)
    assert set(np.unique(thinned)) == {0, 255}
    assert cv2.connectedComponents(mask)[0] == 3  # ground, circle, line
    assert cv2.erode(mask, np.ones((2, 2), np.uint8)).sum() <= 2
    rows, columns = np.nonzero(mask[30:])
    assert np.abs(np.hypot(rows + 30 - 64, columns - 64) - 40).max() < 2


def test_thinning_nothing_gives_nothing_and_thinning_twice_changes_nothing() -> None:
    assert not thin.thin(np.zeros((20, 30, 3), np.uint8)).any()
    once = thin.thin(255 - drawing())
    assert np.array_equal(thin.thin(once), once)


def test_faint_lines_are_left_out_when_thinning() -> None:
    soft = np.zeros((40, 40, 3), np.uint8)
    soft[10] = 255
    soft[30] = 80
    thinned = thin.thin(soft)[..., 0]
    assert thinned[10].any()
    assert not thinned[30].any()
