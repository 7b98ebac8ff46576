"""The named endpoints, through the clients that programs use, on a backend without a model."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from cnxs import images
from cnxs.history import History
from cnxs.ui.page import build_ui, launch_options
from tests.browser import serve
from tests.fake_backend import FakeBackend

ENDPOINTS = ["/generate", "/compare", "/control_map", "/models", "/history", "/cancel"]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> FakeBackend:
    return FakeBackend(kept=History(tmp_path_factory.mktemp("outputs")))


@pytest.fixture(scope="module")
def url(backend: FakeBackend) -> Iterator[str]:
    with serve(build_ui(backend), **launch_options(mcp=True)) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(url, verbose=False, download_files=tmp_path_factory.mktemp("got"), analytics_enabled=False)
    yield client
    client.close()


@pytest.fixture
def photo_file(photo: Image.Image, tmp_path: Path) -> Path:
    photo.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def size_of(path: str) -> tuple[int, int]:
    return images.load(Path(path).read_bytes()).size


def test_the_endpoints_have_their_names_and_every_parameter_a_type(client: Client) -> None:
    info: Any = client.view_api(return_format="dict", print_info=False)
    assert list(info["named_endpoints"]) == ENDPOINTS
    assert info["unnamed_endpoints"] == {}  # the page's own events are nobody else's
    for name in ENDPOINTS:
        for parameter in info["named_endpoints"][name]["parameters"]:
            assert parameter["type"], (name, parameter["parameter_name"])


def test_generate_returns_the_picture_of_the_request(client: Client, backend: FakeBackend, photo_file: Path) -> None:
    settings = {"sampler": "euler", "start": 0.1, "low": 40}
    values = {"prompt": "a fox", "negative_prompt": "text", "seed": 7, "steps": 3, "guidance_scale": 5.5}
    path, facts = client.predict(
        **values, image=handle_file(photo_file), control_scale=0.5, settings=settings, api_name="/generate"
    )
    request = backend.requests[-1]
    assert {name: getattr(request, name) for name in values} == values
    assert (request.sampler, request.controls[0].start, request.controls[0].control_scale) == ("euler", 0.1, 0.5)
    assert dict(request.controls[0].params)["low"] == 40
    assert (request.width, request.height) == (320, 208)  # the photo's shape at the base's own area
    assert size_of(path) == (320, 208)
    assert Path(path).read_bytes().count(b"a fox") >= 1  # its settings are inside
    assert (facts["seed"], facts["edge_agreement"]) == (7, 0.45)


def test_words_alone_need_no_image_and_seeds_are_drawn(client: Client, backend: FakeBackend) -> None:
    seeds = {client.predict(prompt="a fox", steps=1, api_name="/generate")[1]["seed"] for _ in range(2)}
    assert len(seeds) == 2
    assert backend.requests[-1].controls == ()
    assert (backend.requests[-1].width, backend.requests[-1].steps) == (256, 1)


def test_compare_returns_every_strength_from_one_seed(client: Client, photo_file: Path) -> None:
    image = handle_file(photo_file)
    row, made = client.predict(image, "a fox", strengths=[1, 0.5], width=64, height=48, steps=1, api_name="/compare")
    assert [one["control_scale"] for one in made] == [0, 0.5, 1]
    assert len({one["seed"] for one in made}) == 1
    sizes = [size_of(one["image"]) for one in made]
    assert sizes == [(64, 48)] * 3
    assert size_of(row) == (3 * 64 + 2 * 8, 48)


def test_control_map_draws_what_generate_follows(client: Client, backend: FakeBackend, photo_file: Path) -> None:
    image = handle_file(photo_file)
    path, facts = client.predict(image, condition="line_art", api_name="/control_map")
    client.predict("a fox", image, condition="line_art", steps=1, api_name="/generate")
    followed = backend.get_image(backend.requests[-1].controls[0].map_id)
    assert images.load(Path(path).read_bytes()).tobytes() == followed.tobytes()
    assert facts == {"width": 320, "height": 208, "network": "miniature-canny", "notes": []}


def test_models_tells_what_can_be_chosen(client: Client) -> None:
    models = client.predict(api_name="/models")
    assert [base["name"] for base in models["bases"]] == ["miniature", "sd15"]
    canny = next(kind for kind in models["conditions"] if kind["name"] == "canny")
    assert "low" in [setting["name"] for setting in canny["settings"]]
    assert {network["name"] for network in models["networks"]} >= {"miniature-canny", "sd15-canny"}


def test_history_is_of_this_client_and_pages(url: str, client: Client, tmp_path: Path) -> None:
    ids = [client.predict(f"a green boat {i}", steps=1, api_name="/generate")[1]["record_id"] for i in range(3)]
    found = client.predict(search="boat", limit=2, api_name="/history")
    assert [one["record_id"] for one in found] == [ids[2], ids[1]]
    assert found[0]["prompt"] == "a green boat 2"
    assert size_of(found[0]["image"]) == (256, 256)
    (last,) = client.predict(search="boat", before=ids[1], api_name="/history")
    assert last["record_id"] == ids[0]
    other = Client(url, verbose=False, download_files=tmp_path, analytics_enabled=False)
    assert other.predict(search="boat", api_name="/history") == []
    other.close()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prompt": "fail"}, "cannot be read"),
        ({"prompt": "crash"}, "Something unexpected"),
        ({"prompt": 3}, "prompt is 3"),
        ({"steps": "many"}, "steps is many"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"steps": True}, "steps is True"),
        ({"steps": 1000}, "allowed is 1 to 150"),
        ({"guidance_scale": "nan"}, "guidance_scale is nan"),
        ({"base": "nothing"}, "no base model nothing"),
        ({"settings": {"colour": "red"}}, "no setting colour"),
        ({"settings": [1]}, "settings is [1]"),
        ({"settings": {"sampler": "dice"}}, "no sampler dice"),
        ({"image": {"path": "/etc/hostname"}}, "no uploaded file"),
    ],
)
def test_errors_are_sentences(client: Client, values: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError, match=words.replace("[", r"\[")):
        client.predict(**values, api_name="/generate")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"condition": "nothing"}, "no kind of control map nothing"),
        ({"condition": "blur"}, "no control network here for blur"),
        ({"network": "nothing"}, "no control network nothing"),
        ({"settings": {"colour": "red"}}, "no setting colour"),
    ],
)
def test_errors_about_maps_are_sentences(client: Client, photo_file: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError, match=words):
        client.predict(handle_file(photo_file), **values, api_name="/control_map")


@pytest.mark.parametrize("given", [[], [0], ["strong"], [3], 1])
def test_bad_strengths_are_told(client: Client, photo_file: Path, given: Any) -> None:
    with pytest.raises(AppError, match=r"strength|control_scale"):
        client.predict(handle_file(photo_file), strengths=given, api_name="/compare")


def test_no_path_from_a_client_opens_a_file(url: str) -> None:
    for path in ("/etc/hostname", __file__):
        upload = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert "hostname" not in (answer := called(url, "control_map", [upload]))
        assert "error" in answer


def called(url: str, endpoint: str, data: list[Any]) -> str:
    """Call an endpoint by plain HTTP, as an attacker would; return the answer."""
    body = json.dumps({"data": data}).encode()
    ask = urllib.request.Request(f"{url}gradio_api/call/{endpoint}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=60) as response:
        event = json.loads(response.read())["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/{endpoint}/{event}", timeout=60) as response:
        return response.read().decode()


def test_assistants_find_the_endpoints_as_tools_and_get_pictures(url: str, photo: Image.Image) -> None:
    upload = "data:image/png;base64," + base64.b64encode(images.encode_png(photo)).decode()
    values = {"prompt": "a fox", "image": upload, "seed": 7, "steps": 2}
    told: list[str | None] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async def use() -> tuple[Any, ...]:
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return (
                await session.list_tools(),
                await session.call_tool("generate", values, progress_callback=note),
                await session.call_tool("generate", values),
                await session.call_tool("generate", {"prompt": "a fox", "steps": 1000}),
            )

    tools, watched, plain, bad = asyncio.run(use())
    assert [tool.name for tool in tools.tools] == [name[1:] for name in ENDPOINTS]
    for tool in tools.tools:
        assert len(tool.description) > 40
        for name, schema in tool.inputSchema["properties"].items():
            assert schema.get("description"), (tool.name, name)
    picture = next(part for part in watched.content if part.type == "image")
    assert images.load(base64.b64decode(picture.data)).size == (320, 208)
    assert any("'seed': 7" in part.text for part in watched.content if part.type == "text")
    assert told
    assert "'seed': 7" in plain.content[0].text  # Gradio shows pictures to clients that ask for progress only
    assert f"'url': '{url}gradio_api/file=" in plain.content[0].text
    assert bad.isError
    assert "allowed is 1 to 150" in bad.content[0].text
