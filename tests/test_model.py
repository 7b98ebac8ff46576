"""The coupled U-Net: exactly the base where nothing acts, each strength and connection, several controls."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from peft import LoraConfig

from cnxs.errors import CheckpointError
from cnxs.model import ControlInput, ControlNetXS, CoupledUNet, check_match
from tests import tiny

each_kind = pytest.mark.parametrize("kind", tiny.KINDS)
each_type = pytest.mark.parametrize("control_type", ["A", "B", "C"])

ROUNDING = 1e-5  # float32 sums in another order


@torch.no_grad()
def run(
    base: UNet2DConditionModel,
    controls: Sequence[ControlNetXS],
    given: tiny.Inputs,
    *settings: dict[str, object],
) -> torch.Tensor:
    """Run a coupled step; `settings`: one for all controls, or one for each."""
    each = settings if len(settings) == len(controls) else [dict(*settings)] * len(controls)
    items = [
        ControlInput(**{"hint": control.encode_hint(given.control_map), **setting})
        for control, setting in zip(controls, each, strict=True)
    ]
    coupled = CoupledUNet(base, controls)
    return coupled(given.sample, given.timestep, given.context, items, added_cond_kwargs=given.added)


@torch.no_grad()
def plain(base: UNet2DConditionModel, given: tiny.Inputs) -> torch.Tensor:
    return base(given.sample, given.timestep, given.context, **given.base_kwargs())[0]


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Say whether two outputs differ by more than rounding ever could."""
    return (a - b).abs().max().item() > 1e-3


def factor(base: UNet2DConditionModel) -> int:
    return 16 if base.config.in_channels == 16 else 8


# --- exactly the base -------------------------------------------------------------------------------------------------


@each_kind
@each_type
def test_an_untrained_control_is_exactly_the_base_at_any_strength(kind: str, control_type: str) -> None:
    base = tiny.unet(kind)
    given = tiny.inputs(base, factor=factor(base))
    control = tiny.control(base, trained=False, control_type=control_type)
    for scale in (0.0, 0.5, 1.0, 2.0):
        assert torch.equal(run(base, [control], given, {"control_scale": scale}), plain(base, given))


@pytest.mark.parametrize("size", [(17, 23), (5, 8), (9, 9), (12, 6)])
@each_kind
def test_any_size_walks_as_the_base_does(kind: str, size: tuple[int, int]) -> None:
    base = tiny.unet(kind)
    given = tiny.inputs(base, batch=1, size=size, factor=factor(base))
    expected = plain(base, given)
    for control_type in ("B", "C"):
        untrained, trained = (tiny.control(base, trained=filled, control_type=control_type) for filled in (False, True))
        assert torch.equal(run(base, [untrained], given), expected)
        out = run(base, [trained], given)
        assert out.shape == expected.shape
        assert differ(out, expected)


@each_type
def test_strength_0_is_exactly_the_base(control_type: str) -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    control = tiny.control(base, control_type=control_type, learn_time_embedding=True)
    assert torch.equal(run(base, [control], given, {"control_scale": 0.0}), plain(base, given))
    assert torch.equal(run(base, [control], given, {"control_scale": [0.0, 0.0]}), plain(base, given))
    assert differ(run(base, [control], given), plain(base, given))


def test_a_learned_embedding_starts_as_the_bases() -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    control = tiny.control(base, trained=False, learn_time_embedding=True)
    assert differ(run(base, [control], given), plain(base, given))
    control.copy_time_embedding(base)
    for scale in (0.1, 0.5, 1.0, 1.5):
        torch.testing.assert_close(
            run(base, [control], given, {"control_scale": scale}), plain(base, given), atol=ROUNDING, rtol=0
        )


def test_embedding_strength_can_be_set_apart() -> None:
    """As the authors' own helper for Stable Diffusion does: corrections at 0, and the embedding still in force."""
    base = tiny.unet()
    given = tiny.inputs(base)
    control = tiny.control(base, learn_time_embedding=True)
    kept = run(base, [control], given, {"control_scale": 0.0, "embedding_scale": 1.0})
    with torch.no_grad():
        embedding = control.time_embedding
        assert embedding is not None
        expected = with_embedding(base, given, lambda sinusoid, own: embedding(sinusoid))
    torch.testing.assert_close(kept, expected, atol=ROUNDING, rtol=0)


def with_embedding(
    base: UNet2DConditionModel, given: tiny.Inputs, mix: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Run the plain base with its time embedding replaced by mix(sinusoid, its own)."""
    handle = base.time_embedding.register_forward_hook(lambda module, args, own: mix(args[0], own))
    try:
        return plain(base, given)
    finally:
        handle.remove()


# --- what is set on the base acts ------------------------------------------------------------------------------------


def test_lora_on_the_base_acts_as_it_does_there() -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    without = plain(base, given)
    control = tiny.control(base)
    controlled = run(base, [control], given)
    torch.manual_seed(7)
    base.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v", "conv1"], init_lora_weights=False))
    with_lora = plain(base, given)
    assert differ(with_lora, without)
    assert torch.equal(run(base, [tiny.control(base, trained=False)], given), with_lora)
    assert differ(run(base, [control], given), controlled)


def test_attention_processors_on_the_base_act() -> None:
    class Doubling(AttnProcessor2_0):
        def __call__(self, attention: Attention, hidden_states: torch.Tensor, *args: object, **kwargs: object):
            return 2 * super().__call__(attention, hidden_states, *args, **kwargs)

    base = tiny.unet()
    given = tiny.inputs(base)
    without = plain(base, given)
    base.set_attn_processor(Doubling())
    assert differ(plain(base, given), without)
    assert torch.equal(run(base, [tiny.control(base, trained=False)], given), plain(base, given))


# --- several controls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("types", ["BB", "AC", "BC"])
def test_two_controls_commute_bit_for_bit(types: str) -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    first, second = (
        tiny.control(base, seed=i, control_type=kind, learn_time_embedding=True)
        for i, kind in enumerate(types, start=10)
    )
    settings = ({"control_scale": 0.7}, {"control_scale": [1.2, 0.4], "gains": ()})
    forward = run(base, [first, second], given, *settings)
    assert torch.equal(run(base, [second, first], given, *settings[::-1]), forward)
    assert differ(forward, run(base, [first], given, settings[0]))
    assert differ(forward, run(base, [second], given, settings[1]))


def test_a_second_control_at_strength_0_changes_nothing() -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    first, second = (tiny.control(base, seed=i, learn_time_embedding=True) for i in (10, 11))
    both = run(base, [first, second], given, {"control_scale": 0.8}, {"control_scale": 0.0})
    assert torch.equal(both, run(base, [first], given, {"control_scale": 0.8}))


@pytest.mark.parametrize("scales", [(0.2, 0.3), (0.01, 0.02), (1.0, 1.0), (2.0, 0.0)])
def test_learned_embeddings_share_so_that_together_they_count_for_at_most_one(scales: tuple[float, float]) -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    controls = [tiny.control(base, seed=i, trained=False, learn_time_embedding=True) for i in (10, 11)]
    weights = [scale**0.3 for scale in scales]

    def mix(sinusoid: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        learned = [control.time_embedding(sinusoid) for control in controls]
        offset = sum(weight * (other - own) for weight, other in zip(weights, learned, strict=True))
        return own + offset / (max(1.0, sum(weights)) if all(scales) else 1.0)

    out = run(base, controls, given, *({"control_scale": scale} for scale in scales))
    torch.testing.assert_close(out, with_embedding(base, given, mix), atol=ROUNDING, rtol=0)


# --- strength, gains, regions -----------------------------------------------------------------------------------------


@each_kind
def test_a_strength_for_each_image_equals_separate_calls(kind: str) -> None:
    base = tiny.unet(kind)
    given = tiny.inputs(base, batch=3, factor=factor(base))
    control = tiny.control(base, learn_time_embedding=True)
    scales = [0.0, 0.4, 1.3]
    together = run(base, [control], given, {"control_scale": scales})
    for i, scale in enumerate(scales):
        added = None if given.added is None else {name: value[i : i + 1] for name, value in given.added.items()}
        one = tiny.Inputs(
            given.sample[i : i + 1],
            given.timestep[i : i + 1],
            given.context[i : i + 1],
            given.control_map[i : i + 1],
            added,
        )
        alone = run(base, [control], one, {"control_scale": scale})
        torch.testing.assert_close(together[i : i + 1], alone, atol=ROUNDING, rtol=0)


@each_type
def test_a_gain_of_0_takes_out_exactly_its_connection(control_type: str) -> None:
    base = tiny.unet()
    given = tiny.inputs(base, batch=1, size=(8, 4))
    control = tiny.control(base, control_type=control_type)
    writes = [*getattr(control, "encoder_to_base", ()), control.middle_to_base, *control.decoder_to_base]
    count = len(control.spec.connection_gains)
    assert count == len(writes) + (control_type == "C")  # the last entry of type C, which nothing reads
    whole = run(base, [control], given)
    for entry in range(count):
        gains = [float(i != entry) for i in range(count)]
        out = run(base, [control], given, {"gains": gains})
        if entry == len(writes):
            assert torch.equal(out, whole)
            continue
        kept = {name: value.clone() for name, value in writes[entry].state_dict().items()}
        writes[entry].load_state_dict({name: torch.zeros_like(value) for name, value in kept.items()})
        assert torch.equal(out, run(base, [control], given)), entry
        writes[entry].load_state_dict(kept)
        assert not torch.equal(out, whole), entry


def test_gains_of_a_call_multiply_the_controls_own() -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    count = len(tiny.spec(base).connection_gains)
    own, of_call = [0.5 + i / count for i in range(count)], [1.5 - i / count for i in range(count)]
    control = tiny.control(base, gains=tuple(own))
    product = [a * b for a, b in zip(own, of_call, strict=True)]
    expected = run(base, [tiny.control(base)], given, {"gains": product})
    assert torch.equal(run(base, [control], given, {"gains": of_call}), expected)


@pytest.mark.parametrize("size", [(8, 8), (17, 23)])
def test_a_region_of_ones_is_everywhere_and_of_zeros_nowhere(size: tuple[int, int]) -> None:
    base = tiny.unet()
    given = tiny.inputs(base, size=size)
    control = tiny.control(base)
    everywhere = run(base, [control], given)
    assert torch.equal(run(base, [control], given, {"region": torch.ones(1, 1, *size)}), everywhere)
    assert torch.equal(run(base, [control], given, {"region": torch.zeros(2, 1, *size)}), plain(base, given))
    half = torch.zeros(1, 1, *size)
    half[..., size[1] // 2 :] = 1
    partly = run(base, [control], given, {"region": half})
    assert differ(partly, everywhere)
    assert differ(partly, plain(base, given))


def test_the_hint_net_runs_once_for_all_steps() -> None:
    base = tiny.unet()
    given = tiny.inputs(base)
    control = tiny.control(base)
    runs: list[int] = []
    control.hint_encoder.register_forward_hook(lambda *_: runs.append(1))
    hint = control.encode_hint(given.control_map)
    coupled = CoupledUNet(base, [control])
    outs = []
    with torch.no_grad():
        for timestep in (900, 500, 100):
            outs.append(coupled(given.sample, timestep, given.context, [ControlInput(hint=hint)]))
    assert len(runs) == 1
    assert differ(outs[0], outs[2])


@each_kind
def test_bfloat16_runs(kind: str) -> None:
    base = tiny.unet(kind)
    given = tiny.inputs(base, factor=factor(base))
    control = tiny.control(base, learn_time_embedding=True)
    expected = run(base, [control], given, {"control_scale": [0.5, 1.0]})
    half = torch.bfloat16
    added = None if given.added is None else {name: value.to(half) for name, value in given.added.items()}
    low = tiny.Inputs(given.sample.to(half), given.timestep, given.context.to(half), given.control_map.to(half), added)
    out = run(base.to(half), [control.to(half)], low, {"control_scale": [0.5, 1.0], "region": torch.ones(1, 1, 8, 8)})
    assert out.dtype == half
    assert (out.float() - expected).abs().max() < 0.1 * expected.abs().max()


# --- what cannot be coupled -------------------------------------------------------------------------------------------


def key_of(call: Callable[[], object]) -> tuple[str, dict[str, object]]:
    with pytest.raises(CheckpointError) as caught:
        call()
    assert caught.value.sentence("en") != caught.value.sentence("de")
    return caught.value.key, caught.value.fields


def test_a_control_for_another_base_is_refused_by_the_value_that_differs() -> None:
    control = tiny.control(tiny.unet("sd21"))
    others = {
        "linear_projection": tiny.unet("sd15"),
        "transformer_depth": tiny.unet("sdxl"),
        "latent_channels": tiny.unet("miniature"),
        "context_width": tiny.unet(cross_attention_dim=24),
        "base_channels": tiny.unet(block_out_channels=(16, 16, 16)),
        "layers_per_block": tiny.unet(layers_per_block=1),
    }
    for name, base in others.items():
        key, fields = key_of(lambda base=base: CoupledUNet(base, [control]))
        assert (key, fields["name"]) == ("control_for_other_base", name)
        assert key_of(lambda base=base: check_match(base, control.spec)) == (key, fields)


def test_a_base_that_a_walk_would_get_wrong_is_refused() -> None:
    kinds = ("SimpleCrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
    other = tiny.unet(down_block_types=kinds, attention_head_dim=8)
    assert key_of(lambda: CoupledUNet(other)) == ("base_block_unknown", {"block": "SimpleCrossAttnDownBlock2D"})
    plain_middle = tiny.unet(mid_block_type="UNetMidBlock2D")
    assert key_of(lambda: CoupledUNet(plain_middle)) == ("base_block_unknown", {"block": "UNetMidBlock2D"})
    base = tiny.unet()
    base.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert key_of(lambda: CoupledUNet(base))[0] == "base_freeu"
    base.disable_freeu()
    CoupledUNet(base)


def test_a_hint_of_another_size_or_number_is_refused() -> None:
    base = tiny.unet()
    given, control = tiny.inputs(base), tiny.control(base)
    hint = control.encode_hint(given.control_map)
    for wrong in (hint[..., :-1], hint[:1]):
        assert key_of(lambda wrong=wrong: run(base, [control], given, {"hint": wrong}))[0] == "hint_size"


def test_a_coupling_leaves_no_trace_on_the_base() -> None:
    base = tiny.unet()
    base.requires_grad_(requires_grad=False)
    given = tiny.inputs(base)

    def seen() -> tuple[object, ...]:
        hooks = [[len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)] for m in base.modules()]
        attributes = [sorted(vars(module)) for module in base.modules()]
        return repr(base), hooks, attributes, [p.requires_grad for p in base.parameters()], base.training

    before, weights = seen(), copy.deepcopy(base.state_dict())
    control = tiny.control(base)
    run(base, [control], given)
    run(base, [control, tiny.control(base, seed=9)], given)
    assert seen() == before
    assert base.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in base.state_dict().items())
    storages = {value.data_ptr() for value in base.state_dict().values()}
    assert not storages & {value.data_ptr() for value in control.state_dict().values()}
    assert not isinstance(CoupledUNet(base, [control]), torch.nn.Module)
