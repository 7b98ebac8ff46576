"""The program around the model: its start, and a history of many pictures."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from cnxs.benchmark.timing import medians
from cnxs.history import History
from cnxs.records import Search
from cnxs.request import defaults
from cnxs.running import ROOT, running_app


def history(count: int) -> None:
    """Keep `count` generated pictures, then time what a gallery asks for, and building the index anew."""
    print(f"\nHistory of {count} pictures")
    picture = Image.effect_noise((64, 64), 90).convert("RGB")

    def timed(name: str, call: Callable[[], Any], *, rounds: int = 5) -> None:
        seconds = medians({name: call}, rounds=rounds)
        print(f"  {name:<42} {seconds[name] * 1000:9.1f} ms")

    with tempfile.TemporaryDirectory() as folder:
        kept = History(Path(folder))
        began = time.perf_counter()
        for number in range(count):
            kept.add(picture, replace(defaults(), prompt=f"picture {number} of {['fox', 'cat', 'dog'][number % 3]}"))
        print(f"  {'keeping one':<42} {(time.perf_counter() - began) / count * 1000:9.1f} ms")
        gallery, page = kept.of(None), 48
        middle = gallery.search(Search(), limit=500)[-1].record_id
        timed("the newest page", lambda: gallery.search(Search(), limit=page))
        timed("a page further back", lambda: gallery.search(Search(), before=middle, limit=page))
        timed("its small pictures", lambda: [gallery.thumbnail(one.record_id) for one in gallery.search(Search())])
        timed("a search for a word", lambda: gallery.search(Search(text="fox"), limit=page))
        timed("a search that finds nothing", lambda: gallery.search(Search(text="unicorn"), limit=page))
        timed("counting what a search finds", lambda: gallery.count(Search(text="fox")))
        timed("recent prompts", lambda: gallery.recent_prompts())
        kept.close()
        (Path(folder) / "index.sqlite3").unlink()
        began = time.perf_counter()
        History(Path(folder)).close()
        print(f"  {'building the index anew':<42} {(time.perf_counter() - began) * 1000:9.1f} ms")


def start_up() -> None:
    """Time the app from its start to the page, and to the model behind it; and `import cnxs`."""
    began = time.perf_counter()
    with running_app(log=Path(os.devnull)):
        print(f"\nStart\n  page served after {time.perf_counter() - began:.1f} s")
    code = "import time; t = time.perf_counter(); import cnxs, json; print(json.dumps(time.perf_counter() - t))"
    seconds = json.loads(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)
    print(f"  import cnxs {seconds * 1000:.0f} ms")
