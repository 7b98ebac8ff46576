"""A run's loss curve: a CSV file that grows, and a plot of it."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cnxs.training.writing import write_whole, writing

if TYPE_CHECKING:
    from cnxs.training.trainer import Progress

_QUARTERS = ("quarter1", "quarter2", "quarter3", "quarter4", "held_out")
COLUMNS = ("step", "images", "minutes", "loss", "learning_rate", *_QUARTERS)
_WIDTH, _HEIGHT, _MARGIN = 900, 480, 60
_TRAINING, _HELD_OUT, _INK, _RULE = (150, 180, 120), (40, 90, 220), (60, 60, 60), (225, 225, 225)  # BGR


class Curve:
    """`curve.csv` and `curve.png` in a run's folder."""

    def __init__(self, run: Path) -> None:
        self.path = run / "curve.csv"

    def rows(self) -> list[dict[str, str]]:
        """Return what is written so far; a line that a kill cut off does not count."""
        if not self.path.is_file():
            return []
        whole, _, _ = self.path.read_text("utf-8").rpartition("\n")
        return list(csv.DictReader(whole.splitlines()))

    def cut(self, step: int) -> None:
        """Drop what was written after the state that a run goes on from; begin the file if there is none."""
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list[str](COLUMNS))
        writer.writeheader()
        writer.writerows(row for row in self.rows() if int(row["step"]) <= step)
        write_whole(self.path, lambda path: path.write_bytes(table.getvalue().encode()))

    def add(self, progress: "Progress") -> None:
        """Append a report and draw the plot anew."""
        row = {name: str(getattr(progress, name)) for name in COLUMNS[:5]}
        held_out = progress.held_out or ("",) * len(_QUARTERS)
        row |= {name: str(value) for name, value in zip(_QUARTERS, held_out, strict=True)}
        with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, list[str](COLUMNS)).writerow(row)
        if progress.held_out is not None:
            png = cv2.imencode(".png", plot(self.rows()))[1].tobytes()
            write_whole(self.path.with_suffix(".png"), lambda path: path.write_bytes(png))


def plot(rows: list[dict[str, str]]) -> np.ndarray:
    """Return a plot (480, 900, 3) of training and held-out loss against images, BGR uint8."""
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    curves = {
        "training": [(float(row["images"]), float(row["loss"])) for row in rows if row["loss"] != "nan"],
        "held-out": [(float(row["images"]), float(row["held_out"])) for row in rows if row["held_out"]],
    }
    values = np.array([point for curve in curves.values() for point in curve] or [(0.0, 0.0)])
    right = max(1.0, values[:, 0].max())
    # Half a hundredth of the losses may be spikes far above all others; the plot is about the rest.
    low, high = values[:, 1].min(), np.percentile(values[:, 1], 99.5)
    low, high = low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3

    def place(points: np.ndarray) -> np.ndarray:
        x = _MARGIN + points[:, 0] / right * (_WIDTH - 2 * _MARGIN)
        y = _HEIGHT - _MARGIN - (points[:, 1] - low) / (high - low) * (_HEIGHT - 2 * _MARGIN)
        return np.stack([x, y.clip(0, _HEIGHT)], axis=1).round().astype(np.int32)

    for value in np.linspace(low, high, 6):
        ((x, y),) = place(np.array([(0.0, value)])).tolist()
        cv2.line(canvas, (x, y), (_WIDTH - _MARGIN, y), _RULE)
        _write_words(canvas, f"{value:.3f}", (4, y + 4))
    for value in np.linspace(0, right, 6):
        ((x, _),) = place(np.array([(value, low)])).tolist()
        _write_words(canvas, f"{value / 1000:.1f}k", (x - 14, _HEIGHT - _MARGIN + 22))
    for (name, points), colour, x in zip(curves.items(), (_TRAINING, _HELD_OUT), (_MARGIN, 180), strict=True):
        if points:
            cv2.polylines(canvas, [place(np.array(points))], False, colour, 2, cv2.LINE_AA)
        _write_words(canvas, name, (x, 30), colour)
    _write_words(canvas, "images", (_WIDTH // 2 - 24, _HEIGHT - 12))
    return canvas


def _write_words(canvas: np.ndarray, words: str, at: tuple[int, int], colour: tuple[int, int, int] = _INK) -> None:
    cv2.putText(canvas, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
