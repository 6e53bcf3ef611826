"""CH-SIMS: utterances in Mandarin from films, series and shows, with their sentiment, and the sentiment of text, sound
and picture alone.

On disk, as MMSA gives it out, or in the older release; the folder Raw may be missing, for work with text:

    <root>/label.csv                              <root>/Raw/video_0001/0001.mp4 …

    <root>/metadata/sentiment/label_M.csv         <root>/Raw/video_0001/0001.mp4 …
    <root>/metadata/sentiment/label_T.csv         (label_A.csv, label_V.csv; each may be missing)
    <root>/metadata/train_index.csv               (val_index.csv, test_index.csv: rows of label_M.csv, from 0)
    <root>/metadata/Translation.csv               (the transcripts, where label_M.csv has no column text)

A row, with its header:

    video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode
    video_0001,0001,我不想嫁给李茶,-1.0,-1.0,-1.0,-1.0,Negative,train

60 videos. Labels go from -1 to 1 in steps of 0.2. Clips have ids of four digits; leading zeros that pandas or a
spreadsheet has taken away are put back. All clips are also in CH-SIMS v2, with the same splits, labels and ids
(`video_0001/0001`). Who speaks is not given, and the clips of one video are the group.

Citation: Yu, Xu, Meng, Zhu, Ma, Wu, Zou, Yang: CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with
Fine-grained Annotation of Modality, ACL 2020. Obtain: the links of https://github.com/thuiar/MMSA.
"""

from collections.abc import Iterator
from pathlib import Path

from affect.config import DataError
from affect.data.facts import Published, signs
from affect.data.problems import Problems
from affect.data.readers.mmsa import COLUMNS, UNIMODAL, check_spelling, clip_path, first_folder, labels, utterances
from affect.data.readers.places import folder_nearby, table_path
from affect.data.record import SPLITS, Record
from affect.data.tables import Row, missing_file, read_table

LABELS = "label.csv"
OLDER = "metadata/sentiment/label_M.csv"

DIGITS = 4

TRANSCRIPT = "Chinese"
"""Column of Translation.csv; the others are translations of it."""

# The paper's Table 1, and MMSA's processed labels.
PUBLISHED = (
    Published(splits=("train",), count=1368, classes=signs(742, 207, 419)),
    Published(splits=("val",), count=456),
    Published(splits=("test",), count=457, classes=signs(248, 69, 140)),
)
LICENCE = "No licence file; the clips are of copyrighted films and series, for research only."
SAME_CLIPS_AS = ("simsv2",)
KNOWN_ISSUES = ()


def records(root: Path) -> Iterator[Record]:
    """One record per utterance, in the order of the table, with the task sentiment and, where their cells are filled,
    sentiment_text, sentiment_audio and sentiment_video."""
    problems = Problems()
    path = _table_path(root)
    if path.name == LABELS:
        rows = read_table(path, COLUMNS, problems)
        check_spelling(path, list(rows[0].cells), UNIMODAL.values())
    else:
        rows = _older_release(root / "metadata", problems)
    folder = first_folder(root, ["Raw"])
    for one in utterances(rows, problems, digits=DIGITS):
        yield one.record("sims", labels(one.row, {"sentiment": "label"} | UNIMODAL), clip_path(folder, one), "zh")
    problems.check()


def _table_path(root: Path) -> Path:
    for name in (LABELS, OLDER):
        if (root / name).is_file() or folder_nearby(root, name) is not None:
            return table_path(root, name)
    if (root / "meta.csv").is_file():
        raise DataError(
            f"{root} has meta.csv where CH-SIMS has {LABELS}, so this is CH-SIMS v2: choose dataset=simsv2, or correct"
            " the root"
        )
    if root.is_dir():
        raise DataError(
            f"{root} has neither {LABELS} nor, as in the older release, {OLDER}: correct the dataset's root, or put one"
            " of them there"
        )
    raise missing_file(root / LABELS)


def _older_release(metadata: Path, problems: Problems) -> list[Row]:
    """The rows of label_M.csv with the cells that label.csv has, from the other files."""
    sentiment = metadata / "sentiment"
    rows = read_table(sentiment / "label_M.csv", ("video_id", "clip_id", "label"), problems)
    # Positions count unreadable rows too, since the index files do.
    numbers = sorted({row.number for row in rows} | {p.number for p in problems.found if p.number is not None})
    position_of = {number: position for position, number in enumerate(numbers)}
    extra: dict[str, dict[str, str]] = {}
    for column in UNIMODAL.values():
        if (sentiment / f"{column}.csv").is_file():
            extra[column] = _by_clip(sentiment / f"{column}.csv", "label", problems)
    if "text" not in rows[0].cells:
        extra["text"] = _by_clip(metadata / "Translation.csv", TRANSCRIPT, problems)
    modes = _modes(metadata, len(numbers), problems)
    merged: list[Row] = []
    for row in rows:
        position = position_of[row.number]
        cells = dict(row.cells)
        complete = True
        for column, by_clip in extra.items():
            if _key(row) in by_clip:
                cells[column] = by_clip[_key(row)]
            else:
                problems.add(
                    row.source,
                    f"clip {_key(row)} has no row for its {column} in the file that holds it: add it",
                    split=modes.get(position),
                )
                complete = False
        if position not in modes:
            problems.add(
                row.source,
                f"clip {_key(row)}, which is index {position}, is in none of {', '.join(_index_files())}: restore them",
            )
        elif complete:
            merged.append(Row(row.source, row.number, cells | {"mode": modes[position]}))
    return merged


def _by_clip(path: Path, column: str, problems: Problems) -> dict[str, str]:
    # Clips without a row here are counted where they are reported.
    rows = read_table(path, ("video_id", "clip_id", column), problems, count=0)
    return {_key(row): row.cells[column] for row in rows}


def _key(row: Row) -> str:
    return f"{row.cells['video_id'].strip()}/{row.cells['clip_id'].strip().zfill(DIGITS)}"


def _index_files() -> list[str]:
    return [f"{split}_index.csv" for split in SPLITS]


def _modes(metadata: Path, count: int, problems: Problems) -> dict[int, str]:
    """Split by position in label_M.csv."""
    modes: dict[int, str] = {}
    for split, name in zip(SPLITS, _index_files(), strict=True):
        for row in read_table(metadata / name, ["index"], problems, count=0):
            index = row.cells["index"].strip()
            if not index.isdecimal() or int(index) >= count:
                problems.add(
                    row.source,
                    f"the index '{index}' is not a row of label_M.csv, which are numbered 0 to {count - 1}: restore the"
                    " file from the original",
                    count=0,
                )
            elif int(index) in modes:
                problems.add(
                    row.source,
                    f"the index {index} is in split '{modes[int(index)]}' already: leave it in one of them",
                    count=0,
                )
            else:
                modes[int(index)] = split
    return modes
