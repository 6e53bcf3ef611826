"""The layout in which MMSA distributes CMU-MOSI, CMU-MOSEI, CH-SIMS and CH-SIMS v2. Not a reader.

    <root>/label.csv     <root>/Raw/<video_id>/<clip_id>.mp4 …

with the columns video_id, clip_id, text, label, label_T, label_A, label_V, annotation and mode, in an order that is not
the same in all of them (https://github.com/thuiar/MMSA-FET, src/MSA_FET/dataset.py).
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.config import DataError
from affect.data.problems import Problems
from affect.data.record import SPLIT_NAMES, Record
from affect.data.tables import Row

COLUMNS = ("video_id", "clip_id", "text", "label", "mode")
"""Columns that are read. The column annotation repeats the sign of the label in words."""

UNIMODAL = {"sentiment_text": "label_T", "sentiment_audio": "label_A", "sentiment_video": "label_V"}
"""Column by task: the sentiment by annotators who had only the transcript, the audio or the silent video."""

NOT_AN_ID = re.compile(r"[^\w-]")
"""Ids are made of letters, digits, _ and -. A spreadsheet that takes them for numbers writes 1.0 or 1.02E+05, and a
slash would put one clip into the folder of another."""


@dataclass(frozen=True, slots=True)
class Utterance:
    video: str
    clip: str
    split: str
    row: Row

    @property
    def key(self) -> str:
        """The end of the record's id, the same in every set that has the clip."""
        return f"{self.video}/{self.clip}"

    def record(self, dataset: str, labels: Mapping[str, str], media: str | None, language: str = "en") -> Record:
        return Record(
            id=f"{dataset}/{self.split}/{self.key}",
            dataset=dataset,
            split=self.split,
            text=self.row.cells["text"],
            labels=labels,
            group=self.video,
            media=media,
            language=language,
            source=self.row.source,
        )


def utterances(
    rows: Iterable[Row],
    problems: Problems,
    *,
    video: str = "video_id",
    clip: str = "clip_id",
    mode: str = "mode",
    label: str | None = "label",
    digits: int = 0,
) -> list[Utterance]:
    """The rows with their ids and split, in the order of the table; mistakes are added to `problems`.

    `label` is a column that no row may leave empty. Clip ids that are shorter than `digits` get their leading zeros
    back. A clip in two splits is a problem; the check of ids reports a clip that occurs twice in one.
    """
    kept: list[Utterance] = []
    seen: dict[str, Utterance] = {}
    for row in rows:
        video_id, clip_id, split = row.cells[video].strip(), row.cells[clip].strip(), row.cells[mode].strip().lower()
        wrong = [*_wrong_id(video, video_id), *_wrong_id(clip, clip_id)]
        if split not in SPLIT_NAMES:
            wrong.append(f"the {mode} '{row.cells[mode]}' is not one of {', '.join(SPLIT_NAMES)}: correct it")
        if label is not None and not row.cells[label].strip():
            wrong.append(f"the {label} is empty: restore it from the original table, in which no row lacks it")
        for sentence in wrong:
            problems.add(row.source, sentence, split=SPLIT_NAMES.get(split))
        if wrong:
            continue
        one = Utterance(video_id, clip_id.zfill(digits), SPLIT_NAMES[split], row)
        first = seen.setdefault(one.key, one)
        if first.split != one.split:
            problems.add(
                row.source,
                f"clip {one.key} is in split '{one.split}' here and in '{first.split}' in {first.row.source}: leave it"
                " in one of them, or what is tested was trained on",
                split=one.split,
            )
            continue
        kept.append(one)
    return kept


def labels(row: Row, columns: Mapping[str, str]) -> dict[str, str]:
    """The labels of a row by task, for those of `columns` (column by task) that the table has and the row fills."""
    return {
        task: cell for task, column in columns.items() if column in row.cells and (cell := row.cells[column].strip())
    }


def check_spelling(path: Path, columns: Sequence[str], optional: Iterable[str]) -> None:
    """Raises DataError for an optional column in other capitals, which would be ignored."""
    by_folded = {column.casefold(): column for column in columns}
    for name in optional:
        if name not in columns and name.casefold() in by_folded:
            raise DataError(
                f"{path} has the column '{by_folded[name.casefold()]}', where '{name}' is expected: rename it"
            )


def first_folder(root: Path, names: Iterable[str]) -> Path | None:
    """The first of the folders `names` that `root` has, or None."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def clip_path(folder: Path | None, one: Utterance) -> str | None:
    """`<folder>/<video_id>/<clip_id>.mp4`, whether it is there or not; None where the whole folder is absent."""
    return None if folder is None else os.path.join(folder, one.video, f"{one.clip}.mp4")


def _wrong_id(column: str, value: str) -> Iterator[str]:
    if not value:
        yield f"the {column} is empty: restore it from the original table"
    elif strange := NOT_AN_ID.search(value):
        yield (
            f"the {column} '{value}' contains {strange.group()!r}, which no id does (spreadsheets and pandas rewrite"
            " ids that look like numbers): restore it from the original table"
        )
