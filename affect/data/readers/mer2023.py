"""MER2023: clips of Chinese films and series with an emotion and, but for test3, a valence.

On disk (the clips of a part may be missing, for work without them):

    <root>/train-label.csv     <root>/train/sample_00002721.mp4 …     (or .avi)
    <root>/test1-label.csv     <root>/test1/…
    <root>/test2-label.csv     <root>/test2/…                         (clips with added noise and blur)
    <root>/test3-label.csv     <root>/test3/samplenew_00006611.mp4 …

A row, with its header (other columns are ignored; test3 has no valence, or the placeholder -10):

    name,discrete,valence
    sample_00002721,happy,2.75

Valence goes from -5 to 4.25. There is no official validation split, so a share of train is taken for it. The films are
not named, so a validation clip can be of the same scene as a training clip, and every clip is its own group. There are
no transcripts; a table of them, for example of a speech recogniser, can be named.

Citation: Lian, Sun, Sun, Chen, Xu, Wang, Xu, He, Li, Zhao, Liu, Liu, Yi, Wang, Cambria, Zhao, Schuller, Tao: MER 2023:
Multi-label Learning, Modality Robustness, and Semi-Supervised Learning, ACM Multimedia 2023. Obtain:
https://huggingface.co/datasets/MERChallenge/MER2023.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from affect.config import DataError
from affect.data.facts import TRAINING, Published
from affect.data.problems import Excluded, Problems, parts
from affect.data.readers.places import table_path
from affect.data.record import SPLITS, Record
from affect.data.tables import Row, read_table

SUFFIXES = (".mp4", ".avi")
TEXT_COLUMNS = ("text", "sentence", "chinese")
"""Names of the text column of a table of transcripts; the second and third are those of the tools of MER2023 and
MER2024."""

NO_VALENCE = -10.0
"""Placeholder in test3."""

_EMOTIONS = {"neutral": 871, "angry": 822, "happy": 689, "sad": 383, "worried": 462, "surprise": 146}

# The label files as MERTools reads them (https://github.com/zeroQiaoba/MERTools).
PUBLISHED = (
    Published(splits=TRAINING, count=3373, classes={"emotion": _EMOTIONS}),
    Published(splits=("test",), count=411, options={"test_set": 1}),
    Published(splits=("test",), count=412, options={"test_set": 2}),
    Published(splits=("test",), count=834, options={"test_set": 3}),
)
LICENCE = "Signed agreement of the MER challenge: for research only, clips must not be passed on."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()


def records(
    root: Path,
    *,
    test_set: Literal[1, 2, 3] = 1,
    val_share: float = 0.1,
    transcripts: str | None = None,
) -> Iterator[Record | Excluded]:
    """One record per clip, in the order of the tables.

    `test_set` is the test part. `val_share` is the share of train that becomes the validation split: for each emotion
    the clips with the smallest sha256 of their name, so that the choice is reproducible. `transcripts` is a table,
    relative to the root, with the column name and one of TEXT_COLUMNS; clips without a row there are Excluded. Without
    it the text is empty, and the dataset's modalities are av. Raises DataError for options and tables.
    """
    if not 0 < val_share < 1:
        raise DataError(
            f"options.val_share={val_share:g} of MER2023 is the share of train that is split off as val: above 0 and"
            " below 1"
        )
    texts: dict[str, str] = {}
    yield from parts(
        {
            # First, since the others need the texts.
            SPLITS: () if transcripts is None else _transcripts(root / transcripts, texts),
            TRAINING: _part(root, "train", TRAINING, val_share, transcripts, texts),
            ("test",): _part(root, f"test{test_set}", ("test",), val_share, transcripts, texts),
        }
    )


def _part(
    root: Path,
    part: str,
    splits: tuple[str, ...],
    val_share: float,
    transcripts: str | None,
    texts: Mapping[str, str],
) -> Iterator[Record | Excluded]:
    problems = Problems(splits)
    rows = _rows(root, part, problems)
    validation = _validation(rows, val_share) if part == "train" else set()
    clips = _clips(root / part, problems)
    for row in rows:
        name = row.cells["name"]
        split = "test" if part != "train" else "val" if name in validation else "train"
        clip_id = f"mer2023/{split}/{name}"
        if transcripts is not None and name not in texts:
            yield Excluded(id=clip_id, split=split, reason=f"not in {transcripts}", source=row.source)
            continue
        yield Record(
            id=clip_id,
            dataset="mer2023",
            split=split,
            text=texts.get(name, ""),
            labels=_labels(row, part),
            group=name,
            # An absent clip is named like most, so that the clip check lists it.
            media=None if clips is None else str(clips.get(name, root / part / f"{name}.mp4")),
            source=row.source,
        )
    problems.check()


def _rows(root: Path, part: str, problems: Problems) -> list[Row]:
    path = table_path(root, f"{part}-label.csv")
    required = ("name", "discrete") if part == "test3" else ("name", "discrete", "valence")
    rows = []
    for row in read_table(path, required, problems):
        if row.cells["name"].strip():
            rows.append(Row(row.source, row.number, row.cells | {"name": row.cells["name"].strip()}))
        else:
            problems.add(row.source, "the name is empty: name the clip's file, without its ending")
    return rows


def _validation(rows: list[Row], share: float) -> set[str]:
    """Names of the training clips that form the validation split."""
    by_emotion: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_emotion[row.cells["discrete"]].append(row.cells["name"])
    chosen: set[str] = set()
    for names in by_emotion.values():
        names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen.update(names[: round(share * len(names))])
    return chosen


def _labels(row: Row, part: str) -> dict[str, str | float]:
    labels: dict[str, str | float] = {"emotion": row.cells["discrete"].strip()}
    # The check of labels reports values that are no numbers, with their row.
    valence = row.cells["valence"].strip() if "valence" in row.cells else ""
    if part == "test3" and (not valence or _is_placeholder(valence)):
        return labels
    return labels | {"valence": valence}


def _is_placeholder(valence: str) -> bool:
    try:
        return float(valence) == NO_VALENCE
    except ValueError:
        return False


def _transcripts(path: Path, texts: dict[str, str]) -> Iterator[Record]:
    """Fills `texts` by name of clip; yields no records."""
    problems = Problems()
    first: dict[str, str] = {}
    # Clips without a row here are counted where they are excluded.
    for row in read_table(path, ("name",), problems, count=0):
        column = next((column for column in TEXT_COLUMNS if column in row.cells), None)
        if column is None:
            raise DataError(
                f"{path} has no column {' or '.join(TEXT_COLUMNS)} for the words; it has: {', '.join(row.cells)}."
                " Remedy: rename its column to text"
            )
        name = row.cells["name"].strip()
        if name in texts:
            problems.add(row.source, f"has the name '{name}' of {first[name]}: leave one of the two out", count=0)
            continue
        texts[name], first[name] = row.cells[column], row.source
    problems.check()
    yield from ()


def _clips(folder: Path, problems: Problems) -> dict[str, Path] | None:
    """File by name of clip; None if the folder does not exist."""
    if not folder.is_dir():
        return None
    clips: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in clips:
            problems.add(
                f"{folder.name}/{path.name}",
                f"is beside {clips[path.stem].name}: leave one file a clip in the folder",
                count=0,
            )
            continue
        clips[path.stem] = path
    return clips
