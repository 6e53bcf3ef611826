"""CH-SIMS v2: utterances in Mandarin from films, series and shows, with their sentiment, and the sentiment of text,
sound and picture alone; twice the clips of CH-SIMS.

On disk, the supervised part v2(s); the folder Raw may be missing, for work with text:

    <root>/meta.csv     <root>/Raw/video_0001/0001.mp4 …     <root>/Raw/aqgy3_0001/00000.mp4 …

A row, with its header:

    video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode
    video_0001,0001,我不想嫁给李茶,-1.0,-1.0,-1.0,-1.0,Negative,train

Labels go from -1 to 1 in steps of 0.2, but for one of -0.1. Clip ids have four digits in the videos of CH-SIMS, and
five in the others. v2(s) contains all clips of CH-SIMS with the same splits, labels and ids (`video_0001/0001`).

v2(u), 10,161 clips without labels, has a meta.csv of the same columns, and a root of its own. A row without any label
is predicted and not scored; where its mode names no split it is a test row, as v2(u) has no splits.

Who speaks is not given, and the clips of one video are the group.

Citation: Liu, Yuan, Mao, Liang, Yang, Qiu, Cheng, Li, Xu, Gao: Make Acoustic and Visual Cues Matter: CH-SIMS v2.0
Dataset and AV-Mixup Consistent Module, ICMI 2022. Obtain: the links of https://github.com/thuiar/ch-sims-v2 (no licence
file; the clips are of copyrighted films and series, for research only).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from affect.config import DataError
from affect.data.facts import Issue, Published, signs
from affect.data.problems import Problems
from affect.data.readers.mmsa import COLUMNS, UNIMODAL, check_spelling, clip_path, first_folder, labels, utterances
from affect.data.readers.places import table_path
from affect.data.record import SPLIT_NAMES, Record
from affect.data.tables import Row, read_table

TASKS = {"sentiment": "label"} | UNIMODAL

DIGITS = 4
"""Fewest digits of a clip id. How many zeros an id has lost is unknown, so that none are put back."""

# v2(s) as MERBench counts it; the paper has one clip less in train. v2(u) is another table, without labels and splits.
PUBLISHED = (
    Published(splits=("train",), count=2722, options={"table": "meta.csv"}),
    Published(splits=("val",), count=647, options={"table": "meta.csv"}),
    Published(splits=("test",), count=1034, classes=signs(488, 123, 423), options={"table": "meta.csv"}),
)
LICENCE = "No licence file; the clips are of copyrighted films and series, for research only."
SAME_CLIPS_AS = ("sims",)
KNOWN_ISSUES = (
    Issue(
        what="a label that is no multiple of 0.2",
        remedy="none: it is kept as published",
        applies=lambda record: (
            "sentiment" in record.labels
            and abs(5 * record.labels["sentiment"] - round(5 * record.labels["sentiment"])) > 1e-6
        ),
    ),
)


def records(root: Path, *, table: str = "meta.csv") -> Iterator[Record]:
    """One record per utterance, in the order of the table, with the task sentiment and, where their cells are filled,
    sentiment_text, sentiment_audio and sentiment_video.

    `table` is the file in `root` that holds the rows.
    """
    problems = Problems()
    if not (root / table).is_file() and (root / "label.csv").is_file():
        raise DataError(
            f"{root} has label.csv and no {table}, so this looks like CH-SIMS: choose dataset=sims, or set"
            " options.table=label.csv if it is a table of CH-SIMS v2"
        )
    path = table_path(root, table)
    rows = read_table(path, COLUMNS, problems)
    check_spelling(path, list(rows[0].cells), UNIMODAL.values())
    folder = first_folder(root, ["Raw"])
    for one in utterances([_with_split(row, problems) for row in rows], problems, label=None):
        if one.clip.isdecimal() and len(one.clip) < DIGITS:
            problems.add(
                one.row.source,
                f"the clip_id '{one.clip}' has lost its leading zeros (no clip of the set has fewer than {DIGITS}"
                " digits, and pandas or a spreadsheet takes them away): restore the table from the original",
                split=one.split,
            )
        yield one.record("simsv2", labels(one.row, TASKS), clip_path(folder, one), "zh")
    problems.check()


def _with_split(row: Row, problems: Problems) -> Row:
    """A row without labels becomes a test row unless it has a split; a row that lacks `label` alone is a problem."""
    filled = labels(row, TASKS)
    if filled and "sentiment" not in filled:
        problems.add(
            row.source,
            f"the label is empty but {', '.join(TASKS[task] for task in filled)} has one: restore it from the original"
            " table, in which a row has all labels or none",
            split=SPLIT_NAMES.get(row.cells["mode"].strip().lower()),
        )
    if filled or row.cells["mode"].strip().lower() in SPLIT_NAMES:
        return row
    return replace(row, cells=row.cells | {"mode": "test"})
