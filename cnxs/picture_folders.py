"""Folders of pictures below one root: found by name, and filled from uploads."""

import contextlib
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from cnxs.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff")
CAPTIONS = (".txt", ".jsonl")
MAX_FILES = 40_000
MAX_BYTES = 8 * 10**9


def picture_folders(root: Path) -> tuple[str, ...]:
    """Return the names of the folders in `root` that hold a picture, in it or below; hidden ones are left out."""
    if not root.is_dir():
        return ()
    folders = (path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith("."))
    return tuple(path.name for path in folders if any(_is(file.name, PICTURES) for file in path.rglob("*")))


def put_files(root: Path, name: str, files: Sequence[str]) -> None:
    """Make the folder `name` of uploaded pictures, captions and zip archives of them; whole, or not at all.

    Args:
        root: where folders of pictures lie.
        name: of the new one; a name, not a path.
        files: uploads, as the server has stored them.

    Raises:
        InputError: `training_folder_taken`, `training_zip_damaged`, `training_upload_large`, `training_upload_empty`.
    """
    target, part = root / name, root / f".{name}.part"
    if target.exists():
        raise InputError("training_folder_taken", given=name)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for file in map(Path, files):
            if file.suffix.lower() == ".zip":
                _unpack(file, part)
            elif _is(file.name, (*PICTURES, *CAPTIONS)):
                shutil.copyfile(file, part / file.name)
        if not any(_is(path.name, PICTURES) for path in part.rglob("*")):
            raise InputError("training_upload_empty", allowed=", ".join(PICTURES))
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack pictures and captions, names kept below the folder that they have in common."""
    with _told(archive.name), zipfile.ZipFile(archive) as packed:
        members = [info for info in packed.infolist() if _is_wanted(info)]
        if len(members) > MAX_FILES or sum(info.file_size for info in members) > MAX_BYTES:
            raise InputError("training_upload_large", count=MAX_FILES, gigabytes=MAX_BYTES // 10**9)
        paths = [PurePosixPath(info.filename) for info in members]
        common = len(_common([path.parent.parts for path in paths]))
        for info, path in zip(members, paths, strict=True):
            place = folder.joinpath(*path.parts[common:])
            place.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(info) as source, place.open("wb") as file:
                shutil.copyfileobj(source, file)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    # An archive with a password says it with a RuntimeError, an unknown packing with a NotImplementedError.
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise InputError("training_zip_damaged", file=name) from error


def _is_wanted(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    is_below = not info.filename.startswith("/") and all(
        part not in ("..", "__MACOSX") and not part.startswith(".") and ":" not in part and "\\" not in part
        for part in parts
    )
    return is_below and not info.is_dir() and _is(info.filename, (*PICTURES, *CAPTIONS))


def _common(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the folders that all have first."""
    common = list(folders[0]) if folders else []
    for parts in folders[1:]:
        same = 0
        while same < min(len(common), len(parts)) and common[same] == parts[same]:
            same += 1
        del common[same:]
    return tuple(common)


def _is(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings)
