"""Downloads, with the hub's true client against a stand-in on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from cnxs.errors import CheckpointError, InputError, UnavailableError
from cnxs.jobs import Studio
from cnxs.protocol import DownloadInfo
from cnxs.registry import REVISIONS
from cnxs.store import ImageStore
from cnxs.weights import Downloads, Library, hub
from tests.fake_engine import FakeEngine
from tests.hub_stand_in import Hub, serve

ROOT = Path(__file__).resolve().parent.parent
NAME, FILE = "sdxl-canny-20m", "sdxl_encD_canny_20m.safetensors"
REPOSITORY = "CVL-Heidelberg/ControlNet-XS"
PATIENCE = 60.0


def control_file(width: int = 2048) -> bytes:
    """Return a file of 400 kB with keys by which a control is known."""
    values = np.random.default_rng(0)
    return save(
        {
            "enc_zero_convs_in.0.0.weight": values.random((100, 500), dtype=np.float32),
            "control_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": values.random(
                (25, width), dtype=np.float32
            ),
        }
    )


CONTENT = control_file()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve(Hub({REPOSITORY: {FILE: CONTENT, "README.md": b"words"}})) as server:
        online(monkeypatch, server.address)
        yield server


def online(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hub, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(hub, "CHUNK_BYTES", 2**12)


def environment(address: str) -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}


def fetch(models: Path, name: str = NAME) -> tuple[Path, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    return hub.fetch(name, models, report=lambda done, total: told.append((done, total))), told


def state_of(models: Path, name: str = NAME) -> str:
    return next(network.state for network in Library(models).models().networks if network.name == name)


def test_a_control_arrives_whole_with_its_progress(stand_in: Hub, tmp_path: Path) -> None:
    place, told = fetch(tmp_path)
    assert place == tmp_path / "controls" / FILE
    assert place.read_bytes() == CONTENT
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert len(told) > 10
    assert state_of(tmp_path) == "here"
    assert hub.broken_parts(NAME, tmp_path, thoroughly=True) == []


def test_what_is_here_is_not_fetched_again(stand_in: Hub, tmp_path: Path) -> None:
    fetch(tmp_path)
    fetch(tmp_path)
    assert len(stand_in.asked) == 1


def test_cut_at_three_places_it_goes_on_where_it_was(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.cuts[FILE] = [50_000, 50_001, 300_000]
    place, _ = fetch(tmp_path)
    assert place.read_bytes() == CONTENT
    starts = stand_in.ranges(FILE)
    assert len(starts) == 4
    # The last piece of a broken stream may be lost, never more.
    for start, cut in zip(starts[1:], [50_000, 50_001, 300_000], strict=True):
        assert cut - 2**12 <= start <= cut


def test_a_server_without_ranges_starts_again(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.cuts[FILE] = [200_000]
    stand_in.knows_ranges = False
    assert fetch(tmp_path)[0].read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_wedge_nothing(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.damaged.add(FILE)
    with pytest.raises(CheckpointError) as error:
        fetch(tmp_path)
    assert error.value.key == "download_damaged"
    assert not list(tmp_path.rglob("*.safetensors*"))
    assert state_of(tmp_path) != "here"
    stand_in.damaged.clear()
    assert fetch(tmp_path)[0].read_bytes() == CONTENT


def test_a_damaged_file_in_its_place_is_replaced(stand_in: Hub, tmp_path: Path) -> None:
    place = tmp_path / "controls" / FILE
    place.parent.mkdir()
    place.write_bytes(CONTENT[:1000])
    assert state_of(tmp_path) != "here"
    fetch(tmp_path)
    assert place.read_bytes() == CONTENT
    place.write_bytes(CONTENT[:-1] + b"\0")
    assert hub.broken_parts(NAME, tmp_path, thoroughly=True) == [FILE]
    fetch(tmp_path)
    assert place.read_bytes() == CONTENT


def test_a_left_over_of_another_version_is_not_gone_on_with(stand_in: Hub, tmp_path: Path) -> None:
    staging = tmp_path / hub.DOWNLOADS / NAME
    staging.mkdir(parents=True)
    (staging / f"{FILE}.{'0' * 12}.partial").write_bytes(b"other" * 1000)
    (staging / FILE).write_bytes(b"x" * len(CONTENT))
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    assert not staging.exists()


def test_a_full_disk_is_told_before_anything_is_fetched(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, hub.SPARE_BYTES + 1000))
    with pytest.raises(UnavailableError) as error:
        fetch(tmp_path)
    assert error.value.key == "download_disk_full"
    assert stand_in.asked == []


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_without_a_network_a_sentence_names_file_repository_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online(monkeypatch, closed_port())
    with pytest.raises(UnavailableError) as error:
        fetch(tmp_path)
    assert error.value.key == "download_no_network"
    assert all(part in str(error.value) for part in (FILE, REPOSITORY, str(tmp_path / "controls")))


def test_offline_a_sentence_names_file_repository_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError) as error:
        fetch(tmp_path)
    assert error.value.key == "download_offline"
    assert all(part in str(error.value) for part in (FILE, REPOSITORY, str(tmp_path / "controls")))


def test_a_repository_that_is_gone_and_one_that_lacks_the_file_are_told(stand_in: Hub, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as gone:
        fetch(tmp_path, "sd21-canny-14m-diffusers")
    assert gone.value.key == "download_refused"
    with pytest.raises(UnavailableError) as lacking:
        fetch(tmp_path, "sd15-canny-53m")
    assert lacking.value.key == "download_lacks_files"
    with pytest.raises(InputError) as unknown:
        fetch(tmp_path, "../canny")
    assert unknown.value.key == "unknown_download"


def test_a_log_in_page_in_place_of_the_hub_is_no_network(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hub_stand_in.json.dumps", lambda _: "<html>log in</html>")
    with pytest.raises(UnavailableError) as error:
        fetch(tmp_path)
    assert error.value.key == "download_no_network"


# --- in child processes -------------------------------------------------------------------------------------------


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def partials(models: Path) -> list[Path]:
    return [file for file in models.rglob("*.partial") if file.stat().st_size]


def test_a_killed_download_is_never_used_and_goes_on(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.stalls[FILE] = 300_000
    command = [sys.executable, "-m", "cnxs.weights", "--models", str(tmp_path), "fetch", NAME, "--events"]
    # The child reads pieces of 256 kB: of 300 000 bytes one piece is written when it is killed.
    with subprocess.Popen(command, cwd=ROOT, env=environment(stand_in.address), stdout=subprocess.PIPE) as child:
        wait_for(lambda: partials(tmp_path))
        child.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    assert state_of(tmp_path) != "here"
    here = partials(tmp_path)[0].stat().st_size
    assert here == hub_chunk()
    stand_in.stalls.clear()
    stand_in.release.set()
    done = subprocess.run(command, cwd=ROOT, env=environment(stand_in.address), capture_output=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1] == {"finished": True}
    assert events[-2] == {"done": len(CONTENT), "total": len(CONTENT)}
    assert stand_in.ranges(FILE) == [0, here]
    assert (tmp_path / "controls" / FILE).read_bytes() == CONTENT


def hub_chunk() -> int:
    return 2**18


def info(downloads: Downloads, name: str = NAME) -> DownloadInfo:
    return next(info for info in downloads.infos() if info.name == name)


def test_the_page_starts_watches_cancels_and_goes_on(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.stalls[FILE] = 300_000
    with Downloads(tmp_path, environment=environment(stand_in.address)) as downloads:
        downloads.start(NAME)
        downloads.start(NAME)
        wait_for(lambda: info(downloads).done_bytes)
        assert info(downloads).total_bytes == len(CONTENT)
        downloads.cancel(NAME)
        assert info(downloads).state == "cancelled"
        assert stand_in.ranges(FILE) == [0]
        stand_in.stalls.clear()
        downloads.start(NAME)
        wait_for(lambda: info(downloads).state != "running")
        assert info(downloads) == DownloadInfo(
            name=NAME, state="finished", done_bytes=len(CONTENT), total_bytes=len(CONTENT)
        )
    assert stand_in.ranges(FILE) == [0, hub_chunk()]
    assert state_of(tmp_path) == "here"


def test_the_page_is_told_why_a_download_failed(stand_in: Hub, tmp_path: Path) -> None:
    name = "sd21-canny-14m-diffusers"
    with Downloads(tmp_path, environment=environment(stand_in.address)) as downloads:
        studio = Studio(
            [FakeEngine], images=ImageStore(None), history=None, catalogue=Library().models, downloads=downloads
        )
        studio.download(name)
        wait_for(lambda: studio.downloads()[0].state != "running")
        studio.cancel_download(name)  # too late: nothing happens
        error = studio.downloads()[0].error
        assert isinstance(error, UnavailableError)
        assert error.key == "download_refused"
        with pytest.raises(InputError):
            studio.download("../x")


def test_a_studio_without_downloads_says_so() -> None:
    studio = Studio([FakeEngine], images=ImageStore(None), history=None, catalogue=Library().models)
    assert studio.downloads() == ()
    with pytest.raises(UnavailableError) as error:
        studio.download(NAME)
    assert error.value.key == "downloads_off"


# --- base models --------------------------------------------------------------------------------------------------


def base_repository(*, fp16: bool) -> dict[str, bytes]:
    """Return what a repository of SD 1.x and SDXL holds, small: parts that are wanted, and much that is not."""
    end = ".fp16.safetensors" if fp16 else ".safetensors"
    files = {"model_index.json": b"{}", "scheduler/scheduler_config.json": b'{"prediction_type": "epsilon"}'}
    for number in ("", "_2"):
        files |= {f"tokenizer{number}/{name}": name.encode() for name in ("vocab.json", "merges.txt")}
        files |= {f"text_encoder{number}/config.json": b"{}", f"text_encoder{number}/model{end}": control_file(20)}
    for part, config in (("unet", b'{"cross_attention_dim": 2048, "sample_size": 128}'), ("vae", b'{"of": "base"}')):
        files |= {f"{part}/config.json": config, f"{part}/diffusion_pytorch_model{end}": control_file(30)}
    unwanted = ["unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.non_ema.safetensors", "v1-5.ckpt"]
    if fp16:
        unwanted += ["unet/diffusion_pytorch_model.safetensors", "safety_checker/model.fp16.safetensors"]
    return {**files, **dict.fromkeys([*unwanted, "tokenizer/../../escape.json"], b"never asked for")}


def test_a_base_arrives_as_one_folder_in_half_precision_with_the_safe_vae(stand_in: Hub, tmp_path: Path) -> None:
    vae = {"config.json": b'{"of": "fix"}', "diffusion_pytorch_model.safetensors": control_file(40)}
    stand_in.repositories["stabilityai/stable-diffusion-xl-base-1.0"] = base_repository(fp16=True)
    stand_in.repositories["madebyollin/sdxl-vae-fp16-fix"] = {**vae, "sdxl_vae.safetensors": b"another form"}
    place, told = fetch(tmp_path, "sdxl")
    assert place == tmp_path / "bases" / "sdxl"
    assert told[-1][0] == told[-1][1] == sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    assert (place / "vae" / "config.json").read_bytes() == vae["config.json"]
    weights = ["text_encoder/model", "text_encoder_2/model", *(f"{p}/diffusion_pytorch_model" for p in ("unet", "vae"))]
    assert sorted(place.rglob("*.safetensors")) == sorted(place / f"{name}.safetensors" for name in weights)
    assert not list(tmp_path.rglob("escape.json"))
    base = Library(tmp_path).base_info("sdxl")
    assert (base.state, base.native_size) == ("here", 1024)
    noted = (tmp_path / hub.DOWNLOADS / "sdxl.json").read_text("utf-8")
    commits = {part["repository"]: part["revision"] for part in json.loads(noted)["parts"]}
    assert commits == {name: REVISIONS[name] for name in commits}, "the commits that the registry names"
    assert len(commits) == 2


def test_a_base_broken_off_is_not_listed_and_the_mirror_serves(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = base_repository(fp16=False)
    files["unet/config.json"] = b'{"cross_attention_dim": 1024}'
    stand_in.repositories["Manojb/stable-diffusion-2-1-base"] = files
    unet = "unet/diffusion_pytorch_model.safetensors"
    stand_in.cuts[unet] = [60_000] * (hub.ATTEMPTS + 1)
    stand_in.knows_ranges = False
    with pytest.raises(UnavailableError):
        fetch(tmp_path, "sd21-base")
    assert Library(tmp_path).base("sd21-base").path is None
    stand_in.cuts.clear()
    stand_in.knows_ranges = True
    place, _ = fetch(tmp_path, "sd21-base")
    assert Library(tmp_path).base("sd21-base").path == place
    assert all(stand_in.ranges(path) == [0] for path in ("vae/config.json", "tokenizer/vocab.json"))
