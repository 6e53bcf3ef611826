"""The data of a run: what its folder keeps of them, and whether they are still the same."""

from collections.abc import Callable
from pathlib import Path

from affect.config import Config, ConfigError
from affect.config.logs import LOG
from affect.data import clip_rows
from affect.data.annotations import Annotations
from affect.data.files import write_json
from affect.data.overlap import Contents
from affect.data.part import Part
from affect.data.trained_on import trained_models
from affect.runs.run_summary import read_json

SHOWN = 3
"""Number of changed clips that a message names."""


def write_data(folder: Path, parts: list[Part], lost: dict[str, str]) -> None:
    """Writes what a run's numbers stand on: counts, and hashes of the ids used, of every split."""
    write_json(folder / "data.json", {"parts": [part.account() for part in parts], "lost_during_the_run": lost})


def write_clips(folder: Path, cfg: Config, parts: list[Part], contents: Contents) -> None:
    """Keeps what identifies the clips of a training, and those that its checkpoint was trained on before. `contents`
    are what is known of their files."""
    rows = clip_rows.rows([record for part in parts for record in part.records], contents)
    earlier = [
        {"readers": dict(model.readers), "rows": clip_rows.rows(model.records, model.contents)}
        for model in trained_models(cfg)
    ]
    clip_rows.write(folder, rows, {name: dataset.reader for name, dataset in cfg.datasets.items()}, earlier)


def check_same_data(folder: Path, parts: list[Part], contents: Contents) -> None:
    """Raises ConfigError where `parts` are not what the run in `folder` was begun with: other clips, or clips whose
    transcript, labels, window or file has changed. A run that was killed before it knew has nothing to compare.

    `contents` are what is known of the clips' files.
    """
    if not (folder / "data.json").is_file():
        return
    parts_then = {(part["dataset"], part["split"]): part for part in read_json(folder / "data.json")["parts"]}
    clips_then = clip_rows.read(folder)
    problems = []
    for part in parts:
        now, then = part.account(), parts_then[part.dataset, part.split]
        where = f"{part.dataset}, split '{part.split}', is not what run={folder} was begun with"
        remedy = "restore the data, or train anew"
        if now["ids_sha256"] != then["ids_sha256"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in now["reasons"].items()) or "none"
            problems.append(
                f"{where}: {then['used']:,} clips"
                f" were used then, {now['used']:,} can be now (left out: {reasons}): {remedy}"
            )
            continue
        if clips_then is None:
            continue
        before = [row for row in clips_then["rows"] if (row["dataset"], row["split"]) == (part.dataset, part.split)]
        rows = clip_rows.rows(part.records, contents)
        sources = {record.id: record.source for record in part.records}
        changed = [
            f"{key} ({sources[key]}: {', '.join(words)})" if sources[key] else f"{key} ({', '.join(words)})"
            for key, words in clip_rows.changes(before, rows)
        ]
        if changed:
            more = f" and {len(changed) - SHOWN:,} more" if len(changed) > SHOWN else ""
            problems.append(
                f"{where}: of {len(rows):,} clips these have changed: {', '.join(changed[:SHOWN])}{more}: {remedy}"
            )
        elif [row["id"] for row in before] != [row["id"] for row in rows]:
            problems.append(f"{where}: the {len(rows):,} clips are in another order: {remedy}")
    if problems:
        raise ConfigError("\n".join(problems))
    if clips_then is None:
        LOG.info(
            f"run={folder} was begun by a version of affect that kept no {clip_rows.FILE}: only the ids of its clips"
            " were compared, and changes of transcripts, labels, windows or files cannot be seen"
        )


def changed_annotations(folder: Path, read: Callable[[str], Annotations]) -> list[str]:
    """A phrase for each split whose annotations are not those of the run in `folder`. `read` gives those of a dataset,
    by its name. Files of clips are not looked at, nor runs of versions that kept no hash."""
    path = folder / "data.json"
    return [
        f"{part['dataset']}, split '{part['split']}'"
        for part in (read_json(path)["parts"] if path.is_file() else [])
        if part.get("annotations_sha256") not in (None, read(part["dataset"]).sha256(part["split"]))
    ]
