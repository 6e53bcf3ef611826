"""The list of a training's clips in its run folder: clips.json.gz.

It tells which clips a model was trained on, and whether the data has changed since, also without the annotations or on
another machine. It holds hashes, not transcripts or labels.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.data.files import write_atomic
from affect.data.overlap import Content, Contents
from affect.data.record import Record

FILE = "clips.json.gz"

VERSION = 1

FIELDS = {
    "text": "transcript",
    "labels": "labels",
    "context": "context, speaker or language",
    "descriptions": "descriptions",
    "window": "start or end",
    "sha256": "file",
}
"""What is compared when a run is resumed: keys of a row, and their names in messages."""


def rows(records: Iterable[Record], contents: Contents) -> list[dict[str, Any]]:
    """A row for each record, in their order: id, dataset, split, window (seconds), and hashes of everything else."""
    return [
        {
            "id": record.id,
            "dataset": record.dataset,
            "split": record.split,
            "window": [record.start, record.end],
            "text": text_hash(record.text),
            "labels": _hash({name: record.labels[name] for name in sorted(record.labels)}),
            "context": _hash([*record.context, record.speaker, record.language]),
            "descriptions": _hash(dict(sorted(record.knowledge.items()))) if record.knowledge else None,
            **_content(contents.get(record.id)),
        }
        for record in records
    ]


def write(
    folder: Path,
    clip_rows: Sequence[Mapping[str, Any]],
    readers: Mapping[str, str],
    earlier: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the rows of a run, with the readers of its datasets by name. `earlier` has the same, `rows` and `readers`,
    for each run that the model's checkpoint came from; the same id may stand for another clip there. Raises WriteError
    like write_atomic."""
    content = {"version": VERSION, "readers": dict(readers), "rows": list(clip_rows), "earlier": list(earlier)}
    # Without the time, so that equal runs have equal files.
    write_atomic(folder / FILE, gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0))


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` wrote; None if the folder is from a version of affect that wrote no such file. Raises ConfigError if
    the file cannot be read."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        if {"readers", "rows", "earlier"} - content.keys() or content["version"] != VERSION:
            raise ValueError(f"it is of version {content.get('version')}, this is {VERSION}")
        return content
    except (OSError, EOFError, ValueError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}), and it tells which clips the model was trained on: restore the file"
        ) from error


def as_records(clip_rows: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Records with the id, dataset, split and window of rows, and nothing else; a path would be that of another
    machine."""
    return [
        Record(
            id=row["id"],
            dataset=row["dataset"],
            split=row["split"],
            text="",
            group="",
            start=row["window"][0],
            end=row["window"][1],
        )
        for row in clip_rows
    ]


def as_contents(clip_rows: Sequence[Mapping[str, Any]]) -> dict[str, Content]:
    """Content by id, for the rows whose file was hashed."""
    return {
        row["id"]: Content(sha256=row["sha256"], audio=tuple(row["audio"]), video=tuple(row["video"]))
        for row in clip_rows
        if row["sha256"] is not None
    }


def text_hash(text: str) -> str:
    """Hash of a transcript."""
    return _hash(text)


def changes(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The id of each row that is in both and differs, in the order of `now`, with what has changed, in words. A file is
    compared only if both rows have its hash."""
    before = {row["id"]: row for row in then}
    changed_rows = []
    for row in now:
        old = before.get(row["id"], row)
        changed = [
            word
            for key, word in FIELDS.items()
            if row[key] != old[key] and not (key == "sha256" and None in (row[key], old[key]))
        ]
        if changed:
            changed_rows.append((row["id"], changed))
    return changed_rows


def _content(content: Content | None) -> dict[str, Any]:
    if content is None:
        return {"sha256": None, "audio": [], "video": []}
    return {"sha256": content.sha256, "audio": list(content.audio), "video": list(content.video)}


def _hash(value: Any) -> str:
    """64 bits are enough, since it is only compared with the one hash of the same row."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
