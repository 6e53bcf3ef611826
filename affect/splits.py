"""The records of a run: read, cut to the subset that was asked for, and accounted for. No media is opened here."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from affect import datasets
from affect.config import Config
from affect.record import DataError, Record
from affect.tables import Excluded
from affect.tasks import Kind


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

    @property
    def num_excluded(self) -> int:
        return sum(item.count for item in self.excluded)

    def account(self) -> dict[str, Any]:
        """The counts, by reason, and the hash of the ids used: what a number of this part stands on."""
        reasons: dict[str, int] = {}
        for item in self.excluded:
            reasons[item.reason] = reasons.get(item.reason, 0) + item.count
        ids = sorted(record.id for record in self.records)
        return {
            "dataset": self.dataset,
            "split": self.split,
            "expected": self.expected,
            "outside_subset": self.outside_subset,
            "excluded": self.num_excluded,
            "reasons": reasons,
            "used": len(ids),
            "ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        }


def read(cfg: Config, splits: list[str]) -> list[Part]:
    """The parts of every dataset for the splits named, in that order.

    A classification task that declares no labels gets those of the training rows, written into `cfg` so that the run
    folder has them. Raises ConfigError and DataError as affect.datasets does, and DataError where training rows or
    validation rows have no label.
    """
    for config in cfg.datasets.values():
        datasets.check_options(config)
    parts = []
    for name, config in cfg.datasets.items():
        undeclared = [
            task
            for task in map(config.task_definitions.get, config.tasks)
            if task is not None and task.kind is Kind.classification and not task.labels
        ]
        for task in undeclared:
            task.labels = datasets.infer_labels(datasets.read(name, config, "train")[0], task)
            print(
                f"{name}: task '{task.name}' declares no labels; those of the training rows are taken:"
                f" {', '.join(task.labels)}"
            )
        first = config.task_definitions[config.tasks[0]]
        by_split = {}
        for split in splits:
            records, excluded = datasets.read(name, config, split)
            chosen = datasets.subset(records, first, getattr(config.subset, split), config.subset_seed)
            by_split[split] = chosen
            parts.append(
                Part(
                    dataset=name,
                    split=split,
                    expected=len(records) + sum(item.count for item in excluded),
                    outside_subset=len(records) - len(chosen),
                    records=chosen,
                    excluded=excluded,
                )
            )
        datasets.check_disjoint(by_split, speaker_independent=config.speaker_independent)
        if "train" in by_split and not any(set(config.tasks) & set(record.labels) for record in by_split["train"]):
            raise DataError(
                f"dataset '{name}' has no label for {' or '.join(config.tasks)} in split"
                " 'train': there is nothing to learn"
            )
    val = [part for part in parts if part.split == "val"]
    if "train" in splits and not any(
        set(cfg.datasets[p.dataset].tasks) & set(r.labels) for p in val for r in p.records
    ):
        raise DataError(
            f"no clip in split 'val' of {' and '.join(cfg.datasets)} has a label, and the checkpoint is chosen by how"
            " well they"
            " are predicted: label some of them"
        )
    return parts
