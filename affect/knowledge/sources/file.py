"""The source `file`: descriptions made elsewhere, knowledge=file knowledge.file_path=FILE.

FILE is a .csv, .tsv, .jsonl or .parquet table with a row a description:

    {"id": "meld/test/0/0", "modality": "audio", "text": "A low voice, with long pauses.", "generator": "model-x"}

`id` is the record's, `modality` is audio, video or audio_video. Rows about clips outside the run are ignored. The
fingerprint is the hash of the file and the values of the column `generator` where there is one, so a changed file is
another generator.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pyarrow import parquet

from affect.config import Config, ConfigError, DataError
from affect.data import Record
from affect.data.part import Part
from affect.data.problems import Problems, did_you_mean
from affect.data.tables import ENDINGS, Row, from_spreadsheets, read_table, require_columns
from affect.knowledge.protocol import MODALITIES, Description, Failure
from affect.knowledge.store import UNREADABLE

COLUMNS = ("id", "modality", "text")


def load(cfg: Config, parts: Sequence[Part]) -> "FileSource":
    """Raises DataError where the file cannot be used, naming the rows."""
    if cfg.knowledge.file_path is None:
        raise ConfigError("knowledge=file without a file: name it, knowledge.file_path=descriptions.jsonl")
    path = Path(cfg.knowledge.file_path).expanduser()
    if not path.is_file():
        raise DataError(f"{path} does not exist: correct knowledge.file_path, or put the file there")
    texts, generators = _texts(path)
    ids = {record.id for part in parts for record in part.records}
    described = {record_id for record_id, _ in texts}
    if not ids & described:
        raise DataError(
            f"{path}: none of its {len(described):,} ids ({', '.join(sorted(described)[:3])}, …) is a record of this"
            f" run ({', '.join(sorted(ids)[:3])}, …): write ids as the records have them, DATASET/SPLIT/…"
        )
    modalities = tuple(m for m in cfg.knowledge.modalities if any(of == m for _, of in texts))
    if not modalities:
        raise DataError(
            f"{path} describes {', '.join(sorted({of for _, of in texts}))}, and"
            f" knowledge.modalities={','.join(cfg.knowledge.modalities)}: choose modalities that it has"
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileSource(path, texts, modalities, "-".join(["file", digest, *generators]))


class FileSource:
    """Texts by record id and modality."""

    def __init__(
        self, path: Path, texts: Mapping[tuple[str, str], str], modalities: tuple[str, ...], fingerprint: str
    ) -> None:
        self.path, self.texts, self.modalities, self.fingerprint = path, texts, modalities, fingerprint

    def request(self, record: Record, modality: str) -> str:
        """Empty: a file is shown nothing of a record."""
        return ""

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """Yields one Description or Failure for every record and modality, in that order."""
        for record in records:
            for modality in self.modalities:
                key = (record.id, modality)
                if key not in self.texts:
                    yield Failure(
                        id=record.id,
                        modality=modality,
                        reason=f"{self.path} has no row with id={record.id} and modality={modality}: add one",
                    )
                    continue
                text = self.texts[key]
                yield Description.now(self, record, modality, hashes[record.id], text, tokens=None, seconds=0.0)


def _texts(path: Path) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Text by record id and modality, and the values of the column `generator`."""
    problems = Problems()
    rows = _parquet(path) if path.suffix.lower() == ".parquet" else _table(path, problems)
    texts: dict[tuple[str, str], str] = {}
    first: dict[tuple[str, str], str] = {}
    generators = set()
    for row in rows:
        record_id, modality, text = (row.cells[name] for name in COLUMNS)
        if modality not in MODALITIES:
            problems.add(
                row.source,
                f"modality is '{modality}'{did_you_mean(modality, MODALITIES)}: write one of {', '.join(MODALITIES)}",
            )
        elif not record_id:
            problems.add(row.source, "has no id: write the id of the record")
        elif not text.strip():
            problems.add(
                row.source, f"the description of {record_id}, {modality}, is empty: write one, or delete the row"
            )
        elif (record_id, modality) in texts:
            problems.add(
                row.source,
                f"describes {record_id}, {modality}, like {first[record_id, modality]}: delete one of them",
            )
        else:
            texts[record_id, modality] = text
            first[record_id, modality] = row.source
        if row.cells.get("generator"):
            generators.add(row.cells["generator"])
    problems.check()
    return texts, sorted(generators)


def _table(path: Path, problems: Problems) -> list[Row]:
    if path.suffix.lower() not in ENDINGS:
        raise DataError(
            f"{path}: descriptions are read from {', '.join(ENDINGS)} and .parquet files: save it as one of these"
        )
    rows = read_table(path, COLUMNS, problems)
    if path.suffix.lower() == ".jsonl":
        return rows
    # CSV files of `export` have an apostrophe before texts that a spreadsheet would take for a formula.
    return [replace(row, cells={name: from_spreadsheets(cell) for name, cell in row.cells.items()}) for row in rows]


def _parquet(path: Path) -> Iterator[Row]:
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            require_columns(path, columns, COLUMNS)
            wanted = [name for name in (*COLUMNS, "generator") if name in columns]
            number = 0
            for batch in file.iter_batches(columns=wanted):
                for cells in batch.to_pylist():
                    number += 1
                    values = {name: "" if value is None else str(value) for name, value in cells.items()}
                    yield Row(f"{path.name}, row {number}", number, values)
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read as a Parquet file ({error}): write it again") from error
