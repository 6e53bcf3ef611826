"""Descriptions and transcripts of clips that are in the store of a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affect.config import DataError, Intervention, InterventionConfig, Transcribe
from affect.data import Record
from affect.data.interventions.words import masked
from affect.knowledge.protocol import TRANSCRIPT, Description
from affect.reports.page.clips.records import located, typed
from affect.reports.settings import Run


@dataclass(slots=True, kw_only=True)
class Stored:
    """Texts of the store, by record id, name and generator."""

    folder: Path
    texts: dict[tuple[str, str, str], str]
    several: int
    """Clips of which there are several."""

    def of(self, record_id: str, names: Sequence[str], generators: Sequence[str]) -> dict[str, str]:
        """The descriptions of a clip by name, as affect.knowledge.attach joins those of several generators."""
        by_name = {}
        for name in names:
            texts = [self.texts[key] for each in generators if (key := (record_id, name, each)) in self.texts]
            if texts:
                by_name[name] = "\n".join(texts)
        return by_name


def stored(run: Run, generators: Sequence[str], names: Sequence[str], ids: Sequence[str]) -> Stored:
    """What the store of a run has of these clips by these generators. Raises DataError where it cannot be read."""
    # Most of a second, which runs without descriptions do not need.
    from pyarrow import dataset

    from affect.knowledge import store

    config = run.summary.config
    folder = located(config["knowledge"].get("store") or f"{config['cache_root']}/knowledge", config)
    wanted = dataset.field("generator").isin(list(generators)) & dataset.field("modality").isin(list(names))
    wanted &= dataset.field("id").isin(list(ids))
    rows: dict[tuple[str, str, str], list[Description]] = {}
    for row in store.rows(folder, wanted):
        rows.setdefault((row.id, row.modality, row.generator), []).append(row)
    return Stored(
        folder=folder,
        texts={key: min(those, key=store.precedence).text for key, those in rows.items()},
        several=len({key[0] for key, those in rows.items() if len({row.text for row in those}) > 1}),
    )


def with_transcripts(records: Sequence[Record], run: Run, why: list[str]) -> list[Record]:
    """Records with the transcripts that a speech recogniser has made for the run, as far as the store has them, after
    its intervention."""
    config = run.summary.config
    intervention, split = typed(InterventionConfig, config["intervention"]), config["evaluation"]["split"]
    records = _recognised(records, run, split if intervention.name is Intervention.asr_text else None, why)
    if intervention.name is Intervention.text_masked:
        return [masked(record, intervention) if record.split == split else record for record in records]
    return records


def _recognised(records: Sequence[Record], run: Run, whole_split: str | None, why: list[str]) -> list[Record]:
    config = run.summary.config
    recognised = read_json(run.folder / "transcripts.json").get("generator")
    if recognised is None:
        return list(records)
    wanted = [
        record
        for record in records
        if (mode := config["datasets"][record.dataset].get("transcribe")) == Transcribe.all.value
        or (mode == Transcribe.missing.value and not record.text.strip())
        or record.split == whole_split
    ]
    found = stored(run, [recognised], [TRANSCRIPT], [record.id for record in wanted]).texts
    texts = {record_id: text for (record_id, _, _), text in found.items()}
    lacking = [record.id for record in wanted if record.id not in texts]
    if lacking:
        why.append(
            f"{len(lacking):,} clips have a transcript by {recognised} that the store does not have under their id:"
            f" {', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}; that of the dataset, if any, is given"
        )
    return [replace(record, text=texts.get(record.id, record.text)) for record in records]


def read_json(path: Path) -> dict[str, Any]:
    """A small file of a run folder; empty where the run has none. Raises DataError for a damaged one."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}): restore the file, or run again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no keys and values: restore the file, or run again")
    return value
