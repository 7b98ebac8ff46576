"""The hint network: from a control map at pixel resolution to the control stream's grid."""

from torch import nn

from cnxs.specs import ControlSpec


class HintEncoder(nn.Sequential):
    """Map a control map onto the control stream's grid.

    Takes (B, hint_channels, H, W) in [0, 1]; returns (B, c0, H / hint_factor, W / hint_factor). Its last layer starts
    normally, not at zero: with every layer on the way to the base at zero, nothing is learned.
    """

    def __init__(self, spec: ControlSpec) -> None:
        layers = {"convolutions": _convolutions, "unshuffle": _unshuffle}[spec.hint_net](spec)
        super().__init__(*layers)


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)


def _convolutions(spec: ControlSpec) -> list[nn.Module]:
    """The authors' net: eight 3x3 convolutions, three of stride 2, SiLU between them."""
    assert spec.hint_factor == 8
    widths = [spec.hint_channels, 16, 16, 32, 32, 96, 96, 256, spec.control_channels[0]]
    strides = [1, 1, 2, 1, 2, 1, 2, 1]
    layers: list[nn.Module] = []
    for i, stride in enumerate(strides):
        layers += [_conv(widths[i], widths[i + 1], stride), nn.SiLU()]
    return layers[:-1]


def _unshuffle(spec: ControlSpec) -> list[nn.Module]:
    """A fast net for training on a CPU: pixels folded into channels first, then two convolutions of stride 2."""
    fold = spec.hint_factor // 4
    return [
        nn.PixelUnshuffle(fold),
        _conv(spec.hint_channels * fold**2, 64),
        nn.SiLU(),
        _conv(64, 96, 2),
        nn.SiLU(),
        _conv(96, 128, 2),
        nn.SiLU(),
        _conv(128, spec.control_channels[0]),
    ]
