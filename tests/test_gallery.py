"""The history as the page sees it, without a browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest
from PIL import Image

from cnxs.errors import InputError, UnavailableError
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.protocol import Models
from cnxs.records import Search
from cnxs.request import ControlUse, GenerationRequest, defaults
from cnxs.store import ImageStore
from cnxs.ui.browsing import PAGE, Browsing
from cnxs.ui.files import PictureFiles
from cnxs.workers import Engine
from tests.fake_backend import FakeBackend


def picture(value: int) -> Image.Image:
    return Image.new("RGB", (32, 24), (value % 256, 90, 200))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "outputs")
    yield opened
    opened.close()


def studio(history: History | None, *, shared: bool) -> Studio:
    def no_models() -> Models:
        return Models(bases=(), networks=(), kinds=(), device="")

    def no_engine() -> Engine:
        raise AssertionError("no test here generates")

    return Studio([no_engine], images=ImageStore(None), history=history, catalogue=no_models, shared=shared)


# --- the seam -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shared", "seen"), [(False, 1), (True, 2)])
def test_a_person_sees_their_own_history_or_on_their_own_machine_all_of_it(
    history: History, shared: bool, seen: int
) -> None:
    mine = history.add(picture(1), defaults(), owner="ada")
    other = history.add(picture(2), defaults(), owner="bob")
    with studio(history, shared=shared) as backend:
        gallery = backend.history("ada")
        assert len(gallery.search(Search())) == gallery.count(Search()) == seen
        assert gallery.get(mine).record_id == mine
        if not shared:
            for ask in (gallery.get, gallery.png, gallery.thumbnail, gallery.delete, gallery.undo_delete):
                with pytest.raises(InputError):
                    ask(other)


def test_a_session_without_an_owner_sees_nothing(history: History) -> None:
    history.add(picture(1), defaults(), owner="bob")
    with studio(history, shared=False) as backend:
        assert backend.history(cast(Any, None)).count(Search()) == 0


def test_without_a_history_a_sentence_says_so() -> None:
    with studio(None, shared=True) as backend, pytest.raises(UnavailableError) as caught:
        backend.history("ada")
    assert caught.value.key == "history_off"


def test_what_can_be_filtered_by_is_what_there_is(history: History) -> None:
    use = ControlUse(network="n", kind="canny", map_id="a" * 64)
    both = (replace(use, kind="scribble"), use)
    for request in (
        GenerationRequest(base="sd15", prompt="a fox", controls=both),
        GenerationRequest(base="miniature", prompt="a cat", controls=(replace(use, control_scale=0.0),)),
    ):
        history.add(picture(1), request, owner="ada")
    history.add(picture(1), GenerationRequest(base="sdxl"), owner="bob")
    gallery = history.of("ada")
    assert gallery.bases() == ("miniature", "sd15")
    assert gallery.conditions() == ("", "canny", "scribble")
    assert gallery.count(Search(text="FOX a")) == gallery.count(Search(condition="canny")) == 1
    assert gallery.count(Search(condition="")) == 1


# --- the page's handlers ------------------------------------------------------------------------------------------

ENGLISH = gr.Request(headers={"accept-language": "en"})
DRAWER = (
    "place prints count pager newer older undo_row large picture facts previous next favourite download "
    "base condition prompts recent"
)


class Names:
    """Stands for a page on which each component is its own name."""

    def __init__(self, history: History) -> None:
        self.backend, self.files = FakeBackend(kept=history), PictureFiles()
        self.fields: dict[str, Any] = {"job": "job", "prompt": "prompt"}
        self.browsing = Browsing(cast(Any, self), cast(Any, None), {f"history_{n}": n for n in DRAWER.split()})


@pytest.fixture
def browsing(history: History) -> Browsing:
    return Names(history).browsing


def opened(browsing: Browsing, owner: str = "ada") -> dict[Any, Any]:
    return browsing.open(owner, "", None, None, False, ENGLISH)


def test_a_damaged_file_costs_its_own_picture_alone(history: History, browsing: Browsing) -> None:
    ids = [history.add(picture(number), defaults(), owner="ada") for number in range(3)]
    (history.folder / "thumbnails" / f"{ids[1]}.webp").unlink()
    (file,) = history.folder.rglob(f"{ids[1]}.png")
    file.write_bytes(file.read_bytes()[:200])
    items = opened(browsing)["prints"]["items"]
    assert [item["image"] is None for item in items] == [False, True, False]


def test_another_persons_picture_and_a_forged_id_are_refused(history: History, browsing: Browsing) -> None:
    other = history.add(picture(1), defaults(), owner="bob")
    place = opened(browsing)["place"]
    assert place.ids == ()
    for record_id in (other, "../../etc/passwd", ""):
        with pytest.raises(InputError):
            browsing.choose("ada", place, gr.EventData(None, {"id": record_id}), ENGLISH)
        forged = replace(place, chosen=record_id, deleted=record_id or "x")
        for handler in (browsing.favourite, browsing.delete, browsing.bring_back, browsing.more_like, browsing.undo):
            with pytest.raises(InputError):
                handler("ada", forged, ENGLISH)
    assert history.of("bob").count(Search()) == 1


def test_the_last_picture_of_the_last_page_can_be_deleted(history: History, browsing: Browsing) -> None:
    for number in range(PAGE + 1):
        history.add(picture(number), replace(defaults(), prompt=f"picture {number}"), owner="ada")
    place = browsing.older("ada", opened(browsing)["place"], ENGLISH)["place"]
    assert len(place.ids) == 1
    place = browsing.choose("ada", place, gr.EventData(None, {"id": place.ids[0]}), ENGLISH)["place"]
    changes = browsing.delete("ada", place, ENGLISH)
    assert len(changes["place"].ids) == PAGE
    assert changes["undo_row"]["visible"] is True
    assert browsing.undo("ada", changes["place"], ENGLISH)["place"].more


def test_a_quiet_history_is_not_sent_again(history: History, browsing: Browsing) -> None:
    history.add(picture(1), defaults(), owner="ada")
    place = opened(browsing)["place"]
    assert list(browsing.refresh("ada", place, ENGLISH)) == ["place"]
    newest = history.add(picture(2), defaults(), owner="ada")
    assert browsing.refresh("ada", place, ENGLISH)["place"].ids[0] == newest


def test_prompts_are_escaped_where_they_become_html(history: History, browsing: Browsing) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    record_id = history.add(picture(1), replace(defaults(), prompt=hostile, negative_prompt=hostile), owner="ada")
    changes = opened(browsing)
    assert "<img" not in changes["prompts"]
    large = browsing.choose("ada", changes["place"], gr.EventData(None, {"id": record_id}), ENGLISH)
    assert "<img" not in large["facts"]
