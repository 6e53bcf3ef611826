"""The features of a run: read from a file, or computed from its clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from affect.baselines.collate import in_words
from affect.baselines.reads import reads_feature_files, reads_features
from affect.config import Config, DataError
from affect.data.clips import ClipSource
from affect.data.features import FeatureSource
from affect.data.features.mmsa import MmsaFeatures, located
from affect.data.part import Part
from affect.data.record import Record
from affect.models import precision
from affect.models.features import computed
from affect.models.sampling import sampling


class FilesOfDatasets:
    """A FeatureSource of several datasets, each with a feature file of its own."""

    def __init__(self, files: dict[str, MmsaFeatures]) -> None:
        self.files = files
        first, *others = files.items()
        self.widths = first[1].widths
        for name, file in others:
            if file.widths != self.widths:
                raise DataError(
                    f"the feature files of datasets {first[0]} and {name} differ in their numbers a step"
                    f" ({self.widths} and {file.widths}), and one network reads both: train on one of them"
                )

    def of(self, record: Record) -> dict[str, torch.Tensor]:
        return self.files[record.dataset].of(record)

    def identity(self) -> dict[str, Any]:
        return {name: file.identity() for name, file in self.files.items()}


def files(cfg: Config) -> dict[str, MmsaFeatures]:
    """The feature file of each dataset. Raises DataError where one cannot be read."""
    cache_root, modalities = Path(cfg.cache_root).expanduser(), in_words(cfg.modalities)
    return {
        name: MmsaFeatures(located(Path(dataset.root), cfg.features.file, dataset.reader), cache_root, modalities)
        for name, dataset in cfg.datasets.items()
    }


def exclude_without_features(parts: Sequence[Part], cfg: Config) -> None:
    """Moves the records that the feature files of a run lack to their part's exclusions."""
    of_datasets = files(cfg)
    for part in parts:
        of_datasets[part.dataset].join(part)


def check_transcripts(parts: Sequence[Part]) -> None:
    """Raises DataError where no clip of a dataset has a transcript, so that its text features would all be zeros."""
    for name in dict.fromkeys(part.dataset for part in parts):
        records = [record for part in parts if part.dataset == name for record in part.records]
        if not any(record.text.strip() for record in records):
            raise DataError(
                f"none of the {len(records):,} clips of {name} has a transcript, and features.text are made of them:"
                " leave t out of the modalities, or give the clips transcripts"
            )


def prepare(parts: Sequence[Part], cfg: Config, source: ClipSource) -> FeatureSource | None:
    """The features of all records of `parts`, None where the method reads none."""
    if not reads_features(cfg):
        return None
    if reads_feature_files(cfg):
        return FilesOfDatasets(files(cfg))
    if "t" in cfg.modalities:
        check_transcripts(parts)
    return computed.prepare(
        parts,
        in_words(cfg.modalities),
        cfg.features,
        source,
        sampling(cfg),
        Path(cfg.cache_root).expanduser(),
        precision.device(cfg.trainer),
        num_threads=cfg.trainer.check_workers,
        bar=cfg.trainer.progress,
    )
