"""Lists, shows, verifies and exports the contents of a store."""

import csv
import hashlib
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa

from affect.config import DataError
from affect.data.tables import for_spreadsheets
from affect.knowledge.protocol import Description
from affect.knowledge.store import KEY, NO_CLIP, SCHEMA, Shard, damaged, new_file, precedence, refusal_of, rows, shards

FORMATS = (".jsonl", ".csv", ".parquet")
"""Endings of what `export` writes."""

ROWS_PER_GROUP = 4000
"""Rows of an exported Parquet file that are held at a time, and that are read at a time by others."""


@dataclass(slots=True)
class Generator:
    """What one generator has said."""

    rows: int = 0
    """Duplicates included."""
    clips: set[str] = field(default_factory=set)
    """Ids of records."""
    modalities: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    seconds: float = 0.0
    first: str = ""
    last: str = ""


def generators(folder: Path) -> dict[str, Generator]:
    """By fingerprint. Raises DataError as store.Shard does."""
    found: dict[str, Generator] = {}
    for _, row in rows(folder):
        one = found.setdefault(row.generator, Generator(first=row.time, last=row.time))
        one.rows += 1
        one.clips.add(row.id)
        one.modalities[row.modality] += 1
        one.tokens += row.tokens or 0
        one.seconds += row.seconds
        one.first, one.last = min(one.first, row.time), max(one.last, row.time)
    return found


def of_record(folder: Path, key: str) -> list[Description]:
    """All that is said about one record, by every generator and for every content its clip has had; of duplicates the
    one that counts. Raises DataError as store.Shard does."""
    found: dict[tuple[str, ...], Description] = {}
    for path in shards(folder):
        with Shard(path) as shard:
            for group in range(shard.num_groups):
                bounds = shard.bounds(group, "id")
                if bounds is not None and not bounds[0] <= key <= bounds[1]:
                    continue
                for row in shard.descriptions(shard.read(group)):
                    if row.id == key:
                        known = found.setdefault(_key(row), row)
                        found[_key(row)] = min(known, row, key=precedence)
    return [found[name] for name in sorted(found)]


def _key(row: Description) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in KEY)


def _digest(row: Description) -> bytes:
    """Stands for a row's key in sixteen bytes, since a store may have millions."""
    return hashlib.blake2b("\0".join(_key(row)).encode(), digest_size=16).digest()


# ---------------------------------------------------------------- whether it is sound


@dataclass(frozen=True, slots=True)
class Leftover:
    """A shard that was not finished: of a process that was killed, or of one that is writing it now."""

    path: Path
    num_bytes: int
    seconds: float
    """Since it was last written to."""
    complete: bool
    """Whether all rows are in it, so that only the renaming was left to do."""


@dataclass(slots=True)
class Verdict:
    """What `verify` found."""

    shards: int = 0
    rows: int = 0
    num_bytes: int = 0
    duplicates: int = 0
    """Rows beyond the first of their key."""
    disagreeing: int = 0
    """Those of them with another text than the one met first."""
    problems: list[str] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)


def verify(folder: Path) -> Verdict:
    """Reads every row of every shard. Raises DataError where the folder does not exist or cannot be listed."""
    if not folder.is_dir():
        raise DataError(f"there is no store {folder}: name one, --store FOLDER, or fill it with knowledge=…")
    verdict = Verdict()
    seen: dict[bytes, bytes] = {}
    for path in shards(folder):
        verdict.shards += 1
        try:
            verdict.num_bytes += path.stat().st_size
            bad: list[str] = []
            for number, row in enumerate(_rows_of(path), 1):
                verdict.rows += 1
                refused = refusal_of(row)
                if refused is None and row.sha256 != NO_CLIP and not re.fullmatch("[0-9a-f]{64}", row.sha256):
                    refused = f"'{row.sha256}' is not a SHA-256"
                if refused is not None:
                    bad.append(f"row {number}, {row.id}: {refused}")
                key, text = _digest(row), hashlib.blake2b(row.text.encode(), digest_size=8).digest()
                verdict.duplicates += key in seen
                verdict.disagreeing += seen.setdefault(key, text) != text
            if bad:
                verdict.problems.append(str(damaged(path, f"{len(bad)} rows are wrong, the first: {bad[0]}")))
        except DataError as error:
            verdict.problems.append(str(error))
        except OSError as error:
            verdict.problems.append(str(damaged(path, error.strerror or str(error))))
    verdict.leftovers = list(leftovers(folder))
    return verdict


def _rows_of(path: Path) -> Iterator[Description]:
    with Shard(path) as shard:
        for group in range(shard.num_groups):
            yield from shard.descriptions(shard.read(group))


def leftovers(folder: Path) -> Iterator[Leftover]:
    """Shards that were not finished, in the order of their names."""
    for name in sorted(os.listdir(folder)):
        if not (name.startswith(".") and name.endswith(".tmp")):
            continue
        path = folder / name
        try:
            status = path.stat()
            complete = sum(1 for _ in _rows_of(path)) > 0
        except FileNotFoundError:  # finished since the folder was listed
            continue
        except DataError:
            complete = False
        yield Leftover(path, status.st_size, time.time() - status.st_mtime, complete)


# ---------------------------------------------------------------- as one table


def export(folder: Path, path: Path, generator: str = "") -> int:
    """Writes all descriptions, or those of the generators whose fingerprint begins with `generator`, of duplicates the
    one that counts, and gives their number. A .parquet file is a shard: alone in a folder it is a store.

    Raises DataError where there is nothing to write, where the file cannot be written, and as store.Shard does.
    """
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: the name says the format, and has to end in {', '.join(FORMATS)}: rename it")
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    write = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}[path.suffix.lower()]
    try:
        counted = _Counted(_distinct(folder, generator))
        write(temporary, counted)
        if not counted.number:
            raise DataError(
                f"the store {folder} has no description"
                + (f" by a generator that begins with '{generator}'" if generator else "")
                + ": look at what it has with `affect knowledge ls`"
            )
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}): name a file in a folder that can"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return counted.number


class _Counted:
    """What is passed on is counted."""

    def __init__(self, rows: Iterator[Description]) -> None:
        self.rows, self.number = rows, 0

    def __iter__(self) -> Iterator[Description]:
        for row in self.rows:
            self.number += 1
            yield row


def _distinct(folder: Path, generator: str) -> Iterator[Description]:
    """In two passes, so that of a large store only keys are held, and texts of duplicates alone."""
    seen: set[bytes] = set()
    twice: dict[bytes, Description | None] = {}
    for _, row in rows(folder):
        if row.generator.startswith(generator):
            key = _digest(row)
            if key in seen:
                twice[key] = None
            seen.add(key)
    del seen
    if twice:
        for _, row in rows(folder):
            key = _digest(row)
            if key in twice:
                known = twice[key]
                twice[key] = row if known is None else min(known, row, key=precedence)
    for _, row in rows(folder):
        if not row.generator.startswith(generator):
            continue
        key = _digest(row)
        if key not in twice:
            yield row
        elif (winner := twice[key]) is not None:
            twice[key] = None  # once
            yield winner


def _write_jsonl(path: Path, found: Iterable[Description]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in found)


def _write_csv(path: Path, found: Iterable[Description]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SCHEMA.names)
        writer.writeheader()
        writer.writerows({key: for_spreadsheets(value) for key, value in asdict(row).items()} for row in found)


def _write_parquet(path: Path, found: Iterable[Description]) -> None:
    rest = iter(found)
    with new_file(path) as writer:
        while batch := [asdict(row) for row in islice(rest, ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))
