"""Fills the store with the descriptions it lacks, and keeps each as it comes, so that an interrupted run can be
repeated."""

import csv
import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from affect.config import DESCRIPTIONS, Config, DataError, Source
from affect.config.logs import LOG
from affect.data import Record
from affect.data.file_hashes import content_hashes
from affect.data.files import write_atomic, write_json
from affect.data.part import Part
from affect.data.tables import for_spreadsheets
from affect.knowledge import store
from affect.knowledge.protocol import Description, Failure
from affect.knowledge.protocol import Source as Describer
from affect.knowledge.sources import load
from affect.knowledge.store import NO_CLIP, Found, Writer, clip_hash, look_up
from affect.runs.run_folder import environment

Progress = Callable[[int, int], None]
"""Called with the numbers of descriptions and of failures since it was last called."""


@dataclass(slots=True, kw_only=True)
class Filled:
    """What became of what was asked for."""

    generator: str
    known: int = 0
    """Descriptions that were there already."""
    made: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    """Of the describing, as a clock on the wall has it."""
    listed: Path | None = None
    """Table of the failures."""


def sources_of(cfg: Config) -> list[Source]:
    """knowledge.source and knowledge.also."""
    return [cfg.knowledge.source, *cfg.knowledge.also]


def loaded(cfg: Config, source: Source, parts: Sequence[Part], modalities: Sequence[str] | None = None) -> Describer:
    """One of the sources of a configuration; for fewer `modalities` where they are given."""
    knowledge = replace(cfg.knowledge, source=source, modalities=list(modalities or cfg.knowledge.modalities))
    return load(replace(cfg, knowledge=knowledge), parts)


def described(source: Describer, letters: str) -> list[str]:
    """What a source describes of a dataset that has the modalities `letters`."""
    return [name for name in source.modalities if set(DESCRIPTIONS[name]) <= set(letters)]


def clip_hashes(records: Sequence[Record], cfg: Config) -> dict[str, str]:
    """Content hash of the clip by record id; store.NO_CLIP where there is no file that can be read, so that whoever
    needs it says so. Files are hashed once, affect.data.clip_checks remembers them."""
    paths = {record.media for record in records if record.media is not None}
    there = {path for path in paths if os.path.isfile(path) and os.access(path, os.R_OK)}
    digests = content_hashes(there, Path(cfg.cache_root).expanduser(), num_workers=cfg.trainer.check_workers)
    return {
        r.id: clip_hash(digests[r.media], *r.part) if r.media is not None and r.media in there else NO_CLIP
        for r in records
    }


def share(records: Sequence[Record], shard: str | None) -> list[Record]:
    """The records of knowledge.shard=i/n, which affect/cli/validate.py has checked. A record's share depends on its id
    alone, so that it stays the same when others are added or left out."""
    if shard is None:
        return list(records)
    number, of = map(int, shard.split("/"))
    return [r for r in records if int.from_bytes(hashlib.sha256(r.id.encode()).digest()[:8]) % of == number]


def requests(
    source: Describer, records: Sequence[Record], modalities: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], str]:
    """Source.request by record id and modality; `modalities` are those asked for by dataset."""
    return {(r.id, name): source.request(r, name) for r in records for name in modalities[r.dataset]}


def lacking(records: Sequence[Record], modalities: Mapping[str, Sequence[str]], found: Found) -> dict[str, list[str]]:
    """Modalities that `found` lacks by record id, in the order of `records`; `modalities` are those asked for by
    dataset."""
    gaps = {r.id: [m for m in modalities[r.dataset] if (r.id, m) not in found.descriptions] for r in records}
    return {key: missing for key, missing in gaps.items() if missing}


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
    """Asks a source for what the store lacks about `records`, and keeps it.

    parts: the whole data of the run, which a source may take its measure from. modalities: what is asked for by
    dataset. hashes: content hash of the clip by record id. begin: called with the numbers of descriptions that are
    there and that are missing, before the first is made.

    Raises DataError where the store cannot be read or written, and what the source raises.
    """
    folder, whole = store.folder_of(cfg), loaded(cfg, source, parts)
    asked = {record.id: hashes[record.id] for record in records}
    names = {m for names in modalities.values() for m in names}
    found = look_up(folder, whole.fingerprint, asked, names, requests(whole, records, modalities))
    gaps = lacking(records, modalities, found)
    wanted = sum(len(modalities[record.dataset]) for record in records)
    missing = sum(map(len, gaps.values()))
    filled = Filled(generator=whole.fingerprint, known=wanted - missing)
    if begin is not None:
        begin(filled.known, missing)
    if not gaps:
        return filled
    for sentence in found.passed_over(gaps):
        LOG.info(f"{missing:,} descriptions are missing; {sentence}. They are made again")
    report = progress or (lambda made, failed: None)
    by_gap: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if record.id in gaps:
            by_gap.setdefault(tuple(gaps[record.id]), []).append(record)
    started = time.monotonic()
    with Writer(folder) as writer:
        _note_generator(folder, whole.fingerprint, source, cfg)
        for names, some in by_gap.items():
            describer = whole if set(names) == set(whole.modalities) else loaded(cfg, source, parts, names)
            assert describer.fingerprint == whole.fingerprint, "a fingerprint depends on knowledge.modalities"
            _describe(describer, some, hashes, writer, filled, report)
    filled.seconds = time.monotonic() - started
    if filled.failures:
        filled.listed = _list_failures(folder / "_failures" / f"{writer.name}.csv", filled)
    return filled


def _describe(
    source: Describer,
    records: Sequence[Record],
    hashes: Mapping[str, str],
    writer: Writer,
    filled: Filled,
    report: Progress,
) -> None:
    expected = {(record.id, name): source.request(record, name) for record in records for name in source.modalities}
    asked = set(expected)
    for item in source.describe(records, hashes):
        assert (item.id, item.modality) in asked, f"{item.id}, {item.modality} was not asked for, or came twice"
        asked.remove((item.id, item.modality))
        refused = item.reason if isinstance(item, Failure) else store.refusal_of(item)
        if refused is not None:
            filled.failures.append(Failure(id=item.id, modality=item.modality, reason=refused))
            report(0, 1)
            continue
        assert isinstance(item, Description)
        key = (source.fingerprint, hashes[item.id], expected[item.id, item.modality])
        assert (item.generator, item.sha256, item.request) == key, f"{item.id} is under another key"
        writer.add(item)
        filled.made += 1
        report(1, 0)
    reason = "the source ended without a word about it: run it again"
    filled.failures += [Failure(id=key, modality=modality, reason=reason) for key, modality in sorted(asked)]
    report(0, len(asked))


def _note_generator(folder: Path, fingerprint: str, source: Source, cfg: Config) -> None:
    """Keeps the settings behind a fingerprint beside the descriptions, once."""
    path = folder / "_generators" / f"{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}.json"
    if path.exists():
        return
    note = {
        "fingerprint": fingerprint,
        "source": source.value,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "knowledge": asdict(cfg.knowledge),
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
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("id", "modality", "generator", "reason"))
    failures = ((f.id, f.modality, filled.generator, f.reason) for f in filled.failures)
    rows.writerows(map(for_spreadsheets, failure) for failure in failures)
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, out.getvalue())
    except OSError as error:
        raise DataError(
            f"the list of {len(filled.failures):,} failures, {path}, cannot be written ({error.strerror}): make room"
            " there and run it again; what was described is kept"
        ) from error
    return path
