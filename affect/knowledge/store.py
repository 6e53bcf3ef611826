"""The store of descriptions and transcripts: a folder of Parquet shards with one row for each clip, modality and
generator.

    <store>/<host>-<pid>-<random>-<number>.parquet   a shard, never changed once it has this name
    <store>/.<host>-<pid>-<random>-<number>.tmp      a shard being written, or left by a process that was killed
    <store>/_generators/<hash>.json                  the settings of a generator (fill.py)
    <store>/_failures/<host>-<pid>-….csv             what could not be described (fill.py)

Each process writes its own shards, so any number of processes and machines can fill one store without locks, and a
killed process loses only what it had not written. Where two processes described the same clip, the earlier description
counts, and of two of the same time the alphabetically first text: a run keeps the texts it has used, whatever the
shards are called.

A description is reused only for the same clip and the same request (Describer.request). Shards written before requests
were kept are read too; their rows count only for sources that show a generator nothing of the record.

Other programs read the folder as one table: pandas.read_parquet(store), or read_parquet('<store>/*.parquet') in DuckDB
(union_by_name=true where some shards are older).
"""

import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from sys import intern
from typing import Any

import pyarrow as pa
from pyarrow import dataset, parquet

from affect.config import Config, DataError
from affect.knowledge.protocol import MODALITIES, TRANSCRIPT, Description

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
"""The column that shards of older versions lack. It is read from them as empty text."""

KEY = ("id", "sha256", "modality", "generator", "request")
"""The columns that identify a description."""

NO_CLIP = "no clip"
"""Content hash of a record whose file is missing: descriptions made elsewhere need no clip."""

ROWS_PER_SHARD = 4000
"""About 1 MB; a million rows are 250 files."""

SECONDS_PER_SHARD = 60.0
"""The most work that a killed process loses, apart from the description it was making."""

UNREADABLE = (OSError, pa.ArrowException, ValueError)
"""What reading a damaged Parquet file raises; ValueError where text is not UTF-8."""


def folder_of(cfg: Config) -> Path:
    """The folder of the store of a configuration."""
    return Path(cfg.knowledge.store or f"{cfg.cache_root}/knowledge").expanduser()


def clip_hash(file_sha256: str, *part: float | int | None) -> str:
    """Content hash of a clip: its file's SHA-256, so that sha256sum can check it; for a part of a file (Record.part), a
    hash over the file's hash and the part."""
    if all(end is None for end in part):
        return file_sha256
    return hashlib.sha256(json.dumps([file_sha256, *part]).encode()).hexdigest()


def problem_with(description: Description) -> str | None:
    """Why a description cannot be stored; None where it can.

    Control characters and a model's special tokens can be stored: the encoder that puts a text into a prompt makes them
    harmless (models/chat.py).
    """
    if description.modality not in (*MODALITIES, TRANSCRIPT):
        return f"'{description.modality}' is not one of {', '.join(MODALITIES)}: correct the source"
    if not description.text.strip() and description.modality != TRANSCRIPT:  # where nothing is said
        return "the description is empty: look at the clip, or change the instruction"
    try:
        description.text.encode()
    except UnicodeEncodeError as error:
        return f"the description cannot be encoded as UTF-8 ({error.reason}): correct the source"
    return None


# ---------------------------------------------------------------- writing


class Writer:
    """Appends to a store: `with Writer(folder) as writer: writer.add(description)`.

    A shard is written when `rows` descriptions are buffered, when one is added `seconds` after the oldest, and at the
    end, also after an exception. Raises DataError where the folder cannot be made or written, at once.
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

    def __exit__(self, *raised: Any) -> None:
        if not self._failed:  # a second failure would hide the reason of the first
            self.flush()

    def add(self, description: Description) -> None:
        """Buffers a description. Raises DataError where the store cannot be written, ValueError where `problem_with`
        finds a problem."""
        problem = problem_with(description)
        if problem is not None:
            raise ValueError(f"{description.id}, {description.modality}: {problem}")
        now = time.monotonic()
        if not self._buffer:
            self._oldest = now
        self._buffer.append(description)
        if len(self._buffer) >= self.rows or now - self._oldest >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Writes the buffer as one shard."""
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
    # Encoded in memory, so that everything that can go wrong with the file is an OSError of Python's own.
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
    # Without syncing the folder, a power cut could take the new name back.
    descriptor = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_file(sink: Any) -> parquet.ParquetWriter:
    """A writer of a shard to a path or stream."""
    # Without checksums a flipped bit inside a page would be read as another text. Columns whose values hardly repeat
    # have no dictionary: it would be built, given up, and cost a third of the reading.
    return parquet.ParquetWriter(
        sink,
        SCHEMA,
        compression="zstd",
        use_dictionary=["modality", "generator", "time", "request"],
        write_page_checksum=True,
    )


# ---------------------------------------------------------------- reading

FORMAT = dataset.ParquetFileFormat(
    default_fragment_scan_options=dataset.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=False)
)
"""Reads page by page: buffering ahead would hold a whole file in memory, and an exported store is one file."""

REQUIRED = tuple(f.name for f in SCHEMA if not f.nullable)


def shards(folder: Path) -> list[Path]:
    """The shards of a store in the order of their names; none where the folder does not exist. Raises DataError where
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


def damaged(shard: Path, reason: Exception | str) -> DataError:
    words = " ".join(str(reason).split()).rstrip(".")
    return DataError(
        f"the shard {shard} is damaged ({words}): delete it, and the next `affect knowledge` makes again what it held"
    )


def rows(folder: Path, wanted: dataset.Expression | None = None) -> Iterator[Description]:
    """The rows of a store that a filter keeps, or all, duplicates included. Raises DataError as `read` does."""
    return read(shards(folder), wanted)


def read(paths: Sequence[Path], wanted: dataset.Expression | None = None) -> Iterator[Description]:
    """The rows of shards that a filter keeps, or all, in order. Row groups whose bounds exclude the filter are not
    read. Raises DataError for a shard that is damaged or has another schema."""
    try:
        yield from _scan(paths, wanted)
    except UNREADABLE as error:
        if len(paths) == 1:
            raise damaged(paths[0], error) from error
        # The error names no shard: they are read one by one until one of them fails.
        for path in paths:
            for _ in read([path], wanted):
                pass
        raise DataError(f"the store {paths[0].parent} could not be read ({error}): run it again") from error


def _scan(paths: Sequence[Path], wanted: dataset.Expression | None) -> Iterator[Description]:
    if not paths:
        return
    scanned = dataset.dataset(list(map(str, paths)), schema=SCHEMA, format=FORMAT)
    for path, fragment in zip(paths, scanned.get_fragments(), strict=True):
        _check_schema(path, fragment.physical_schema)
    if wanted is not None:
        # A row without these would be filtered out, and the damage would go unseen.
        for name in ("id", "modality", "generator"):
            wanted |= dataset.field(name).is_null()
    for batch in scanned.to_batches(filter=wanted, batch_readahead=1, fragment_readahead=os.cpu_count()):
        nulls = [name for name in REQUIRED if name != ADDED and batch[name].null_count]
        if nulls:
            raise ValueError(f"rows without {', '.join(nulls)}")
        columns = (_objects(batch[name]) for name in SCHEMA.names)
        for record_id, sha256, modality, generator, text, tokens, seconds, when, request in zip(*columns, strict=True):
            yield Description(
                id=record_id,
                sha256=sha256,
                modality=intern(modality),  # one string for all rows
                generator=intern(generator),
                text=text,
                tokens=tokens,
                seconds=seconds,
                time=intern(when),
                request=request or "",
            )


def _objects(column: pa.Array) -> list[Any]:
    # numpy is ten times as fast, but makes floats of integers with nulls.
    return column.to_numpy(zero_copy_only=False).tolist() if pa.types.is_string(column.type) else column.to_pylist()


def _check_schema(path: Path, schema: pa.Schema) -> None:
    has, expected = ({f.name: f.type for f in one} for one in (schema, SCHEMA))
    if has in (expected, {name: kind for name, kind in expected.items() if name != ADDED}):
        return
    lacks = [f"{name} ({kind})" for name, kind in expected.items() if has.get(name) != kind]
    extra = [f"{name} ({kind})" for name, kind in has.items() if expected.get(name) != kind]
    differences = [f"{verb} {', '.join(some)}" for verb, some in (("it lacks", lacks), ("it has", extra)) if some]
    raise DataError(
        f"the file {path} is not a shard of descriptions ({'; '.join(differences)}): move it out of the store;"
        " descriptions made elsewhere are read with knowledge=file"
    )


def precedence(row: Description) -> tuple[str, str]:
    """Of several rows with one KEY, the one for which this is smallest counts."""
    return row.time, row.text
