"""Reading a network's structure off the shapes in a file.

Everything is taken from several tensors, so that one damaged or surplus tensor is named by the strict loader afterwards
and does not change what the file is taken for.
"""

import re
import statistics
from collections.abc import Iterator, Mapping

import torch


class Shapes:
    """The shapes in a file, by key, to be asked with regular expressions that match the start of a key."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}

    def count(self, pattern: str) -> int:
        """Return how many different numbers the pattern's first group takes, each in two keys or more."""
        numbers = [match[1] for match in self._matches(pattern)]
        return len({number for number in numbers if numbers.count(number) > 1})

    def several(self, pattern: str) -> bool:
        """Say whether two keys or more match."""
        return len(list(self._matches(pattern))) > 1

    def size(self, pattern: str, *, axis: int = 0) -> int | None:
        """Return the commonest size along an axis; None where no tensor has that axis."""
        shapes = [self._shapes[match.string] for match in self._matches(pattern)]
        sizes = [shape[axis] for shape in shapes if len(shape) > axis]
        return statistics.mode(sizes) if sizes else None

    def axes(self, pattern: str) -> int:
        """Return the commonest number of axes; 0 where nothing matches."""
        axes = [len(self._shapes[match.string]) for match in self._matches(pattern)]
        return statistics.mode(axes) if axes else 0

    def _matches(self, pattern: str) -> Iterator[re.Match[str]]:
        compiled = re.compile(pattern)
        yield from (match for key in self._shapes if (match := compiled.match(key)))
