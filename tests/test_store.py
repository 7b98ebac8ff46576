import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnxs.errors import InputError
from cnxs.store import ImageStore


def picture(seed: int, width: int = 20, height: int = 10) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def missing(store: ImageStore, digest: str) -> bool:
    with pytest.raises(InputError) as caught:
        store.get(digest)
    return caught.value.key == "unknown_image"


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_put_is_got(tmp_path: Path, *, on_disk: bool) -> None:
    store = ImageStore(tmp_path / "images" if on_disk else None)
    digest = store.put(picture(0))
    assert len(digest) == 64
    assert store.put(picture(0)) == digest
    assert store.put(picture(1)) != digest
    assert np.array_equal(store.get(digest), picture(0))


def test_size_is_part_of_the_digest() -> None:
    store = ImageStore(None)
    assert store.put(Image.new("RGB", (2, 8))) != store.put(Image.new("RGB", (8, 2)))


def test_a_new_store_finds_the_files_of_an_old_one(tmp_path: Path) -> None:
    digest = ImageStore(tmp_path).put(picture(0))
    assert np.array_equal(ImageStore(tmp_path).get(digest), picture(0))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{digest}.png"]


def test_unknown_digests_are_refused(tmp_path: Path) -> None:
    assert missing(ImageStore(tmp_path), "0" * 64)
    assert missing(ImageStore(None), "0" * 64)


@pytest.mark.parametrize("digest", ["", "../secret", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", "../" + "0" * 61])
def test_what_is_no_digest_makes_no_path(tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ImageStore(tmp_path)
    monkeypatch.setattr("cnxs.store._path", lambda *_: pytest.fail("made a path"))
    assert missing(store, digest)


@pytest.mark.parametrize("damage", ["empty", "truncated", "other picture"])
def test_damaged_files_are_not_served(tmp_path: Path, damage: str) -> None:
    digest, other = (ImageStore(tmp_path).put(picture(seed)) for seed in (0, 1))
    path, wrong = (next(tmp_path.rglob(f"{name}.png")) for name in (digest, other))
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[:100], "other picture": wrong.read_bytes()}[damage])
    assert missing(ImageStore(tmp_path), digest)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        ImageStore(tmp_path).put(picture(0))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_memory_is_bounded_by_bytes_and_the_oldest_use_goes_first() -> None:
    store = ImageStore(None, max_memory_bytes=2 * 20 * 10 * 3)
    first, second = store.put(picture(0)), store.put(picture(1))
    store.get(first)
    store.put(picture(2))
    assert np.array_equal(store.get(first), picture(0))
    assert missing(store, second)


def test_the_newest_picture_is_kept_however_large() -> None:
    store = ImageStore(None, max_memory_bytes=1)
    assert np.array_equal(store.get(store.put(picture(0))), picture(0))


def test_changing_a_picture_does_not_change_the_store() -> None:
    store = ImageStore(None)
    given = picture(0)
    digest = store.put(given)
    given.paste((0, 0, 0), (0, 0, 20, 10))
    store.get(digest).paste((0, 0, 0), (0, 0, 20, 10))
    assert np.array_equal(store.get(digest), picture(0))


def test_many_threads_agree(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, max_memory_bytes=3 * 20 * 10 * 3)
    wrong: list[int] = []

    def work() -> None:
        for seed in range(12):
            if not np.array_equal(store.get(store.put(picture(seed))), picture(seed)):
                wrong.append(seed)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
