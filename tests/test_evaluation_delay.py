"""The delay of control, counted on the graph of small and full-size U-Nets without weights."""

import pytest
from diffusers import UNet2DConditionModel

from cnxs.evaluation import __main__ as command
from cnxs.evaluation.delay import Signal, mean_delays, miniature_unet, probe_controlnet, probe_coupled, probe_types


@pytest.fixture(scope="module")
def base() -> UNet2DConditionModel:
    """Return the miniature's U-Net, 6 encoder blocks, a middle and 6 decoder blocks, as shapes."""
    return miniature_unet()


def delays(signals: list[Signal], stage: str) -> list[int]:
    return [signal.delay for signal in signals if signal.stage == stage]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_controlnet_sees_the_latent_alone_and_acts_after_the_encoder(base: UNet2DConditionModel) -> None:
    signals = probe_controlnet(base)
    assert {signal.seen for signal in signals} == {-1}
    assert delays(signals, "encoder") == []
    assert delays(signals, "middle") == [7]
    assert sorted(delays(signals, "decoder")) == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("control_type", ["A", "B"])
def test_types_a_and_b_wait_on_the_way_up_only(base: UNet2DConditionModel, control_type: str) -> None:
    signals = probe_coupled(base, control_type)
    assert delays(signals, "encoder") == ([] if control_type == "A" else [1] * 6)
    assert delays(signals, "middle") == [1]
    assert delays(signals, "decoder") == [2, 4, 6, 8, 10, 12]


def test_type_c_never_waits(base: UNet2DConditionModel) -> None:
    signals = probe_coupled(base, "C")
    assert len(signals) == 12
    assert {signal.delay for signal in signals} == {1}


def test_no_hook_stays_on_the_base(base: UNet2DConditionModel) -> None:
    assert list(probe_types(base)) == ["ControlNet", "ControlNet-XS, A", "ControlNet-XS, B", "ControlNet-XS, C"]
    assert not any(module._forward_hooks for module in base.modules())


def test_means_are_by_stage() -> None:
    signals = [Signal(stage="decoder", seen=-1, acts_on=3), Signal(stage="decoder", seen=0, acts_on=2)]
    assert mean_delays(signals, "decoder") == 3
    assert mean_delays(signals, "middle") is None


def test_the_command_counts_at_full_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["delay"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert cells(rows[-4]) == ["ControlNet", "-", "13.0", "18.5", "24"]
    assert cells(rows[-1]) == ["ControlNet-XS, C", "1.0", "1.0", "1.0", "1"]
