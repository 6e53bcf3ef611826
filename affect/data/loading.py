"""Loads the records of a run, draws subsets, and counts what is left out. No media is opened."""

from collections.abc import Mapping, Sequence
from typing import Any

from affect.config import Config, DataError, DatasetConfig
from affect.config.logs import LOG
from affect.data import annotations, leakage, readers
from affect.data.annotations import Annotations
from affect.data.label_checks import infer_labels, undeclared_tasks
from affect.data.overlap import overlap
from affect.data.part import Part
from affect.data.problems import Excluded
from affect.data.record import Record
from affect.data.subsets import draw
from affect.data.trained_on import trained_models


def read(cfg: Config, splits: Sequence[str]) -> list[Part]:
    """The parts of every dataset for `splits`, in that order. Every dataset is read once.

    A task with labels that declares none gets those of the training rows, which are written into `cfg`, so that the run
    folder has them. Raises ConfigError and DataError as annotations.read, annotations.Annotations.splits and the checks
    of affect.data.leakage do, and DataError where training rows or validation rows have no label.
    """
    for config in cfg.datasets.values():
        readers.check_options(config)
    models = trained_models(cfg)
    by_name: dict[str, Annotations] = {}
    parts: list[Part] = []
    for name, config in cfg.datasets.items():
        if name not in by_name:
            by_name[name] = annotations.read(name, config)
        for task in undeclared_tasks(config):
            task.labels = infer_labels(by_name[name].split("train").records, task)
            LOG.info(
                f"{name}: task '{task.name}' declares no labels; those of the training rows are taken:"
                f" {', '.join(task.labels)}"
            )
        others = leakage.excluded_datasets(name, cfg, models, by_name)
        by_split = by_name[name].splits(splits)
        of_dataset = [_part(name, config, split, *by_split[split], others) for split in splits]
        for part in of_dataset:
            part.annotations_sha256 = by_name[name].sha256(part.split)
        leakage.check_splits(config, of_dataset)
        parts += of_dataset
    _check_labelled(cfg, parts)
    leakage.check_datasets(cfg, parts)
    leakage.check_training(cfg, parts, models)
    return parts


def records(cfg: Config, name: str, split: str, read: dict[str, Annotations]) -> list[Record]:
    """The records of one split of a dataset as a run has them before clips are checked. `read` has the annotations that
    were read so far, by name; what is read here is added. Raises as annotations.Annotations.splits does."""
    config = cfg.datasets[name]
    if name not in read:
        read[name] = annotations.read(name, config)
    kept = read[name].split(split).records
    for reader, theirs in leakage.excluded_datasets(name, cfg, trained_models(cfg), read).values():
        shared = {mine.id for _, mine in overlap(theirs, kept, (reader, config.reader))}
        kept = [record for record in kept if record.id not in shared]
    return draw(config, split, kept)[0]


def _check_labelled(cfg: Config, parts: Sequence[Part]) -> None:
    """Raises DataError where a training set, or all validation sets together, have no label."""

    def labelled(part: Part) -> bool:
        return any(set(cfg.datasets[part.dataset].tasks) & set(record.labels) for record in part.records)

    for part in parts:
        if part.split == "train" and not labelled(part):
            raise DataError(
                f"dataset '{part.dataset}' has no label for {' or '.join(cfg.datasets[part.dataset].tasks)} in split"
                " 'train': there is nothing to learn"
            )
    validation = [part for part in parts if part.split == "val"]
    if validation and any(part.split == "train" for part in parts) and not any(map(labelled, validation)):
        raise DataError(
            f"no clip in split 'val' of {' and '.join(cfg.datasets)} has a label, and the checkpoint is chosen by how"
            " well they are predicted: label some of them"
        )


def _part(
    name: str,
    config: DatasetConfig,
    split: str,
    records: list[Record],
    excluded: list[Excluded],
    others: Mapping[str, tuple[str, list[Record]]],
) -> Part:
    """One split of one dataset, without the clips that `others` have too, and cut to its subset."""
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
    drawn, fraction = draw(config, split, records)
    if fraction is not None:
        LOG.info(f"{name} {split}: {_fraction_in_words(fraction)}")
    return Part(
        dataset=name,
        split=split,
        expected=expected,
        outside_subset=len(records) - len(drawn),
        records=drawn,
        excluded=excluded,
        fraction=fraction,
        others=others,
    )


def _fraction_in_words(counts: dict[str, Any]) -> str:
    shares = [
        f"{stratum.removeprefix('label ')} {n['drawn']:,} of {n['of']:,}" for stratum, n in counts["strata"].items()
    ]
    return (
        f"fraction={counts['fraction']:g} asks for {counts['asked']:,} of {counts['of']:,} clips; whole groups make"
        f" {counts['drawn']:,}, in {counts['groups']:,} of {counts['of_groups']:,} groups ({', '.join(shares)})"
    )
