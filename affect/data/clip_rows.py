"""The clips of a training, kept in its run folder: clips.json.gz.

With the annotations gone, or on another machine, this file still tells which clips a model was trained on, and whether
data that is there has changed since. It holds hashes, not transcripts or labels.
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
"""What of a clip is compared when a run is resumed, in words."""


def rows(records: Iterable[Record], contents: Contents) -> list[dict[str, Any]]:
    """A row a record, in their order: id, dataset, split, window (seconds), and hashes of everything else."""
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
    folder: Path, made: Sequence[Mapping[str, Any]], readers: Mapping[str, str], earlier: Sequence[Mapping[str, Any]]
) -> None:
    """Keeps the rows of a run, with the readers of its datasets by name. `earlier` has the same, `rows` and `readers`,
    of each run that the model's checkpoint came from: ids there may be those of other clips. Raises WriteError as
    write_atomic."""
    kept = {"version": VERSION, "readers": dict(readers), "rows": list(made), "earlier": list(earlier)}
    # Without the time, so that equal runs have equal files.
    write_atomic(folder / FILE, gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), mtime=0))


def read(folder: Path) -> dict[str, Any] | None:
    """What `write` kept; None where the folder is of a version of affect that kept nothing. Raises ConfigError where
    the file cannot be read."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        kept = json.loads(gzip.decompress(path.read_bytes()))
        lacking = {"readers", "rows", "earlier"} - kept.keys()
        if lacking or kept["version"] != VERSION:
            raise ValueError(f"it is of version {kept.get('version')}, this is {VERSION}")
        return kept
    except (OSError, EOFError, ValueError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}), and it tells which clips the model was trained on: restore the file"
        ) from error


def as_records(kept: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Records with the id, dataset, split and window of rows, and nothing else: no path, which would be that of another
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
        for row in kept
    ]


def as_contents(kept: Sequence[Mapping[str, Any]]) -> dict[str, Content]:
    """Content by id, of the rows whose file was looked at."""
    return {
        row["id"]: Content(sha256=row["sha256"], audio=tuple(row["audio"]), video=tuple(row["video"]))
        for row in kept
        if row["sha256"] is not None
    }


def text_hash(text: str) -> str:
    """Of a transcript."""
    return _hash(text)


def changes(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Id of each row that is in both and not the same, in the order of `now`, with what has changed, in words. A file
    whose content is not known on one of the sides is not compared."""
    before = {row["id"]: row for row in then}
    found = []
    for row in now:
        old = before.get(row["id"], row)
        changed = [
            word
            for key, word in FIELDS.items()
            if row[key] != old[key] and not (key == "sha256" and None in (row[key], old[key]))
        ]
        if changed:
            found.append((row["id"], changed))
    return found


def _content(content: Content | None) -> dict[str, Any]:
    if content is None:
        return {"sha256": None, "audio": [], "video": []}
    return {
        "sha256": content.sha256,
        "audio": list(content.audio),
        "video": list(content.video),
    }


def _hash(value: Any) -> str:
    """64 bits: it is held against the one hash of the same row, never looked up among millions."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
