"""Training a control through a frozen base: gradients, what stays untouched, and that every type learns."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel

from cnxs.model import ControlInput, ControlNetXS, CoupledUNet
from tests import tiny

each_type = pytest.mark.parametrize("control_type", ["A", "B", "C"])


def frozen(kind: str) -> UNet2DConditionModel:
    return tiny.unet(kind).requires_grad_(requires_grad=False)


def untrained(base: UNet2DConditionModel, control_type: str) -> ControlNetXS:
    """Return a control whose norms let the timestep through, ready to train."""
    control = tiny.control(
        base, trained=False, control_type=control_type, min_group_channels=4, learn_time_embedding=True
    )
    control.copy_time_embedding(base)
    return control.train()


def loss_of(
    base: UNet2DConditionModel, control: ControlNetXS, given: tiny.Inputs, target: torch.Tensor
) -> torch.Tensor:
    hint = control.encode_hint(given.control_map)
    coupled = CoupledUNet(base, [control])
    out = coupled(given.sample, given.timestep, given.context, [ControlInput(hint=hint)], added_cond_kwargs=given.added)
    return torch.nn.functional.mse_loss(out, target)


@pytest.mark.parametrize(
    ("kind", "control_type"), [("sd21", "A"), ("sd15", "B"), ("sdxl", "B"), ("miniature", "B"), ("sd21", "C")]
)
def test_every_weight_learns_by_the_third_step_and_the_base_stays(kind: str, control_type: str) -> None:
    base = frozen(kind)
    control = untrained(base, control_type)
    given = tiny.inputs(base, factor=control.spec.hint_factor)
    target = torch.randn_like(given.sample)
    before = copy.deepcopy(base.state_dict())
    optimiser = torch.optim.Adam(control.parameters(), lr=1e-2)
    reached: set[str] = set()
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(base, control, given, target).backward()
        reached |= {name for name, p in control.named_parameters() if p.grad is not None and p.grad.any()}
        optimiser.step()
    assert {name for name, _ in control.named_parameters()} - reached == set()
    assert all(parameter.grad is None for parameter in base.parameters())
    assert all(torch.equal(value, before[key]) for key, value in base.state_dict().items())
    own = {name for name, _ in control.named_children()}
    assert {key.partition(".")[0] for key in control.state_dict()} <= own
    assert not any(
        value.data_ptr() == other.data_ptr() for value in control.parameters() for other in base.parameters()
    )


@each_type
def test_every_type_overfits_two_images(control_type: str) -> None:
    base = frozen("sd21")
    control = untrained(base, control_type)
    given = tiny.inputs(base, size=(4, 4))
    target = torch.randn_like(given.sample)
    optimiser = torch.optim.Adam(control.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = loss_of(base, control, given, target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        plain = base(given.sample, given.timestep, given.context).sample
        trained = loss_of(base, control, given, target).item()
        swapped = tiny.Inputs(given.sample, given.timestep, given.context, given.control_map.flip(0), given.added)
        other_hints = loss_of(base, control, swapped, target).item()
    assert losses[0] == pytest.approx(torch.nn.functional.mse_loss(plain, target).item(), abs=1e-5)
    assert trained < 0.6 * losses[0], losses
    assert other_hints != trained
