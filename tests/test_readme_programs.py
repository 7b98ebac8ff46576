"""The README's example programs, run from its own text against the real program."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnxs import images, pnginfo
from cnxs.running import ROOT
from tests.program import started

README = (ROOT / "README.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("outputs"), "--mcp") as url:
        yield url


def run(name: str, address: str, folder: Path) -> list[str]:
    """Run the program between the README's markers in a folder that holds photo.jpg; return the lines it printed."""
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```\n<!-- end of {name} -->", README, re.DOTALL)
    assert found is not None
    assert ADDRESS in found[1]
    shutil.copy(ROOT / "assets" / "examples" / "red_apple.png", folder / "photo.jpg")
    command = [sys.executable, "-W", "ignore", "-c", found[1].replace(ADDRESS, address)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_example_of_the_client_library(address: str, tmp_path: Path) -> None:
    lines = run("client example", address, tmp_path)
    data = Path(lines[0]).read_bytes()
    restored = pnginfo.read(data).request
    assert restored is not None
    assert (restored.prompt, restored.seed) == ("a red apple, 3d render", 7)
    assert lines[1].startswith("seed 7, ")
    assert len(lines) == 2 + 6
    assert lines[2].startswith("no control ")


def test_the_example_of_the_tools(address: str, tmp_path: Path) -> None:
    lines = run("tool example", address, tmp_path)
    assert lines[0] == "generate compare control_map models history cancel"
    restored = pnginfo.read((tmp_path / "apple.png").read_bytes())
    assert images.load((tmp_path / "apple.png").read_bytes()).size == (256, 256)
    assert restored.request is None or restored.request.seed == 7
