"""Fixtures and surroundings of the whole suite: offline, private, two threads, nothing left behind."""

import os
import shutil
import tempfile

import numpy as np
import pytest
from PIL import Image

pytest_plugins = ("tests.browser",)

_UPLOADS = tempfile.mkdtemp(prefix="cnxs-tests-")

# Read when torch, gradio and the hub's client are imported, so set before any test imports them.
os.environ |= {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": _UPLOADS,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.setdefault("OMP_NUM_THREADS", "2")


def pytest_unconfigure() -> None:
    """Remove the folder of uploads."""
    shutil.rmtree(_UPLOADS, ignore_errors=True)


@pytest.fixture
def photo() -> Image.Image:
    """Return a 96 x 64 RGB picture: a light disc, off centre, on a ramp of colour."""
    y, x = np.mgrid[0:64, 0:96]
    picture = np.stack([2 * x, 3 * y, 160 - x], axis=-1).astype(np.uint8)
    picture[(x - 30) ** 2 + (y - 34) ** 2 < 18**2] = (240, 230, 200)
    return Image.fromarray(picture)
