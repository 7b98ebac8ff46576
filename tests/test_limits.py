"""What one client may ask for in a while."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.context import LocalContext
from PIL import Image

from cnxs import images
from cnxs.errors import InputError
from cnxs.protocol import Backend
from cnxs.request import defaults
from cnxs.ui.limits import ClientLimits, Rate, limited
from cnxs.ui.owners import client_of, owner_of
from tests.fake_backend import FakeBackend

REQUEST = replace(defaults(), prompt="a fox", steps=1)


def asking(host: str, username: str | None = None) -> gr.Request:
    """Return a request from an address."""
    return gr.Request(username=username, client={"host": host})


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    yield
    LocalContext.request.set(None)


def test_a_client_may_do_so_much_within_any_minute() -> None:
    clock = SimpleNamespace(now=0.0)
    rate = Rate(2, now=lambda: clock.now)
    assert [rate.use("a"), rate.use("a")] == [0, 0]
    clock.now = 20.0
    assert rate.use("a") == 40.0
    assert rate.use("b") == 0  # another client
    clock.now = 60.0
    assert rate.use("a") == 0


def test_clients_that_are_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnxs.ui.limits.MAX_CLIENTS", 3)
    rate = Rate(1, now=lambda: 0.0)
    assert [rate.use(str(client)) for client in range(4)] == [0] * 4
    assert rate.use("3") > 0
    assert rate.use("0") == 0


def refused(backend: Backend, request: gr.Request) -> str:
    LocalContext.request.set(request)
    with pytest.raises(InputError) as caught:
        backend.submit(REQUEST, "one owner")
    return caught.value.key


def test_too_many_jobs_of_one_address_are_refused_and_others_work_on() -> None:
    backend = limited(FakeBackend(), ClientLimits(jobs_per_minute=2))
    LocalContext.request.set(asking("10.0.0.1"))
    for owner in ("a browser", "another"):
        backend.submit(REQUEST, owner)
    assert refused(backend, asking("10.0.0.1")) == "too_fast"
    LocalContext.request.set(asking("10.0.0.2"))
    backend.submit(REQUEST, "one owner")


def test_jobs_of_all_browsers_of_a_client_count_while_they_wait() -> None:
    fake = FakeBackend(step_seconds=60.0)
    backend = limited(fake, ClientLimits(waiting_jobs=2))
    LocalContext.request.set(asking("10.0.0.1", "ada"))
    first, second = (backend.submit(REQUEST, owner) for owner in ("a browser", "another"))
    assert refused(backend, asking("10.0.0.9", "ada")) == "too_many_jobs"
    backend.cancel(first, "a browser")
    list(fake.events(first))
    backend.submit(REQUEST, "one owner")
    backend.submit(replace(REQUEST, live=True), "one owner")  # takes its older ones' place
    fake.cancel(second, "another")


def test_too_many_maps_are_refused(photo: Image.Image) -> None:
    backend = limited(FakeBackend(), ClientLimits(maps_per_minute=1))
    LocalContext.request.set(asking("10.0.0.1"))
    source = backend.put_image(images.encode_png(photo))

    def draw() -> None:
        backend.control_map(source, kind="canny", params={"low": 50}, width=64, height=64, placement="crop")

    draw()
    with pytest.raises(InputError) as caught:
        draw()
    assert caught.value.key == "too_fast"
    assert "1 requests" in caught.value.sentence()


def test_a_user_is_the_same_from_every_browser_and_no_token_can_claim_to_be_one() -> None:
    ada = asking("10.0.0.1", "ada")
    assert owner_of(ada, "x" * 40) == owner_of(asking("10.0.0.2", "ada"), None)
    assert owner_of(ada, "x" * 40) != owner_of(asking("10.0.0.1", "bob"), "x" * 40)
    anybody = asking("10.0.0.1")
    assert owner_of(anybody, "x" * 40) == "x" * 40
    assert owner_of(anybody, owner_of(ada, None)) != owner_of(ada, None)
    assert owner_of(anybody, "short") not in ("short", owner_of(anybody, "short"))
    assert client_of(ada) != client_of(anybody) == "10.0.0.1"
    assert client_of(None) == ""
