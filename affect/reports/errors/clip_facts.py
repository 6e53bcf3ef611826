"""What is known of the clips of a run beside its predictions: who speaks, for how long, how loudly, whether a face is
seen. Annotations are read again; measurements are those that knowledge=cues keeps, or are made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from affect.config import Config, ConfigError, DataError, DatasetConfig, Kind, OnBadRows
from affect.data import Record, annotations
from affect.data.clip_checks import check_clips
from affect.data.media import Sampling
from affect.data.progress import progress
from affect.evaluation.error_analysis.slices import Part, by_thirds, by_value
from affect.knowledge.sources import cues
from affect.runs.inherit import on_this_machine

OF_CLIPS = ("speaker", "language", "words", "duration", "intensity", "loudness", "face")
"""What clips can be divided by that predictions do not tell."""

UNSPACED = ("zh", "ja", "th")
"""Languages written without spaces, whose transcripts are measured in characters."""


@dataclass(slots=True, kw_only=True)
class Facts:
    parts: list[Part] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    """By what clips are divided by, why they are not."""
    texts: dict[str, str] = field(default_factory=dict)
    """Transcripts by id, as the dataset has them."""
    notes: list[str] = field(default_factory=list)


def clip_facts(
    folder: Path, task: str, targets: Mapping[str, object], wanted: Collection[str], roots: Mapping[str, str]
) -> Facts:
    """The facts of clips, for the run in `folder`. targets: gold values of the task DATASET.TASK by clip id, in the
    order of the parts' masks. wanted: which of OF_CLIPS. roots: as of runs.inherit.on_this_machine."""
    dataset, name = task.split(".", 1)
    try:
        cfg = on_this_machine(folder, roots)
        config = cfg.datasets[dataset]
        if not Path(config.root).expanduser().exists():
            raise DataError(f"{config.root} is not there: name the place of the data, --data-root DIR")
        read = annotations.read(dataset, config).split(cfg.evaluation.split, OnBadRows.exclude).records
    except (ConfigError, DataError) as error:
        return Facts(unavailable=dict.fromkeys(wanted, f"the annotations of {dataset} cannot be read: {error}"))
    by_id = {record.id: record for record in read}
    facts = Facts(texts={key: by_id[key].text for key in targets if key in by_id})
    if gone := [key for key in targets if key not in by_id]:
        facts.notes.append(
            f"{len(gone):,} of {len(targets):,} clips are not in the annotations any more, and in no slice that needs"
            f" them; the first: {gone[0]}"
        )
    if other := [key for key in targets if key in by_id and by_id[key].labels.get(name) != targets[key]]:
        facts.notes.append(
            f"{len(other):,} of {len(targets):,} clips have another label of {name} in the annotations now, and are"
            f" judged by that of the run; the first: {other[0]}"
        )
    records = [by_id.get(key) for key in targets]
    for by in OF_CLIPS:
        if by in wanted:
            _divide(facts, by, records, config, cfg)
    return facts


def _divide(facts: Facts, by: str, records: Sequence[Record | None], config: DatasetConfig, cfg: Config) -> None:
    """Adds the parts of one division, or why there are none."""
    parts, why = _PARTS[by](records, config, cfg)
    if not parts:
        facts.unavailable[by] = why
    elif parts[0].inside[parts[0].known].all():
        facts.unavailable[by] = f"one slice holds all clips: {parts[0].value}"
    else:
        facts.parts += parts
        if unknown := int((~parts[0].known).sum()):
            because = f" ({why})" if why else ""
            facts.notes.append(f"{by}: unknown of {unknown:,} of {len(records):,} clips, which are left out{because}")


Records = Sequence[Record | None]
Parts = tuple[list[Part], str]
"""Parts, and why some or all clips are in none."""


def _speaker(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    return by_value("speaker", [record and record.speaker for record in records]), "the dataset names no speaker"


def _language(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    return by_value("language", [record and record.language for record in records], fewest=1), ""


def _words(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    spaced = config.language not in UNSPACED
    counts = [
        None
        if record is None or not record.text.strip()
        else float(len(record.text.split()) if spaced else len("".join(record.text.split())))
        for record in records
    ]
    return by_thirds("words", counts, "words" if spaced else "characters"), "no transcript"


def _duration(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    seconds: list[float | None] = [
        None if record is None or None in (record.start, record.end) else float(record.end) - float(record.start)
        for record in records
    ]
    why = "no start and end"
    rest = [r for r, known in zip(records, seconds, strict=True) if r is not None and known is None and r.media]
    if rest:
        letters = set(cfg.modalities) & {"a", "v"} or {"a"} & set(config.modalities)
        sampling = Sampling.of_model(cfg.model, letters)
        with progress(True) as bar:
            task = bar.add_task("duration of clips", total=len(rest))
            checks = check_clips(
                rest,
                sampling,
                Path(cfg.cache_root).expanduser(),
                num_workers=cfg.trainer.check_workers,
                progress=lambda done: bar.advance(task, done),
            )
        failed = [check.detail for check in checks.values() if check.outcome != "ok"]
        if failed:
            why = f"{len(failed):,} of {len(rest):,} clips cannot be decoded; the first: {failed[0]}"
        ok = {key: check.seconds for key, check in checks.items() if check.outcome == "ok"}
        seconds = [
            known if record is None or known is not None else ok.get(record.id)
            for record, known in zip(records, seconds, strict=True)
        ]
    return by_thirds("duration", seconds, "s"), why


def _intensity(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    """How strong the emotion is, where another task of the dataset says so: distance from the middle of its range."""
    tasks = [task for task in config.task_definitions.values() if task.kind is Kind.intensity]
    for task in tasks:
        assert task.low is not None and task.high is not None
        middle = (task.low + task.high) / 2
        values = [
            None if record is None or task.name not in record.labels else abs(float(record.labels[task.name]) - middle)
            for record in records
        ]
        if any(value is not None for value in values):
            return by_thirds("intensity", values, "from the middle"), "no label"
    return [], "no label of the dataset says how strong an emotion is"


def _loudness(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    values, why = _measured("audio", "loudness", records, config, cfg)
    return by_thirds("loudness", values, "dB"), why


def _face(records: Records, config: DatasetConfig, cfg: Config) -> Parts:
    values, why = _measured("video", "faces", records, config, cfg)
    words = [
        None if share is None else "in no frame" if share == 0 else "in all frames" if share == 1 else "in some frames"
        for share in values
    ]
    return by_value("face", words, fewest=1), why


_PARTS = {
    "speaker": _speaker,
    "language": _language,
    "words": _words,
    "duration": _duration,
    "intensity": _intensity,
    "loudness": _loudness,
    "face": _face,
}


def _measured(
    modality: str, cue: str, records: Records, config: DatasetConfig, cfg: Config
) -> tuple[list[float | None], str]:
    """A cue of each clip (see affect/data/cues), and why there is none of some."""
    if cues.LETTERS[modality] not in config.modalities:
        return [None] * len(records), f"the dataset has no {modality}"
    there = [record for record in records if record is not None]
    values, problems = cues.by_clip(
        there, modality, Path(cfg.cache_root).expanduser(), num_workers=cfg.trainer.check_workers, show=True
    )
    why = f"nothing to measure {cue} by"
    if problems:
        why = (
            f"the {modality} of {len(problems):,} of {len(there):,} clips cannot be measured; the first: {problems[0]}"
        )
    of_clips = [None if record is None else values[record.id] for record in records]
    return [None if of_clip is None else of_clip[cue] for of_clip in of_clips], why
