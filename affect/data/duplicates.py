"""Finds identical clips by the content of their files: across splits, datasets, and earlier trainings."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from affect.config import Config
from affect.data import leakage
from affect.data.file_hashes import file_contents
from affect.data.loading import by_dataset
from affect.data.overlap import Content, overlap
from affect.data.part import Part
from affect.data.record import Record


def compare_contents(parts: Sequence[Part], cfg: Config) -> dict[str, Content]:
    """What the file of each record of `parts` holds, by record id, after refusing or leaving out the clips that
    affect.data.leakage does. Files are read once, the cache remembers what they hold.

    That is so with modalities=t too, as far as the files are there: a model of text alone must not be tested on the
    clips it was trained on either.

    Raises DataError as the checks of affect.data.leakage.
    """
    models = leakage.trained_models(cfg)
    known = leakage.known_datasets(cfg, models)
    others = {name: leakage.left_out_for(name, config, known, models) for name, config in cfg.datasets.items()}
    read_again = [
        record for by_name in others.values() for _, records in by_name.values() for record in records if record.media
    ]
    of_models = [record for model in models for record in model.records if record.media is not None]
    used = [record for part in parts for record in part.records]
    held = file_contents(
        {record.media for record in (*used, *read_again, *of_models) if record.media is not None},
        Path(cfg.cache_root).expanduser(),
        num_workers=cfg.trainer.check_workers,
    )

    def contents(records: Iterable[Record]) -> dict[str, Content]:
        return {r.id: held[r.media] for r in records if r.media is not None and r.media in held}

    models = [replace(model, contents=model.contents | contents(model.records)) for model in models]
    kept = {key: content for model in models for key, content in model.contents.items()}
    found = contents(used)
    for part in parts:
        for other, (reader, theirs) in others[part.dataset].items():
            readers = (reader, cfg.datasets[part.dataset].reader)
            shared = overlap(theirs, part.records, readers, (kept | contents(theirs), found))
            part.leave_out({mine.id: f"also in dataset {other}" for _, mine in shared})
    for name, config in cfg.datasets.items():
        leakage.check_splits(config, [part for part in parts if part.dataset == name], found)
    leakage.check_datasets(cfg, by_dataset(cfg, parts), found)
    leakage.check_training(cfg, parts, models, found)
    return {record.id: found[record.id] for part in parts for record in part.records if record.id in found}
