"""Start the studio: `python app.py`, then open the address it prints."""

import argparse
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

from cnxs import text
from cnxs.errors import UnavailableError, UserError
from cnxs.history import History
from cnxs.jobs import Studio
from cnxs.registry import DETECTORS_FOLDER
from cnxs.store import ImageStore
from cnxs.ui.page import build_ui, launch_options
from cnxs.weights import Downloads, Library

DEFAULT_PORT = 7860
PORTS_TRIED = 50
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")  # who gets here is at home here: the history is one for all


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=text.get("cli.app"))
    parser.add_argument("--host", default="127.0.0.1", help=text.get("cli.app_host"))
    parser.add_argument("--listen", action="store_const", const="0.0.0.0", dest="host", help=text.get("cli.app_listen"))
    parser.add_argument("--port", type=int, help=text.get("cli.app_port", default=DEFAULT_PORT))
    parser.add_argument("--models", type=Path, default=Path("models"), help=text.get("cli.app_models"))
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help=text.get("cli.app_outputs"))
    parser.add_argument("--offline", action="store_true", help=text.get("cli.app_offline"))
    parser.add_argument("--device", default="auto", help=text.get("cli.app_device"))
    parser.add_argument("--dtype", default="auto", help=text.get("cli.app_dtype"))
    parser.add_argument("--threads", type=int, default=0, help=text.get("cli.app_threads"))
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


def open_studio(options: argparse.Namespace, downloads: Downloads) -> Studio:
    """Return the backend. Its workers import torch, so the page is served before."""

    def engine(device: str) -> Any:
        from cnxs.backend import make_engine

        return make_engine(
            device=device,
            models_dir=options.models,
            threads=options.threads,
            offline=options.offline,
            dtype=options.dtype,
        )

    engines = [partial(engine, device.strip()) for device in options.device.split(",")]
    library = Library(options.models, offline=options.offline)
    return Studio(
        engines,
        images=ImageStore(None),
        history=History(options.outputs),
        catalogue=library.models,
        downloads=downloads,
        detectors=options.models / DETECTORS_FOLDER,
        shared=options.host in LOCAL_HOSTS,
    )


def main() -> None:
    """Serve the page; models load behind it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    options = arguments()
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for child processes as well
    try:
        port = free_port(options.host, options.port)
        with Downloads(options.models) as downloads, open_studio(options, downloads) as studio:
            studio.start()
            build_ui(studio).launch(
                server_name=options.host, server_port=port, inbrowser=options.open, **launch_options(mcp=options.mcp)
            )
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
