"""A served studio: log-ins, what is kept apart, what is refused, and what every answer says about itself."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from gradio_client import Client
from PIL import Image

from cnxs import images
from cnxs.accounts import Accounts
from cnxs.history import History
from cnxs.ui.guard import LOG_INS_PER_MINUTE
from cnxs.ui.page import build_ui, launch_options
from tests.browser import serve
from tests.fake_backend import FakeBackend

ROOT = Path(__file__).parent.parent
PEOPLE = Accounts({"ada": "lovelace", "bob": "builder"})


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def open_to_all(history: History) -> Iterator[str]:
    with serve(build_ui(FakeBackend(kept=history)), **launch_options()) as url:
        yield url


@pytest.fixture
def with_accounts(history: History) -> Iterator[str]:
    with serve(build_ui(FakeBackend(kept=history)), **launch_options(log_in=PEOPLE.log_in)) as url:
        yield url


def test_every_answer_has_a_policy_and_a_page_a_new_nonce(open_to_all: str) -> None:
    pages = [httpx.get(open_to_all) for _ in range(2)]
    policies = [page.headers["content-security-policy"] for page in pages]
    assert policies[0] != policies[1]
    for page, policy in zip(pages, policies, strict=True):
        scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
        assert "'unsafe-inline'" not in scripts
        nonce = scripts.split("'nonce-")[1].split("'")[0]
        assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce}"') > 1
    for path in ("config", "gradio_api/file=/etc/passwd", "theme.css", "nowhere"):
        answer = httpx.get(open_to_all + path)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_files_outside_the_folder_of_pictures_are_refused(open_to_all: str, history: History) -> None:
    record = next(iter(history.folder.glob("*.sqlite3")))
    for path in (
        "/etc/passwd",
        ROOT / "app.py",
        ROOT / "README.md",
        "app.py",
        "../app.py",
        record,
        "/proc/self/environ",
    ):
        for spelled in (f"{path}", quote(f"{path}", safe=""), f"{path}".replace("/", "//")):
            answer = httpx.get(f"{open_to_all}gradio_api/file={spelled}")
            assert answer.status_code in (403, 404), spelled
            assert "root:" not in answer.text
    assert httpx.get(f"{open_to_all}gradio_api/runs").status_code == 404
    assert httpx.get(f"{open_to_all}monitoring").status_code != 200


def test_a_finished_picture_is_served_from_its_folder(open_to_all: str, tmp_path: Path) -> None:
    client = Client(open_to_all, verbose=False, download_files=False, analytics_enabled=False)
    picture, _ = client.predict("a fox", steps=1, api_name="/generate")
    answer = httpx.get(picture["url"])
    assert answer.headers["content-type"] == "image/png"
    assert images.load(answer.content).size == (256, 256)
    client.close()


def test_uploads_above_the_limit_are_refused(open_to_all: str) -> None:
    large = b"0" * (65 * 2**20)
    answer = httpx.post(f"{open_to_all}gradio_api/upload", files={"files": ("x.png", large)}, timeout=60)
    assert answer.status_code == 413


def test_without_a_log_in_nothing_is_told(with_accounts: str) -> None:
    for path in ("config", "gradio_api/info", "gradio_api/file=/etc/passwd", "gradio_api/queue/data?session_hash=x"):
        answer = httpx.get(with_accounts + path)
        assert answer.status_code == 401, path
    body = {"data": ["a fox"], "fn_index": 0, "session_hash": "x"}
    assert httpx.post(f"{with_accounts}gradio_api/queue/join", json=body).status_code == 401
    upload = httpx.post(f"{with_accounts}gradio_api/upload", files={"files": ("x.png", b"0")})
    assert upload.status_code == 401
    with pytest.raises(ValueError, match=r"Could not login|credentials"):
        Client(with_accounts, auth=("ada", "builder"), verbose=False)


def test_users_never_see_each_others_pictures(with_accounts: str, tmp_path: Path) -> None:
    def client(name: str, password: str) -> Client:
        got = tmp_path / name
        return Client(with_accounts, auth=(name, password), verbose=False, download_files=got, analytics_enabled=False)

    ada, bob, ada_elsewhere = client("ada", "lovelace"), client("bob", "builder"), client("ada", "lovelace")
    _, made = ada.predict("ada's boat", steps=1, api_name="/generate")
    assert bob.predict(search="boat", api_name="/history") == []
    (found,) = ada_elsewhere.predict(search="boat", api_name="/history")
    assert found["record_id"] == made["record_id"]
    for one in (ada, bob, ada_elsewhere):
        one.close()


def test_guessing_passwords_is_stopped(with_accounts: str) -> None:
    answers = [
        httpx.post(f"{with_accounts}login", data={"username": "ada", "password": f"guess {i}"})
        for i in range(LOG_INS_PER_MINUTE + 1)
    ]
    assert [answer.status_code for answer in answers] == [400] * LOG_INS_PER_MINUTE + [429]
    assert "Wait a minute" in json.loads(answers[-1].content)["detail"]


@pytest.mark.browser
def test_a_user_logs_in_and_works(with_accounts: str, open_page: Callable[..., Any], photo: Image.Image) -> None:
    page = open_page(with_accounts)
    page.locator("input[type=password]").wait_for()
    page.locator("input").first.fill("ada")
    page.locator("input[type=password]").fill("lovelace")
    page.get_by_role("button", name="Login").click()
    page.locator("#device .note").wait_for()
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": images.encode_png(photo)}
    page.locator("#photo input[type=file]").set_input_files(file)
    page.locator("#control-map img").wait_for()
    page.locator("#generate").click()
    page.locator("#status", has_text="Done.").wait_for()
