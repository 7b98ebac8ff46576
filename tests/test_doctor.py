import os
import sys
from pathlib import Path

import pytest

from cnxs import __version__, doctor, hardware


def put_program(folder: Path, name: str) -> None:
    program = folder / (f"{name}.exe" if os.name == "nt" else name)
    program.write_text("")
    program.chmod(0o755)


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder of the path, empty; no driver is loaded."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "_DRIVER", tmp_path / "no-driver")
    return tmp_path


def test_no_driver_is_found_on_a_bare_machine(bare_machine: Path) -> None:
    assert not hardware.nvidia_driver()
    assert not hardware.gpu_without_cuda(None)


def test_a_card_with_a_torch_for_the_cpu_is_noticed(bare_machine: Path) -> None:
    put_program(bare_machine, "nvidia-smi")
    assert hardware.gpu_without_cuda(None)
    assert not hardware.gpu_without_cuda("13.0")


def test_a_driver_of_the_kernel_is_noticed(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_machine / "version").write_text("NVRM version")
    monkeypatch.setattr(hardware, "_DRIVER", bare_machine / "version")
    assert hardware.gpu_without_cuda(None)


def test_the_report_names_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    doctor.main([])
    words = capsys.readouterr().out
    facts = ("Python 3.", "Processor:", "PyTorch:", "NVIDIA driver:", "Device:", "Memory:", "Disk:", "Chromium")
    for fact in (f"Studio {__version__}", torch.__version__, *facts):
        assert fact in words
    assert str(Path.home()) not in words


def test_a_card_that_torch_cannot_use_is_reported_with_the_install_page(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    put_program(bare_machine, "nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", None)
    words = doctor.report()
    assert "NVIDIA driver: found" in words
    assert "https://pytorch.org/get-started/locally/" in words


def test_a_torch_that_cannot_be_imported_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    words = doctor.report()
    assert "PyTorch: cannot be loaded" in words
    assert "Disk:" in words


def test_packages_that_differ_from_their_pins_are_listed(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("pytest==0.1\nno-such-package[extra]==1.2\n")
    other, missing = doctor._packages(requirements)
    assert f"pytest: {pytest.__version__} is installed, 0.1 is wanted" in other
    assert "no-such-package: not installed, 1.2 is wanted" in missing


def test_packages_as_pinned_take_one_line(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"# tools\npytest=={pytest.__version__}\n")
    assert list(doctor._packages(requirements)) == ["Packages: all 1 as pinned"]


def test_every_requirement_is_pinned() -> None:
    lines = (doctor.ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert all("==" in line for line in lines)


def test_model_files_are_listed_with_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert list(doctor._models()) == ["Model files: 0"]
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "canny.safetensors").write_bytes(bytes(1_500_000))
    (tmp_path / "models" / "notes.txt").write_text("no model")
    *facts, problem = doctor._models()
    assert facts == ["Model files: 1", "  models/mine/canny.safetensors (1.5 MB)"]
    assert problem.startswith("  canny.safetensors is damaged or incomplete")


@pytest.mark.parametrize(
    ("home", "words", "shown"),
    [
        ("/home/ada", "at /home/ada/studio", "at ~/studio"),
        ("/home/ada", "at /data/ada/studio", "at /data/USER/studio"),
        ("/home/ada", "at /data/ada\nnext", "at /data/USER\nnext"),
        ("/home/ada", "/data/adapters/x", "/data/adapters/x"),
        ("/", "at /srv/studio", "at /srv/studio"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the home folder comes from elsewhere on Windows")
def test_no_user_name_is_printed(home: str, words: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert doctor._anonymous(words) == shown
