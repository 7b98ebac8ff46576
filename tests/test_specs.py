import dataclasses

import pytest

from cnxs.errors import CheckpointError
from cnxs.specs import ControlSpec, ParamSpec

SPEC = ControlSpec(
    control_channels=(16, 32),
    base_channels=(64, 128),
    transformer_depth=(0, 1),
    context_width=64,
    base_family="miniature",
    condition="canny",
    training=(("images", 1000.0), ("recipe", "uniform")),
)


def test_a_spec_survives_json() -> None:
    assert ControlSpec.from_json(SPEC.to_json()) == SPEC


def test_every_field_survives_json() -> None:
    changed = dataclasses.replace(
        SPEC,
        control_type="C",
        num_heads=4,
        linear_projection=False,
        max_norm_groups=8,
        hint_net="unshuffle",
        hint_factor=16,
        latent_channels=16,
        base_sha256="ab" * 32,
    )
    assert ControlSpec.from_json(changed.to_json()) == changed


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (SPEC.to_json()[:-5], "delimiter"),
        ("", "Expecting value"),
        ("[1, 2]", "items"),
        ("null", "items"),
        (SPEC.to_json().replace('"condition"', '"conditio"'), "conditio"),
        ("{}", "control_channels"),
    ],
)
def test_a_damaged_spec_is_refused_with_the_reason(damaged: str, reason: str) -> None:
    with pytest.raises(CheckpointError) as refusal:
        ControlSpec.from_json(damaged)
    assert refusal.value.key == "control_spec_damaged"
    assert reason in refusal.value.sentence()


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.condition = "depth"  # type: ignore[misc]


@pytest.mark.parametrize(("levels", "layers", "connections"), [(2, 2, 6), (4, 2, 12), (3, 2, 9), (3, 1, 6)])
def test_connections_are_the_convolution_the_blocks_and_the_downsamplers(
    levels: int, layers: int, connections: int
) -> None:
    # First convolution, `layers` blocks per level, a downsampler after every level but the last.
    assert connections == 1 + levels * layers + (levels - 1)
    spec = dataclasses.replace(SPEC, base_channels=(64,) * levels, layers_per_block=layers)
    assert spec.num_connections == connections


@pytest.mark.parametrize(
    ("param", "value", "allowed"),
    [
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), 1, True),
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), 254, True),
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), 0.5, False),
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), 255, False),
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), float("nan"), False),
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), "100", False),
        (ParamSpec(name="low", default=100, minimum=1, maximum=254), True, False),
        (ParamSpec(name="exact", default=False), True, True),
        (ParamSpec(name="exact", default=False), 1, False),
        (ParamSpec(name="polarity", default="auto", choices=("auto", "keep")), "keep", True),
        (ParamSpec(name="polarity", default="auto", choices=("auto", "keep")), "flip", False),
        (ParamSpec(name="polarity", default="auto", choices=("auto", "keep")), 0.0, False),
    ],
)
def test_a_parameter_allows_its_type_within_its_bounds(
    param: ParamSpec, value: float | bool | str, allowed: bool
) -> None:
    assert param.check(value) is allowed
    assert param.check(param.default)
