import math
from typing import Any

import pytest

from cnxs.errors import InputError
from cnxs.request import MAX_CELLS, MAX_SEED, Axis, ControlUse, GenerationRequest, active_steps, defaults, validate

USE = ControlUse(network="canny", map_id="a")
GOOD = GenerationRequest(base="miniature", prompt="a red kite", controls=(USE,))


def check(request: GenerationRequest) -> None:
    validate(request, size_multiple=16)


def refusal(request: GenerationRequest) -> InputError:
    with pytest.raises(InputError) as info:
        check(request)
    return info.value


def with_control(**changes: Any) -> GenerationRequest:
    return GenerationRequest(base="miniature", controls=(ControlUse(network="canny", map_id="a", **changes),))


@pytest.mark.parametrize(
    ("num_steps", "start", "end", "active"),
    [
        (10, 0.0, 1.0, range(10)),  # the whole run
        (10, 0.0, 0.5, range(5)),  # step 4 is over at exactly 0.5
        (10, 0.5, 1.0, range(5, 10)),  # step 5 begins at exactly 0.5
        (10, 0.0, 0.49, range(4)),
        (10, 0.51, 1.0, range(6, 10)),
        (10, 0.1, 0.3, range(1, 3)),  # 0.3 is no sum of binary tenths; the edge still counts
        (3, 0.0, 2 / 3, range(2)),
        (3, 1 / 3, 1.0, range(1, 3)),
        (10, 0.0, 0.05, range(0)),  # shorter than a step
        (10, 0.42, 0.48, range(0)),  # inside a step
        (1, 0.0, 1.0, range(1)),
        (1, 0.0, 0.9, range(0)),
        (20, 0.0, 0.0, range(0)),
        (150, 0.99, 1.0, range(149, 150)),
    ],
)
def test_a_step_is_active_if_it_begins_at_or_after_start_and_is_over_by_end(
    num_steps: int, start: float, end: float, active: range
) -> None:
    assert list(active_steps(num_steps, start, end)) == list(active)


@pytest.mark.parametrize("num_steps", range(1, 151))
def test_two_windows_that_meet_at_a_step_cover_every_step_once(num_steps: int) -> None:
    cut = num_steps // 2 / num_steps
    assert [*active_steps(num_steps, 0, cut), *active_steps(num_steps, cut, 1)] == list(range(num_steps))


def test_without_axes_the_only_cell_is_the_request() -> None:
    assert GOOD.cells() == (GOOD,)


def test_the_last_axis_varies_fastest() -> None:
    request = GenerationRequest(
        base="miniature",
        controls=(USE,),
        axes=(Axis(name="control_scale", values=(0, 0.5, 1)), Axis(name="seed", values=(7, 8))),
    )
    cells = request.cells()
    assert [(cell.controls[0].control_scale, cell.seed) for cell in cells] == [
        (0.0, 7),
        (0.0, 8),
        (0.5, 7),
        (0.5, 8),
        (1.0, 7),
        (1.0, 8),
    ]
    assert all(cell.axes == () for cell in cells)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("control_scale", 0.25, lambda cell: cell.controls[0].control_scale),
        ("control_end", 0.5, lambda cell: cell.controls[0].end),
        ("network", "depth", lambda cell: cell.controls[0].network),
        ("seed", 9, lambda cell: cell.seed),
        ("guidance_scale", 2.5, lambda cell: cell.guidance_scale),
        ("steps", 12, lambda cell: cell.steps),
        ("prompt", "a boat", lambda cell: cell.prompt),
    ],
)
def test_each_axis_changes_its_own_value(name: Any, value: Any, read: Any) -> None:
    request = GenerationRequest(base="miniature", controls=(USE, USE), axes=(Axis(name=name, values=(value,)),))
    (cell,) = request.cells()
    assert read(cell) == value
    assert cell.controls[1] == USE
    check(request)


@pytest.mark.parametrize("name", ["control_scale", "control_end", "network"])
def test_an_axis_of_the_control_needs_a_control(name: Any) -> None:
    value = "depth" if name == "network" else 1.0
    request = GenerationRequest(base="miniature", axes=(Axis(name=name, values=(value,)),))
    assert refusal(request).key == "axis_needs_control"


def test_the_defaults_and_the_edges_are_allowed() -> None:
    check(defaults())
    check(with_control(control_scale=0, start=0, end=1, gains=(0, 2, 1)))
    check(with_control(control_scale=2))
    check(GenerationRequest(base="miniature", width=16, height=4096, seed=MAX_SEED, steps=150, guidance_scale=30))
    check(GenerationRequest(base="miniature", seed=0, steps=1, guidance_scale=1, prompt="x" * 10_000, clip_skip=11))
    check(GenerationRequest(base="miniature", guidance_rescale=1))


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"width": 250}, "size_off_grid", ("250", "16")),
        ({"height": 250}, "size_off_grid", ("250", "16")),
        ({"width": 0}, "size_out_of_range", ("0 x 256", "16")),
        ({"height": -16}, "size_out_of_range", ("256 x -16", "16")),
        ({"width": 4112, "height": 4096}, "size_out_of_range", ("4112", "4096 x 4096")),
        ({"sampler": "heun"}, "unknown_sampler", ("heun", "ddim", "lcm")),
        ({"seed": -1}, "out_of_range", ("seed", "-1", "0", str(MAX_SEED))),
        ({"seed": MAX_SEED + 1}, "out_of_range", ("seed", str(MAX_SEED + 1))),
        ({"steps": 0}, "out_of_range", ("steps", "0", "1", "150")),
        ({"steps": 151}, "out_of_range", ("steps", "151", "150")),
        ({"guidance_scale": 0.9}, "out_of_range", ("guidance_scale", "0.9", "1", "30")),
        ({"guidance_scale": 30.1}, "out_of_range", ("guidance_scale", "30.1")),
        ({"guidance_scale": math.nan}, "out_of_range", ("guidance_scale", "nan", "30")),
        ({"guidance_scale": math.inf}, "out_of_range", ("guidance_scale", "inf", "30")),
        ({"guidance_rescale": -0.1}, "out_of_range", ("guidance_rescale", "-0.1", "0", "1")),
        ({"guidance_rescale": 1.1}, "out_of_range", ("guidance_rescale", "1.1")),
        ({"prompt": "x" * 10_001}, "out_of_range", ("prompt_length", "10001", "10000")),
        ({"negative_prompt": "x" * 10_001}, "out_of_range", ("prompt_length", "10001", "10000")),
        ({"clip_skip": -1}, "out_of_range", ("clip_skip", "-1", "11")),
        ({"clip_skip": 12}, "out_of_range", ("clip_skip", "12", "11")),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(changes: dict[str, Any], key: str, told: tuple[str, ...]) -> None:
    error = refusal(GenerationRequest(base="miniature", **changes))
    assert error.key == key
    for language in ("en", "de"):
        sentence = error.sentence(language)
        assert all(part in sentence for part in told), sentence


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"control_scale": -0.1}, "out_of_range", ("control_scale", "-0.1", "0", "2")),
        ({"control_scale": 2.1}, "out_of_range", ("control_scale", "2.1", "2.0")),
        ({"control_scale": math.nan}, "out_of_range", ("control_scale", "nan", "2.0")),
        ({"start": -0.1}, "out_of_range", ("control_window", "-0.1", "0", "1")),
        ({"start": math.nan}, "out_of_range", ("control_window", "nan")),
        ({"end": 1.1}, "out_of_range", ("control_window", "1.1")),
        ({"end": math.nan}, "out_of_range", ("control_window", "nan")),
        ({"start": 0.5, "end": 0.5}, "control_window_empty", ("0.5",)),
        ({"start": 0.6, "end": 0.4}, "control_window_empty", ("0.6", "0.4")),
        ({"gains": (1, 1, 2.1)}, "out_of_range", ("gain", "2.1", "2")),
        ({"gains": (math.nan, 1, 1)}, "out_of_range", ("gain", "nan", "2")),
    ],
)
def test_a_bad_value_of_a_control_is_named(changes: dict[str, Any], key: str, told: tuple[str, ...]) -> None:
    error = refusal(with_control(**changes))
    assert error.key == key
    assert all(part in error.sentence() for part in told), error.sentence()


def test_the_second_control_is_checked_too() -> None:
    bad = ControlUse(network="canny", map_id="a", control_scale=3)
    assert refusal(GenerationRequest(base="miniature", controls=(USE, bad))).fields["given"] == 3


def test_a_value_of_an_axis_is_checked_like_the_field() -> None:
    axes = (Axis(name="control_scale", values=(0, 1, 2.5)),)
    error = refusal(GenerationRequest(base="miniature", controls=(USE,), axes=axes))
    assert (error.key, error.fields["given"]) == ("out_of_range", 2.5)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seed", ()),
        ("seed", ("7",)),
        ("seed", (1.5,)),
        ("seed", (math.nan,)),
        ("steps", (math.inf,)),
        ("steps", (True,)),
        ("control_scale", ("1",)),
        ("prompt", (1,)),
    ],
)
def test_an_axis_of_no_or_unfit_values_is_refused(name: Any, values: tuple[Any, ...]) -> None:
    error = refusal(GenerationRequest(base="miniature", controls=(USE,), axes=(Axis(name=name, values=values),)))
    assert (error.key, error.fields) == ("axis_values", {"name": name})


def test_more_images_than_the_limit_are_refused_and_the_limit_is_told() -> None:
    scales = Axis(name="control_scale", values=tuple(i / 10 for i in range(11)))
    seeds = Axis(name="seed", values=tuple(range(10)))
    error = refusal(GenerationRequest(base="miniature", controls=(USE,), axes=(scales, seeds)))
    assert (error.key, error.fields) == ("too_many_images", {"given": 110, "maximum": MAX_CELLS})
    exactly = Axis(name="seed", values=tuple(range(MAX_CELLS)))
    check(GenerationRequest(base="miniature", axes=(exactly,)))
