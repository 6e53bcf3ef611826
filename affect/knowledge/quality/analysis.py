"""The quality of the descriptions of a store, by generator; with a run also how it goes with right answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from pyarrow import dataset

from affect.config import Config, ConfigError, DataError
from affect.data import Record
from affect.data.part import Part
from affect.evaluation.error_analysis import clips
from affect.evaluation.metrics.policies import encode
from affect.evaluation.significance import Paired, contrast, holm, paired
from affect.knowledge import store
from affect.knowledge.fill import clip_hashes
from affect.knowledge.protocol import MODALITIES, Description
from affect.knowledge.quality import texts
from affect.knowledge.quality.claims import OF_MODALITY, VERDICTS, claims, judged
from affect.knowledge.quality.results import MEASURES, Association, Comparison, Difference, Judged, OfGenerator, Quality
from affect.knowledge.sources import cues
from affect.runs.run_results import read_predictions
from affect.runs.run_summary import read

MOST_PAIRS = 6
"""Pairs of generators that are compared."""


def analyse(parts: Sequence[Part], cfg: Config) -> Quality:
    """The quality of all stored descriptions of the clips of `parts`, and with cfg.run how it goes with the answers of
    that run. Clips are measured unless their measurements are kept. Raises DataError where the store has none of them
    or cannot be read, and ConfigError where the run has no usable predictions."""
    records = {record.id: record for part in parts for record in part.records}
    rows, notes = _stored(records, cfg)
    looked_at = {modality for row in rows for modality in row.modality.split("_")}
    measured = {
        modality: _cues(list(records.values()), modality, cfg, notes) if modality in looked_at else {}
        for modality in cues.LETTERS
    }
    bounds = _bounds(records, measured)
    judgements = list(_judged(rows, records, measured, bounds))
    by_generator = grouped(judgements)
    return Quality(
        generators=[
            _of_generator(generator, modality, some, len(records))
            for (modality, generator), some in by_generator.items()
        ],
        associations=adjusted(associations(by_generator, MEASURES, cfg, notes)) if cfg.run is not None else [],
        comparisons=adjusted(comparisons(by_generator, MEASURES, notes)),
        descriptions=judgements,
        notes=notes,
    )


def grouped(descriptions: Sequence[Judged]) -> dict[tuple[str, str], list[Judged]]:
    """Descriptions by modality and generator, in the order of these."""
    by_generator: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for each in descriptions:
        by_generator[each.modality, each.generator].append(each)
    return dict(sorted(by_generator.items()))


def _stored(records: Mapping[str, Record], cfg: Config) -> tuple[list[Description], list[str]]:
    """The descriptions of the clips as they are now, one for each modality and generator."""
    folder = store.folder_of(cfg)
    hashes = clip_hashes(list(records.values()), cfg)
    wanted = dataset.field("id").isin(list(records)) & dataset.field("modality").isin(list(MODALITIES))
    kept: dict[tuple[str, str, str], Description] = {}
    changed: set[str] = set()
    requests: set[str] = set()
    for row in store.rows(folder, wanted):
        # Descriptions made elsewhere need no clip.
        if row.sha256 not in (hashes[row.id], store.NO_CLIP):
            changed.add(row.id)
            continue
        key = row.modality, row.generator, row.id
        before = kept.setdefault(key, row)
        if before.request != row.request:
            requests.add(row.id)
        kept[key] = min(before, row, key=store.precedence)
    if not kept:
        raise DataError(
            f"the store {folder} has no description of the {len(records):,} clips as they are now: make some, affect"
            " knowledge dataset=… knowledge=cues, or name another store, knowledge.store=…"
        )
    notes = []
    if changed:
        notes.append(f"{len(changed):,} clips have descriptions of another content of their file, which are left out")
    if requests:
        notes.append(
            f"{len(requests):,} clips have descriptions by one generator for several requests (another transcript,"
            " language or instruction): the earliest is looked at"
        )
    return [kept[key] for key in sorted(kept)], notes


def _cues(
    records: Sequence[Record], modality: str, cfg: Config, notes: list[str]
) -> dict[str, Mapping[str, float | None] | None]:
    """The measurements of each clip by id; None where it cannot be decoded."""
    there = [r for r in records if cues.LETTERS[modality] in cfg.datasets[r.dataset].modalities]
    found, problems = cues.by_clip(
        there,
        modality,
        Path(cfg.cache_root).expanduser(),
        num_workers=cfg.trainer.check_workers,
        show=cfg.trainer.progress,
    )
    if problems:
        notes.append(
            f"{len(problems):,} of {len(there):,} clips cannot be measured ({modality}), and what is claimed of them is"
            f" not judged; the first: {problems[0]}"
        )
    return dict.fromkeys(record.id for record in records) | found


def _bounds(
    records: Mapping[str, Record], measured: Mapping[str, Mapping[str, Mapping[str, float | None] | None]]
) -> dict[str, dict[str, tuple[float, float]]]:
    """By dataset and cue, the ends of the middle third of its clips."""
    result: dict[str, dict[str, tuple[float, float]]] = {}
    for name in dict.fromkeys(record.dataset for record in records.values()):
        own = [of_clip for key, of_clip in measured["audio"].items() if of_clip and records[key].dataset == name]
        result[name] = {}
        for cue in OF_MODALITY["audio"]:
            values = [of_clip[cue] for of_clip in own if of_clip[cue] is not None]
            if values:
                low, high = np.quantile(np.array(values, dtype=np.float64), (1 / 3, 2 / 3))
                result[name][cue] = float(low), float(high)
    return result


def _judged(
    rows: Sequence[Description],
    records: Mapping[str, Record],
    measured: Mapping[str, Mapping[str, Mapping[str, float | None] | None]],
    bounds: Mapping[str, Mapping[str, tuple[float, float]]],
) -> Iterator[Judged]:
    of_generator: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        of_generator[row.modality, row.generator].append(row.text)
    same = {key: iter(texts.shared(column)) for key, column in of_generator.items()}
    for row in rows:
        record = records[row.id]
        verdicts, values = {}, {}
        for cue, says in claims(row.text, row.modality).items():
            of_clip = measured["audio" if cue in OF_MODALITY["audio"] else "video"][row.id]
            verdicts[cue] = (says, judged(cue, says, of_clip, bounds[record.dataset]))
            values[cue] = None if of_clip is None else of_clip[cue]
        found = {verdict for _, verdict in verdicts.values()}
        yield Judged(
            id=row.id,
            group=record.group,
            modality=row.modality,
            generator=row.generator,
            text=row.text,
            verdicts=verdicts,
            cues=values,
            measures={
                "contradicted": float("contradicted" in found),
                "not there": float("not there" in found),
                "repetition": texts.repetition(row.text),
                "words": float(len(texts.words(row.text))),
                "empty": texts.empty(row.text),
                "shared": float(next(same[row.modality, row.generator])),
            },
        )


def _of_generator(generator: str, modality: str, some: Sequence[Judged], of_clips: int) -> OfGenerator:
    counts: dict[str, Counter[str]] = {}
    for each in some:
        for cue, (_, verdict) in each.verdicts.items():
            counts.setdefault(cue, Counter())[verdict] += 1
    return OfGenerator(
        generator=generator,
        modality=modality,
        descriptions=len(some),
        clips=of_clips,
        claims={
            cue: {verdict: counts[cue][verdict] for verdict in VERDICTS}
            for cue in OF_MODALITY[modality]
            if cue in counts
        },
        means={name: float(np.mean([each.measures[name] for each in some])) for name in MEASURES},
    )


def associations(
    by_generator: Mapping[tuple[str, str], Sequence[Judged]], measures: Sequence[str], cfg: Config, notes: list[str]
) -> Iterator[Association]:
    """For every task of the run: descriptions of clips that are right minus those of clips that are wrong, in the given
    measures. Notes what is left out. Raises ConfigError and DataError where the run has no usable predictions."""
    assert cfg.run is not None
    folder = Path(cfg.run)
    metrics = read(folder).metrics
    if metrics is None:
        raise ConfigError(f"run={folder} has no results: name a finished run, or leave run= out")
    predictions = [p for p in read_predictions(folder) if p.target is not None]
    for name, config in cfg.datasets.items():
        for task_name in config.tasks:
            task = config.task_definitions[task_name]
            own = [p for p in predictions if (p.dataset, p.task) == (name, task_name)]
            if not own:
                notes.append(f"run={folder} has no labelled prediction of {name}.{task_name}: nothing goes with it")
                continue
            gold = encode([p.target for p in own], task)
            answers = encode([getattr(p, metrics["reader"]) for p in own], task)
            right = dict(zip([p.id for p in own], clips.right(gold, answers, task).tolist(), strict=True))
            for (modality, generator), described in by_generator.items():
                some = [each for each in described if each.id in right]
                inside = np.array([right[each.id] for each in some], dtype=bool)
                if not some or inside.all() or not inside.any():
                    notes.append(f"{name}.{task_name}: of {generator} ({modality}) no clip is right, or none is wrong")
                    continue
                groups = [each.group for each in some]
                columns = {m: np.array([each.measures[m] for each in some]) for m in measures}
                yield Association(
                    generator=generator,
                    modality=modality,
                    task=f"{name}.{task_name}",
                    right=int(inside.sum()),
                    wrong=int((~inside).sum()),
                    differences=_differences(
                        {m: (float(c[inside].mean()), float(c[~inside].mean())) for m, c in columns.items()},
                        {m: contrast(inside, [c], inside, groups, _mean) for m, c in columns.items() if c.std() > 0},
                    ),
                )


def comparisons(
    by_generator: Mapping[tuple[str, str], Sequence[Judged]], measures: Sequence[str], notes: list[str]
) -> Iterator[Comparison]:
    """Every two generators of a modality in the given measures, on the clips that both have described. Notes what is
    left out."""
    pairs = [
        (modality, one, other)
        for modality in MODALITIES
        for one, other in combinations([name for of, name in sorted(by_generator) if of == modality], 2)
    ]
    if len(pairs) > MOST_PAIRS:
        notes.append(f"{len(pairs)} pairs of generators: the first {MOST_PAIRS} are compared")
    for modality, one, other in pairs[:MOST_PAIRS]:
        sides = [{each.id: each for each in by_generator[modality, name]} for name in (one, other)]
        common = [key for key in sides[0] if key in sides[1]]
        if not common:
            notes.append(f"{one} and {other} have described no common clip ({modality}), and are not compared")
            continue
        columns = {m: [np.array([side[key].measures[m] for key in common]) for side in sides] for m in measures}
        groups = [sides[0][key].group for key in common]
        yield Comparison(
            generators=(one, other),
            modality=modality,
            clips=len(common),
            differences=_differences(
                {m: (float(pair[0].mean()), float(pair[1].mean())) for m, pair in columns.items()},
                {
                    m: paired(np.zeros(len(common)), [pair[0]], [pair[1]], groups, _mean)
                    for m, pair in columns.items()
                    if any(column.std() > 0 for column in pair)
                },
            ),
        )


def _mean(gold: np.ndarray, values: np.ndarray) -> float:
    return float(values.mean())


def _differences(means: Mapping[str, tuple[float, float]], tests: Mapping[str, Paired]) -> list[Difference]:
    return [
        Difference(
            measure=name,
            one=one,
            other=other,
            low=tests[name].low if name in tests else None,
            high=tests[name].high if name in tests else None,
            p=tests[name].p if name in tests else None,
            holm=None,
            reason=tests[name].reason if name in tests else "it is the same for all descriptions",
        )
        for name, (one, other) in means.items()
    ]


Compared = TypeVar("Compared", Association, Comparison)


def adjusted(tables: Iterable[Compared]) -> list[Compared]:
    """The tables with p-values adjusted for all of them."""
    tables = list(tables)
    left = iter(holm([each.p for table in tables for each in table.differences]))
    return [
        replace(table, differences=[replace(each, holm=next(left)) for each in table.differences]) for table in tables
    ]
