"""The history as the page sees it, without a browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cnxs.errors import InputError, UnavailableError
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.protocol import Models
from cnxs.records import Search
from cnxs.request import ControlUse, GenerationRequest, defaults
from cnxs.store import ImageStore


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

    return Studio([], images=ImageStore(None), history=history, catalogue=no_models, shared=shared)


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
