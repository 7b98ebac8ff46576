"""The index of a history: a SQLite table derived from the files, built anew where it is missing or damaged."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from cnxs import settings
from cnxs.records import Record, Search

_T = TypeVar("_T")

_VERSION = 1
_COLUMNS = "id, owner, favourite, edge_agreement, seconds, request"
_SCHEMA = f"""
CREATE TABLE records (
    id TEXT PRIMARY KEY, owner TEXT, favourite INTEGER, edge_agreement REAL, seconds REAL, request TEXT,
    prompt TEXT, base TEXT, conditions TEXT, words TEXT
) WITHOUT ROWID;
CREATE INDEX favourites ON records (id) WHERE favourite;
PRAGMA user_version = {_VERSION};
"""

logger = logging.getLogger(__name__)


class RecordFiles(Protocol):
    """The truth that the index is derived from."""

    def record_ids(self) -> set[str]:
        """Return the ids of all stored files."""
        ...

    def favourite_ids(self) -> set[str]:
        """Return the ids of the favourites."""
        ...

    def read(self, record_id: str) -> Record | None:
        """Return what a file says of itself; None where it is none of ours."""
        ...


class Index:
    """Search over records. Safe to use from several threads.

    Args:
        path: of the SQLite file; made, brought up to date, or built anew from `files`.
    """

    def __init__(self, path: Path, files: RecordFiles) -> None:
        self._path = path
        self._files = files
        self._lock = threading.RLock()
        self._connection = self._opened()

    def close(self) -> None:
        """Close the SQLite file."""
        with self._lock:
            self._connection.close()

    def add(self, records: Iterable[Record]) -> None:
        """Add records, or replace those of the same id."""
        rows = [_row(record) for record in records]
        self._on_table(lambda table: table.executemany(f"INSERT OR REPLACE INTO records VALUES ({'?,' * 9}?)", rows))

    def get(self, record_id: str) -> Record | None:
        """Return a record, None where there is none."""
        rows = self._select(f"SELECT {_COLUMNS} FROM records WHERE id = ?", [record_id])
        return _record(rows[0]) if rows else None

    def remove(self, record_id: str) -> None:
        """Take a record out."""
        self._on_table(lambda table: table.execute("DELETE FROM records WHERE id = ?", [record_id]))

    def mark(self, record_id: str, *, favourite: bool) -> None:
        """Note whether a record is a favourite."""
        values = [favourite, record_id]
        self._on_table(lambda table: table.execute("UPDATE records SET favourite = ? WHERE id = ?", values))

    def search(
        self, search: Search, *, owner: str | None, before: str | None = None, limit: int = -1
    ) -> tuple[Record, ...]:
        """Return records, newest first. See `cnxs.history.History.search`."""
        where, values = _where(search, owner)
        if before is not None:
            where, values = f"{where} AND id < ?", [*values, before]
        query = f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY id DESC LIMIT ?"
        return tuple(_record(row) for row in self._select(query, [*values, limit]))

    def count(self, search: Search, *, owner: str | None) -> int:
        """Return how many records a search finds."""
        where, values = _where(search, owner)
        return int(self._select(f"SELECT count(*) AS number FROM records WHERE {where}", values)[0]["number"])

    def distinct(self, column: Literal["base", "conditions"], *, owner: str | None) -> tuple[str, ...]:
        """Return the different values of a column, in order."""
        query = f"SELECT DISTINCT {column} FROM records WHERE ?1 IS NULL OR owner = ?1 ORDER BY {column}"
        return tuple(row[column] for row in self._select(query, [owner]))

    def prompts(self, *, owner: str | None, limit: int) -> tuple[str, ...]:
        """Return different prompts, the one used last first."""
        query = (
            "SELECT prompt FROM records WHERE prompt != '' AND (?1 IS NULL OR owner = ?1) "
            "GROUP BY prompt ORDER BY max(id) DESC LIMIT ?2"
        )
        return tuple(row["prompt"] for row in self._select(query, [owner, limit]))

    def _select(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        return self._on_table(lambda table: table.execute(query, values).fetchall())

    def _on_table(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run one transaction; where the file turns out to be damaged, build it anew and run it again."""
        with self._lock:
            try:
                with self._connection:
                    return action(self._connection)
            except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
                raise
            except sqlite3.DatabaseError as error:
                if _is_locked(error):
                    raise
                logger.warning("the index %s is opened again: %s", self._path.name, error)
                self._connection.close()
                self._connection = self._opened()
                with self._connection:
                    return action(self._connection)

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._synchronised(_connect(self._path))
        except sqlite3.DatabaseError as error:
            if _is_locked(error):
                raise
            logger.warning("the index %s is built anew: %s", self._path.name, error)
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._synchronised(_connect(self._path))

    def _synchronised(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Add what only the files have, remove what only the table has."""
        try:
            files, marked = self._files.record_ids(), self._files.favourite_ids()
            known = connection.execute("SELECT id, favourite FROM records")
            table = {row["id"]: bool(row["favourite"]) for row in known}
            missing = (self._files.read(record_id) for record_id in sorted(files - table.keys()))
            turned = [(not on, record_id) for record_id, on in table.items() if on != (record_id in marked)]
            rows = [_row(record) for record in missing if record is not None]
            with connection:
                connection.executemany("DELETE FROM records WHERE id = ?", [(one,) for one in table.keys() - files])
                connection.executemany("UPDATE records SET favourite = ? WHERE id = ?", turned)
                connection.executemany(f"INSERT OR REPLACE INTO records VALUES ({'?,' * 9}?)", rows)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes from the index, the files give back
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(_SCHEMA)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        if (state := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(state)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _is_locked(error: sqlite3.DatabaseError) -> bool:
    # Another process is at work on a sound file: nothing to rebuild.
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _where(search: Search, owner: str | None) -> tuple[str, list[object]]:
    wheres: list[str] = ["1"]
    values: list[object] = []
    for word in _clean(search.text).casefold().split()[:20]:
        wheres.append("instr(words, ?)")
        values.append(word)
    for comparison, value in (("owner = ?", owner), ("base = ?", search.base)):
        if value is not None:
            wheres.append(comparison)
            values.append(_clean(value))
    if search.condition is not None:
        wheres.append("instr(conditions, ?)" if search.condition else "conditions = ?")
        values.append(_clean(f"|{search.condition}|") if search.condition else "")
    if search.favourites:
        wheres.append("favourite")
    return " AND ".join(wheres), values


def _row(record: Record) -> tuple[Any, ...]:
    request = record.request
    prompt = _clean(request.prompt)
    return (
        record.record_id,
        record.owner,
        record.favourite,
        record.edge_agreement,
        record.seconds,
        settings.to_json(request),
        prompt,
        _clean(request.base),
        _clean("".join(f"|{use.kind}|" for use in request.controls if use.control_scale > 0)),
        prompt.casefold(),
    )


def _record(row: sqlite3.Row) -> Record:
    return Record(
        record_id=row["id"],
        owner=row["owner"],
        request=settings.from_json(row["request"]),
        favourite=bool(row["favourite"]),
        edge_agreement=row["edge_agreement"],
        seconds=row["seconds"],
    )


def _clean(text: str) -> str:
    # SQLite takes no half surrogate pairs; the request's JSON keeps them.
    return text.encode("utf-8", "replace").decode()
