"""The blocks of the clip browser: what any run of a report predicts of a clip, and what is known of the clip."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affect.config import DataError
from affect.data import Record
from affect.reports.page.building import Blocks
from affect.reports.page.clips import recordings
from affect.reports.page.clips.comparisons import compare
from affect.reports.page.clips.predictions import MAX_SCORES, Clips, Columns
from affect.reports.page.clips.prompts import MAX_PROMPTS, Prompts
from affect.reports.page.clips.records import Datasets, located
from affect.reports.page.clips.texts import NONE, Texts
from affect.reports.settings import Run, some
from affect.runs.run_results import read_predictions


@dataclass(slots=True, kw_only=True)
class Browser:
    """The blocks of the page, and what has to be known beside them."""

    blocks: Blocks
    notes: list[str] = field(default_factory=list)


def browser(runs: Sequence[Run], folder: Path, *, embed: bool = False) -> Browser:
    """The clip browser of a page in `folder`; a run's number is its place in `runs`, from 1. With `embed` small
    previews of the clips are blocks of their own.

    What cannot be read, and what a limit leaves out, is in the notes. Without predictions there are no blocks.
    """
    texts, datasets, notes = Texts(), Datasets(), list[str]()
    predicted = Columns(texts=texts)
    prompts = Prompts(texts=texts, datasets=datasets)
    shown: dict[int, Run] = {}
    for number, run in enumerate(runs, 1):
        if not run.counts:
            continue
        try:
            predictions = read_predictions(run.folder)
            predicted.add(number, run.summary.config, run.summary.metrics["reader"], predictions)  # type: ignore[index]
            shown[number] = run
        except DataError as error:
            notes.append(str(error))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            notes.append(f"{run.folder / 'predictions.jsonl'} does not fit its config.yaml ({error!r}): run it again")
    tasks = [task for task in predicted.tasks.values() if task.runs]
    if not tasks:
        return Browser(blocks={}, notes=notes)
    for task in tasks:
        compare(task, shown)
        for column in task.runs:
            ids = [predicted.clips.first[clip].id for clip in predicted.orders[column["order"]]]
            column["prompt"] = prompts.of(column["run"], shown[column["run"]], *task.name.split(".", 1), ids)
    found = _find(predicted, shown, datasets)
    notes += _changed(shown, datasets)
    clips = _describe(predicted.clips, found, texts, folder)
    notes += _add_waveforms(clips, found)
    blocks: dict[str, Any] = {}
    if embed:
        blocks, said = _previews(clips, found)
        notes.append(said)
    notes += _limits(predicted, prompts)
    content = {
        "texts": texts.listed,
        "clips": clips,
        "orders": predicted.orders,
        "tasks": [{**task.plain(), "namings": prompts.namings.get(task.name, {})} for task in tasks],
        "prompts": prompts.listed,
        "notes": notes,
    }
    return Browser(blocks={"clips": lambda: content, **blocks}, notes=notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the annotations have of a clip."""

    record: Record | None
    why: str
    """Why there is no record."""
    letters: str
    """The modalities of its dataset."""
    cache_root: Path


def _find(predicted: Columns, runs: Mapping[int, Run], datasets: Datasets) -> list[Found]:
    """The records of all clips, in the order of their numbers. Where runs have different annotations, those of the
    first count."""
    found: dict[int, Found] = {}
    asked = set()
    for task in predicted.tasks.values():
        name = task.name.split(".", 1)[0]
        for column in task.runs:
            config = runs[column["run"]].summary.config
            dataset = datasets.of(name, config)
            # Most runs have the clips and the annotations of another.
            if (id(dataset), column["order"]) in asked:
                continue
            asked.add((id(dataset), column["order"]))
            wanted = [clip for clip in predicted.orders[column["order"]] if clip not in found or not found[clip].record]
            cache_root = _cache_root(config)
            for clip in wanted:
                prediction = predicted.clips.first[clip]
                record = dataset.split(prediction.split).get(prediction.id)
                why = dataset.why or f"the annotations in {config['datasets'][name]['root']} have no such clip any more"
                found[clip] = Found(
                    record=record,
                    why="" if record else why,
                    letters=config["datasets"][name]["modalities"],
                    cache_root=cache_root,
                )
    return [found[clip] for clip in range(len(predicted.clips.first))]


def _cache_root(config: Mapping[str, Any]) -> Path:
    """Where what is measured of clips is kept: in the cache of the run, or of this machine."""
    of_run = located(config["cache_root"], config)
    return of_run if of_run.is_dir() else Path(os.environ.get("AFFECT_CACHE", "~/.cache/affect")).expanduser()


def _changed(runs: Mapping[int, Run], datasets: Datasets) -> list[str]:
    """A sentence for every part whose annotations are not those that runs have read."""
    changed: dict[tuple[str, str], list[int]] = {}
    for number, run in runs.items():
        config = run.summary.config
        split = config["evaluation"]["split"]
        parts = json.loads((run.folder / "data.json").read_text(encoding="utf-8"))["parts"]
        then = {part["dataset"]: part.get("annotations_sha256") for part in parts if part["split"] == split}
        for name in config["datasets"]:
            now = datasets.of(name, config).sha256(split)
            if None not in (now, then.get(name)) and now != then[name]:
                changed.setdefault((name, split), []).append(number)
    return [
        f"The annotations of {name}, split '{split}', are not those that runs {some([str(n) for n in numbers])} have"
        " read: transcripts, context and prompts shown here may differ from what their models were given"
        for (name, split), numbers in changed.items()
    ]


def _describe(clips: Clips, found: Sequence[Found], texts: Texts, folder: Path) -> dict[str, list]:
    """Columns about the clips; texts are numbers of `texts`, NONE where there is none."""
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for prediction, each in zip(clips.first, found, strict=True):
        record = each.record
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {name: texts.number(getattr(prediction, name)) for name in ("id", "dataset", "split", "group")}
        row |= dict.fromkeys(("speaker", "language", "text", "source", "media", "why"), NONE)
        row |= {"context": [], "peaks": "", "levels": "", "video": 0, "preview": 0}
        row["why"] = texts.number(each.why or None)
        if record is not None:
            row |= {name: texts.number(getattr(record, name)) for name in ("speaker", "language", "text", "source")}
            row |= {
                "start": record.start,
                "end": record.end,
                "context": [texts.number(turn) for turn in record.context],
            }
            why = _no_file(record, each.letters)
            if why is None:
                row["media"] = texts.number(recordings.link(str(record.media), folder))
                row["video"] = int("v" in each.letters and not recordings.is_sound(str(record.media)))
            else:
                row["why"] = texts.number(why)
        for name, value in row.items():
            columns[name].append(value)
    return columns


COLUMNS = (
    *("id", "dataset", "split", "group", "speaker", "language", "text", "source", "context"),
    *("media", "video", "start", "end", "seconds", "peaks", "levels", "loudest", "preview", "why"),
)
"""What the page has of a clip. Numbers: `start`, `end`, `seconds`, `loudest`; 0 or 1: `video` and `preview`."""


def _no_file(record: Record, letters: str) -> str | None:
    """Why a clip cannot be played; None where its file is there."""
    if not set(letters) & set("av"):
        return "its dataset has neither sound nor picture"
    if record.media is None:
        return "its dataset has no folder of clips on this machine"
    if not os.path.isfile(record.media):
        return f"its file was not there when this page was made: {record.media}"
    return None


def _add_waveforms(clips: dict[str, list], found: Sequence[Found]) -> list[str]:
    """Adds waveforms and durations, and gives a sentence where some are left out."""
    notes = []
    by_cache: dict[Path, list[Record]] = {}
    numbers = {id(each.record): clip for clip, each in enumerate(found)}
    playable = [each for clip, each in enumerate(found) if clips["media"][clip] != NONE and "a" in each.letters]
    for each in playable[: recordings.MAX_WAVEFORMS]:
        by_cache.setdefault(each.cache_root, []).append(each.record)  # type: ignore[arg-type]
    for cache_root, records in by_cache.items():
        try:
            for record, measured in recordings.waveforms(records, cache_root):
                clip = numbers[id(record)]
                for name in ("seconds", "peaks", "levels", "loudest"):
                    clips[name][clip] = measured.get(name, clips[name][clip])
        except DataError as error:
            notes.append(f"There are no waveforms of {len(records):,} clips: {error}")
    if (beyond := len(playable) - recordings.MAX_WAVEFORMS) > 0:
        notes.append(f"{beyond:,} of {len(playable):,} clips have no waveform: a page has {recordings.MAX_WAVEFORMS:,}")
    for clip, each in enumerate(found):
        if clips["seconds"][clip] is None and each.record is not None and each.record.end is not None:
            clips["seconds"][clip] = round(each.record.end - (each.record.start or 0.0), 3)
    return notes


def _previews(clips: dict[str, list], found: Sequence[Found]) -> tuple[dict[str, Any], str]:
    """Blocks with the previews of clips, and a sentence on how many there are."""
    playable = [clip for clip, number in enumerate(clips["media"]) if number != NONE]
    numbers = {id(found[clip].record): clip for clip in playable}
    records = [record for clip in playable if (record := found[clip].record) is not None]
    blocks: dict[str, Any] = {}
    num_tried = 0
    for record, preview in recordings.previews(records, recordings.MAX_PREVIEW_BYTES):
        num_tried += 1
        if preview is not None:
            clip = numbers[id(record)]
            clips["preview"][clip] = 1
            blocks[f"{PREVIEW}/{clip}"] = lambda preview=preview: preview
    said = f"{len(blocks):,} of {len(found):,} clips are embedded as small previews"
    if num_tried < len(records):
        limit = recordings.MAX_PREVIEW_BYTES // 2**20
        said += f"; {len(records) - num_tried:,} are left out, since a page holds {limit} MB of them, and are linked"
    if num_tried > len(blocks):
        said += f"; {num_tried - len(blocks):,} cannot be decoded"
    if len(found) > len(records):
        said += f"; {len(found) - len(records):,} have no file on this machine"
    return blocks, said


PREVIEW = "clips/preview"
"""Blocks of previews are called this and the number of the clip."""


def _limits(predicted: Columns, prompts: Prompts) -> list[str]:
    notes = []
    if without := predicted.without_scores:
        notes.append(
            f"{len(without):,} runs are shown without label scores, of which a page has {MAX_SCORES:,} numbers"
        )
    if left_out := prompts.left_out:
        notes.append(f"{len(set(left_out)):,} runs are shown without prompts, of which a page has {MAX_PROMPTS:,}")
    return notes
