"""Your own clips: one table (.csv, .tsv or .jsonl, UTF-8) with a row a clip.

The root is the table itself; relative paths in it start at its folder:

    clip,text,label,split,speaker
    clips/a.mp4,What a day,happy,train,anna
    clips/b.wav,,sad,test,ben

Needed is `clip`, and for training `label` and `split`. Without a column `split` all rows are test rows: what somebody
has who wants predictions. The columns `text`, `speaker`, `group`, `id`, `start` and `end` are used where they exist. A
clip without a text has no transcript, and a speech recogniser writes it down (datasets.X.transcribe). Other names are
given as options, and the licence is yours to know.

A cell without a label is left empty: the clip is then predicted and not scored. What pandas and spreadsheets write
instead (nan, None, NULL, <NA>, #N/A) is refused where it is not a declared label. 1, 1.0 and 01 are one label. Of a
multi-label task a cell lists the labels that apply, joy|surprise, or in JSON ["joy", "surprise"]; that none of them
applies is a label too, written none or [].
"""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from affect.config import DataError
from affect.data.facts import Ids
from affect.data.labels import is_written_for_nothing
from affect.data.problems import Problems, SplitErrors, near
from affect.data.record import SPLIT_NAMES, SPLITS, Record
from affect.data.tables import Row, read_table, require_columns

PUBLISHED = ()
LICENCE = "Your own clips: their licence, and the consent of those they show, are yours to know."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()
IDS = Ids.table


def records(
    root: Path,
    *,
    clip: str = "clip",
    text: str | None = "text",
    split_column: str = "split",
    labels: list[str] | dict[str, str] | None = None,
    speaker: str | None = None,
    group: str | None = None,
    id: str | None = None,
    start: str | None = None,
    end: str | None = None,
    require_clips: bool = True,
) -> Iterator[Record]:
    """One record per row, in the order of the table. All options but the last are names of columns.

    `text`: where there is no column of that name, no clip has a transcript; None ignores it. `split_column`: train, val
    (valid, dev, validation) or test, in any case. `labels`: the tasks, each in the column of its name, or task: column;
    None is the task `label`. An empty cell is a row without that label. `speaker`, `group`, `id`, `start`, `end`
    (seconds): None is the column of that name if there is one. Without ids the row number is the id; without groups the
    speaker is the group, then the clip's path from the table's folder, which does not depend on how the root is given.
    An empty `clip` is a record without media. `require_clips`: False allows clips that are not there, for work with
    text alone. White space around cells is removed, but for the text. Raises DataError for the table, and SplitErrors
    for splits without rows.
    """
    label_columns = _label_columns(labels)
    optional = {"speaker": speaker, "group": group, "id": id, "start": start, "end": end}
    required = [name for name in (text if text != "text" else None, *optional.values()) if name is not None]
    problems = Problems()
    rows = read_table(root, [*required, clip] if require_clips else required, problems, lists=label_columns.values())
    columns = list(rows[0].cells)
    if text is not None and text not in columns:
        if near(text, columns):  # a slip in the column's name would have all clips transcribed
            require_columns(root, columns, [text])
        text = None
    column_of = {key: name or key for key, name in optional.items() if name is not None or key in columns}
    has_splits = _check_split_column(root, columns, split_column)
    # A table without splits is for prediction and may lack `label`, but not because the column's name is misspelt.
    if has_splits or labels is not None or near("label", columns):
        require_columns(root, columns, label_columns.values())
    else:
        label_columns = {}

    counts: Counter[str] = Counter()
    for row in rows:
        cells = {name: cell if name == text else cell.strip() for name, cell in row.cells.items()}
        values = {key: cells[column] for key, column in column_of.items()}
        split = _split(cells[split_column], split_column, row, problems) if has_splits else "test"
        media = _media(root, cells[clip], row, split, require_clips, problems) if clip in cells else None
        begin, stop = (
            _seconds(values[key], column_of[key], row, split, problems) if key in values else None
            for key in ("start", "end")
        )
        if stop is not None and not (begin or 0.0) < stop:
            problems.add(
                row.source,
                f"the clip starts at {begin or 0:g} s and ends at {stop:g} s: it has to end after its start",
                split=split,
            )
        if "id" in values and not values["id"]:
            problems.add(row.source, f"the id in column '{column_of['id']}' is empty: give the clip an id", split=split)
        if split is None:
            continue
        counts[split] += 1
        for key in ("speaker", "group"):
            if is_written_for_nothing(values.get(key, "")):
                problems.add(
                    row.source,
                    f"the {key} '{values[key]}' in column '{column_of[key]}' is what pandas and spreadsheets write for"
                    f" an empty cell, and rows without a {key} would be taken for those of one: leave the cell empty",
                    split=split,
                )
        clip_id = f"manifest/{split}/{values.get('id', row.number)}"
        speaker_name = values.get("speaker") or None
        yield Record(
            id=clip_id,
            dataset="manifest",
            split=split,
            text=cells[text] if text is not None else "",
            labels={task: cells[column] for task, column in label_columns.items() if cells[column]},
            speaker=speaker_name,
            group=values.get("group") or speaker_name or (clip_id if media is None else _place(root, cells[clip])),
            media=media,
            start=begin,
            end=stop,
            source=row.source,
        )
    problems.check()
    if missing := [split for split in SPLITS if not counts[split]]:
        raise SplitErrors({split: _without_rows(root, split, counts, split_column, has_splits) for split in missing})


def _label_columns(labels: list[str] | dict[str, str] | None) -> Mapping[str, str]:
    """Column by task."""
    if labels is None:
        return {"label": "label"}
    return labels if isinstance(labels, dict) else {name: name for name in labels}


def _check_split_column(root: Path, columns: list[str], split_column: str) -> bool:
    """Whether the table has splits. Raises DataError if the column's name looks misspelt."""
    if split_column not in columns and (split_column != "split" or near(split_column, columns)):
        require_columns(root, columns, [split_column])
    return split_column in columns


def _without_rows(root: Path, split: str, counts: Counter[str], split_column: str, has_splits: bool) -> DataError:
    if not has_splits:
        return DataError(
            f"{root} has no column '{split_column}', so all its rows are test rows, but split '{split}' is asked for:"
            " add the column, with train, val or test in each row"
        )
    others = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    return DataError(
        f"{root}: no row is in split '{split}' ({others}): write {split} into column '{split_column}' of some rows"
    )


def _split(cell: str, column: str, row: Row, problems: Problems) -> str | None:
    if cell.lower() not in SPLIT_NAMES:
        problems.add(row.source, f"the {column} '{cell}' is not one of {', '.join(SPLIT_NAMES)}: correct it")
        return None
    return SPLIT_NAMES[cell.lower()]


def _media(root: Path, cell: str, row: Row, split: str | None, required: bool, problems: Problems) -> str | None:
    if not cell:
        return None
    path = root.parent / cell
    if required and not path.is_file():
        problems.add(
            row.source,
            f"the clip {path} does not exist: correct the path (relative ones start at {root.parent}), or set"
            " options.require_clips=false to work with text alone",
            split=split,
        )
    return str(path)


def _place(root: Path, cell: str) -> str:
    """Path of a clip relative to the folder of the table, independent of how the root is given, since runs are compared
    by it. A clip outside of that folder keeps its absolute path."""
    if not os.path.isabs(cell):
        return Path(os.path.normpath(cell)).as_posix()
    path, folder = os.path.realpath(cell), os.path.realpath(root.parent)
    inside = os.path.commonpath([path, folder]) == folder
    return Path(os.path.relpath(path, folder) if inside else path).as_posix()


def _seconds(cell: str, column: str, row: Row, split: str | None, problems: Problems) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:  # also true of NaN
        problems.add(
            row.source,
            f"the {column} '{cell}' is not a time in seconds, 0 or more: write it like 12.5",
            split=split,
        )
        return None
    return value
