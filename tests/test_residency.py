"""What stays on the device: the plans, the moves, the same pictures under each, and running out of memory."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from torch import nn

from cnxs.backend import Engine
from cnxs.errors import InputError, UnavailableError
from cnxs.request import GenerationRequest
from cnxs.residency import GIB, Residency, choose_plan
from cnxs.weights import Library
from tests.test_backend import images, pictures, request_, run  # noqa: F401  fixtures

CPU, CARD = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("memory", "weights", "plan"),
    [(24, 7, "high"), (12, 7, "medium"), (8, 7, "low"), (8, 2, "high"), (4, 2, "medium"), (3, 2, "low")],
)
def test_a_small_card_keeps_less(memory: int, weights: int, plan: str) -> None:
    assert choose_plan("auto", device=CARD, memory_bytes=memory * GIB, weight_bytes=weights * GIB) == plan
    assert choose_plan("auto", device=CPU, memory_bytes=0, weight_bytes=weights * GIB) == "high"
    assert choose_plan("low", device=CARD, memory_bytes=80 * GIB, weight_bytes=GIB) == "low"


def test_an_unknown_plan_is_told() -> None:
    with pytest.raises(InputError) as caught:
        choose_plan("tiny", device=CPU, memory_bytes=0, weight_bytes=1)  # pyright: ignore[reportArgumentType]
    assert caught.value.key == "unknown_vram"


class Network(nn.Module):
    """Notes where it was sent last."""

    def __init__(self) -> None:
        super().__init__()
        self.place = ""

    def to(self, device: torch.device) -> "Network":  # pyright: ignore[reportIncompatibleMethodOverride]
        self.place = device.type
        return self


def on_card(networks: Sequence[Network]) -> list[bool]:
    return [network.place == "cuda" for network in networks]


def test_one_stage_at_a_time_is_on_the_card_with_its_controls() -> None:
    text, unet, codec, one, two = networks = [Network() for _ in range(5)]
    residency = Residency({"text": (text,), "unet": (unet,), "codec": (codec,)}, device=CARD, plan="medium")
    residency.adopt(one)
    residency.adopt(two)
    assert not any(on_card(networks))
    residency.bring("text")
    assert on_card(networks) == [True, False, False, False, False]
    residency.bring("unet", [one])
    assert on_card(networks) == [False, True, False, True, False]
    residency.bring("unet", [two])
    assert on_card(networks) == [False, True, False, False, True]
    residency.bring("codec")
    assert on_card(networks) == [False, False, True, False, False]
    residency.free()
    assert not any(on_card(networks))
    residency.bring("codec")
    assert on_card(networks) == [False, False, True, False, False]


def test_with_memory_enough_all_stay() -> None:
    networks = [Network() for _ in range(4)]
    text, unet, codec, control = networks
    residency = Residency({"text": (text,), "unet": (unet,), "codec": (codec,)}, device=CARD, plan="high")
    residency.adopt(control)
    residency.bring("codec")
    residency.free()
    assert all(on_card(networks))


@pytest.mark.parametrize("plan", ["medium", "low"])
def test_every_plan_gives_the_same_picture(plan: str, request_: GenerationRequest, images: object) -> None:  # noqa: F811
    high = Engine(CPU, Library(), threads=1, vram="high")
    other = Engine(CPU, Library(), threads=1, vram=plan)  # pyright: ignore[reportArgumentType]
    expected, given = (pictures(run(engine, request_.cells(), images))[0] for engine in (high, other))  # pyright: ignore[reportArgumentType]
    assert np.array_equal(expected, given)
    assert other.pipeline("miniature").residency.plan == plan


def test_every_layer_is_brought_in_by_itself(
    request_: GenerationRequest,  # noqa: F811
    images: object,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brought: set[int] = set()
    bring: Callable[[ModuleGroup], None] = ModuleGroup.onload_

    def noted(group: ModuleGroup) -> None:
        brought.update(id(module) for module in (*group.modules, group.onload_leader))
        bring(group)

    monkeypatch.setattr(ModuleGroup, "onload_", noted)
    engine = Engine(CPU, Library(), threads=1, vram="low")
    run(engine, request_.cells(), images)  # pyright: ignore[reportArgumentType]
    pipeline = engine.pipeline("miniature")
    networks = (pipeline.base.unet, engine.network("canny", pipeline))
    owners = {
        name: part for net in networks for name, part in net.named_modules() if list(part.parameters(recurse=False))
    }
    assert len(owners) > 100
    assert [name for name, part in owners.items() if id(part) not in brought] == []


def test_out_of_memory_says_what_to_change_and_the_next_request_succeeds(
    request_: GenerationRequest,  # noqa: F811
    images: object,  # noqa: F811
) -> None:
    engine = Engine(CPU, Library(), threads=1, vram="medium")
    expected = pictures(run(engine, request_.cells(), images))[0]  # pyright: ignore[reportArgumentType]
    block = engine.pipeline("miniature").base.unet.mid_block
    assert block is not None

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("told by the test")

    for batch, key in ((4, "out_of_memory_batch"), (1, "out_of_memory_size")):
        engine.batch_size = batch
        hook = block.resnets[0].register_forward_pre_hook(fail)  # pyright: ignore[reportIndexIssue, reportCallIssue]
        with pytest.raises(UnavailableError) as caught:
            run(engine, request_.cells(), images)  # pyright: ignore[reportArgumentType]
        assert caught.value.key == key
        assert "256 x 256" in str(caught.value)
        assert engine.pipeline("miniature").residency.inside is None
        hook.remove()
        assert np.array_equal(expected, pictures(run(engine, request_.cells(), images))[0])  # pyright: ignore[reportArgumentType]
    assert engine.batch_size == 1


def test_on_a_card_the_plan_is_the_first_thing_to_change(request_: GenerationRequest) -> None:  # noqa: F811
    engine = Engine(CPU, Library(), threads=1, vram="medium")
    engine.prepare("miniature")
    engine._device = torch.device("meta")  # not a CPU, as far as the sentence goes
    told = engine._out_of_memory(request_)
    assert told.key == "out_of_memory_offload"
    assert "--vram low" in str(told)
