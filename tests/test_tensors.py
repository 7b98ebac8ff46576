"""Ranges at each conversion between pictures and tensors."""

import numpy as np
import torch
from PIL import Image

from cnxs import tensors

PICTURE = Image.fromarray(np.array([[[0, 128, 255], [255, 0, 51]]], np.uint8))


def test_unit_tensor_is_zero_to_one() -> None:
    pixels = tensors.to_unit_tensor(PICTURE)
    assert pixels.shape == (1, 3, 1, 2)
    assert pixels.dtype == torch.float32
    assert pixels[0, :, 0, 0].tolist() == [0, np.float32(128 / 255), 1]


def test_one_channel_is_the_value_of_three_equal_ones() -> None:
    grey = Image.fromarray(np.full((2, 2, 3), 200, np.uint8))
    pixels = tensors.to_unit_tensor(grey, channels=1)
    assert pixels.shape == (1, 1, 2, 2)
    assert pixels.unique().tolist() == [np.float32(200 / 255)]


def test_signed_tensor_is_minus_one_to_one() -> None:
    assert tensors.to_signed_tensor(PICTURE).aminmax() == (-1, 1)


def test_there_and_back_gives_the_same_bytes() -> None:
    for there, back in (
        (tensors.to_unit_tensor, tensors.from_unit_tensor),
        (tensors.to_signed_tensor, tensors.from_signed_tensor),
    ):
        assert np.array_equal(np.asarray(back(there(PICTURE))[0]), np.asarray(PICTURE))


def test_values_outside_the_range_are_clipped() -> None:
    picture = tensors.from_signed_tensor(torch.tensor([-3.0, 0, 3.0]).view(1, 3, 1, 1))[0]
    assert picture.getpixel((0, 0)) == (0, 128, 255)
