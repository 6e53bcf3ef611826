"""Database of clip checks and measurements, keyed by content hash.

By content, so that nothing has to be decoded again when a dataset is moved, and nothing old is believed when a file
changes under its name. Everything is in `clips.sqlite` under `cache_root`; it can be deleted at any time. Several
processes of one machine can use it at once; SQLite's locks do not reach over a network file system, so give each
machine a `cache_root`.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from affect.config import DataError
from affect.data import stream_hashes
from affect.data.media import VERSION as DECODE_VERSION
from affect.data.media import Clip, MediaError, Sampling, decode
from affect.data.overlap import DIGITS, Content
from affect.data.record import Record

CHECK_VERSION = [3, DECODE_VERSION]
"""To be raised when clips are judged differently; what was kept before is then not used."""

BATCH = 200
"""Records between two writes: what a killed run loses at most, a few seconds of decoding."""

PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

TRANSIENT = frozenset({"missing", "unreadable"})
"""Outcomes that do not come from a file's content and are not kept."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a record's clip can be used."""

    outcome: str
    """`ok`, or one of media.OUTCOMES."""
    detail: str
    """A sentence with file and remedy; empty where the outcome is ok."""
    seconds: float
    """Duration of the clip; 0 where the outcome is not ok."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Problems that did not exclude the clip: keys of media.NOTES, with the detail."""


def check_clips(
    records: Sequence[Record],
    sampling: Sampling,
    cache_root: Path,
    *,
    num_workers: int,
    progress: Callable[[int], None] | None = None,
    take: Callable[[Record, str | None], Clip] | None = None,
) -> dict[str, Check]:
    """Check by record id, in the order of `records`. Every clip is really decoded, once: results are kept.

    progress: called with the number of records that have been checked since it was last called. take: decodes the clip
    of a record, given the sha256 of its file, None where that cannot be read; for who keeps what was decoded.

    Raises DataError where the database is damaged or cannot be written.
    """
    if not (sampling.audio or sampling.video):
        return {record.id: Check("ok", "", 0.0) for record in records}
    checks: dict[str, Check] = {}
    report = progress or (lambda done: None)
    with _database(cache_root) as database, _workers(num_workers) as pool:
        for at in range(0, len(records), BATCH):
            batch = records[at : at + BATCH]
            hashes = _hashes(database, pool, {record.media for record in batch if record.media is not None})
            keys = {record.id: _key(record, hashes, sampling) for record in batch}
            known = {key: _known(database, key) for key in {*keys.values()} - {None}}
            found: dict[str, tuple[str, str, float]] = {key: check for key, check in known.items() if check}
            # One of the records with the same clip is decoded for all. What has no hash (no file, or one that cannot be
            # read) is tried each time, since it can be put right without its content changing.
            first = {keys[r.id] or r.id: r for r in reversed(batch) if keys[r.id] not in found}
            fresh = {}
            checking = partial(_check, sampling=sampling, hashes=hashes, take=take)
            for name, check in _parallel(pool, checking, first):
                fresh[name] = check
                report(sum((keys[record.id] or record.id) == name for record in batch))
            report(sum(keys[record.id] in found for record in batch))
            with database:
                # A file system that fails now may work again, with the same content.
                rows = [(key, *fresh[key]) for key in known if key in fresh and fresh[key][0] not in TRANSIENT]
                database.executemany("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?)", rows)
            for record in batch:
                outcome, detail, seconds = {**found, **fresh}[keys[record.id] or record.id]
                notes = {}
                if outcome == "ok" and detail:
                    notes, detail = json.loads(detail), ""
                if outcome != "ok":  # kept without the path, since the same content may be found elsewhere
                    detail = str(MediaError(outcome, record.media or record.source or record.id, detail))
                checks[record.id] = Check(outcome, detail, seconds, notes)
    return {record.id: checks[record.id] for record in records}


def measure_clips(
    records: Sequence[Record],
    name: str,
    measure: Callable[[Record], tuple[str, bool]],
    cache_root: Path,
    *,
    num_workers: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Record, str | None, str]]:
    """Each record with the sha256 of its file (None where that cannot be read) and what `measure` says of its clip, in
    the order of `records`.

    measure: text, and whether it may be kept, which is so where it comes from the file's content. It is called from
    `num_workers` threads, once for every content, start and end, also in later runs; `name` is to change when it
    measures something else. BATCH records are held at a time. progress: called with the number of records done since it
    was last called.

    Raises DataError where the database is damaged or cannot be written.
    """
    report = progress or (lambda done: None)
    with _database(cache_root) as database, _workers(num_workers) as pool:
        for at in range(0, len(records), BATCH):
            batch = records[at : at + BATCH]
            hashes = _hashes(database, pool, {record.media for record in batch if record.media is not None})
            digests = {record.id: None if record.media is None else hashes[record.media] for record in batch}
            keys = {r.id: json.dumps([name, digests[r.id], *r.part]) if digests[r.id] else None for r in batch}
            known: dict[str, str] = {}
            for key in {*keys.values()} - {None}:
                row = database.execute("SELECT value FROM measurements WHERE key = ?", (key,)).fetchone()
                known |= {key: row[0]} if row else {}
            # One of the records with the same clip is measured for all.
            first = {keys[r.id] or r.id: r for r in reversed(batch) if keys[r.id] not in known}
            fresh: dict[str, tuple[str, bool]] = {}
            for which, measured in _parallel(pool, measure, first):
                fresh[which] = measured
                report(sum((keys[record.id] or record.id) == which for record in batch))
            report(sum(keys[record.id] in known for record in batch))
            with database:
                rows = [(key, value) for key, (value, keep) in fresh.items() if keep and key in {*keys.values()}]
                database.executemany("INSERT OR REPLACE INTO measurements VALUES (?, ?)", rows)
            values = known | {which: value for which, (value, _) in fresh.items()}
            for record in batch:
                yield record, digests[record.id], values[keys[record.id] or record.id]


def content_hashes(paths: Iterable[str], cache_root: Path, *, num_workers: int = 1) -> dict[str, str]:
    """The sha256 (hexadecimal) of each file by its path, remembered by absolute path and `version`.

    Raises DataError where a file cannot be read, and where the database is damaged or cannot be written.
    """
    with _database(cache_root) as database, _workers(num_workers) as pool:
        hashes = _hashes(database, pool, set(paths))
    for path, digest in hashes.items():
        if digest is None:
            raise DataError(f"{path} cannot be read: put the file there, or correct the dataset's root")
    return {path: digest for path, digest in hashes.items() if digest is not None}


Version = tuple[int, int, int]
"""Size, time of modification and time of change (ns) of a file."""


def version(path: str) -> Version:
    """What tells that a file is still as it was, without reading it. Its time of modification does not: copying with
    times kept (`cp -p`, rsync, unzip) puts another file of the same size under the same name and time, but nothing
    keeps the time of change of its entry. Raises OSError."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_versions(paths: Iterable[str], cache_root: Path, *, num_workers: int = 1) -> dict[str, tuple[str, Version]]:
    """The sha256 of each file with the `version` that it had then, by path. A file that cannot be read is not among
    them: decoding it says why. Raises DataError where the database is damaged or cannot be written."""
    paths = set(paths)
    if not paths:
        return {}
    with _database(cache_root) as database, _workers(num_workers) as pool:
        readable = [path for path, digest in _hashes(database, pool, paths).items() if digest is not None]
        select = "SELECT hash, size, mtime_ns, ctime_ns FROM versions WHERE path = ?"
        rows = {path: database.execute(select, (os.path.abspath(path),)).fetchone() for path in readable}
    return {path: (digest, tuple(known)) for path, (digest, *known) in rows.items()}


def file_contents(paths: Iterable[str], cache_root: Path, *, num_workers: int = 1) -> dict[str, Content]:
    """What each file holds, by path. Bytes are read once for every `version` of a file, tracks once for every content,
    also in later runs. A file that cannot be read is not among them: decoding it says why. Raises DataError where the
    database is damaged or cannot be written."""
    versions = file_versions(paths, cache_root, num_workers=num_workers)
    by_digest = {digest: path for path, (digest, _) in versions.items()}
    known: dict[str, list[list[str]]] = {}
    if by_digest:
        with _database(cache_root) as database, _workers(num_workers) as pool:
            keys = {digest: json.dumps([stream_hashes.VERSION, digest]) for digest in by_digest}
            for digest, key in keys.items():
                row = database.execute("SELECT value FROM tracks WHERE key = ?", (key,)).fetchone()
                known |= {digest: json.loads(row[0])} if row else {}
            missing = [digest for digest in by_digest if digest not in known]
            for at in range(0, len(missing), BATCH):
                batch = {digest: by_digest[digest] for digest in missing[at : at + BATCH]}
                found = {digest: value for digest, value in _parallel(pool, _tracks, batch) if value is not None}
                with database:
                    rows = [(keys[digest], json.dumps(value)) for digest, value in found.items()]
                    database.executemany("INSERT OR REPLACE INTO tracks VALUES (?, ?)", rows)
                known |= found
    contents = {}
    for path, (digest, _) in versions.items():
        audio, video = (tuple(track[:DIGITS] for track in kind) for kind in known.get(digest, ((), ())))
        contents[path] = Content(sha256=digest[:DIGITS], audio=audio, video=video)
    return contents


def _tracks(path: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """None for a file that cannot be opened, which may be so for a moment only."""
    try:
        return stream_hashes.stream_hashes(path)
    except OSError:
        return None


def _check(
    record: Record,
    sampling: Sampling,
    hashes: dict[str, str | None],
    take: Callable[[Record, str | None], Clip] | None,
) -> tuple[str, str, float]:
    if record.media is None:
        return "missing", "the dataset has no file for it", 0.0
    try:
        if take is None:
            clip = decode(record.media, sampling, record.start, record.end, record.audio_track)
        else:
            clip = take(record, hashes[record.media])
    except MediaError as error:
        return error.outcome, error.detail, 0.0
    return "ok", json.dumps(dict(clip.notes)) if clip.notes else "", clip.seconds


def _key(record: Record, hashes: dict[str, str | None], sampling: Sampling) -> str | None:
    """What the outcome depends on. Number and size of frames are not in it: they do not change what can be decoded."""
    digest = None if record.media is None else hashes[record.media]
    if digest is None:
        return None
    wanted = [sampling.audio, sampling.video, sampling.max_seconds]
    if sampling.own is not None:
        wanted.append(sampling.own.key)  # a file that does not say its frame rate has no such frames
    return json.dumps([*CHECK_VERSION, digest, *record.part, *wanted])


def _known(database: sqlite3.Connection, key: str) -> tuple[str, str, float] | None:
    return database.execute("SELECT outcome, detail, seconds FROM checks WHERE key = ?", (key,)).fetchone()


def _hashes(database: sqlite3.Connection, pool: ThreadPoolExecutor, paths: set[str]) -> dict[str, str | None]:
    """sha256 by path; None for a file that cannot be read."""
    hashes: dict[str, str | None] = {}
    unknown: dict[str, tuple[str, int, int, int]] = {}
    for path in sorted(paths):
        try:
            entry = (os.path.abspath(path), *version(path))
        except OSError:  # decoding it will say what is the matter
            hashes[path] = None
            continue
        row = database.execute(
            "SELECT hash FROM versions WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?", entry
        ).fetchone()
        if row:
            hashes[path] = row[0]
        else:
            unknown[path] = entry
    hashes |= _parallel(pool, _hash, {path: path for path in unknown})
    with database:
        rows = [(*entry, hashes[path]) for path, entry in unknown.items() if hashes[path] is not None]
        database.executemany("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)", rows)
    return hashes


def _hash(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # a folder, or no permission: decoding it will say which
        return None


def _parallel(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: dict[str, Item]
) -> Iterator[tuple[str, Result]]:
    """Name and result of each item, as they are ready."""
    futures = {pool.submit(function, item): name for name, item in items.items()}
    for future in as_completed(futures):
        yield futures[future], future.result()


@contextmanager
def _workers(num_workers: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        yield pool
    finally:
        # Not `with pool`, which on Ctrl-C would first decode all that is waiting.
        pool.shutdown(wait=False, cancel_futures=True)


def _database(cache_root: Path) -> AbstractContextManager[sqlite3.Connection]:
    return opened(
        Path(cache_root) / "clips.sqlite",
        "versions (path TEXT PRIMARY KEY, size INT, mtime_ns INT, ctime_ns INT, hash TEXT)",
        "checks (key TEXT PRIMARY KEY, outcome TEXT, detail TEXT, seconds REAL)",
        "measurements (key TEXT PRIMARY KEY, value TEXT)",
        "tracks (key TEXT PRIMARY KEY, value TEXT)",
    )


@contextmanager
def opened(file: Path, *tables: str) -> Iterator[sqlite3.Connection]:
    """A database of what can be deleted at any time; `tables` are made where they are not there. Raises DataError where
    it is damaged or cannot be written."""
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
    """Readers do not wait for writers in this mode, and a killed process leaves nothing to repair. Two processes that
    make a database at once are in each other's way here, and SQLite does not wait of itself."""
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
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest of the bits are details
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return f"{file} is damaged ({error}): delete it, and what it held is computed again"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{file} has been in use by another process for a minute ({error}): wait for it, or set cache_root=…"
    return f"{file.parent} cannot be written ({error}): make room there, or name another folder, cache_root=…"
