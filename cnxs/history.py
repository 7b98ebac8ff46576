"""Every finished image, kept as a PNG file with its request inside. The files are the only store.

FOLDER/2026-10-03/20261003-153000-123456-1a2b3c4d.png   an image, named by its time (UTC) and chance
FOLDER/images/...                                        sources and control maps, each stored once
FOLDER/favourites/RECORD_ID                              an empty file marks a favourite
FOLDER/trash/RECORD_ID.png                               deleted, can come back for a week
FOLDER/thumbnails/RECORD_ID.webp, FOLDER/index.sqlite3   derived: may be deleted at any time
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import secrets
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from cnxs import images, pnginfo
from cnxs.errors import InputError
from cnxs.history_index import Index
from cnxs.records import Gallery, Record, Search
from cnxs.request import GenerationRequest
from cnxs.store import ImageStore

THUMBNAIL_SIZE = 256  # pixels: the longer side
MAX_PAGE = 500  # records
TRASH_SECONDS = 7 * 86_400  # that a deleted image can come back for

_RECORD_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{6}-[0-9a-f]{8}")
_CHUNK = "cnxs-record"  # what a file says of itself beside its request: owner, edge agreement, seconds
_PART_AGE = 60.0  # seconds after which a temporary file cannot be that of another process at work

logger = logging.getLogger(__name__)


class History:
    """The finished images in a folder. Safe to use from several threads.

    A record is finished once `add` has returned: it then survives the end of the process at any moment. Wherever
    `owner` may be given, None means everybody's; with an owner, others' records do not exist.

    Args:
        folder: made when missing. What a killed process left half-written is removed; the index is brought up to date.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = ImageStore(folder / "images")
        for name in ("favourites", "trash", "thumbnails"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._files = _Files(folder)
        self._index = Index(folder / "index.sqlite3", self._files)

    def of(self, owner: str | None) -> "Gallery":
        """Return the history as one person sees it; None sees everybody's."""
        return _Owned(self, owner)

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def add(
        self,
        image: Image.Image,
        request: GenerationRequest,
        *,
        owner: str = "",
        images: ImageStore | None = None,
        edge_agreement: float | None = None,
        seconds: float = 0.0,
    ) -> str:
        """Store a finished image, its sources and maps; return its record id.

        Args:
            image: RGB.
            request: complete and axis-free.
            owner: kept as a digest, so that the file does not tell it.
            images: where the pictures that the request names are; this history's own store if None.

        Raises:
            OSError: if the disk is full or not writable. Nothing half-written stays.
            InputError: if the request names a picture that is not there.
        """
        if images is not None and images is not self.images:
            for digest in request.picture_ids():
                self.images.put(images.get(digest))
        record = Record(
            record_id=f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(4)}",
            owner=_owner_digest(owner),
            request=request,
            edge_agreement=edge_agreement,
            seconds=seconds,
        )
        about = {"owner": record.owner, "edge_agreement": edge_agreement, "seconds": seconds}
        data = pnginfo.encode(image, request, extra={_CHUNK: json.dumps(about)})
        path = self._files.path(record.record_id)
        path.parent.mkdir(exist_ok=True)
        _write_atomically(path, data)
        with contextlib.suppress(OSError):  # `thumbnail` makes it anew
            _write_atomically(self._thumbnail_path(record.record_id), _thumbnail(image.copy()), durable=False)
        try:
            self._index.add([record])
        except sqlite3.DatabaseError:  # a full disk, say; the next start finds the file
            logger.exception("%s is stored, but not in the index", path.name)
        return record.record_id

    def get(self, record_id: str, *, owner: str | None = None) -> Record:
        """Return a record.

        Raises:
            InputError: `unknown_record`: there is none of that id.
        """
        _check_id(record_id)
        return _owned(self._index.get(record_id), owner)

    def png(self, record_id: str, *, owner: str | None = None) -> bytes:
        """Return the stored file, its request inside. Raises `InputError` as `get`."""
        self.get(record_id, owner=owner)
        try:
            return self._files.path(record_id).read_bytes()
        except FileNotFoundError as error:  # removed by hand
            raise InputError("unknown_record") from error

    def thumbnail(self, record_id: str, *, owner: str | None = None) -> bytes:
        """Return a small WebP picture, at most `THUMBNAIL_SIZE` pixels wide and high.

        Raises:
            InputError: as `get`; or if the stored file was damaged.
        """
        self.get(record_id, owner=owner)
        cached = self._thumbnail_path(record_id)
        try:
            return cached.read_bytes()
        except FileNotFoundError:
            data = _thumbnail(images.load(self.png(record_id)))
            _write_atomically(cached, data, durable=False)
            return data

    def search(
        self,
        text: str = "",
        *,
        owner: str | None = None,
        base: str | None = None,
        condition: str | None = None,
        favourites: bool = False,
        before: str | None = None,
        limit: int = 50,
    ) -> tuple[Record, ...]:
        """Return records, newest first.

        Args:
            text: words that must all be in the prompt, in any order and case.
            condition: a control kind that was at work; "" for images without control.
            before: the last record id of the page before this one.
            limit: length of a page, at most `MAX_PAGE`.
        """
        if before is not None:
            _check_id(before)
        search = Search(text=text, base=base, condition=condition, favourites=favourites)
        return self._index.search(search, owner=_digest_of(owner), before=before, limit=min(limit, MAX_PAGE))

    def count(self, search: Search, *, owner: str | None = None) -> int:
        """Return how many records a search finds."""
        return self._index.count(search, owner=_digest_of(owner))

    def bases(self, *, owner: str | None = None) -> tuple[str, ...]:
        """Return the names of the base models that there are records of."""
        return self._index.distinct("base", owner=_digest_of(owner))

    def conditions(self, *, owner: str | None = None) -> tuple[str, ...]:
        """Return the control kinds that there are records of; "" stands for images without control."""
        found = self._index.distinct("conditions", owner=_digest_of(owner))
        return tuple(sorted({kind for kinds in found for kind in kinds.strip("|").split("|")}))

    def recent_prompts(self, *, owner: str | None = None, limit: int = 20) -> tuple[str, ...]:
        """Return different prompts, the one used last first."""
        return self._index.prompts(owner=_digest_of(owner), limit=limit)

    def favourite(self, record_id: str, *, on: bool, owner: str | None = None) -> None:
        """Mark a record as a favourite, or no longer. Raises `InputError` as `get`."""
        self.get(record_id, owner=owner)
        marker = self.folder / "favourites" / record_id
        if on:
            marker.touch()
        else:
            marker.unlink(missing_ok=True)
        self._index.mark(record_id, favourite=on)

    def delete(self, record_id: str, *, owner: str | None = None) -> None:
        """Move a record to the trash. Raises `InputError` as `get`."""
        self.get(record_id, owner=owner)
        with contextlib.suppress(FileNotFoundError):  # removed by hand
            self._files.path(record_id).replace(self._trashed(record_id))
            os.utime(self._trashed(record_id))  # how long it has been there
        self._index.remove(record_id)

    def undo_delete(self, record_id: str, *, owner: str | None = None) -> None:
        """Bring a record back from the trash, a favourite as a favourite. Raises `InputError` as `get`."""
        _check_id(record_id)
        record = _owned(self._files.read_from(self._trashed(record_id)), owner)
        path = self._files.path(record_id)
        path.parent.mkdir(exist_ok=True)
        self._trashed(record_id).replace(path)
        self._index.add([record])

    def empty_trash(self, *, older_than: float = TRASH_SECONDS) -> None:
        """Remove for good what was deleted so many seconds ago, and the pictures that nothing else names."""
        trashed = list((self.folder / "trash").glob("*.png"))
        gone = [path for path in trashed if time.time() - path.stat().st_mtime >= older_than]
        for path in gone:
            path.unlink(missing_ok=True)
            for derived in (self._thumbnail_path(path.stem), self.folder / "favourites" / path.stem):
                derived.unlink(missing_ok=True)
        if gone:
            records = [self._files.read_from(path) for path in trashed]
            records += self._index.search(Search(), owner=None)
            named = {digest for record in records if record for digest in record.request.picture_ids()}
            self.images.remove_unnamed(named, older_than=older_than)

    def _thumbnail_path(self, record_id: str) -> Path:
        return self.folder / "thumbnails" / f"{record_id}.webp"

    def _trashed(self, record_id: str) -> Path:
        return self.folder / "trash" / f"{record_id}.png"


class _Owned:
    """A history as one person sees it: `cnxs.records.Gallery`."""

    def __init__(self, history: History, owner: str | None) -> None:
        self._history, self._owner = history, owner

    def search(self, search: Search, *, before: str | None = None, limit: int = 50) -> tuple[Record, ...]:
        return self._history.search(**vars(search), owner=self._owner, before=before, limit=limit)

    def count(self, search: Search) -> int:
        return self._history.count(search, owner=self._owner)

    def bases(self) -> tuple[str, ...]:
        return self._history.bases(owner=self._owner)

    def conditions(self) -> tuple[str, ...]:
        return self._history.conditions(owner=self._owner)

    def recent_prompts(self, limit: int = 20) -> tuple[str, ...]:
        return self._history.recent_prompts(owner=self._owner, limit=limit)

    def get(self, record_id: str) -> Record:
        return self._history.get(record_id, owner=self._owner)

    def png(self, record_id: str) -> bytes:
        return self._history.png(record_id, owner=self._owner)

    def thumbnail(self, record_id: str) -> bytes:
        return self._history.thumbnail(record_id, owner=self._owner)

    def favourite(self, record_id: str, *, on: bool) -> None:
        self._history.favourite(record_id, on=on, owner=self._owner)

    def delete(self, record_id: str) -> None:
        self._history.delete(record_id, owner=self._owner)

    def undo_delete(self, record_id: str) -> None:
        self._history.undo_delete(record_id, owner=self._owner)


class _Files:
    """The stored files, as `cnxs.history_index.RecordFiles`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, record_id: str) -> Path:
        """Return where a record's file is."""
        return self._folder / f"{record_id[:4]}-{record_id[4:6]}-{record_id[6:8]}" / f"{record_id}.png"

    def record_ids(self) -> set[str]:
        """Return the ids of all stored files; remove what was left half-written."""
        found: set[str] = set()
        for path in (self._folder / "thumbnails").glob("*.part"):
            if _is_abandoned(path):
                path.unlink(missing_ok=True)
        for day in self._folder.glob("????-??-??"):
            for path in day.iterdir():
                if path.suffix == ".png" and _RECORD_ID.fullmatch(path.stem):
                    found.add(path.stem)
                elif path.suffix == ".part" and _is_abandoned(path):
                    path.unlink(missing_ok=True)
        return found

    def favourite_ids(self) -> set[str]:
        """Return the ids of the favourites."""
        return {path.name for path in (self._folder / "favourites").iterdir()}

    def read(self, record_id: str) -> Record | None:
        """Return what a file says of itself; None, and a line in the log, where it is none of ours."""
        return self.read_from(self.path(record_id))

    def read_from(self, path: Path) -> Record | None:
        """Read a record from a file that may be elsewhere, as in the trash."""
        try:
            with path.open("rb") as file:
                chunks = pnginfo.read_chunks(file)
            about = json.loads(chunks[_CHUNK])
            return Record(
                record_id=path.stem,
                owner=str(about["owner"]),
                request=pnginfo.from_json(chunks["cnxs"]),
                favourite=(self._folder / "favourites" / path.stem).exists(),
                edge_agreement=None if about["edge_agreement"] is None else float(about["edge_agreement"]),
                seconds=float(about["seconds"]),
            )
        except FileNotFoundError:
            return None
        except (InputError, KeyError, ValueError, TypeError) as error:
            logger.warning("%s is left out of the history: %s", path.name, error)
            return None


def _thumbnail(image: Image.Image) -> bytes:
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=85)
    return buffer.getvalue()


def _owned(record: Record | None, owner: str | None) -> Record:
    if record is None or (owner is not None and record.owner != _owner_digest(owner)):
        raise InputError("unknown_record")
    return record


def _digest_of(owner: str | None) -> str | None:
    return None if owner is None else _owner_digest(owner)


def _owner_digest(owner: str) -> str:
    return hashlib.sha256(f"cnxs owner:{owner}".encode("utf-8", "replace")).hexdigest()[:16]


def _check_id(record_id: str) -> None:
    if not _RECORD_ID.fullmatch(record_id):
        raise InputError("unknown_record")


def _write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file so that at any moment either all of it is there or nothing; after a power cut as well if `durable`.

    Raises:
        OSError: if it cannot be written; nothing of it stays then.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _PART_AGE
    except FileNotFoundError:
        return False
