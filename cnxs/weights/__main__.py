"""`python -m cnxs.weights list | fetch NAME | verify`: what models there are, getting them, checking them."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cnxs import text
from cnxs.errors import UserError, line_of
from cnxs.protocol import BaseInfo, DetectorInfo, NetworkInfo
from cnxs.weights.library import Library

_REPORT_SECONDS = 0.2


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.weights", description=text.get("cli.weights"))
    parser.add_argument("--models", type=Path, default=Path("models"), help=text.get("cli.app_models"))
    parser.add_argument("--offline", action="store_true", help=text.get("cli.app_offline"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help=text.get("cli.weights_list"))
    fetch = commands.add_parser("fetch", help=text.get("cli.weights_fetch"))
    fetch.add_argument("name", help=text.get("cli.weights_name"))
    fetch.add_argument("--events", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("verify", help=text.get("cli.weights_verify"))
    return parser.parse_args(given)


def list_models(library: Library) -> None:
    """Print every model: its name, whether it is here, size, licence, and files that cannot be used."""
    models = library.models()
    for heading, infos in (
        ("bases", models.bases),
        ("networks", models.networks),
        ("detectors", models.detectors),
    ):
        print(text.get(f"cli.weights_{heading}"))
        for info in infos:
            print(f"  {info.name:28} {_state(info):22} {info.label}{f'  [{info.licence}]' if info.licence else ''}")
    for heading, addons in (("loras", models.loras), ("embeddings", models.embeddings), ("vaes", models.vaes)):
        if addons:
            print(text.get(f"cli.weights_{heading}"))
            for addon in addons:
                print(f"  {addon.name:28} {addon.family}")
    if models.unusable:
        print(text.get("cli.weights_unusable"))
        for error in models.unusable:
            print(f"  {error}")


def fetch(options: argparse.Namespace) -> None:
    """Fetch one model, with its progress on the way: for people, or one JSON object a line."""
    from cnxs.weights import hub  # loads the hub's client, which a list does not need

    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last < _REPORT_SECONDS and done < total:
            return
        last = now
        if options.events:
            print(json.dumps({"done": done, "total": total}), flush=True)
        else:
            print(f"\r{done / 1e6:,.1f} / {total / 1e6:,.1f} MB", end="", file=sys.stderr, flush=True)

    place = hub.fetch(options.name, options.models, report=report)
    print(json.dumps({"finished": True}) if options.events else f"\n{text.get('cli.weights_fetched', place=place)}")


def verify(library: Library, models: Path) -> int:
    """Check every file by its own header, what was fetched also by its hash; return the number of problems."""
    from cnxs.weights import hub

    bad = [str(error) for error in library.unusable()]
    good = 0
    for name in hub.downloadable():
        if hub.was_fetched(name, models):
            broken = hub.broken_parts(name, models, thoroughly=True)
            bad += [text.get("cli.weights_broken", name=name, files=", ".join(broken))] if broken else []
            good += not broken
    for sentence in bad:
        print(sentence)
    print(text.get("cli.weights_verified", good=good, bad=len(bad)))
    return len(bad)


def _state(info: BaseInfo | NetworkInfo | DetectorInfo) -> str:
    return text.get(f"cli.weights_{info.state}", size=f"{info.download_bytes / 1e6:,.0f}")


def main(given: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = arguments(given)
    logging.basicConfig(level=logging.WARNING)
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is loaded
    library = Library(options.models, offline=options.offline)
    try:
        if options.command == "list":
            list_models(library)
        elif options.command == "fetch":
            fetch(options)
        elif verify(library, options.models):
            sys.exit(1)
    except UserError as error:
        if options.command == "fetch" and options.events:
            print(line_of(error), flush=True)
            sys.exit(1)
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(text.get("cli.weights_stopped"))


if __name__ == "__main__":
    main()
