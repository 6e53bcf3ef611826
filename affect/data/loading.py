"""Loads the records of a run, cuts them to the subset asked for, and counts what is left out. No media is opened."""

from collections.abc import Mapping, Sequence
from typing import Any

from affect.config import Config, DataError, DatasetConfig, Kind
from affect.config.logs import LOG
from affect.data import leakage, readers
from affect.data.overlap import overlap
from affect.data.part import Part
from affect.data.record import Record
from affect.data.tables import Excluded


def read(cfg: Config, splits: list[str]) -> list[Part]:
    """The parts of every dataset for the splits named, in that order.

    A task with labels that declares none gets those of the training rows, written into `cfg` so that the run
    folder has them. Raises ConfigError and DataError as affect.data.readers does, and DataError where training rows or
    validation rows have no label, or where a clip that trains is in another dataset as one that tests.
    """
    for config in cfg.datasets.values():
        readers.check_options(config)
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
            task.labels = readers.infer_labels(readers.read(name, config, "train")[0], task)
            LOG.info(
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
    records, excluded = readers.read(name, config, split)
    expected = len(records) + sum(item.count for item in excluded)
    if bad := [item for item in excluded if item.bad_row]:
        lost = sum(item.count for item in bad)
        LOG.info(
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
    chosen, fraction = readers.draw(config, split, records)
    if fraction is not None:
        LOG.info(f"{name} {split}: {_fraction_in_words(fraction)}")
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
