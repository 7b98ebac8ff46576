"""`python -m cnxs.doctor`: what the program finds on this machine, ready to paste into a bug report."""

import argparse
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from cnxs import __version__, hardware, text

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_GB = 1e9
_MODEL_FILES = (".safetensors", ".ckpt")


def report() -> str:
    """Return the whole report, one fact a line, without user names. Never raises: what is missing is a fact too."""
    facts = (_system(), _torch(), _packages(ROOT / "requirements.txt"), _memory(), _disk(), _models(), _browser())
    return _anonymous("\n".join(line for lines in facts for line in lines))


def _system() -> Iterator[str]:
    yield text.get("cli.doctor_program", version=__version__)
    yield text.get("cli.doctor_system", python=platform.python_version(), system=platform.platform())
    yield text.get("cli.doctor_processor", machine=platform.machine(), cores=os.cpu_count())


def _torch() -> Iterator[str]:
    driver = hardware.nvidia_driver()
    try:
        import torch
    except (ImportError, OSError) as error:
        yield text.get("cli.doctor_torch_broken", reason=error)
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU"
    yield text.get("cli.doctor_torch", version=torch.__version__, build=build)
    yield text.get("cli.doctor_driver_found" if driver else "cli.doctor_driver_none")
    if hardware.gpu_without_cuda(torch.version.cuda):
        yield text.get("note.gpu_without_cuda", page=hardware.CUDA_INSTALL_PAGE)
    try:
        if torch.cuda.is_available():
            device = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        else:
            device = "Apple MPS" if torch.backends.mps.is_available() else "CPU"
    except RuntimeError as error:
        device = str(error)
    yield text.get("cli.doctor_device", device=device)


def _packages(requirements: Path) -> Iterator[str]:
    """Yield one line per pinned package that is missing or of another version, or one that all is well."""
    lines = requirements.read_text("utf-8") if requirements.is_file() else ""
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)", lines, flags=re.MULTILINE)
    others: list[str] = []
    for name, pinned in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            others.append(text.get("cli.doctor_package_missing", name=name, pinned=pinned))
            continue
        # A local part names the build, as in 2.14.1+cpu.
        if found.split("+")[0] != pinned:
            others.append(text.get("cli.doctor_package_other", name=name, found=found, pinned=pinned))
    yield from others or [text.get("cli.doctor_packages_good", count=len(pins))]


def _memory() -> Iterator[str]:
    try:
        import psutil
    except ImportError:
        return  # reported among the packages
    memory = psutil.virtual_memory()
    yield text.get("cli.doctor_memory", free=f"{memory.available / _GB:.1f}", total=f"{memory.total / _GB:.1f}")


def _disk() -> Iterator[str]:
    yield text.get("cli.doctor_disk", free=f"{shutil.disk_usage(ROOT).free / _GB:.1f}", folder=ROOT)


def _models() -> Iterator[str]:
    files = sorted(
        path
        for folder in (ROOT / "assets" / "miniature", ROOT / "models")
        for path in folder.rglob("*")
        if path.suffix in _MODEL_FILES and path.is_file()
    )
    yield text.get("cli.doctor_models", count=len(files))
    for path in files:
        yield f"  {path.relative_to(ROOT).as_posix()} ({path.stat().st_size / 1e6:.1f} MB)"
    try:
        from cnxs.weights import Library
    except ImportError:
        return  # reported among the packages
    yield from (f"  {error}" for error in Library(ROOT / "models").unusable())


def _browser() -> Iterator[str]:
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    yield text.get("cli.doctor_chromium", path=found) if found else text.get("cli.doctor_chromium_none")


def _anonymous(words: str) -> str:
    home = Path(os.path.expanduser("~"))
    if not home.name:  # a container's "/"
        return words
    words = words.replace(str(home), "~")
    return re.sub(rf"(?<=[/\\]){re.escape(home.name)}(?=[/\\\s]|$)", "USER", words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report."""
    argparse.ArgumentParser(prog="python -m cnxs.doctor", description=text.get("cli.doctor_about")).parse_args(
        arguments
    )
    print(report())


if __name__ == "__main__":
    main()
