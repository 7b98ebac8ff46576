"""Paint the small pictures beside the page's sliders again: `python -m cnxs.hint_pictures`.

Each is a row of images of the miniature from one drawing and one seed, in which only the slider's setting differs.
"""

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from cnxs import generate, text
from cnxs.jobs import Studio
from cnxs.protocol import Failed, Result
from cnxs.request import GenerationRequest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "assets" / "hints"
PICTURE = ROOT / "assets" / "examples" / "sailboat.png"
PROMPT = "a sailboat, 3d render, blue background"
SEED = 3
SIDE = 112  # pixels of each image
GAP = 6

# What each row varies. The page reads the same table from `assets/hints/hints.json`.
ROWS: dict[str, tuple[float, ...]] = {
    "control_scale": (0.0, 0.5, 1.0, 1.5),
    "guidance_scale": (1.0, 4.0, 12.0),
    "start": (0.0, 0.3, 0.6),
    "end": (0.2, 0.5, 1.0),
}


def varied(request: GenerationRequest, name: str, value: float) -> GenerationRequest:
    """Return the request with one setting of its control, or of its own, changed."""
    if name == "guidance_scale":
        return replace(request, guidance_scale=value)
    return replace(request, controls=tuple(replace(use, **{name: value}) for use in request.controls))


def painted(request: GenerationRequest, studio: Studio) -> Image.Image:
    """Return the image of a request.

    Raises:
        UserError: as the job failed.
    """
    for event in studio.events(studio.submit(request, generate.OWNER)):
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Result):
            return event.image
    raise AssertionError("a job ends with a result or an error")


def row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return the images side by side with transparent gaps, each `SIDE` pixels wide and high."""
    sheet = Image.new("RGBA", (len(pictures) * (SIDE + GAP) - GAP, SIDE))
    for index, picture in enumerate(pictures):
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (index * (SIDE + GAP), 0))
    return sheet


def webp(picture: Image.Image) -> bytes:
    """Return a picture as WebP bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=82, method=6)
    return buffer.getvalue()


def main(given: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.hint_pictures", description=text.get("cli.hint_pictures"))
    parser.add_argument("--out", type=Path, default=FOLDER, help=text.get("cli.hint_pictures_out"))
    parser.add_argument("--steps", type=int, default=20, help=text.get("cli.generate_steps"))
    options = parser.parse_args(given)
    options.out.mkdir(parents=True, exist_ok=True)
    asked = ["--control", str(PICTURE), "--condition", "scribble", "--prompt", PROMPT]
    settings = generate.arguments([*asked, "--steps", str(options.steps)])
    with generate.open_studio(settings) as studio:
        request = replace(generate.request_for(next(generate.tasks(settings)), settings, studio), seed=SEED, axes=())
        for name, values in ROWS.items():
            pictures = [painted(varied(request, name, value), studio) for value in values]
            (options.out / f"{name}.webp").write_bytes(webp(row(pictures)))
    (options.out / "hints.json").write_text(json.dumps(ROWS, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
