"""Where a base's stages are while they wait: on the device, or in main memory until their turn comes.

A coupled control calls the sub-blocks of U-Net and control, so hooks on whole networks or blocks never fire. Whole
stages are therefore moved here; for the smallest cards, diffusers' hooks on the leaves bring each layer in for itself.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from diffusers.hooks import HookRegistry, apply_group_offloading
from torch import nn

from cnxs.errors import InputError

VRAM = Literal["auto", "high", "medium", "low"]
Plan = Literal["high", "medium", "low"]
Stage = Literal["text", "unet", "codec"]

GIB = 2**30
HOME = torch.device("cpu")

# Beside its weights, a base needs room for activations: at its native size about so much of the weights' own.
_ROOM_FOR_ACTIVATIONS = 1.6
_LEAF_HOOK = "group_offloading"  # the name under which diffusers registers it


def choose_plan(asked: VRAM, *, device: torch.device, memory_bytes: int, weight_bytes: int) -> Plan:
    """Return the plan of that name; "auto" goes by what the device has and the base needs.

    Args:
        asked: "high" keeps all on the device, "medium" the stage at work, "low" the layer at work.
        device: where the networks run.
        memory_bytes: of the device.
        weight_bytes: of all the base's networks, as they are used.

    Raises:
        InputError: if there is no such plan.
    """
    if asked not in get_args(VRAM):
        raise InputError("unknown_vram", given=asked, allowed=", ".join(get_args(VRAM)))
    if asked != "auto":
        return asked
    if device.type == "cpu" or memory_bytes >= _ROOM_FOR_ACTIVATIONS * weight_bytes + GIB:
        return "high"
    # The largest stage, the U-Net, is about three quarters of a base.
    return "medium" if memory_bytes >= _ROOM_FOR_ACTIVATIONS * 0.75 * weight_bytes + GIB else "low"


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory that a device has; 0 where it shares the machine's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


class Residency:
    """Moves the stages of one base, and the controls that work with its U-Net.

    Args:
        stages: the networks of each stage.
        device: where they run.
        plan: what stays there.
        home: where a stage waits.
    """

    def __init__(
        self,
        stages: Mapping[Stage, Sequence[nn.Module]],
        *,
        device: torch.device,
        plan: Plan,
        home: torch.device = HOME,
    ) -> None:
        self.plan, self.device, self.home = plan, device, home
        self.inside: Stage | None = None  # the stage on the device, where not all are
        self._stages = stages
        self._guests: tuple[nn.Module, ...] = ()
        for modules in stages.values():
            _move(modules, device if plan == "high" else home)
        self.renew_leaves()

    def bring(self, stage: Stage, guests: Sequence[nn.Module] = ()) -> None:
        """Have a stage on the device, and the controls that work with it; what was there before goes home first."""
        if self.plan == "high" or self._by_leaves(stage):
            return
        staying = tuple(guests) if stage == "unet" else ()
        _move([guest for guest in self._guests if guest not in staying], self.home)
        if self.inside != stage:
            if self.inside is not None:
                _move(self._stages[self.inside], self.home)
            self.inside = None  # should the next line run out of memory, nothing is taken to be there
            _move(self._stages[stage], self.device)
            self.inside = stage
        self._guests = staying
        _move(staying, self.device)

    def adopt(self, control: nn.Module) -> None:
        """Let a control that was just loaded wait where this plan has it wait."""
        control.to(self.device if self.plan == "high" else self.home)
        if self.plan == "low":
            self._hook(control)

    def renew_leaves(self) -> None:
        """Put the hooks on every layer there is by now: LoRAs bring layers of their own."""
        for stage, modules in self._stages.items():
            for module in modules if self._by_leaves(stage) else ():
                HookRegistry.check_if_exists_or_initialize(module).remove_hook(_LEAF_HOOK, recurse=True)
                self._hook(module)

    def free(self) -> None:
        """Send home what can go: the device ran out of memory."""
        if self.plan == "high":
            return
        _move(self._guests, self.home)
        for stage, modules in self._stages.items():
            if not self._by_leaves(stage):
                _move(modules, self.home)
        self.inside, self._guests = None, ()

    def _by_leaves(self, stage: Stage) -> bool:
        # The autoencoder is small, and works on few and large tensors.
        return self.plan == "low" and stage != "codec"

    def _hook(self, module: nn.Module) -> None:
        module.to(self.home)
        apply_group_offloading(
            module, onload_device=self.device, offload_device=self.home, offload_type="leaf_level", use_stream=False
        )


def _move(modules: Sequence[nn.Module], device: torch.device) -> None:
    for module in modules:
        module.to(device)
