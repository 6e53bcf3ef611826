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
2022. Obtain: https://github.com/thuiar/MIntRec.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from affect.data.facts import Issue, Published
from affect.data.problems import Problems, parts
from affect.data.readers.places import clips_folder, table_path
from affect.data.record import SPLITS, Record
from affect.data.tables import read_table

FILES = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}
CLIPS = "raw_data"
COLUMNS = ("season", "episode", "clip", "text", "label")
PLACE = {"season": re.compile(r"S\d\d"), "episode": re.compile(r"E\d\d"), "clip": re.compile(r"\d+")}

_INTENTS = {"Complain": 286, "Inform": 284, "Praise": 213, "Apologise": 136, "Thank": 124, "Advise": 122}
_INTENTS |= {"Criticize": 117, "Arrange": 110, "Introduce": 105, "Care": 95, "Comfort": 88, "Leave": 85, "Prevent": 73}
_INTENTS |= {"Taunt": 62, "Greet": 60, "Agree": 59, "Flaunt": 52, "Oppose": 51, "Joke": 51, "Ask for help": 51}

# Sizes: the paper. Classes: counted in train.tsv, dev.tsv and test.tsv of https://github.com/thuiar/MIntRec.
PUBLISHED = (
    Published(splits=("train",), count=1334),
    Published(splits=("val",), count=445),
    Published(splits=("test",), count=445),
    Published(count=2224, classes={"intent": _INTENTS}),
)
LICENCE = "Annotations and code MIT; the clips are of a copyrighted series, for research only."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = (
    Issue(
        what="the label is spelled Apologise; the publishers' README has Apologize",
        applies=lambda record: record.labels["intent"] == "Apologise",
    ),
)


def records(root: Path) -> Iterator[Record]:
    """One record per clip, in the order of the files; its group is the episode."""
    yield from parts({(split,): _split(root, split) for split in SPLITS})


def _split(root: Path, split: str) -> Iterator[Record]:
    problems = Problems((split,))
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
