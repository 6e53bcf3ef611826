"""Audits one dataset: counts, distributions and findings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from affect import __version__
from affect.config import MODALITIES, DataError, DatasetConfig, Kind, OnBadRows
from affect.data import annotations, readers
from affect.data.annotations import Annotations
from affect.data.audit import clip_findings
from affect.data.audit import findings as look
from affect.data.audit.clips import BLACK_AREA, BLACK_LUMA, MAX_SECONDS, Measurement, measurements
from affect.data.audit.laughter import laughter
from affect.data.counts import classes, total
from affect.data.facts import Finding, Published, Records, Severity
from affect.data.label_checks import infer_labels, undeclared_tasks
from affect.data.problems import Excluded, RowErrors
from affect.data.published_texts import text_hashes
from affect.data.record import SPLITS, Record

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The audit of a dataset, in plain values, as JSON has them."""

    dataset: str
    reader: str
    root: str
    options: Mapping[str, Any]
    modalities: str
    """Letters of what was examined: t is the annotations."""
    examined: str
    """Time, UTC."""
    version: str
    """Of affect."""
    thresholds: Mapping[str, float]
    licence: str
    sizes: Sequence[Mapping[str, Any]]
    """By split, by group of splits with a published count, and of all splits together: splits, published (None:
    unknown), exact, found, left_out, usable (None: clips were not examined), groups, speakers. A split that cannot be
    read adds nothing to the total."""
    classes: Mapping[str, Sequence[Mapping[str, Any]]]
    """By task, for each of the same groups of splits: found and published (None: unknown) by class."""
    values: Mapping[str, Mapping[str, Any]]
    """By intensity task and split, quantiles of the label by QUANTILES."""
    clips: Mapping[str, Mapping[str, Any]]
    """By split, hours, and quantiles of seconds and of level (dBFS); empty where no clip was examined."""
    findings: Sequence[Finding]

    @property
    def num_errors(self) -> int:
        return sum(finding.severity is Severity.error for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(
    name: str,
    config: DatasetConfig,
    *,
    modalities: str,
    cache_root: Path,
    max_seconds: float,
    num_workers: int,
    bar: Progress | None = None,
) -> Examination:
    """Reads all splits of a dataset and measures its clips, as far as `modalities` and the dataset have a or v.

    Subsets, fractions and overlaps of the configuration are not applied: the whole copy on disk is examined.
    max_seconds: seconds, above which runs leave a clip out. num_workers: threads that decode.

    Raises DataError where no split can be read, or the cache cannot be used, and ConfigError as annotations.read.
    """
    options = readers.all_options(config)
    if "require_clips" in options:
        # Of a manifest: missing clips are findings, not a reason to stop.
        config = replace(config, options=config.options | {"require_clips": False})
    by_split, excluded, findings = _read(annotations.read(name, config))
    published = readers.published(config)
    complete = {
        split
        for each in published
        for split in each.splits
        if each.count == sum(len(by_split.get(s, ())) for s in each.splits)
    }
    findings += look.sizes(by_split, published, config)
    if not published:
        findings.append(
            look.note(
                f"nothing is published of the sizes that reader={config.reader} gives with these options",
                "compare the counts with your own",
            )
        )
    # Bad rows that are refused are findings already.
    reported = [item for item in excluded if not item.bad_row or config.on_bad_rows is OnBadRows.exclude]
    findings += look.left_out(reported, complete)
    hashes = text_hashes(config.reader)
    findings += look.texts(by_split, config, hashes)
    findings += look.published_texts(by_split, config, hashes)
    findings += look.labels(by_split, config)
    findings += look.shared(by_split, config)
    findings += look.known_issues(name, config, by_split)
    findings += _not_examined(modalities, config)
    letters = "".join(letter for letter in "av" if letter in modalities and letter in config.modalities)
    measured: dict[str, Measurement] = {}
    for split, records in by_split.items() if letters else ():
        title = f"examining clips of {name} {split}"
        measured |= measurements(
            records,
            letters,
            cache_root,
            num_workers=num_workers,
            progress=None if bar is None else partial(bar.advance, bar.add_task(title, total=len(records))),
        )
    known_clips = look.known_clips(name, config.reader)
    findings += clip_findings.clips(by_split, measured, known_clips, max_seconds=max_seconds)
    audible = [key for key, measurement in measured.items() if measurement.level is not None]
    findings += laughter(by_split, config, audible, cache_root, num_workers=num_workers)
    order = list(Severity)
    return Examination(
        dataset=name,
        reader=config.reader,
        root=config.root,
        options=readers.all_options(config),
        modalities="".join(letter for letter in MODALITIES if letter in ("t" + letters)),
        examined=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        version=__version__,
        thresholds={
            "silent_dbfs": clip_findings.SILENT_DBFS,
            "short_seconds": clip_findings.SHORT_SECONDS,
            "max_seconds": max_seconds,
            "decoded_up_to_seconds": MAX_SECONDS,
            "black_luma": BLACK_LUMA,
            "black_area": BLACK_AREA,
            "mostly_black": clip_findings.MOSTLY_BLACK,
        },
        licence=readers.constant(config.reader, "LICENCE", ""),
        sizes=_sizes(by_split, excluded, published, measured, max_seconds),
        classes=_classes(by_split, published, config),
        values=_values(by_split, config),
        clips=_clips(by_split, measured),
        findings=sorted(findings, key=lambda finding: order.index(finding.severity)),
    )


def _read(dataset: Annotations) -> tuple[dict[str, list[Record]], list[Excluded], list[Finding]]:
    """Records by split, what the reader left out, and a finding for each split that cannot be read. Where that is for
    single rows alone, the records are those of the other rows."""
    by_split: dict[str, list[Record]] = {}
    excluded: list[Excluded] = []
    findings: list[Finding] = []
    refusals: list[str] = []
    for split in SPLITS:
        rows: tuple[str, ...] = ()
        refusal = None
        try:
            try:
                by_split[split], left_out = dataset.split(split)
            except RowErrors as error:
                refusal = str(error)
                rows = tuple(dict.fromkeys(problem.source for problem in error.problems))
                by_split[split], left_out = dataset.split(split, OnBadRows.exclude)
            excluded += left_out
        except DataError as error:
            refusal = refusal or str(error)
        if refusal is not None:
            refusals.append(refusal)
            findings.append(_unreadable(dataset.name, split, refusal, rows))
        if split == "train" and split in by_split and undeclared_tasks(dataset.config):
            findings += _infer_labels(dataset.config, by_split[split])
            # Now that the labels are known, other spellings of one are that label.
            by_split[split] = dataset.split(split, OnBadRows.exclude).records
    if not by_split:
        # The problems of one table are those of every split that is read from it.
        lines = dict.fromkeys(line for refusal in refusals for line in refusal.splitlines())
        raise DataError("\n".join(sorted(lines, key=lambda line: line.startswith("Remedy:"))))
    return by_split, excluded, findings


def _unreadable(name: str, split: str, refusal: str, rows: tuple[str, ...]) -> Finding:
    """`rows` are the sources of the rows that are wrong; empty where it is the whole table."""
    lines = refusal.splitlines()
    show = f"affect show dataset={name} evaluation.split={split}"
    more = f" (and {len(lines) - 1:,} more lines, which `{show}` prints)" if lines[1:] else ""
    remedy = "do what it says; runs on this split are refused"
    if rows:
        more = f" (and {len(rows) - 1:,} more rows, of which `{show}` prints what is wrong)" if rows[1:] else ""
        remedy = (
            f"correct these rows, or leave them out with datasets.{name}.on_bad_rows=exclude; until then runs on this"
            " split are refused, and this audit is of the other rows"
        )
    return Finding(
        severity=Severity.error,
        what=f"{split} cannot be read: {lines[0]}{more}",
        count=max(1, len(rows)),
        remedy=remedy,
        ids=rows,
    )


def _infer_labels(config: DatasetConfig, training: Sequence[Record]) -> list[Finding]:
    """Gives tasks that declare no labels those of the training rows, as a run does; a finding where they have none."""
    findings = []
    for task in undeclared_tasks(config):
        try:
            task.labels = infer_labels(training, task)
        except DataError as error:
            remedy = "do what it says; runs are refused"
            findings.append(Finding(severity=Severity.error, what=str(error), count=1, remedy=remedy))
    return findings


def _not_examined(modalities: str, config: DatasetConfig) -> Iterator[Finding]:
    absent = [MODALITIES[letter] for letter in modalities if letter in "av" and letter not in config.modalities]
    unasked = [MODALITIES[letter] for letter in config.modalities if letter in "av" and letter not in modalities]
    if absent:
        reason = f"the dataset has none (its modalities={config.modalities})"
        yield look.note(f"{' and '.join(absent)} not looked at: {reason}", "none")
    if unasked:
        remedy = f"modalities={config.modalities}"
        yield look.note(f"{' and '.join(unasked)} not looked at: modalities={modalities}", remedy)


def _parts(by_split: Records, wanted: Sequence[Published]) -> list[tuple[tuple[str, ...], Published | None]]:
    """Every split that could be read, then every group of them with a published count, then all together."""
    single = {each.splits[0]: each for each in wanted if len(each.splits) == 1}
    groups = [each for each in wanted if 1 < len(each.splits) < len(SPLITS) and set(each.splits) <= by_split.keys()]
    parts = [((split,), single.get(split)) for split in by_split]
    return [*parts, *((each.splits, each) for each in groups), (SPLITS, total(wanted))]


def _sizes(
    by_split: Records,
    excluded: Sequence[Excluded],
    wanted: Sequence[Published],
    measured: Mapping[str, Measurement],
    max_seconds: float,
) -> list[dict[str, Any]]:
    rows = []
    for splits, published in _parts(by_split, wanted):
        records = [record for split in splits for record in by_split.get(split, ())]
        good = [
            record
            for record in records
            if record.id in measured
            and not measured[record.id].outcomes
            and (seconds := measured[record.id].seconds) is not None
            and seconds <= max_seconds
        ]
        rows.append(
            {
                "splits": list(splits),
                "published": None if published is None else published.count,
                "exact": None if published is None else published.exact,
                "found": len(records),
                "left_out": sum(item.count for item in _once(excluded, splits)),
                "usable": len(good) if measured else None,
                "groups": len({record.group for record in records}),
                "speakers": len({record.speaker for record in records if record.speaker is not None}),
            }
        )
    return rows


def _once(excluded: Sequence[Excluded], splits: Sequence[str]) -> list[Excluded]:
    """What is left out of some splits, without the repetitions of rows that do not say their split."""
    here = [item for item in excluded if item.split in splits]
    rows = {item.source: item for item in here if item.bad_row}
    return [*rows.values(), *(item for item in here if not item.bad_row)]


def _classes(by_split: Records, wanted: Sequence[Published], config: DatasetConfig) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    # Of all tasks of the dataset, not only the chosen ones.
    for name, task in config.task_definitions.items():
        if not any(name in record.labels for records in by_split.values() for record in records):
            continue
        tables[name] = []
        for splits, published in _parts(by_split, wanted):
            counts = published.classes[name] if published is not None and name in published.classes else None
            if 1 < len(splits) < len(SPLITS) and counts is None:
                continue
            records = [record for split in splits for record in by_split.get(split, ())]
            # Labelled, though with no class; records without a label are not counted here.
            without = sum(record.labels.get(name) == () for record in records)
            tables[name].append(
                {
                    "splits": list(splits),
                    "found": classes(records, task) | ({"none of them": without} if without else {}),
                    "published": None if counts is None else dict(counts),
                }
            )
    return tables


def _values(by_split: Records, config: DatasetConfig) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for name, task in config.task_definitions.items():
        if task.kind is not Kind.intensity:
            continue
        for split, records in by_split.items():
            numbers = [float(record.labels[name]) for record in records if name in record.labels]
            if numbers:
                tables.setdefault(name, {})[split] = _quantiles(numbers) | {"mean": float(np.mean(numbers))}
    return tables


def _clips(by_split: Records, measured: Mapping[str, Measurement]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for split, records in by_split.items():
        of_split = [measured[record.id] for record in records if record.id in measured]
        seconds = [each.seconds for each in of_split if each.seconds is not None]
        levels = [each.level for each in of_split if each.level is not None]
        if seconds:
            tables[split] = {
                "clips": len(seconds),
                "hours": sum(seconds) / 3600,
                "seconds": _quantiles(seconds),
                "level": _quantiles(levels) if levels else None,
            }
    return tables


def _quantiles(numbers: Sequence[float]) -> dict[str, float]:
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(numbers, QUANTILES), strict=True)}
