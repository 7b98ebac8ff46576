"""Start the studio: `python app.py`, then open the address it prints."""

import argparse
import contextlib
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

from cnxs import text
from cnxs.accounts import Accounts
from cnxs.errors import InputError, UnavailableError, UserError
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.registry import DETECTORS_FOLDER
from cnxs.store import ImageStore
from cnxs.trainings import Trainings
from cnxs.ui.limits import ClientLimits
from cnxs.ui.page import build_ui, launch_options
from cnxs.weights import Downloads, Library
from cnxs.workers import Limits

DEFAULT_PORT = 7860
PORTS_TRIED = 50
LIMITS = {
    "jobs_per_minute": ClientLimits().jobs_per_minute,
    "jobs_per_client": Limits().jobs_per_owner,
    "queue": Limits().waiting_jobs,
}
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")  # who gets here is at home here: the history is one for all


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=text.get("cli.app"))
    parser.add_argument("--host", default="127.0.0.1", help=text.get("cli.app_host"))
    parser.add_argument("--listen", action="store_const", const="0.0.0.0", dest="host", help=text.get("cli.app_listen"))
    parser.add_argument("--port", type=int, help=text.get("cli.app_port", default=DEFAULT_PORT))
    parser.add_argument("--models", type=Path, default=Path("models"), help=text.get("cli.app_models"))
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help=text.get("cli.app_outputs"))
    parser.add_argument("--datasets", type=Path, default=Path("datasets"), help=text.get("cli.app_datasets"))
    parser.add_argument("--offline", action="store_true", help=text.get("cli.app_offline"))
    parser.add_argument("--device", default="auto", help=text.get("cli.app_device"))
    parser.add_argument("--dtype", default="auto", help=text.get("cli.app_dtype"))
    parser.add_argument(
        "--vram", choices=("auto", "high", "medium", "low"), default="auto", help=text.get("cli.app_vram")
    )
    parser.add_argument("--no-safety-checker", action="store_true", help=text.get("cli.app_no_safety_checker"))
    parser.add_argument("--threads", type=int, default=0, help=text.get("cli.app_threads"))
    logins = parser.add_mutually_exclusive_group()
    logins.add_argument("--auth-file", type=Path, metavar="FILE", help=text.get("cli.app_auth_file"))
    logins.add_argument("--auth", metavar="NAME:PASSWORD", help=text.get("cli.app_auth"))
    for name, default in LIMITS.items():
        words = text.get(f"cli.app_{name}", default=default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, metavar="N", help=words)
    parser.add_argument("--mcp", action="store_true", help=text.get("cli.app_mcp"))
    parser.add_argument("--open", action="store_true", help=text.get("cli.app_open"))
    return parser.parse_args()


def free_port(host: str, asked: int | None) -> int:
    """Return the asked port, or the first free one from the usual on.

    Raises:
        UnavailableError: if the asked port, or every one that was tried, is taken.
    """
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED) if asked is None else (asked,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
            try:
                probe.bind((host, port))
            except (OSError, OverflowError):
                continue
            return port
    raise UnavailableError("no_free_port", port=asked or f"{DEFAULT_PORT}-{DEFAULT_PORT + PORTS_TRIED - 1}")


def is_private(options: argparse.Namespace) -> bool:
    """Say whether the page is served to this computer alone, and to everybody on it."""
    return options.host in LOCAL_HOSTS and not (options.auth or options.auth_file)


def open_studio(options: argparse.Namespace, downloads: Downloads, trainings: Trainings | None) -> Studio:
    """Return the backend. Its workers import torch, so the page is served before."""

    def engine(device: str) -> Any:
        from cnxs.backend import make_engine

        return make_engine(
            device=device,
            models_dir=options.models,
            threads=options.threads,
            offline=options.offline,
            dtype=options.dtype,
            vram=options.vram,
            safety=not options.no_safety_checker,
        )

    history = History(options.outputs)
    history.empty_trash()
    engines = [partial(engine, device.strip()) for device in options.device.split(",")]
    library = Library(options.models, offline=options.offline)
    return Studio(
        engines,
        images=ImageStore(None),
        history=history,
        catalogue=library.models,
        downloads=downloads,
        trainings=trainings,
        detectors=options.models / DETECTORS_FOLDER,
        shared=is_private(options),
        limits=Limits(waiting_jobs=options.queue, jobs_per_owner=options.jobs_per_client),
    )


def open_trainings(options: argparse.Namespace) -> Trainings:
    """Return what trains controls; without another word on half of the processor's cores, so that the page goes on."""
    threads = options.threads or max(1, (os.cpu_count() or 1) // 2)
    return Trainings(Library(options.models, offline=options.offline), options.datasets, threads=threads)


def accounts(options: argparse.Namespace) -> Accounts | None:
    """Return who may log in; None: everybody may use the page, which is said where others can reach it.

    Raises:
        InputError: if the accounts cannot be read, or tools without a log-in were asked for as well.
    """
    if (options.auth or options.auth_file) and options.mcp:
        raise InputError("mcp_with_accounts")
    if options.auth:
        logging.warning(text.get("cli.app_auth_seen"))
        return Accounts.from_words(options.auth)
    if options.auth_file:
        return Accounts.from_file(options.auth_file)
    if options.host not in LOCAL_HOSTS:
        logging.warning(text.get("cli.app_open_to_all"))
    return None


def main() -> None:
    """Serve the page; models load behind it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    options = arguments()
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for child processes as well
    try:
        known = accounts(options)
        limits = ClientLimits(jobs_per_minute=options.jobs_per_minute, waiting_jobs=2 * options.jobs_per_client)
        port = free_port(options.host, options.port)
        with contextlib.ExitStack() as stack:
            downloads = stack.enter_context(Downloads(options.models))
            # Whoever trains uses the computer's disk and processor for hours: not for everybody in the network.
            trainings = stack.enter_context(open_trainings(options)) if is_private(options) else None
            studio = stack.enter_context(open_studio(options, downloads, trainings))
            studio.start()
            build_ui(studio, limits=limits).launch(
                server_name=options.host,
                server_port=port,
                inbrowser=options.open,
                **launch_options(mcp=options.mcp, log_in=known.log_in if known else None),
            )
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
