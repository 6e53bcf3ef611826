"""SQLite files that can be deleted at any time.

Several processes of one machine can use them at once. SQLite's write-ahead logs do not work between machines, so on a
file system that several share each machine has files of its own, `clips-HOST.sqlite`.
"""

import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from affect.config import DataError
from affect.data.workers import Item, in_parallel

SHARED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "panfs", "wekafs", "pvfs", "afs", "9p", "fuse.")
"""How the names of file systems begin that several machines may share."""

MOUNTS = Path("/proc/self/mountinfo")

PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

BATCH = 200
"""Rows that are computed between two writes: what a killed run loses at most."""


@contextmanager
def opened(file: Path, *tables: str) -> Iterator[sqlite3.Connection]:
    """A connection to a database (see `of_this_machine`); `tables` ("name (columns)") are created if they do not exist.
    Raises DataError if it is damaged or cannot be written."""
    file = of_this_machine(file)
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


def of_this_machine(file: Path) -> Path:
    """`file`, or beside it the one of this machine where the file system may be shared. Where the system does not say
    what it has mounted (only Linux does), it counts as its own."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return file
    kinds: dict[Path, str] = {}
    for mount in mounts:
        fields, _, source = mount.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        kinds[Path(place)] = source.split()[0]  # of two mounts in one place the later one counts
    folder = file.parent.resolve()
    kind = next((kinds[place] for place in (folder, *folder.parents) if place in kinds), "")
    if not kind.startswith(SHARED):
        return file
    host = re.sub(r"[^\w-]", "_", socket.gethostname())
    return file.with_stem(f"{file.stem}-{host}")


def kept(
    database: sqlite3.Connection,
    pool: ThreadPoolExecutor,
    table: str,
    items: Mapping[str, Item],
    compute: Callable[[Item], tuple[tuple, bool]],
) -> Iterator[tuple[str, tuple]]:
    """The key of each item, when it is ready, with its row of `table` (less the key). Missing rows are computed in
    parallel and written, BATCH at a time, if `compute` says that they may be kept."""
    name = table.split()[0]
    missing = []
    for key in items:
        if row := database.execute(f"SELECT * FROM {name} WHERE key = ?", (key,)).fetchone():
            yield key, row[1:]
        else:
            missing.append(key)
    for at in range(0, len(missing), BATCH):
        new = []
        for key, (row, keep) in in_parallel(pool, compute, {key: items[key] for key in missing[at : at + BATCH]}):
            new += [(key, *row)] if keep else []
            yield key, row
        if new:
            with database:
                database.executemany(f"INSERT OR REPLACE INTO {name} VALUES ({', '.join('?' * len(new[0]))})", new)


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
