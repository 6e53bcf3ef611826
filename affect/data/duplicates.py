"""Finds identical clips by the content of their files: across splits, datasets, and earlier trainings."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from affect.config import Config
from affect.data import leakage
from affect.data.file_hashes import file_contents
from affect.data.overlap import Content, overlap
from affect.data.part import Part
from affect.data.record import Record
from affect.data.trained_on import trained_models


def compare_contents(parts: Sequence[Part], cfg: Config) -> dict[str, Content]:
    """The content of each record's file, by record id, after the checks of affect.data.leakage with it. Files are read
    once; the cache keeps their hashes.

    Files are compared with modalities=t too, as far as they are there: a model of text alone must not be tested on the
    clips it was trained on either. Raises DataError as the checks do.
    """
    models = trained_models(cfg)
    used = [record for part in parts for record in part.records]
    others = [record for part in parts for _, records in part.others.values() for record in records]
    of_models = [record for model in models for record in model.records]
    by_path = file_contents(
        {record.media for record in (*used, *others, *of_models) if record.media is not None},
        Path(cfg.cache_root).expanduser(),
        num_workers=cfg.trainer.check_workers,
    )

    def contents(records: Iterable[Record]) -> dict[str, Content]:
        return {r.id: by_path[r.media] for r in records if r.media is not None and r.media in by_path}

    models = [replace(model, contents=model.contents | contents(model.records)) for model in models]
    of_trained = {key: content for model in models for key, content in model.contents.items()}
    of_used = contents(used)
    for part in parts:
        for other, (reader, records) in part.others.items():
            readers = (reader, cfg.datasets[part.dataset].reader)
            shared = overlap(records, part.records, readers, (of_trained | contents(records), of_used))
            part.leave_out({mine.id: f"also in dataset {other}" for _, mine in shared})
    for name, config in cfg.datasets.items():
        leakage.check_splits(config, [part for part in parts if part.dataset == name], of_used)
    leakage.check_datasets(cfg, parts, of_used)
    leakage.check_training(cfg, parts, models, of_used)
    return {record.id: of_used[record.id] for part in parts for record in part.records if record.id in of_used}
