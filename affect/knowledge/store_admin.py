"""Lists, shows, verifies and exports the contents of a store."""

import csv
import hashlib
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import compute, dataset

from affect.config import DataError
from affect.data.tables import for_spreadsheets
from affect.knowledge.protocol import Description
from affect.knowledge.store import KEY, NO_CLIP, SCHEMA, damaged, new_file, precedence, problem_with, read, rows, shards

ROWS_PER_GROUP = 4000
"""Rows of an exported Parquet file that are written, and later read, at a time."""


@dataclass(slots=True)
class Generator:
    """What a store holds by one generator. Duplicates are counted."""

    rows: int = 0
    clips: set[str] = field(default_factory=set)
    """Record ids."""
    modalities: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    seconds: float = 0.0
    first: str = ""
    last: str = ""


def generators(folder: Path) -> dict[str, Generator]:
    """The generators of a store by fingerprint. Raises DataError as store.read does."""
    by_fingerprint: dict[str, Generator] = {}
    for row in rows(folder):
        generator = by_fingerprint.setdefault(row.generator, Generator(first=row.time, last=row.time))
        generator.rows += 1
        generator.clips.add(row.id)
        generator.modalities[row.modality] += 1
        generator.tokens += row.tokens or 0
        generator.seconds += row.seconds
        generator.first, generator.last = min(generator.first, row.time), max(generator.last, row.time)
    return by_fingerprint


def of_record(folder: Path, record_id: str) -> list[Description]:
    """The descriptions of one record by every generator and for every content its clip has had, without duplicates.
    Raises DataError as store.read does."""
    found: dict[tuple[str, ...], Description] = {}
    for row in rows(folder, dataset.field("id") == record_id):
        found[_key(row)] = min(found.get(_key(row), row), row, key=precedence)
    return [found[key] for key in sorted(found)]


def _key(row: Description) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in KEY)


def _digest(row: Description) -> bytes:
    """A row's key in sixteen bytes, since a store may have millions."""
    return hashlib.blake2b("\0".join(_key(row)).encode(), digest_size=16).digest()


# ---------------------------------------------------------------- verify


@dataclass(frozen=True, slots=True)
class Leftover:
    """An unfinished shard, of a process that was killed or is writing it now."""

    path: Path
    num_bytes: int
    seconds: float
    """Since it was last written to."""
    complete: bool
    """Whether all rows are in it, and only renaming it was left to do."""


@dataclass(slots=True)
class Verdict:
    """The result of `verify`."""

    shards: int = 0
    rows: int = 0
    num_bytes: int = 0
    duplicates: int = 0
    """Rows beyond the first of their key."""
    disagreeing: int = 0
    """Duplicates with another text than the first row of their key."""
    problems: list[str] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)


def verify(folder: Path) -> Verdict:
    """Reads every row of every shard. Raises DataError where the folder does not exist or cannot be listed."""
    if not folder.is_dir():
        raise DataError(f"there is no store {folder}: name one, --store FOLDER, or fill it with knowledge=…")
    verdict = Verdict()
    texts: dict[bytes, bytes] = {}
    for path in shards(folder):
        verdict.shards += 1
        try:
            verdict.num_bytes += path.stat().st_size
            problems: list[str] = []
            for number, row in enumerate(read([path]), 1):
                verdict.rows += 1
                problem = problem_with(row)
                if problem is None and row.sha256 != NO_CLIP and not re.fullmatch("[0-9a-f]{64}", row.sha256):
                    problem = f"'{row.sha256}' is not a SHA-256"
                if problem is not None:
                    problems.append(f"row {number}, {row.id}: {problem}")
                key, text = _digest(row), hashlib.blake2b(row.text.encode(), digest_size=8).digest()
                verdict.duplicates += key in texts
                verdict.disagreeing += texts.setdefault(key, text) != text
            if problems:
                reason = f"{len(problems)} rows are wrong, the first: {problems[0]}"
                verdict.problems.append(str(damaged(path, reason)))
        except DataError as error:
            verdict.problems.append(str(error))
        except OSError as error:
            verdict.problems.append(str(damaged(path, error.strerror or str(error))))
    verdict.leftovers = list(leftovers(folder))
    return verdict


def leftovers(folder: Path) -> Iterator[Leftover]:
    """The unfinished shards of a store in the order of their names."""
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if not (name.startswith(".") and name.endswith(".tmp")):
            continue
        try:
            status = path.stat()
            complete = any(True for _ in read([path]))
        except FileNotFoundError:  # finished since the folder was listed
            continue
        except DataError:
            complete = False
        yield Leftover(path, status.st_size, time.time() - status.st_mtime, complete)


# ---------------------------------------------------------------- export


def export(folder: Path, path: Path, generator: str = "") -> int:
    """Writes the descriptions of a store without duplicates to one table, and gives their number.

    generator: only those whose fingerprint begins with it. A .parquet file is a shard: alone in a folder it is a store.
    Raises DataError where there is nothing to write or the file cannot be written, and as store.read does.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise DataError(f"{path}: the ending of the name gives the format: choose one of {', '.join(WRITERS)}")
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    try:
        number = write(temporary, _distinct(folder, generator))
        if not number:
            raise DataError(
                f"the store {folder} has no description"
                + (f" by a generator that begins with '{generator}'" if generator else "")
                + ": list its contents with `affect knowledge ls`"
            )
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}): name a file in a folder that can"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return number


def _distinct(folder: Path, generator: str) -> Iterator[Description]:
    """The rows without duplicates. Two passes, so that memory holds the keys and the texts of duplicates alone."""
    wanted = compute.starts_with(dataset.field("generator"), generator)
    keys: set[bytes] = set()
    repeated: set[bytes] = set()
    for row in rows(folder, wanted):
        key = _digest(row)
        (repeated if key in keys else keys).add(key)
    del keys
    winners: dict[bytes, Description] = {}
    for row in rows(folder, wanted):
        key = _digest(row)
        if key in repeated:
            winners[key] = min(winners.get(key, row), row, key=precedence)
        else:
            yield row
    yield from winners.values()


def _write_jsonl(path: Path, descriptions: Iterator[Description]) -> int:
    number = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for number, row in enumerate(descriptions, 1):  # noqa: B007
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
    return number


def _write_csv(path: Path, descriptions: Iterator[Description]) -> int:
    number = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SCHEMA.names)
        writer.writeheader()
        for number, row in enumerate(descriptions, 1):  # noqa: B007
            writer.writerow({key: for_spreadsheets(value) for key, value in asdict(row).items()})
    return number


def _write_parquet(path: Path, descriptions: Iterator[Description]) -> int:
    number = 0
    with new_file(path) as writer:
        while batch := [asdict(row) for row in islice(descriptions, ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))
            number += len(batch)
    return number


WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
