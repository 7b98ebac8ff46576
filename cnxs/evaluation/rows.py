"""The rows of the ablation: which network each trains, and the training itself, the project's own for all of them."""

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel

from cnxs.errors import InputError
from cnxs.evaluation.peers import Architecture, ControlNet, ControlNetPeer, CoupledPeer, Peer, thin_channels
from cnxs.model import ControlNetXS
from cnxs.specs import ControlSpec, ControlType
from cnxs.training.config import TrainingConfig
from cnxs.training.data import TrainingData
from cnxs.training.frozen_base import FrozenBase
from cnxs.training.trainer import Trainer

_WIDTHS = (48, 96, 96)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        name: on the command line and in files.
        label: in the table.
        widths: of a ControlNet-XS, one per level.
    """

    name: str
    label: str
    architecture: Architecture = "xs"
    control_type: ControlType = "B"
    widths: tuple[int, ...] = _WIDTHS


PEERS: tuple[Row, ...] = (
    Row(name="controlnet", label="ControlNet", architecture="controlnet"),
    Row(name="controlnet-light", label="ControlNet-light", architecture="controlnet-light"),
    Row(name="a", label="ControlNet-XS, A", control_type="A"),
    Row(name="b", label="ControlNet-XS, B"),
    Row(name="c", label="ControlNet-XS, C", control_type="C"),
)

# Type B at five sizes, with `b` the fourth. Apart from its hint net and the 1x1 convolutions that read the base, which
# hardly depend on its width, a control of these is 0.6 %, 2 %, 5 %, 14 % and 49 % of the miniature's U-Net.
WIDTHS: tuple[Row, ...] = tuple(
    Row(name="b-" + "-".join(map(str, widths)), label=f"B, {','.join(map(str, widths))}", widths=widths)
    for widths in ((4, 8, 8), (8, 16, 32), (24, 48, 48), (96, 160, 224))
)


def find_rows(names: list[str] | None, *, widths: bool) -> tuple[Row, ...]:
    """Return the rows of these names in the table's order; without names the peers, and with `widths` those as well.

    Raises:
        InputError: `ablation_row` for a name that is none.
    """
    known = {row.name: row for row in (*PEERS, *WIDTHS)}
    for name in names or ():
        if name not in known:
            raise InputError("ablation_row", given=name, allowed=", ".join(known))
    asked = set(names or [row.name for row in (*PEERS, *(WIDTHS if widths else ()))])
    return tuple(row for row in known.values() if row.name in asked)


class RowTrainer(Trainer):
    """The project's trainer on a row's network; all else, from the order of samples to the noise, is the same."""

    def __init__(
        self, row: Row, config: TrainingConfig, *, base: FrozenBase, data: TrainingData, accelerator: Accelerator
    ) -> None:
        self.row = row
        super().__init__(config, base=base, data=data, accelerator=accelerator)

    def _starting_control(self) -> Any:
        if self.row.architecture == "xs":
            return super()._starting_control()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return controlnet(self.row, self.base.unet, self.spec)

    def coupled(self, control: Any) -> torch.nn.Module:
        """Return the module that is trained."""
        return ControlNetPeer(self.base.unet, control) if isinstance(control, ControlNet) else super().coupled(control)

    def peer(self) -> Peer:
        """Return the averaged network, coupled to its base."""
        return peer(self.base.unet, self.average)

    def _write_output(self) -> None:
        if isinstance(self.average, ControlNetXS):
            super()._write_output()


def peer(base: UNet2DConditionModel, control: Any) -> Peer:
    """Return a control of any architecture, coupled to a base."""
    return ControlNetPeer(base, control) if isinstance(control, ControlNet) else CoupledPeer(base, control)


def controlnet(row: Row, base: UNet2DConditionModel, spec: ControlSpec) -> ControlNet:
    """Return an untrained ControlNet: full, or thinned to the parameters of a ControlNet-XS of `spec`."""
    if row.architecture == "controlnet":
        return ControlNet(base, spec)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in ControlNetXS(spec).parameters())
    return ControlNet(base, spec, channels=thin_channels(base, spec, parameters=parameters))


def own_parameters(control: Any) -> tuple[int, int]:
    """Return the parameters of a control, and those of them in neither its hint net nor its 1x1 readers of the base."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in control.named_children()}
    fixed = sum(parts.get(name, 0) for name in ("hint_encoder", "encoder_to_ctrl", "middle_to_ctrl", "decoder_to_ctrl"))
    return sum(parts.values()), sum(parts.values()) - fixed
