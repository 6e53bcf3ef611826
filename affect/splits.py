"""The records of a run: read, cut to the subset that was asked for, and accounted for. No media is opened here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from affect import datasets, leakage
from affect.config import Config, DatasetConfig
from affect.datasets.overlap import overlap
from affect.record import DataError, Record
from affect.tables import Excluded
from affect.tasks import Kind

BAD_ROW = "wrong in the annotations (on_bad_rows=exclude)"
"""The reason that accounts name for rows that are wrong; exclusions.csv says of each what is wrong with it."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One split of one dataset, with what became of its records."""

    dataset: str
    split: str
    expected: int
    """Records the annotations have, those included that the reader could not give."""
    outside_subset: int
    """Records left out because the configuration asks for a subset."""
    records: list[Record]
    """Records that are used; the clip check takes out of it what cannot be."""
    excluded: list[Excluded] = field(default_factory=list)
    fraction: dict[str, Any] | None = None
    """Counts of the share of the training clips that was drawn (see datasets.subsets.whole_groups), before the clip
    check; None where all are used."""

    @property
    def num_excluded(self) -> int:
        return sum(item.count for item in self.excluded)

    @property
    def num_bad_rows(self) -> int:
        """Rows of the annotations that are wrong and were left out (on_bad_rows=exclude)."""
        return sum(item.count for item in self.excluded if item.bad_row)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Moves the records with these ids to the exclusions. Raises DataError where none would be left."""
        gone = [record for record in self.records if record.id in reasons]
        if not gone:
            return
        self.excluded += [Excluded(id=r.id, split=self.split, reason=reasons[r.id], source=r.source) for r in gone]
        self.records = [record for record in self.records if record.id not in reasons]
        if not self.records:
            raise DataError(
                f"no clip of dataset '{self.dataset}', split '{self.split}' is left: {len(gone):,} are left out, the"
                f" first, {gone[0].id}, as '{reasons[gone[0].id]}': choose another dataset or split"
            )

    def account(self) -> dict[str, Any]:
        """The counts, by reason, and the hash of the ids used: what a number of this part stands on."""
        reasons: dict[str, int] = {}
        for item in self.excluded:
            reason = BAD_ROW if item.bad_row else item.reason
            reasons[reason] = reasons.get(reason, 0) + item.count
        ids = sorted(record.id for record in self.records)
        return {
            "dataset": self.dataset,
            "split": self.split,
            "expected": self.expected,
            "outside_subset": self.outside_subset,
            "excluded": self.num_excluded,
            "bad_rows": self.num_bad_rows,
            "reasons": reasons,
            "used": len(ids),
            "ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            **({} if self.fraction is None else {"fraction": self.fraction}),
        }


def read(cfg: Config, splits: list[str]) -> list[Part]:
    """The parts of every dataset for the splits named, in that order.

    A task with labels that declares none gets those of the training rows, written into `cfg` so that the run
    folder has them. Raises ConfigError and DataError as affect.datasets does, and DataError where training rows or
    validation rows have no label, or where a clip that trains is in another dataset as one that tests.
    """
    for config in cfg.datasets.values():
        datasets.check_options(config)
    models = leakage.trained_models(cfg)
    known = leakage.known_datasets(cfg, models)
    parts = []
    for name, config in cfg.datasets.items():
        undeclared = [
            task
            for task in map(config.task_definitions.get, config.tasks)
            if task is not None and task.kind is not Kind.intensity and not task.labels
        ]
        for task in undeclared:
            task.labels = datasets.infer_labels(datasets.read(name, config, "train")[0], task)
            print(
                f"{name}: task '{task.name}' declares no labels; those of the training rows are taken:"
                f" {', '.join(task.labels)}"
            )
        others = leakage.left_out_for(name, config, known, models)
        by_split = {split: _part(name, config, split, others) for split in splits}
        parts += by_split.values()
        leakage.check_splits(config, list(by_split.values()))
        clips = {split: part.records for split, part in by_split.items()}
        if "train" in clips and not any(set(config.tasks) & set(record.labels) for record in clips["train"]):
            raise DataError(
                f"dataset '{name}' has no label for {' or '.join(config.tasks)} in split"
                " 'train': there is nothing to learn"
            )
    val = [part for part in parts if part.split == "val"]
    if {"train", "val"} <= set(splits) and not any(
        set(cfg.datasets[p.dataset].tasks) & set(r.labels) for p in val for r in p.records
    ):
        raise DataError(
            f"no clip in split 'val' of {' and '.join(cfg.datasets)} has a label, and the checkpoint is chosen by how"
            " well they"
            " are predicted: label some of them"
        )
    leakage.check_datasets(cfg, by_dataset(cfg, parts))
    leakage.check_training(cfg, parts, models)
    return parts


def by_dataset(cfg: Config, parts: Sequence[Part]) -> dict[str, list[Record]]:
    """The records of all splits together, by dataset."""
    return {name: [r for part in parts if part.dataset == name for r in part.records] for name in cfg.datasets}


def _part(name: str, config: DatasetConfig, split: str, others: Mapping[str, tuple[str, list[Record]]]) -> Part:
    """One split of one dataset: without the clips that `others` have too, and cut to its subset."""
    records, excluded = datasets.read(name, config, split)
    expected = len(records) + sum(item.count for item in excluded)
    if bad := [item for item in excluded if item.bad_row]:
        lost = sum(item.count for item in bad)
        print(
            f"{name} {split}: {len(bad):,} {'row is' if len(bad) == 1 else 'rows are'} wrong and left out, with"
            f" {lost:,} of {expected:,} clips (datasets.{name}.on_bad_rows=exclude; exclusions.csv of a run lists"
            f" them). The first: {bad[0].source}: {bad[0].reason}"
        )
    for other, (reader, theirs) in others.items():
        shared = {mine.id for _, mine in overlap(theirs, records, (reader, config.reader))}
        excluded += [
            Excluded(id=r.id, split=split, reason=f"also in dataset {other}", source=r.source)
            for r in records
            if r.id in shared
        ]
        records = [record for record in records if record.id not in shared]
        if not records:
            raise DataError(
                f"every clip of dataset '{name}' in split '{split}' is also in dataset '{other}', which"
                f" datasets.{name}.exclude_overlap_with names: take '{other}' out of the list, or turn it round with"
                f" datasets.{other}.exclude_overlap_with=[{name}]"
            )
    chosen, fraction = datasets.draw(config, split, records)
    if fraction is not None:
        print(f"{name} {split}: {_fraction_in_words(fraction)}")
    return Part(
        dataset=name,
        split=split,
        expected=expected,
        outside_subset=len(records) - len(chosen),
        records=chosen,
        excluded=excluded,
        fraction=fraction,
    )


def _fraction_in_words(counts: dict[str, Any]) -> str:
    shares = [
        f"{stratum.removeprefix('label ')} {n['drawn']:,} of {n['of']:,}" for stratum, n in counts["strata"].items()
    ]
    return (
        f"fraction={counts['fraction']:g} asks for {counts['asked']:,} of {counts['of']:,} clips; whole groups make"
        f" {counts['drawn']:,}, in {counts['groups']:,} of {counts['of_groups']:,} groups ({', '.join(shares)})"
    )
