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

from affect.data.readers.places import clips_folder, table_path
from affect.data.record import Record
from affect.data.tables import Problems, read_table

FILES = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}
CLIPS = "raw_data"
COLUMNS = ("season", "episode", "clip", "text", "label")
PLACE = {"season": re.compile(r"S\d\d"), "episode": re.compile(r"E\d\d"), "clip": re.compile(r"\d+")}


def records(root: Path, split: str) -> Iterator[Record]:
    """One record a clip, in the order of the file; its group is the episode.

    Where the folder raw_data exists, every record names its clip, also one that is absent or damaged: checking the
    media says so, and excludes it by id. Raises DataError for the table.
    """
    problems = Problems(split)
    folder = clips_folder(root, CLIPS)
    for row in read_table(table_path(root, FILES[split]), COLUMNS, problems):
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
