"""Content hashes of media files, computed once for every version of a file.

Hashes are kept in `clips.sqlite` under `cache_root`.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from affect.config import DataError
from affect.data import stream_hashes
from affect.data.database import kept, opened
from affect.data.overlap import DIGITS, Content
from affect.data.workers import in_parallel, workers

DATABASE = "clips.sqlite"

VERSIONS = "versions (path TEXT PRIMARY KEY, size INT, mtime_ns INT, ctime_ns INT, hash TEXT)"

TRACKS = "tracks (key TEXT PRIMARY KEY, value TEXT)"

Version = tuple[int, int, int]
"""Size, time of modification and time of change (ns) of a file."""


def version(path: str) -> Version:
    """Tells, without reading it, whether a file has changed. The time of modification is not enough: copying with times
    kept (`cp -p`, rsync, unzip) puts another file of the same size under the same name and time, but does not keep the
    time of change. Raises OSError."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_hashes(paths: Iterable[str], cache_root: Path, *, num_workers: int = 1) -> dict[str, str]:
    """The sha256 (hexadecimal) of each file by its path. Raises DataError if a file cannot be read, or the database is
    damaged or cannot be written."""
    with opened(Path(cache_root) / DATABASE, VERSIONS) as database, workers(num_workers) as pool:
        hashes = look_up(database, pool, set(paths))
    for path, digest in hashes.items():
        if digest is None:
            raise DataError(f"{path} cannot be read: put the file there, or correct the dataset's root")
    return {path: digest for path, digest in hashes.items() if digest is not None}


def file_versions(paths: Iterable[str], cache_root: Path, *, num_workers: int = 1) -> dict[str, tuple[str, Version]]:
    """The sha256 of each file with the `version` that was hashed, by path. Files that cannot be read are left out:
    decoding them says why. Raises DataError if the database is damaged or cannot be written."""
    paths = set(paths)
    if not paths:
        return {}
    with opened(Path(cache_root) / DATABASE, VERSIONS) as database, workers(num_workers) as pool:
        readable = [path for path, digest in look_up(database, pool, paths).items() if digest is not None]
        select = "SELECT hash, size, mtime_ns, ctime_ns FROM versions WHERE path = ?"
        rows = {path: database.execute(select, (os.path.abspath(path),)).fetchone() for path in readable}
    return {path: (digest, tuple(state)) for path, (digest, *state) in rows.items()}


def file_contents(paths: Iterable[str], cache_root: Path, *, num_workers: int = 1) -> dict[str, Content]:
    """What each file holds, by path. Files are hashed once for every `version`, their tracks once for every content.
    Files that cannot be read are left out: decoding them says why. Raises DataError if the database is damaged or
    cannot be written."""
    versions = file_versions(paths, cache_root, num_workers=num_workers)
    if not versions:
        return {}
    keys = {digest: json.dumps([stream_hashes.VERSION, digest]) for digest, _ in versions.values()}
    paths_by_key = {keys[digest]: path for path, (digest, _) in versions.items()}
    with opened(Path(cache_root) / DATABASE, TRACKS) as database, workers(num_workers) as pool:
        tracks = {key: json.loads(value) for key, (value,) in kept(database, pool, TRACKS, paths_by_key, _tracks)}
    contents = {}
    for path, (digest, _) in versions.items():
        audio, video = (tuple(track[:DIGITS] for track in kind) for kind in tracks[keys[digest]])
        contents[path] = Content(sha256=digest[:DIGITS], audio=audio, video=video)
    return contents


def look_up(database: sqlite3.Connection, pool: ThreadPoolExecutor, paths: set[str]) -> dict[str, str | None]:
    """The sha256 of each file by path; None for a file that cannot be read. `database` has the table VERSIONS; files
    that are new or have changed are hashed and added to it."""
    hashes: dict[str, str | None] = {}
    new: dict[str, tuple[str, int, int, int]] = {}
    for path in sorted(paths):
        try:
            entry = (os.path.abspath(path), *version(path))
        except OSError:  # decoding it says why
            hashes[path] = None
            continue
        row = database.execute(
            "SELECT hash FROM versions WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?", entry
        ).fetchone()
        if row:
            hashes[path] = row[0]
        else:
            new[path] = entry
    hashes |= in_parallel(pool, _sha256, {path: path for path in new})
    with database:
        rows = [(*entry, hashes[path]) for path, entry in new.items() if hashes[path] is not None]
        database.executemany("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)", rows)
    return hashes


def _sha256(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # a folder, or no permission: decoding it says which
        return None


def _tracks(path: str) -> tuple[tuple[str], bool]:
    try:
        return (json.dumps(stream_hashes.stream_hashes(path)),), True
    except OSError:  # perhaps only for a moment
        return (json.dumps([[], []]),), False
