"""Checks every clip of a run once, and excludes those that cannot be used."""

from pathlib import Path

from affect.baselines.features import exclude_without_features
from affect.baselines.reads import reads_feature_files
from affect.config import Config, Intervention
from affect.config.logs import LOG, is_first
from affect.data import clip_cache
from affect.data.clip_checks import check_clips, exclude_failed
from affect.data.clips import ClipSource
from affect.data.file_hashes import file_versions
from affect.data.interventions import plan
from affect.data.media import NOTES
from affect.data.part import Part
from affect.data.progress import progress
from affect.data.tensor_store import GIGABYTE
from affect.models.sampling import sampling


def exclude_unusable(parts: list[Part], cfg: Config) -> ClipSource:
    """Decodes every clip once (the result is kept under cache_root) and moves the records whose clip cannot be used to
    their part's exclusions. Returns the source of the other clips. Raises DataError if a part is left empty.

    Where features come from a file, clips are not needed: the records that it lacks are excluded.
    """
    wanted = sampling(cfg)
    if reads_feature_files(cfg):
        exclude_without_features(parts, cfg)
        return ClipSource()
    if not (wanted.audio or wanted.video):
        return ClipSource()
    cache_root = Path(cfg.cache_root).expanduser()
    files = clip_cache.open_files(cache_root, cfg.trainer.clip_cache_gb, LOG.warning)

    source = ClipSource(files)
    seconds: dict[str, float] = {}
    for part in parts:
        with progress(cfg.trainer.progress) as bar:
            task = bar.add_task(f"checking clips of {part.dataset} {part.split}", total=len(part.records))
            checks = check_clips(
                part.records,
                wanted,
                cache_root,
                num_workers=cfg.trainer.check_workers,
                progress=lambda done, bar=bar, task=task: bar.update(task, advance=done),
                take=lambda record, digest: source.unchanged(record, wanted, digest),
            )
        exclude_failed(part, checks)
        seconds |= {record.id: checks[record.id].seconds for record in part.records}
        for note, meaning in NOTES.items():
            noted = [record for record in part.records if note in checks[record.id].notes]
            if noted:
                LOG.info(
                    f"{part.dataset} {part.split}: {len(noted)} of {len(checks)} clips are used although {meaning}:"
                    f" {noted[0].media}: {checks[noted[0].id].notes[note]}"
                    + (" (affect doctor names the others)" if len(noted) > 1 else "")
                )
    if files is not None and is_first():
        LOG.info(
            f"decoded clips are kept in {files.folder}, {files.size() / GIGABYTE:.2f} of at most"
            f" {files.limit / GIGABYTE:g} GB (trainer.clip_cache_gb)"
        )
    if cfg.intervention.name is not Intervention.none and is_first():
        LOG.info(
            f"intervention={cfg.intervention}: the model is given changed clips; descriptions in the prompt, if there"
            " are any, are those of the unchanged clips"
        )
    changes = plan(parts, cfg.intervention, cfg.datasets)
    paths = {record.media for part in parts for record in part.records if record.media is not None}
    return ClipSource(files, file_versions(paths, cache_root), seconds, changes)
