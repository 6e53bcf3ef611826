"""The annotations of a dataset, read once, and checked for the splits that are used."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from affect.config import DataError, DatasetConfig, OnBadRows, label_maps
from affect.data import readers
from affect.data.label_checks import check_labels
from affect.data.problems import Excluded, Problems, RowErrors, RowProblem, SplitErrors
from affect.data.record import SPLITS, Record


class Split(NamedTuple):
    """The records of a split, and what its reader left out."""

    records: list[Record]
    excluded: list[Excluded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What a reader gives of a dataset, all splits together, before labels are checked."""

    name: str
    config: DatasetConfig
    items: Sequence[Record | Excluded]
    problems: Sequence[RowProblem]
    """Rows that the reader could not use."""
    refusals: Mapping[str, DataError]
    """Why a split cannot be read at all."""

    def sha256(self, split: str) -> str:
        """Hash of what the reader gives of a split: everything but where the clips lie."""
        rows = [
            [
                *(item.id, item.text, sorted(item.labels.items()), item.context, item.speaker, item.group),
                *(item.start, item.end, item.media is None),
            ]
            if isinstance(item, Record)
            else [item.id]
            for item in self.items
            if item.split == split
        ]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def split(self, split: str, on_bad_rows: OnBadRows | None = None) -> Split:
        return self.splits([split], on_bad_rows)[split]

    def splits(self, names: Sequence[str], on_bad_rows: OnBadRows | None = None) -> dict[str, Split]:
        """The records of some splits, labels checked (see check_labels), and what is left out of them.

        Raises RowErrors for rows that are wrong: those of these splits, and those that do not say their split. With
        on_bad_rows=exclude (None: as the configuration says) each is one Excluded, in every split that it may belong
        to. Raises DataError where a split cannot be read, or has no clip, and ConfigError for labels of a task that is
        not defined.
        """
        for name in names:
            if name in self.refusals:
                raise self.refusals[name]
        problems = Problems(found=[problem for problem in self.problems if set(problem.splits) & set(names)])
        records: dict[str, list[Record]] = {name: [] for name in names}
        excluded: dict[str, list[Excluded]] = {name: [] for name in names}
        source_of: dict[str, str] = {}
        for item in self.items:
            if item.split not in records:
                continue
            if isinstance(item, Excluded):
                item = replace(item, id=self.name + item.id.removeprefix(self.config.reader))
                excluded[item.split].append(item)
                continue
            record = self._record(item, problems)
            if record.id in source_of:
                problems.add(
                    record.source,
                    f"has the id '{record.id}' of {source_of[record.id]}: give every clip an id of its own",
                    split=record.split,
                )
            source_of[record.id] = record.source
            records[record.split].append(record)
        if (on_bad_rows or self.config.on_bad_rows) is OnBadRows.refuse:
            problems.check(
                f"Remedy: correct these rows, or leave them out, listed and counted, with"
                f" datasets.{self.name}.on_bad_rows={OnBadRows.exclude.value}"
            )
        return {
            name: self._mapped(self._without_bad_rows(name, records[name], excluded[name], problems.found), name)
            for name in names
        }

    def _record(self, item: Record, problems: Problems) -> Record:
        """The reader's record with what only the configuration knows: two datasets can have the same reader."""
        own_id = self.name + item.id.removeprefix(item.dataset)
        source = item.source or own_id
        labels, wrong = check_labels(item.labels, self.name, self.config)
        for sentence in wrong:
            problems.add(source, sentence, split=item.split)
        return replace(
            item,
            id=own_id,
            source=source,
            dataset=self.name,
            labels=labels,
            language=self.config.language,
            audio_track=self.config.audio_track,
        )

    def _without_bad_rows(
        self, split: str, records: list[Record], excluded: list[Excluded], problems: Sequence[RowProblem]
    ) -> Split:
        """The split without the rows that have a problem, each of which is one Excluded."""
        by_source: dict[str, list[RowProblem]] = {}
        for problem in problems:
            if split in problem.splits:
                by_source.setdefault(problem.source, []).append(problem)
        kept = [record for record in records if record.source not in by_source]
        kept_ids = {record.id for record in kept}
        ids = {record.source: record.id for record in records if record.id not in kept_ids}
        for source, of_row in by_source.items():
            reason = "; ".join(dict.fromkeys(problem.sentence for problem in of_row))
            if len(of_row[0].splits) > 1:
                reason += " (which split the row is of is not known: it counts in each)"
            excluded.append(
                Excluded(
                    id=ids.get(source, f"{self.name}/{split}/{source}"),
                    split=split,
                    reason=reason,
                    source=source,
                    count=max(problem.count for problem in of_row),
                    bad_row=True,
                )
            )
        if not kept:
            reasons = f" ({'; '.join(item.reason for item in excluded[:3])})" if excluded else ""
            raise DataError(
                f"{self.config.root}: dataset '{self.name}' has no clip in split '{split}'{reasons}: complete it, or"
                " choose another split"
            )
        return Split(kept, excluded)

    def _mapped(self, split: Split, name: str) -> Split:
        """The split with labels of the common space, where there is one, and without the clips whose label has no image
        in it. A clip without a label stays one. Raises DataError where none is left."""
        label_map = self.config.label_map
        if label_map.task is None:
            return split
        task, [space] = self.config.task_definitions[label_map.task], self.config.tasks
        kept, excluded = [], []
        for record in split.records:
            value = record.labels.get(task.name)
            image = None if value is None else label_maps.image(value, task, label_map)
            if value is not None and image is None:
                reason = f"{task.name} '{value}' has no image in label_space={space}"
                excluded.append(Excluded(id=record.id, split=name, reason=reason, source=record.source))
            else:
                labels = {key: label for key, label in record.labels.items() if key != space}
                kept.append(replace(record, labels=labels if image is None else {**labels, space: image}))
        if not kept:
            raise DataError(
                f"dataset '{self.name}' has no clip in split '{name}' whose label has an image in label_space={space}"
                f" (the first: {excluded[0].id}, {excluded[0].reason}): choose another label space or split"
            )
        return Split(kept, [*split.excluded, *excluded])


def read(name: str, config: DatasetConfig) -> Annotations:
    """Reads the annotations of the dataset called `name`, after making them where its reader can.

    Raises ConfigError for options that the reader does not have, DataError where nothing can be read.
    """
    reader = readers.check_options(config)
    root = Path(config.root).expanduser()
    if hasattr(reader, "prepare") and not root.exists():
        reader.prepare(root)
    items: list[Record | Excluded] = []
    problems: list[RowProblem] = []
    refusals: dict[str, DataError] = {}
    try:
        for item in reader.records(root, **config.options):
            items.append(item)
    except RowErrors as errors:
        problems += errors.problems
    except SplitErrors as errors:
        # Two splits of one file have one error.
        for error in dict.fromkeys(errors.by_split.values()):
            if isinstance(error, RowErrors):
                problems += error.problems
        refusals = {split: error for split, error in errors.by_split.items() if not isinstance(error, RowErrors)}
    assert all(item.split in SPLITS for item in items)
    # One problem of a row may tell its split, and another not.
    splits_of: dict[str, tuple[str, ...]] = {}
    for problem in problems:
        splits_of[problem.source] = min(splits_of.get(problem.source, SPLITS), problem.splits, key=len)
    problems = [replace(problem, splits=splits_of[problem.source]) for problem in problems]
    return Annotations(name=name, config=config, items=items, problems=problems, refusals=refusals)
