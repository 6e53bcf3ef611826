"""The store of descriptions: a folder of Parquet shards, one row a clip, modality and generator.

    <store>/<host>-<pid>-<random>-<number>.parquet   a shard, never changed once it has this name
    <store>/.<host>-<pid>-<random>-<number>.tmp      one that is being written, or that a killed process left
    <store>/_generators/<hash>.json                  with which settings a generator worked (fill.py)
    <store>/_failures/<host>-<pid>-….csv             what could not be described (fill.py)

Every process writes shards of its own, so that any number of processes and machines can fill one store without locks; a
killed one loses what it had not yet written. Where two have described the same, the description that was made first
is the one that counts, and of two of one time the text that is first in the alphabet: what a run has used stays, and
the result is the same whatever the shards are called.

A description is reused only for the same clip and the same request (Source.request): shards of before requests were
kept are read, but what they hold counts only for sources that show a generator nothing of the record.

The folder is one table to others: pandas.read_parquet(store), and read_parquet('<store>/*.parquet') in DuckDB
(union_by_name=true where some of its shards are older).
"""

import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from affect.config import Config, DataError
from affect.knowledge.protocol import MODALITIES, Description

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("generator", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("tokens", pa.int64()),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("time", pa.string(), nullable=False),
        pa.field("request", pa.string(), nullable=False),
    ]
)
assert SCHEMA.names == [f.name for f in fields(Description)]

ADDED = "request"
"""A column that shards of older versions lack. It is read from them as empty text."""

KEY = ("id", "sha256", "modality", "generator", "request")
"""What there is one description of."""

NO_CLIP = "no clip"
"""Stands for the content hash of a record whose file is not there: descriptions made elsewhere need no clip."""

ROWS_PER_SHARD = 4000
"""About 1 MB; a million rows are 250 files."""

SECONDS_PER_SHARD = 60.0
"""Work that a killed process loses at most, beside that of one description."""

UNREADABLE = (OSError, pa.ArrowException, ValueError)
"""What reading a damaged Parquet file raises: ValueError is text that is not UTF-8."""


def folder_of(cfg: Config) -> Path:
    """Where the store of this configuration is."""
    return Path(cfg.knowledge.store or f"{cfg.cache_root}/knowledge").expanduser()


def clip_hash(file_sha256: str, *part: float | int | None) -> str:
    """Content hash of a clip: that of its file where it is the whole file, so that sha256sum can check it; else one
    over the file's hash and what of the file it is (Record.part)."""
    if all(one is None for one in part):
        return file_sha256
    return hashlib.sha256(json.dumps([file_sha256, *part]).encode()).hexdigest()


def refusal_of(description: Description) -> str | None:
    """Why a description cannot be kept; None where it can. Control characters and a model's special tokens can be: they
    are part of what was said, and the encoder that puts it into a prompt takes their power (models/chat.py)."""
    if description.modality not in MODALITIES:
        return f"'{description.modality}' is not one of {', '.join(MODALITIES)}: correct the source"
    if not description.text.strip():
        return "the description is empty: look at the clip, or change the instruction"
    try:
        description.text.encode()
    except UnicodeEncodeError as error:
        return f"the description is not text that UTF-8 can hold ({error.reason}): correct the source"
    return None


# ---------------------------------------------------------------- writing


class Writer:
    """Appends to a store: `with Writer(folder) as writer: writer.add(description)`. What is buffered is written when
    there are `rows` of it, when the oldest is `seconds` old as another one comes, and at the end, also where that is an
    exception.

    Raises DataError where the folder cannot be made or written, the first time before anything was described.
    """

    def __init__(self, folder: Path, rows: int = ROWS_PER_SHARD, seconds: float = SECONDS_PER_SHARD) -> None:
        assert rows >= 1
        self.folder, self.rows, self.seconds = folder, rows, seconds
        host = re.sub(r"[^\w-]", "_", socket.gethostname())
        self.name = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self.written = 0
        self._shards = 0
        self._buffer: list[Description] = []
        self._oldest = 0.0
        self._failed = False
        probe = folder / f".{self.name}-probe.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise DataError(
                f"the store {folder} cannot be written ({error.strerror}): name a folder that can, knowledge.store=…"
            ) from error

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._failed:  # what could not be written a moment ago would only hide why
            self.flush()

    def add(self, description: Description) -> None:
        """Keeps a description. Raises DataError where it cannot be written, ValueError where it is none that can be
        kept (`refusal_of`)."""
        refused = refusal_of(description)
        if refused is not None:
            raise ValueError(f"{description.id}, {description.modality}: {refused}")
        now = time.monotonic()
        if not self._buffer:
            self._oldest = now
        self._buffer.append(description)
        if len(self._buffer) >= self.rows or now - self._oldest >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what is buffered as one shard."""
        if not self._buffer:
            return
        name = f"{self.name}-{self._shards}"
        try:
            _write_shard(self._buffer, self.folder / f".{name}.tmp", self.folder / f"{name}.parquet")
        except OSError as error:
            self._failed = True
            raise DataError(
                f"the store {self.folder} cannot be written ({error.strerror or error}), and {len(self._buffer):,}"
                " descriptions are lost: make room there, or name another folder, knowledge.store=…, and run it again;"
                f" the {self.written:,} before them are kept"
            ) from error
        self._shards += 1
        self.written += len(self._buffer)
        self._buffer = []


def _write_shard(rows: list[Description], temporary: Path, final: Path) -> None:
    # Encoded in memory, so that all that can go wrong with the file is an OSError of Python's own.
    sink = pa.BufferOutputStream()
    with new_file(sink) as writer:
        writer.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA))
    try:
        with open(temporary, "wb") as file:
            file.write(sink.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # The name is on the disk only when the folder is; without it a power cut takes back what was said to be kept.
    descriptor = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_file(sink: Any) -> parquet.ParquetWriter:
    """A Parquet file of the store's form; `sink` is a path or a stream."""
    # Checksums: a flipped bit inside a page would otherwise be read as another text. No dictionary where hardly two
    # rows are alike: it would be built, given up, and cost a third of the reading.
    return parquet.ParquetWriter(
        sink,
        SCHEMA,
        compression="zstd",
        use_dictionary=["modality", "generator", "time", "request"],
        write_page_checksum=True,
    )


# ---------------------------------------------------------------- reading


def shards(folder: Path) -> list[Path]:
    """The shards of a store, in the order of their names; none where the folder does not exist. Raises DataError where
    it cannot be listed."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(
            f"the store {folder} cannot be read ({error.strerror}): name a folder of shards, knowledge.store=…"
        ) from error
    return [folder / name for name in sorted(names) if name.endswith(".parquet") and not name.startswith((".", "_"))]


def damaged(shard: Path, why: Exception | str) -> DataError:
    words = " ".join(str(why).split()).rstrip(".")
    return DataError(
        f"the shard {shard} is damaged ({words}): delete it, and the next `affect knowledge` makes again what it held"
    )


class Shard:
    """An open shard. Raises DataError where it is damaged or has another schema."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = parquet.ParquetFile(path, page_checksum_verification=True)
            found = {f.name: f.type for f in self.file.schema_arrow}
        except UNREADABLE as error:
            raise damaged(path, error) from error
        wanted = {f.name: f.type for f in SCHEMA}
        if found != wanted and found != {name: kind for name, kind in wanted.items() if name != ADDED}:
            self.file.close()
            lacks = [f"{name} ({kind})" for name, kind in wanted.items() if found.get(name) != kind]
            more = [f"{name} ({kind})" for name, kind in found.items() if wanted.get(name) != kind]
            what = "; ".join(
                f"{verb} {', '.join(columns)}" for verb, columns in (("it lacks", lacks), ("it has", more)) if columns
            )
            raise DataError(
                f"the file {path} is not a shard of descriptions ({what}): move it out of the store; what was described"
                " elsewhere is read with knowledge=file"
            )

    def __enter__(self) -> "Shard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    @property
    def num_groups(self) -> int:
        return self.file.metadata.num_row_groups

    def bounds(self, group: int, column: str) -> tuple[str, str] | None:
        """The smallest and the largest value of a column in a row group; None where the file does not say."""
        try:
            index = self.file.schema_arrow.get_field_index(column)
            statistics = self.file.metadata.row_group(group).column(index).statistics
            return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None
        except UNREADABLE as error:
            raise damaged(self.path, error) from error

    def read(self, group: int, columns: Sequence[str] = tuple(SCHEMA.names)) -> pa.Table:
        """Columns of a row group."""
        there = [name for name in columns if name != ADDED or ADDED in self.file.schema_arrow.names]
        try:
            # Threads would wait for one another: a row group takes a few milliseconds.
            table = self.file.read_row_group(group, columns=there, use_threads=False)
        except UNREADABLE as error:
            raise damaged(self.path, error) from error
        nulls = [name for name in there if name != "tokens" and table[name].null_count]
        if nulls:
            raise damaged(self.path, f"rows without {', '.join(nulls)}")
        if len(there) < len(columns):
            table = table.append_column(SCHEMA.field(ADDED), pa.array([""] * table.num_rows, pa.string()))
        return table.select(list(columns))

    def values(self, table: pa.Table) -> dict[str, list[Any]]:
        """The columns of what `read` gave, or a part of it, as Python objects."""
        try:
            return {name: _objects(table[name]) for name in table.column_names}
        except UNREADABLE as error:  # text that is not UTF-8
            raise damaged(self.path, error) from error

    def descriptions(self, table: pa.Table) -> Iterator[Description]:
        """The rows of what `read` gave of all columns, or a part of it."""
        values = self.values(table)
        for key, content, modality, generator, text, tokens, seconds, made, request in zip(
            *(values[name] for name in SCHEMA.names), strict=True
        ):
            yield Description(
                id=key,
                sha256=content,
                modality=modality,
                generator=generator,
                text=text,
                tokens=tokens,
                seconds=seconds,
                time=made,
                request=request,
            )


def _objects(column: pa.ChunkedArray) -> list[Any]:
    # By way of numpy, ten times as fast; but there, whole numbers with nulls would come as floats with nan.
    return column.to_numpy().tolist() if pa.types.is_string(column.type) else column.to_pylist()


def rows(folder: Path) -> Iterator[tuple[Path, Description]]:
    """Every row with its shard, duplicates included; one row group is held at a time. Raises DataError as Shard
    does."""
    for path in shards(folder):
        with Shard(path) as shard:
            for group in range(shard.num_groups):
                for row in shard.descriptions(shard.read(group)):
                    yield path, row


def precedence(row: Description) -> tuple[str, str]:
    """Of several rows with one KEY, the one for which this is smallest counts."""
    return row.time, row.text


Requests = Mapping[tuple[str, str], str]
"""Source.request by record id and modality; what is not in it is the empty text."""


@dataclass(slots=True)
class Found:
    """What a store has of what was asked for."""

    descriptions: dict[tuple[str, str], Description] = field(default_factory=dict)
    """By record id and modality."""
    changed: set[tuple[str, str]] = field(default_factory=set)
    """Record id and modality of what is there for another content of the clip's file, or another start or end, only."""
    other_request: set[tuple[str, str]] = field(default_factory=set)
    """Of what is there for the same clip, but the generator was shown something else."""
    no_request: set[tuple[str, str]] = field(default_factory=set)
    """Of what is there for the same clip, but it is not known what the generator was shown: written by an older
    version."""

    def passed_over(self, gaps: Mapping[str, Collection[str]]) -> list[str]:
        """A sentence for each reason for which descriptions that are there are not used. gaps: modalities that are
        missing, by record id."""
        reasons = (
            (self.changed, "another content of the clip's file: it has changed since"),
            (
                self.other_request,
                "another request: the transcript, the language, the instruction or the decoding of the clip has changed"
                " since",
            ),
            (
                self.no_request,
                "a request that was not recorded: an older version wrote them without what the generator was shown",
            ),
        )
        sentences = []
        for keys, why in reasons:
            count = sum((key, name) in keys for key, missing in gaps.items() for name in missing)
            if count:
                sentences.append(f"{count:,} of them are there for {why}")
        return sentences


def look_up(
    folder: Path,
    generator: str,
    hashes: Mapping[str, str],
    modalities: Collection[str],
    requests: Requests | None = None,
) -> Found:
    """The descriptions of clips by one generator.

    hashes: content hash of the clip by record id; what is asked for. requests: what the generator would be shown.

    Memory goes with what is asked for, not with the store: row groups are read one by one in each thread, those passed
    over whose bounds leave nothing to find, and texts are read only where something was found. Raises DataError as
    Shard does.
    """
    found = Found()
    if not hashes or not modalities:
        return found
    bounds = min(hashes), max(hashes)
    asked = _Asked(generator, hashes, modalities, requests or {})

    def look(path: Path) -> list[Description]:
        return list(_look_into(path, asked, bounds, found))

    # Whole shards side by side: pyarrow lets other threads run while it decodes, and that is most of the time.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for rows_of_shard in threads.map(look, shards(folder)):
            for row in rows_of_shard:
                known = found.descriptions.setdefault((row.id, row.modality), row)
                if row is not known and precedence(row) < precedence(known):
                    found.descriptions[row.id, row.modality] = row
    found.other_request -= found.descriptions.keys()
    found.no_request -= found.descriptions.keys() | found.other_request
    found.changed -= found.descriptions.keys() | found.other_request | found.no_request
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of `look_up`."""

    generator: str
    hashes: Mapping[str, str]
    modalities: Collection[str]
    requests: Requests


def _look_into(path: Path, asked: _Asked, bounds: tuple[str, str], found: Found) -> Iterator[Description]:
    """The rows of one shard for `look_up`. `bounds`: the first and the last id that is asked for."""
    with Shard(path) as shard:
        for group in range(shard.num_groups):
            generators, ids = shard.bounds(group, "generator"), shard.bounds(group, "id")
            if generators is not None and not generators[0] <= asked.generator <= generators[1]:
                continue
            if ids is not None and (ids[1] < bounds[0] or bounds[1] < ids[0]):
                continue
            alone = generators == (asked.generator, asked.generator)
            yield from _look_into_group(shard, group, alone, asked, found)


def _look_into_group(shard: Shard, group: int, alone: bool, asked: _Asked, found: Found) -> Iterator[Description]:
    """The rows of one row group for `look_up`. `alone`: all its rows are by the generator that is asked for, so that
    the column is not read."""
    ids = shard.values(shard.read(group, ["id"]))["id"]
    rows = np.fromiter(map(asked.hashes.__contains__, ids), dtype=bool, count=len(ids)).nonzero()[0]
    if not len(rows):
        return
    columns = ["sha256", "modality", *([] if alone else ["generator"]), "request"]
    keys = shard.values(shard.read(group, columns).take(rows))
    by_whom = repeat(asked.generator, len(rows)) if alone else keys["generator"]
    hits, kept = [], []
    for at, content, modality, request, by in zip(
        rows.tolist(), keys["sha256"], keys["modality"], keys["request"], by_whom, strict=True
    ):
        if by != asked.generator or modality not in asked.modalities:
            continue
        key = ids[at], modality
        if content != asked.hashes[ids[at]]:
            found.changed.add(key)
        elif request == asked.requests.get(key, ""):
            hits.append(at)
            kept.append((ids[at], content, modality, request))
        else:
            (found.other_request if request else found.no_request).add(key)
    if not hits:
        return
    # As an array: a list would be searched for dates, at the cost of an import.
    rest = shard.values(shard.read(group, ["text", "tokens", "seconds", "time"]).take(np.array(hits)))
    for (key, content, modality, request), text, tokens, seconds, made in zip(kept, *rest.values(), strict=True):
        yield Description(
            id=key,
            sha256=content,
            modality=modality,
            generator=asked.generator,
            text=text,
            tokens=tokens,
            seconds=seconds,
            time=made,
            request=request,
        )
