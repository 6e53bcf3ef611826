"""MIntRec: short clips of the series Superstore, each with one of twenty intents.

On disk (raw_data may be missing, for work with text):

    <root>/train.tsv     <root>/raw_data/S05/E16/329.mp4 …
    <root>/dev.tsv
    <root>/test.tsv

A row, tab-separated, with its header:

    season	episode	clip	text	label
    S05	E16	329	apparently, teens are drinking the slushie stuff inside of these for the alcohol.	Inform

1,334 / 445 / 445 clips of 43 episodes, all of which are in all three files, so no episode is new in the test. The label
is spelled Apologise here, and Apologize in the publishers' README. Who speaks is not annotated.

Citation: Zhang, Xu, Wang, Zhou, Zhao, Teng: MIntRec: A New Dataset for Multimodal Intent Recognition, ACM Multimedia
2022. Obtain: https://github.com/thuiar/MIntRec (annotations and code MIT; the clips are of a copyrighted series, for
research only).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from affect.record import DataError, Record
from affect.tables import Problems, missing_file, read_table

FILES = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}
CLIPS = "raw_data"
COLUMNS = ("season", "episode", "clip", "text", "label")
PLACE = {"season": re.compile(r"S\d\d"), "episode": re.compile(r"E\d\d"), "clip": re.compile(r"\d+")}


def records(root: Path, split: str) -> Iterator[Record]:
    """One record a clip, in the order of the file; its group is the episode.

    Where the folder raw_data exists, every record names its clip, also one that is absent or damaged: checking the
    media says so, and excludes it by id. Raises DataError for the table.
    """
    problems = Problems()
    folder = _clips(root)
    for row in read_table(_table(root, FILES[split]), COLUMNS, problems):
        cells = {name: row.cells[name].strip() for name in COLUMNS}
        wrong = [name for name, pattern in PLACE.items() if not pattern.fullmatch(cells[name])]
        if wrong:
            problems.add(
                row.source,
                f"the {wrong[0]} '{cells[wrong[0]]}' is not written like S05, E16, 329: restore it from the original",
            )
            continue
        episode = f"{cells['season']}/{cells['episode']}"
        yield Record(
            id=f"mintrec/{split}/{episode}/{cells['clip']}",
            dataset="mintrec",
            split=split,
            text=cells["text"],
            labels={"intent": cells["label"]},
            group=episode,
            media=None if folder is None else str(folder / episode / f"{cells['clip']}.mp4"),
            source=row.source,
        )
    problems.check()


def _table(root: Path, name: str) -> Path:
    """root / name; DataError that says where it is instead, when the root is a folder too high or too deep."""
    if not (root / name).exists():
        for other in (root.parent / name, *sorted(root.glob(f"*/{name}"))):
            if other.exists():
                raise DataError(
                    f"there is no {name} in {root}, but in {other.parent}: set the dataset's root to {other.parent}"
                )
        raise missing_file(root / name)
    return root / name


def _clips(root: Path) -> Path | None:
    """The folder of the clips, None where there is none; DataError where it lies one folder too deep."""
    if (root / CLIPS).is_dir():
        return root / CLIPS
    for deeper in sorted(root.glob(f"*/{CLIPS}")):
        raise DataError(f"the clips are in {deeper}, but looked for in {root / CLIPS}: move the folder {CLIPS} there")
    return None
