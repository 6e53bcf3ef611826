"""Checks and measurements of clips, computed once for every content of a file.

They are kept in `clips.sqlite` under `cache_root` by content hash: nothing is decoded again when a dataset is moved,
and nothing old is believed when a file changes under its name.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affect.config import DataError
from affect.config.logs import LOG
from affect.data.clips import ClipSource
from affect.data.database import BATCH, kept, opened
from affect.data.file_hashes import DATABASE, VERSIONS, look_up
from affect.data.media import VERSION as DECODE_VERSION
from affect.data.media import Clip, MediaError, Sampling
from affect.data.part import Part
from affect.data.problems import Excluded
from affect.data.record import Record
from affect.data.workers import workers

CHECK_VERSION = [3, DECODE_VERSION]
"""Raise the first number when clips are judged differently; checks of other versions are not used."""

TRANSIENT = frozenset({"missing", "unreadable"})
"""Outcomes that do not come from a file's content and are not kept."""

CHECKS = "checks (key TEXT PRIMARY KEY, outcome TEXT, detail TEXT, seconds REAL)"
MEASUREMENTS = "measurements (key TEXT PRIMARY KEY, value TEXT)"

Take = Callable[[Record, str | None], Clip]
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a record's clip can be used."""

    outcome: str
    """`ok`, or one of media.OUTCOMES."""
    detail: str
    """A sentence with file and remedy; empty if the outcome is ok."""
    seconds: float
    """Duration of the clip; 0 if the outcome is not ok."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Problems that did not exclude the clip: keys of media.NOTES, with the detail."""


def check_clips(
    records: Sequence[Record],
    sampling: Sampling,
    cache_root: Path,
    *,
    num_workers: int,
    progress: Progress | None = None,
    take: Take | None = None,
) -> dict[str, Check]:
    """Check by record id, in the order of `records`. Every clip is really decoded, once: results are kept.

    progress: called with the number of records that have been checked since it was last called. take: gives the clip of
    a record and the sha256 of its file (None if that cannot be read), for callers that cache decoded clips.

    Raises DataError if the database is damaged or cannot be written.
    """
    if not (sampling.audio or sampling.video):
        return {record.id: Check("ok", "", 0.0) for record in records}
    # Number and size of frames do not change whether a clip can be decoded. A file that does not declare its frame rate
    # has no frames of the model's own choice.
    wanted = [sampling.audio, sampling.video, sampling.max_seconds]
    if sampling.own is not None:
        wanted.append(sampling.own.key)

    def key(digest: str, record: Record) -> list:
        return [*CHECK_VERSION, digest, *record.part, *wanted]

    def check(clip: tuple[Record, str | None]) -> tuple[tuple[str, str, float], bool]:
        record, digest = clip
        if record.media is None:
            return ("missing", "the dataset has no file for it", 0.0), False
        try:
            decoded = ClipSource().clip(record, sampling) if take is None else take(record, digest)
        except MediaError as error:
            # A file system that fails now may work again, with the same content.
            return (error.outcome, error.detail, 0.0), digest is not None and error.outcome not in TRANSIENT
        return ("ok", json.dumps(dict(decoded.notes)) if decoded.notes else "", decoded.seconds), digest is not None

    checks = {}
    rows = _results(records, CHECKS, key, check, cache_root, num_workers, progress)
    for record, _, (outcome, detail, seconds) in rows:
        if outcome == "ok":
            checks[record.id] = Check("ok", "", seconds, json.loads(detail) if detail else {})
        else:  # kept without the path, since the same content may be found elsewhere
            sentence = str(MediaError(outcome, record.media or record.source or record.id, detail))
            checks[record.id] = Check(outcome, sentence, seconds)
    return checks


def exclude_failed(part: Part, checks: Mapping[str, Check], purpose: str = "used") -> None:
    """Moves the records whose check failed to the exclusions of `part` and says so; `purpose` is what the clips cannot
    be. Raises DataError if no record is left."""
    failed = {key: check for key, check in checks.items() if check.outcome != "ok"}
    if not failed:
        return
    part.excluded += [
        Excluded(id=key, split=part.split, reason=check.outcome, source=check.detail) for key, check in failed.items()
    ]
    part.records = [record for record in part.records if record.id not in failed]
    if not part.records:
        raise DataError(
            f"no clip of dataset '{part.dataset}', split '{part.split}' can be used; the first of {len(failed)}:"
            f" {next(iter(failed.values())).detail}"
        )
    LOG.info(
        f"{part.dataset} {part.split}: {len(failed)} of {len(checks)} clips cannot be {purpose} and are left out; a run"
        " lists them in exclusions.csv"
    )


def measure_clips(
    records: Sequence[Record],
    name: str,
    measure: Callable[[Record], tuple[str, bool]],
    cache_root: Path,
    *,
    num_workers: int,
    progress: Progress | None = None,
) -> Iterator[tuple[Record, str | None, str]]:
    """Each record with the sha256 of its file (None if that cannot be read) and what `measure` says of its clip, in the
    order of `records`.

    measure: gives a text, and whether it may be kept, which is so if it comes from the file's content. It is called
    from `num_workers` threads, once for every content, start and end, also in later runs. `name` has to change when it
    measures something else. progress: called with the number of records done since it was last called.

    Raises DataError if the database is damaged or cannot be written.
    """

    def measured(clip: tuple[Record, str | None]) -> tuple[tuple[str], bool]:
        record, digest = clip
        text, keep = measure(record)
        return (text,), keep and digest is not None

    def key(digest: str, record: Record) -> list:
        return [name, digest, *record.part]

    rows = _results(records, MEASUREMENTS, key, measured, cache_root, num_workers, progress)
    for record, digest, (text,) in rows:
        yield record, digest, text


def _results(
    records: Sequence[Record],
    table: str,
    key: Callable[[str, Record], list],
    compute: Callable[[tuple[Record, str | None]], tuple[tuple, bool]],
    cache_root: Path,
    num_workers: int,
    progress: Progress | None,
) -> Iterator[tuple[Record, str | None, Any]]:
    """Each record with the sha256 of its file and the row of `table` under its `key`, which `compute` gives if there is
    none. BATCH records are held at a time."""
    report = progress or (lambda done: None)
    with opened(Path(cache_root) / DATABASE, VERSIONS, table) as database, workers(num_workers) as pool:
        for at in range(0, len(records), BATCH):
            batch = records[at : at + BATCH]
            hashes = look_up(database, pool, {r.media for r in batch if r.media is not None})
            digests = {r.id: None if r.media is None else hashes[r.media] for r in batch}
            # What has no hash (no file, or one that cannot be read) is tried each time, since it can be put right
            # without its content changing.
            keys = {r.id: json.dumps(key(digests[r.id], r)) if digests[r.id] else r.id for r in batch}
            counts = Counter(keys.values())
            # One of the records with the same clip stands for all.
            items = {keys[r.id]: (r, digests[r.id]) for r in reversed(batch)}
            rows = {}
            for one, row in kept(database, pool, table, items, compute):
                rows[one] = row
                report(counts[one])
            for record in batch:
                yield record, digests[record.id], rows[keys[record.id]]
