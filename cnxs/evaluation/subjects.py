"""What is measured: the committed cases by their edges or their line maps, and the committed drawings."""

import numpy as np
from PIL import Image

from cnxs import controls
from cnxs.controls import colour_grid
from cnxs.controls.thin import thin
from cnxs.evaluation.bench import Subject
from cnxs.evaluation.own import CELLS
from cnxs.metrics import canny_edges
from cnxs.miniature.cases import load_cases, load_depth_maps, load_drawings, load_line_maps, load_pictures


def case_pictures(count: int) -> list[Image.Image]:
    """Return the reference pictures of the first `count` cases."""
    return [Image.fromarray(picture) for picture in load_pictures()[:count]]


def edge_subjects(count: int) -> list[Subject]:
    """Return the first cases, followed by the Canny edges of their pictures."""
    pairs = zip(load_cases()[:count], case_pictures(count), strict=True)
    return [
        Subject(
            name=f"edges {number}",
            caption=case.caption,
            seed=case.seed,
            control_map=_map(edges := canny_edges(picture)),
            lines=edges,
        )
        for number, (case, picture) in enumerate(pairs)
    ]


def line_subjects(count: int) -> list[Subject]:
    """Return the first cases, followed by their committed line maps."""
    pairs = zip(load_cases()[:count], load_line_maps()[:count], strict=True)
    return [
        Subject(
            name=f"lines {number}",
            caption=case.caption,
            seed=case.seed,
            control_map=(drawn := _map(lines > 0)),
            lines=centre_lines(drawn),
        )
        for number, (case, lines) in enumerate(pairs)
    ]


def colour_subjects(count: int) -> list[Subject]:
    """Return the first cases, followed by the colour grids of their pictures."""
    return [
        Subject(
            name=f"colours {number}",
            caption=case.caption,
            seed=case.seed,
            control_map=Image.fromarray(colour_grid.draw(np.asarray(picture), cells=CELLS)),
        )
        for number, (case, picture) in enumerate(zip(load_cases()[:count], case_pictures(count), strict=True))
    ]


def depth_subjects(count: int) -> list[Subject]:
    """Return the first cases, followed by the order of their layers."""
    return [
        Subject(
            name=f"depths {number}",
            caption=case.caption,
            seed=case.seed,
            control_map=Image.fromarray(depth).convert("RGB"),
        )
        for number, (case, depth) in enumerate(zip(load_cases()[:count], load_depth_maps()[:count], strict=True))
    ]


def drawing_subjects(count: int, *, condition: str) -> list[Subject]:
    """Return the first drawings, as the page would turn them into maps: black on white, through the kind `scribble`.

    Args:
        count: how many.
        condition: of the network; "canny" gets its lines one pixel thin.
    """
    subjects = []
    for number, drawing in enumerate(load_drawings()[:count]):
        strokes = _map(drawing.render() > 0)
        on_paper = Image.fromarray(255 - np.asarray(strokes))
        control_map = controls.draw(on_paper, kind="scribble", params={}).map
        if condition == "canny":
            control_map = Image.fromarray(thin(np.asarray(control_map)))
        subject = Subject(
            name=f"drawing {number}",
            caption=drawing.caption,
            seed=drawing.seed,
            control_map=control_map,
            lines=centre_lines(strokes),
        )
        subjects.append(subject)
    return subjects


def centre_lines(control_map: Image.Image) -> np.ndarray:
    """Return the centre lines of a white-on-black map, (H, W) bool."""
    return thin(np.asarray(control_map))[..., 0] > 0


def _map(lines: np.ndarray) -> Image.Image:
    return Image.fromarray(lines.astype(np.uint8) * np.uint8(255)).convert("RGB")
