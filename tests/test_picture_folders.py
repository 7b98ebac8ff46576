"""Folders of pictures: which names are offered, and what becomes of uploads."""

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from cnxs.errors import InputError
from cnxs.picture_folders import picture_folders, put_files


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a caption", "utf-8")
    (folder / "run.sh").write_text("no picture", "utf-8")
    return folder


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_with_pictures_are_offered_by_name(tmp_path: Path, uploads: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / ".runs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / ".runs" / "sheet.png")
    assert picture_folders(tmp_path) == ("uploads",)
    assert picture_folders(tmp_path / "nowhere") == ()


def test_uploads_become_a_folder(tmp_path: Path, uploads: Path) -> None:
    put_files(tmp_path, "mine", [str(path) for path in sorted(uploads.iterdir())])
    assert below(tmp_path / "mine") == ["0.png", "0.txt", "1.png", "2.png"]
    with pytest.raises(InputError, match="mine already"):
        put_files(tmp_path, "mine", [str(uploads / "1.png")])


def test_an_archive_is_unpacked_below_its_folder_and_nowhere_else(tmp_path: Path, uploads: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("all/cats/0.png", "all/dogs/0.png", "all/dogs/0.txt", "all/run.sh", "__MACOSX/all/._0.png"):
            packed.write(uploads / ("run.sh" if name.endswith("sh") else "0.png"), name)
        for name in ("../../outside.png", "all/../../outside.png", "all/c:outside.png"):
            packed.write(uploads / "1.png", name)
    put_files(tmp_path / "root", "mine", [str(archive)])
    assert below(tmp_path / "root") == ["mine/cats/0.png", "mine/dogs/0.png", "mine/dogs/0.txt"]
    assert list(tmp_path.rglob("*outside*")) == []


def test_what_cannot_be_used_leaves_nothing_behind(tmp_path: Path, uploads: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(uploads / "0.png", "0.png")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    for files, key in (([archive], "training_zip_damaged"), ([uploads / "run.sh"], "training_upload_empty")):
        with pytest.raises(InputError) as caught:
            put_files(tmp_path / "root", "mine", [str(file) for file in files])
        assert caught.value.key == key
    assert list((tmp_path / "root").iterdir()) == []
