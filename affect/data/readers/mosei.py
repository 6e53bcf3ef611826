"""CMU-MOSEI: utterances of English monologues on YouTube, with the intensity of sentiment and of six emotions.

On disk, as MMSA gives it out, with a file a clip; or as CMU does, with a file a video from which the clips are cut by
the times in the transcripts. Raw, or Videos, may be missing, for work with text. CMU's folders may also lie in Raw:

    <root>/label.csv     <root>/Raw/-3g5yACwYnA/0.mp4 …                               layout mmsa

    <root>/label.csv     <root>/Videos/Full/Combined/-3g5yACwYnA.mp4 …                layout cmu
                         <root>/Transcript/Segmented/Combined/-3g5yACwYnA.txt …

A row of the table with its header, and a line of a transcript (video, clip, start, end, text):

    video_id,clip_id,text,label,annotation,mode,label_T,label_A,label_V
    -3g5yACwYnA,2,I'm quite proud,0.33333334,Positive,train,,,

    -3g5yACwYnA___2___4.84___14.052___I'm quite proud

CMU's archive has no table of final labels: those under Labels/ are what single annotators answered. So layout cmu takes
MMSA's label.csv too, or any CSV with the columns video_id (or video), clip_id (or clip; or start and end in seconds),
label (or sentiment) and mode (or split), which may also have happy, sad, anger, surprise, disgust and fear. Rows of
transcripts that the table does not have were never labelled and belong to no split.

2,249 / 300 / 676 videos (CMU's list has two more test videos, 7l3BNtSE0xc and dZFV0lyedX4, without a label). Labels are
means of three annotators stored as float32, hence 0.33333334: sentiment from -3 to 3, emotions from 0 to 3. Some video
ids are numbers (101787). Who speaks is not given, and the clips of one video are the group.

Some of CMU's times are wrong (see KNOWN_ISSUES), and a few begin up to half a second before the video does: those begin
at 0. CMU's own cut clips (Videos/Segmented) freeze at their beginning, and some cannot be decoded; they are not used.

Citation: Zadeh, Liang, Poria, Cambria, Morency: Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and
Interpretable Dynamic Fusion Graph, ACL 2018. Obtain: the links of https://github.com/thuiar/MMSA, or
https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from affect.config import DataError
from affect.data.facts import Issue, Published, signs
from affect.data.problems import Excluded, Problems
from affect.data.readers.mmsa import check_spelling, clip_path, first_folder, labels, utterances
from affect.data.readers.places import folder_nearby, table_path
from affect.data.record import SPLIT_NAMES, Record
from affect.data.tables import Row, read_table, require_columns

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")

NAMES = {
    "video": ("video_id", "video"),
    "clip": ("clip_id", "clip"),
    "label": ("label", "sentiment"),
    "mode": ("mode", "split"),
}
"""Names of each column, MMSA's first."""

TRANSCRIPTS = ("Transcript/Segmented/Combined", "Raw/Transcript/Segmented/Combined")
VIDEOS = ("Videos/Full/Combined", "Raw/Videos/Full/Combined")

CLIP = "clip of the transcript"
"""Column of clip ids that is added to a table of intervals."""

SAME_TIME = 0.05
"""Tolerance in seconds. Tables round the times of the transcripts; no two segments of a video are this close."""

# MMSA's label.csv and processed test labels.
PUBLISHED = (
    Published(splits=("train",), count=16326),
    Published(splits=("val",), count=1871),
    Published(splits=("test",), count=4659, classes=signs(1350, 1025, 2284)),
)
LICENCE = "No licence file; the videos belong to those who put them on YouTube: for research, not to be passed on."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = (
    Issue(  # https://github.com/thuiar/MMSA/issues/66
        what="wrong times, clip and transcript do not belong together (videos -mJ2ud6oKI8 and 0BVed2nBq1g)",
        remedy="look at them before a claim about clips of these videos; more are like them",
        applies=lambda record: record.group in ("-mJ2ud6oKI8", "0BVed2nBq1g"),
    ),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A line of a transcript."""

    start: float
    end: float
    text: str


def records(
    root: Path, *, layout: Literal["auto", "mmsa", "cmu"] = "auto", table: str = "label.csv"
) -> Iterator[Record | Excluded]:
    """One record per utterance, in the order of the table, with the task sentiment and, where the table has their
    columns, the tasks happy, sad, anger, surprise, disgust and fear.

    `layout`: auto is cmu where the folder Transcript/Segmented/Combined exists. `table` is the file in `root` that
    holds the labels. In layout cmu the text and the times are those of the transcripts, and a row without its line
    there is Excluded. Raises DataError for the table and the transcripts.
    """
    problems = Problems()
    transcripts = None if layout == "mmsa" else first_folder(root, TRANSCRIPTS)
    if transcripts is None and (layout == "cmu" or (layout == "auto" and first_folder(root, VIDEOS))):
        raise DataError(
            f"{root} has neither the folder {' nor '.join(TRANSCRIPTS)}, from which layout cmu takes text and times:"
            " put it there, correct the root, or set options.layout=mmsa"
        )
    path = _table_path(root, table, transcripts)
    rows = read_table(path, (), problems)
    used, tasks = _columns(path, list(rows[0].cells), transcripts is not None)
    lines = None if transcripts is None else _Transcripts(transcripts, problems)
    if lines is not None and "clip" not in used:
        rows = _with_clips(rows, used["video"], used["mode"], lines, problems)
        used["clip"] = CLIP
    clips = first_folder(root, ["Raw"]) if lines is None else None
    videos = None if lines is None else first_folder(root, VIDEOS)
    for one in utterances(rows, problems, **used):
        clip_id = f"mosei/{one.split}/{one.key}"
        segment = lines.segment(one.video, one.clip, one.split) if lines is not None else None
        if isinstance(segment, str):
            yield Excluded(id=clip_id, split=one.split, reason=segment, source=one.row.source)
            continue
        yield Record(
            id=clip_id,
            dataset="mosei",
            split=one.split,
            text=one.row.cells["text"] if segment is None else segment.text,
            labels=labels(one.row, tasks),
            group=one.video,
            media=clip_path(clips, one) if videos is None else os.path.join(videos, f"{one.video}.mp4"),
            start=None if videos is None or segment is None else segment.start,
            end=None if videos is None or segment is None else segment.end,
            source=one.row.source,
        )
    problems.check()


class _Transcripts:
    """CMU's transcripts, each read at its first use."""

    def __init__(self, folder: Path, problems: Problems) -> None:
        self.folder = folder
        self.problems = problems
        self.read: dict[str, dict[str, Segment]] = {}

    def lines(self, video: str, split: str | None) -> dict[str, Segment]:
        """Segments of a video by clip id; empty without a transcript. `split` is that of the row, for messages."""
        if video not in self.read:
            path = self.folder / f"{video}.txt"
            self.read[video] = _read_transcript(path, video, split, self.problems) if path.is_file() else {}
        return self.read[video]

    def segment(self, video: str, clip: str, split: str) -> Segment | str:
        """The segment, or the reason why it cannot be cut."""
        lines = self.lines(video, split)
        if clip not in lines:
            reason = f"{video}.txt has no line for this clip" if lines else f"there is no transcript {video}.txt"
            return f"{reason} in {self.folder}, so its times are not known"
        segment = lines[clip]
        if segment.start >= segment.end:
            return f"{video}.txt has it begin at {segment.start:g} s and end at {segment.end:g} s"
        return segment


def _read_transcript(path: Path, video: str, split: str | None, problems: Problems) -> dict[str, Segment]:
    # Rows of the table without a line here are counted where they are excluded.
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8: save it as UTF-8"
        problems.add(str(path), wrong, split=split, count=0)
        return {}
    segments: dict[str, Segment] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        # The id is removed before splitting, since an id that ends in _ would be cut short.
        parts = line.strip().removeprefix(f"{video}___").split("___", 3)
        start, end = (_seconds(part) for part in parts[1:3]) if len(parts) == 4 else (math.nan, math.nan)
        if not line.startswith(f"{video}___") or math.isnan(start) or math.isnan(end):
            problems.add(
                f"{path.name}, line {number}",
                f"is not {video}___clip___start___end___text with times in seconds: restore it from the original",
                split=split,
                count=0,
            )
        elif parts[0] in segments:
            problems.add(
                f"{path.name}, line {number}",
                f"is a second line for clip {parts[0]}: leave one of them out",
                split=split,
                count=0,
            )
        else:
            segments[parts[0]] = Segment(max(0.0, start), end, parts[3])
    return segments


def _seconds(cell: str) -> float:
    """The number in a cell; NaN if it is none or not finite."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _table_path(root: Path, name: str, transcripts: Path | None) -> Path:
    if transcripts is not None and not (root / name).is_file() and folder_nearby(root, name) is None:
        raise DataError(
            f"{root / name} does not exist, and CMU's archive has no table of final labels (those in Labels/ are single"
            " annotators' answers): put MMSA's label.csv there, or a CSV with the columns video_id, clip_id (or start"
            " and end), label (or sentiment) and mode, and name it in options.table"
        )
    return table_path(root, name)


def _columns(path: Path, columns: Sequence[str], by_time: bool) -> tuple[dict[str, str], dict[str, str]]:
    """The columns for video, clip, label and mode (without clip if the table has start and end), and those of the
    tasks."""
    check_spelling(path, columns, EMOTIONS)
    used = {role: next((name for name in names if name in columns), names[0]) for role, names in NAMES.items()}
    needed = list(used.values()) if by_time else [*used.values(), "text"]
    if by_time and used["clip"] not in columns and {"start", "end"} <= set(columns):
        needed.remove(used.pop("clip"))
    require_columns(path, columns, needed)
    return used, {"sentiment": used["label"]} | {emotion: emotion for emotion in EMOTIONS if emotion in columns}


def _with_clips(rows: Sequence[Row], video: str, mode: str, lines: _Transcripts, problems: Problems) -> list[Row]:
    """The rows with their clip ids in a column CLIP, found by start and end in the transcripts."""
    with_clips: list[Row] = []
    for row in rows:
        split = SPLIT_NAMES.get(row.cells[mode].strip().lower())
        start, end = (_seconds(row.cells[column]) for column in ("start", "end"))
        if math.isnan(start) or math.isnan(end):
            problems.add(
                row.source,
                f"start '{row.cells['start']}' and end '{row.cells['end']}' have to be times in seconds: correct them",
                split=split,
            )
            continue
        clip = next(
            (
                clip
                for clip, segment in lines.lines(row.cells[video].strip(), split).items()
                if abs(segment.start - max(0.0, start)) < SAME_TIME and abs(segment.end - end) < SAME_TIME
            ),
            # No line has this id, so that the row is excluded.
            f"{start * 1000:.0f}ms-{end * 1000:.0f}ms",
        )
        with_clips.append(replace(row, cells=row.cells | {CLIP: clip}))
    return with_clips
