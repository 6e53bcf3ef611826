"""Fills the store with missing descriptions.

Each description is kept as soon as it is made, so an interrupted run goes on where it stopped.
"""

import csv
import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affect.config import DESCRIPTIONS, Config, DataError, Source
from affect.config.logs import LOG
from affect.data import Record
from affect.data.file_hashes import content_hashes
from affect.data.files import write_atomic, write_json
from affect.data.part import Part
from affect.data.tables import for_spreadsheets
from affect.knowledge import store
from affect.knowledge.protocol import Describer, Description, Failure
from affect.knowledge.sources import load
from affect.knowledge.store import NO_CLIP, Writer, clip_hash
from affect.knowledge.store_lookup import Found, look_up
from affect.runs.run_environment import environment

Progress = Callable[[int, int], None]
"""Called with the numbers of new descriptions and new failures."""


@dataclass(slots=True, kw_only=True)
class Filled:
    """The result of `fill`."""

    generator: str
    known: int = 0
    """Descriptions that were in the store."""
    made: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    """Wall-clock time of describing."""
    listed: Path | None = None
    """Table of the failures."""


def sources_of(cfg: Config) -> list[Source]:
    """knowledge.source and knowledge.also."""
    return [cfg.knowledge.source, *cfg.knowledge.also]


def loaded(cfg: Config, source: Source, parts: Sequence[Part], modalities: Sequence[str] | None = None) -> Describer:
    """One source of a configuration, for all its modalities or the given ones."""
    knowledge = replace(cfg.knowledge, source=source, modalities=list(modalities or cfg.knowledge.modalities))
    return load(replace(cfg, knowledge=knowledge), parts)


def described(describer: Describer, letters: str) -> list[str]:
    """What a source describes of a dataset with the modalities `letters`."""
    return [name for name in describer.modalities if set(DESCRIPTIONS[name]) <= set(letters)]


def clip_hashes(records: Sequence[Record], cfg: Config) -> dict[str, str]:
    """Content hash of each clip by record id; store.NO_CLIP where its file cannot be read, which the source reports if
    it needs the file. Hashes of files are remembered (affect.data.clip_checks)."""
    paths = {record.media for record in records if record.media is not None}
    readable = {path for path in paths if os.path.isfile(path) and os.access(path, os.R_OK)}
    digests = content_hashes(readable, Path(cfg.cache_root).expanduser(), num_workers=cfg.trainer.check_workers)
    return {r.id: clip_hash(digests[r.media], *r.part) if r.media in readable else NO_CLIP for r in records}


def share(records: Sequence[Record], shard: str | None) -> list[Record]:
    """The records of knowledge.shard=i/n. A record's share depends on its id alone, so it stays the same when others
    are added or left out."""
    if shard is None:
        return list(records)
    number, of = map(int, shard.split("/"))
    return [r for r in records if int.from_bytes(hashlib.sha256(r.id.encode()).digest()[:8]) % of == number]


def requests(
    describer: Describer, records: Sequence[Record], modalities: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], str]:
    """Describer.request by record id and modality. modalities: wanted by dataset."""
    return {(r.id, name): describer.request(r, name) for r in records for name in modalities[r.dataset]}


def lacking(records: Sequence[Record], modalities: Mapping[str, Sequence[str]], found: Found) -> dict[str, list[str]]:
    """Missing modalities by record id, in the order of `records`. modalities: wanted by dataset."""
    gaps = {r.id: [m for m in modalities[r.dataset] if (r.id, m) not in found.descriptions] for r in records}
    return {record_id: missing for record_id, missing in gaps.items() if missing}


def fill(
    cfg: Config,
    parts: Sequence[Part],
    source: Source,
    records: Sequence[Record],
    modalities: Mapping[str, Sequence[str]],
    hashes: Mapping[str, str],
    *,
    begin: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Asks a source for the missing descriptions of `records` and stores them.

    parts: all data of the run, which a source may need for reference. modalities: wanted by dataset. hashes: content
    hash of each clip by record id. begin: called before the first description is made with the numbers of known and of
    missing ones. Raises DataError where the store cannot be read or written, and what the source raises.
    """
    folder, describer = store.folder_of(cfg), loaded(cfg, source, parts)
    names = {name for of_dataset in modalities.values() for name in of_dataset}
    clips = {record.id: hashes[record.id] for record in records}
    found = look_up(folder, describer.fingerprint, clips, names, requests(describer, records, modalities))
    gaps = lacking(records, modalities, found)
    wanted = sum(len(modalities[record.dataset]) for record in records)
    missing = sum(map(len, gaps.values()))
    filled = Filled(generator=describer.fingerprint, known=wanted - missing)
    if begin is not None:
        begin(filled.known, missing)
    if not gaps:
        return filled
    for sentence in found.passed_over(gaps):
        LOG.info(f"{missing:,} descriptions are missing; {sentence}. They are made again")
    by_gap: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if record.id in gaps:
            by_gap.setdefault(tuple(gaps[record.id]), []).append(record)
    started = time.monotonic()
    with Writer(folder) as writer:
        note_generator(folder, describer.fingerprint, source.value, {"knowledge": asdict(cfg.knowledge)})
        for gap, with_gap in by_gap.items():
            partial = describer if set(gap) == set(describer.modalities) else loaded(cfg, source, parts, gap)
            assert partial.fingerprint == describer.fingerprint, "a fingerprint depends on knowledge.modalities"
            describe(partial, with_gap, hashes, writer, filled, progress or (lambda made, failed: None))
    finish(filled, writer, started)
    return filled


def finish(filled: Filled, writer: Writer, started: float) -> None:
    """Completes `filled` once everything is described; `started` is of time.monotonic(). Raises DataError where the
    list of failures cannot be written."""
    filled.seconds = time.monotonic() - started
    if filled.failures:
        filled.listed = _list_failures(writer.folder / "_failures" / f"{writer.name}.csv", filled)


def describe(
    describer: Describer,
    records: Sequence[Record],
    hashes: Mapping[str, str],
    writer: Writer,
    filled: Filled,
    progress: Progress,
) -> None:
    """Writes what `describer` says of each record, and counts it in `filled` with what it could not say."""
    unanswered = {
        (record.id, name): describer.request(record, name) for record in records for name in describer.modalities
    }
    for item in describer.describe(records, hashes):
        assert (item.id, item.modality) in unanswered, f"{item.id}, {item.modality} was not asked for, or came twice"
        request = unanswered.pop((item.id, item.modality))
        problem = item.reason if isinstance(item, Failure) else store.problem_with(item)
        if problem is not None:
            filled.failures.append(Failure(id=item.id, modality=item.modality, reason=problem))
            progress(0, 1)
            continue
        assert isinstance(item, Description)
        key = (describer.fingerprint, hashes[item.id], request)
        assert (item.generator, item.sha256, item.request) == key, f"{item.id} is under another key"
        writer.add(item)
        filled.made += 1
        progress(1, 0)
    reason = "the source ended without an answer for it: run it again"
    filled.failures += [Failure(id=key, modality=name, reason=reason) for key, name in sorted(unanswered)]
    progress(0, len(unanswered))


def note_generator(folder: Path, fingerprint: str, source: str, settings: Mapping[str, Any]) -> None:
    """Writes the settings behind a fingerprint into the store, once."""
    path = folder / "_generators" / f"{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}.json"
    if path.exists():
        return
    note = {
        "fingerprint": fingerprint,
        "source": source,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **settings,
        "environment": environment("knowledge"),
    }
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, note)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}): make room there, or name another folder, knowledge.store=…"
        ) from error


def _list_failures(path: Path, filled: Filled) -> Path:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("id", "modality", "generator", "reason"))
    for failure in filled.failures:
        row = (failure.id, failure.modality, filled.generator, failure.reason)
        writer.writerow(map(for_spreadsheets, row))
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, table.getvalue())
    except OSError as error:
        raise DataError(
            f"the list of {len(filled.failures):,} failures, {path}, cannot be written ({error.strerror}): make room"
            " there and run it again; finished descriptions are kept"
        ) from error
    return path
