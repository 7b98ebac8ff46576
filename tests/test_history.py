import io
import os
import random
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cnxs import pnginfo
from cnxs.errors import InputError
from cnxs.history import History
from cnxs.history_index import Record
from cnxs.request import ControlUse, GenerationRequest, defaults
from cnxs.store import ImageStore


def _picture(seed: int, size: tuple[int, int] = (32, 24)) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3))


def _add(history: History, prompt: str, **options: object) -> str:
    request = replace(defaults(), prompt=prompt)
    return history.add(_picture(len(prompt)), request, **options)  # pyright: ignore[reportArgumentType]


def _prompts(records: tuple[Record, ...]) -> list[str]:
    return [record.request.prompt for record in records]


@pytest.fixture
def history(tmp_path: Path):
    opened = History(tmp_path / "outputs")
    yield opened
    opened.close()


def test_a_record_keeps_pixels_request_source_and_map(history: History) -> None:
    store = ImageStore(None)
    source, control_map = _picture(1), _picture(2)
    use = ControlUse(network="n", kind="canny", map_id=store.put(control_map), source_id=store.put(source))
    request = replace(defaults(), prompt="fox", controls=(use,), seed=9)

    first = history.add(_picture(3), request, images=store, edge_agreement=0.75, seconds=1.5)
    history.add(_picture(4), request, images=store)

    record = history.get(first)
    assert (record.request, record.edge_agreement, record.seconds) == (request, 0.75, 1.5)
    assert abs(record.created.timestamp() - time.time()) < 3600
    data = history.png(first)
    assert pnginfo.read(data).request == request
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.tobytes() == _picture(3).tobytes()
    assert history.images.get(use.map_id).tobytes() == control_map.tobytes()
    assert history.images.get(use.source_id).tobytes() == source.tobytes()
    assert len(list((history.folder / "images").rglob("*.png"))) == 2  # stored once


def test_search_by_words_base_condition_and_favourites(history: History) -> None:
    use = ControlUse(network="n", kind="canny", map_id="a" * 64)
    requests = [
        GenerationRequest(base="miniature", prompt="A red FOX in Überlingen"),
        GenerationRequest(base="sd15", prompt="fox, 100% red_dish", controls=(use,)),
        GenerationRequest(base="sd15", prompt="cat", controls=(replace(use, kind="scribble"), use)),
        GenerationRequest(base="sd15", prompt="dog", controls=(replace(use, control_scale=0.0),)),
    ]
    ids = [history.add(_picture(i), request) for i, request in enumerate(requests)]
    history.favourite(ids[1], on=True)

    assert [r.record_id for r in history.search()] == ids[::-1]
    assert [r.record_id for r in history.search("red fox")] == [ids[1], ids[0]]
    assert [r.record_id for r in history.search("ÜBERLINGEN")] == [ids[0]]
    assert [r.record_id for r in history.search("0% red_")] == [ids[1]]
    assert history.search("%") == history.search("100%")
    assert [r.record_id for r in history.search(base="sd15")] == [ids[3], ids[2], ids[1]]
    assert [r.record_id for r in history.search(condition="canny")] == [ids[2], ids[1]]
    assert [r.record_id for r in history.search(condition="")] == [ids[3], ids[0]]
    assert [r.record_id for r in history.search(favourites=True)] == [ids[1]]
    assert history.search("fox", base="nothing") == ()


def test_pages_meet_without_gap_or_overlap(history: History) -> None:
    ids = [_add(history, f"picture {i}") for i in range(7)]
    seen: list[str] = []
    before = None
    while page := history.search(limit=3, before=before):
        seen += [record.record_id for record in page]
        before = seen[-1]
    assert seen == ids[::-1]


def test_recent_prompts_are_different_and_newest_first(history: History) -> None:
    for prompt in ("a", "b", "", "a", "c"):
        _add(history, prompt)
    assert history.recent_prompts() == ("c", "a", "b")
    assert history.recent_prompts(limit=1) == ("c",)


def test_owners_do_not_see_each_other(history: History) -> None:
    mine, other = _add(history, "mine", owner="ada"), _add(history, "other", owner="bob")

    assert _prompts(history.search(owner="ada")) == ["mine"]
    assert history.recent_prompts(owner="bob") == ("other",)
    assert len(history.search()) == 2
    for method in (history.get, history.png, history.thumbnail, history.delete):
        with pytest.raises(InputError, match="not in the history"):
            method(other, owner="ada")
    with pytest.raises(InputError):
        history.favourite(other, on=True, owner="ada")
    history.delete(mine, owner="ada")
    with pytest.raises(InputError):
        history.undo_delete(mine, owner="bob")
    history.undo_delete(mine, owner="ada")
    assert b"ada" not in history.png(mine)


def test_delete_and_undo(history: History) -> None:
    kept, gone = _add(history, "kept"), _add(history, "gone")
    history.favourite(gone, on=True)
    history.delete(gone)

    assert _prompts(history.search()) == ["kept"]
    with pytest.raises(InputError):
        history.png(gone)
    with pytest.raises(InputError):
        history.delete(gone)
    history.undo_delete(gone)
    assert history.get(gone).favourite
    assert _prompts(history.search(favourites=True)) == ["gone"]
    assert history.get(kept).request.prompt == "kept"

    history.delete(gone)
    history.empty_trash()
    history.undo_delete(gone)  # a week has not passed
    history.delete(gone)
    history.empty_trash(older_than=0)
    with pytest.raises(InputError):
        history.undo_delete(gone)
    assert not list((history.folder / "favourites").iterdir())


def test_what_is_deleted_for_good_takes_its_own_pictures_with_it(history: History) -> None:
    def add(*pictures: Image.Image) -> tuple[str, tuple[str, ...]]:
        uses = tuple(ControlUse(network="n", map_id=history.images.put(picture)) for picture in pictures)
        return history.add(_picture(9), replace(defaults(), controls=uses)), tuple(use.map_id for use in uses)

    def kept() -> set[str]:
        return {path.stem for path in (history.folder / "images").rglob("*.png")}

    gone, (own, shared) = add(_picture(1), _picture(2))
    add(_picture(2))
    trashed, (waiting,) = add(_picture(3))
    history.delete(gone)
    os.utime(history.folder / "trash" / f"{gone}.png", (0, 0))
    for path in (history.folder / "images").rglob("*.png"):
        os.utime(path, (0, 0))
    history.delete(trashed)
    used_again = history.images.put(_picture(4))  # by a job that is not finished
    assert {own, shared, waiting, used_again} == kept()
    history.empty_trash()
    assert kept() == {shared, waiting, used_again}
    with pytest.raises(InputError):
        history.undo_delete(gone)
    history.undo_delete(trashed)
    assert history.images.get(waiting).tobytes() == _picture(3).tobytes()


def test_no_path_of_a_client_is_opened(history: History, tmp_path: Path) -> None:
    _add(history, "a")
    (tmp_path / "secret.png").write_bytes(b"x")
    for record_id in (
        "../secret",
        "",
        "20260101",
        "../../etc/passwd",
        "a" * 31,
        "20261003-153000-123456-1a2b3c4d/..",
        "\0",
    ):
        for method in (history.get, history.png, history.thumbnail, history.delete, history.undo_delete):
            with pytest.raises(InputError):
                method(record_id)
        with pytest.raises(InputError):
            history.favourite(record_id, on=True)
        with pytest.raises(InputError):
            history.search(before=record_id)


def test_thumbnails_are_small_and_cached(history: History) -> None:
    record_id = history.add(_picture(1, (600, 300)), defaults())
    data = history.thumbnail(record_id)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (256, 128)
    (history.folder / "thumbnails" / f"{record_id}.webp").write_bytes(b"cached")
    assert history.thumbnail(record_id) == b"cached"


def test_any_text_of_a_client_can_be_stored_and_searched(history: History) -> None:
    prompt = "half \ud83e pair \0 zero"
    record_id = _add(history, prompt, owner="\ud83e")
    assert history.get(record_id, owner="\ud83e").request.prompt == prompt
    assert len(history.search("\ud83e \0 zero", base=None, condition=None)) == 1
    assert history.search(base="\ud83e", condition="\ud83e") == ()


# --- the index ----------------------------------------------------------------------------------------------------


def _fill(folder: Path) -> tuple[Record, ...]:
    history = History(folder)
    use = ControlUse(network="n", kind="canny", map_id="a" * 64)
    ids = [
        history.add(_picture(i), replace(defaults(), prompt=f"p {i}", controls=(use,)), owner="o", edge_agreement=i / 8)
        for i in range(6)
    ]
    history.favourite(ids[2], on=True)
    history.favourite(ids[3], on=True)
    history.favourite(ids[3], on=False)
    history.delete(ids[5])
    records = history.search()
    history.close()
    return records


def _damage(index: Path) -> None:
    index.write_bytes(b"no database" + index.read_bytes()[11:])


def _scribble_inside(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    index.write_bytes(data)


def _older_version(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.executescript("DROP TABLE records; CREATE TABLE records (id TEXT); PRAGMA user_version = 77")
    connection.close()


@pytest.mark.parametrize("spoil", [Path.unlink, _damage, _scribble_inside, _older_version], ids=lambda f: f.__name__)
def test_the_index_is_rebuilt_from_the_files(tmp_path: Path, spoil) -> None:
    records = _fill(tmp_path)
    spoil(tmp_path / "index.sqlite3")
    history = History(tmp_path)
    assert history.search() == records
    assert [record.favourite for record in records] == [False, False, True, False, False]
    assert history.recent_prompts() == ("p 4", "p 3", "p 2", "p 1", "p 0")
    history.close()


def test_a_stale_index_follows_the_files(tmp_path: Path) -> None:
    records = _fill(tmp_path)
    (before,) = tmp_path.glob("????-??-??")
    removed = next(before.glob(f"{records[0].record_id}.png"))
    removed.unlink()
    other = _fill(tmp_path / "other")
    (source,) = (tmp_path / "other").glob("????-??-??")
    (source / f"{other[0].record_id}.png").rename(before / f"{other[0].record_id}.png")
    (tmp_path / "favourites" / records[1].record_id).touch()
    (before / "notes.png").write_bytes(b"not ours")
    (before / "20260101-000000-000000-00000000.png").write_bytes(b"half")

    history = History(tmp_path)
    assert [r.record_id for r in history.search()] == [other[0].record_id, *(r.record_id for r in records[1:])]
    assert history.get(records[1].record_id).favourite
    history.close()


def test_an_index_that_breaks_while_open_is_rebuilt(history: History) -> None:
    ids = [_add(history, f"p{i}") for i in range(3)]
    other = sqlite3.connect(history.folder / "index.sqlite3")
    with other:
        other.execute("DROP TABLE records")
        other.execute("PRAGMA user_version = 0")
    other.close()
    assert [record.record_id for record in history.search()] == ids[::-1]


def test_an_index_that_another_process_has_locked_is_not_thrown_away(history: History, monkeypatch) -> None:
    record_id = _add(history, "a")
    index = history.folder / "index.sqlite3"
    before = index.stat().st_ino
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, **{**options, "timeout": 0.01}))
    other = connect(index, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    second = None
    try:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second = History(history.folder)._index.mark(record_id, favourite=True)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert second is None
    assert index.stat().st_ino == before
    assert [record.record_id for record in history.search()] == [record_id]


def test_ten_thousand_records_stay_in_order(history: History) -> None:
    data = pnginfo.encode(
        _picture(1), defaults(), extra={"cnxs-record": '{"owner":"","edge_agreement":null,"seconds":1}'}
    )
    day = history.folder / "2026-01-02"
    day.mkdir()
    for i in range(10_000):
        (day / f"20260102-000000-{i:06d}-00000000.png").write_bytes(data)
    started = time.perf_counter()
    reopened = History(history.folder)
    opened = time.perf_counter()
    page = reopened.search(limit=50, before="20260102-000000-005000-00000000")
    searched = time.perf_counter()
    assert reopened.search("unicorn") == ()
    missed = time.perf_counter()
    reopened.close()
    times = [f"{seconds:.3f} s" for seconds in (opened - started, searched - opened, missed - searched)]
    sys.stdout.write("10 000 images: index built in {}, a page in {}, a search without result in {}\n".format(*times))
    assert [int(record.record_id[16:22]) for record in page] == list(range(4999, 4949, -1))


def test_what_a_killed_process_left_half_written_is_removed_later(tmp_path: Path) -> None:
    records = _fill(tmp_path)
    (day,) = tmp_path.glob("????-??-??")
    old, young = day / "old.part", day / "young.part"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    history = History(tmp_path)
    assert history.search() == records
    assert (old.exists(), young.exists()) == (False, True)
    history.close()
