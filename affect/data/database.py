"""SQLite files that can be deleted at any time.

Several processes of one machine can use them at once. SQLite's locks do not reach over a network file system, so each
machine needs a `cache_root` of its own.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from affect.config import DataError

PATIENCE = 60.0
"""Seconds to wait for another process that writes."""


@contextmanager
def opened(file: Path, *tables: str) -> Iterator[sqlite3.Connection]:
    """A connection to a database; `tables` ("name (columns)") are created if they do not exist. Raises DataError if it
    is damaged or cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the folder {file.parent} cannot be made ({error.strerror}): name another, cache_root=…"
        ) from error
    try:
        with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
            _write_ahead(database)
            for table in tables:
                database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            yield database
    except sqlite3.Error as error:
        raise DataError(_refusal(file, error)) from error


def _write_ahead(database: sqlite3.Connection) -> None:
    """Sets the mode in which readers do not wait for writers, and a killed process leaves nothing to repair. SQLite
    itself does not wait here for another process that creates the same database."""
    begun = time.monotonic()
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() - begun > PATIENCE:
                raise
            time.sleep(0.05)


def _refusal(file: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the other bits are details
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return f"{file} is damaged ({error}): delete it, and its content is computed again"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{file} has been in use by another process for a minute ({error}): wait for it, or set cache_root=…"
    return f"{file.parent} cannot be written ({error}): make room there, or name another folder, cache_root=…"
