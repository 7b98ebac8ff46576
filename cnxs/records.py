"""What a gallery shows: finished images and how they are looked for. Standard library only."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from cnxs.request import GenerationRequest


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished image as a gallery shows it."""

    record_id: str  # sorts by time
    owner: str  # a digest
    request: GenerationRequest
    favourite: bool = False
    edge_agreement: float | None = None
    seconds: float = 0.0  # that the image took

    @property
    def created(self) -> datetime:
        """When it was stored, in UTC."""
        return datetime.strptime(self.record_id[:22], "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for; by default everything."""

    text: str = ""  # words that must all be in the prompt, in any order and case
    base: str | None = None
    condition: str | None = None  # a control kind that was at work; "" for images without control
    favourites: bool = False


class Gallery(Protocol):
    """The finished images that one person may see. Records are named by their ids; no path goes in or out.

    Every method that takes a record's id raises `InputError` (`unknown_record`) where there is no such record for
    this person.
    """

    def search(self, search: Search, *, before: str | None = None, limit: int = 50) -> tuple[Record, ...]:
        """Return a page of records, newest first: those older than `before`, the last id of the page before."""
        ...

    def count(self, search: Search) -> int:
        """Return how many records a search finds."""
        ...

    def bases(self) -> tuple[str, ...]:
        """Return the names of the base models that there are images of."""
        ...

    def conditions(self) -> tuple[str, ...]:
        """Return the control kinds that there are images of; "" stands for images without control."""
        ...

    def recent_prompts(self, limit: int = 20) -> tuple[str, ...]:
        """Return different prompts, the one used last first."""
        ...

    def get(self, record_id: str) -> Record:
        """Return a record."""
        ...

    def png(self, record_id: str) -> bytes:
        """Return the stored file, its request inside."""
        ...

    def thumbnail(self, record_id: str) -> bytes:
        """Return a small WebP picture."""
        ...

    def favourite(self, record_id: str, *, on: bool) -> None:
        """Mark a record as a favourite, or no longer."""
        ...

    def delete(self, record_id: str) -> None:
        """Move a record to the trash."""
        ...

    def undo_delete(self, record_id: str) -> None:
        """Bring a record back from the trash."""
        ...
