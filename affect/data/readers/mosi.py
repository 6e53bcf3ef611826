"""CMU-MOSI: utterances of English film reviews, one speaker before a camera, with the intensity of their sentiment.

On disk, as MMSA gives it out, or with the clips in CMU's own folder (which may also be <root>/Segmented); the folder of
clips may be missing, for work with text:

    <root>/label.csv     <root>/Raw/03bSnISJMiM/1.mp4 …                      layout mmsa
    <root>/label.csv     <root>/Raw/Video/Segmented/03bSnISJMiM_1.mp4 …      layout cmu

A row, with its header:

    video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode
    03bSnISJMiM,11,A LOT OF SAD PARTS,-2.4,,,,Negative,train

93 videos. The label is the mean of five annotators, from -3 to 3. Video ids contain and begin with _ and -, so what
joins them to a clip id is the last _. Who speaks is not given, and the clips of one video are the group.

Citation: Zadeh, Zellers, Pincus, Morency: Multimodal Sentiment Intensity Analysis in Videos: Facial Gestures and Verbal
Messages, IEEE Intelligent Systems 31(6), 2016. Obtain: the links of https://github.com/thuiar/MMSA.
"""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

from affect.config import DataError
from affect.data.facts import Published, signs
from affect.data.problems import Excluded, Problems
from affect.data.readers.mmsa import COLUMNS, clip_path, first_folder, utterances
from affect.data.readers.places import table_path
from affect.data.record import SPLITS, Record
from affect.data.tables import read_table

SEGMENTED = ("Raw/Video/Segmented", "Video/Segmented", "Raw/Segmented", "Segmented")

ABSENT_IN_COPIES = {"2WGyTLYerpo": "44", "BioHAh1qJAQ": "30", "5W7Z1C_fDaE": "24", "lXPQBPVc5Cw": "30"}
"""Clip by video of four rows that some copies in circulation (such as MMCPanda's) lack."""

# cmu_mosi_std_folds.py of the CMU Multimodal SDK, and MMSA's label.csv. Signs: MMSA's processed test labels.
PUBLISHED = (
    Published(splits=("train",), count=1284),
    Published(splits=("val",), count=229),
    Published(splits=("test",), count=686, classes=signs(379, 30, 277)),
)
LICENCE = "No licence file; CMU has withdrawn the videos for their speakers' privacy: not to be passed on."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()


def records(root: Path, *, layout: Literal["auto", "mmsa", "cmu"] = "auto") -> Iterator[Record | Excluded]:
    """One record per utterance, in the order of the table, with the task sentiment.

    `layout`: where clips are looked for; auto takes CMU's folder where there is one, else MMSA's. A row that is
    known to be missing from copies of the table is Excluded.
    """
    problems = Problems()
    path = table_path(root, "label.csv")
    rows = read_table(path, COLUMNS, problems)
    valid = utterances(rows, problems)
    segmented = None if layout == "mmsa" else first_folder(root, SEGMENTED)
    if layout == "cmu" and segmented is None:
        raise DataError(
            f"{root} has none of the folders {', '.join(SEGMENTED)}, in which layout=cmu looks for <video>_<clip>.mp4:"
            " put the clips there, or set options.layout=auto"
        )
    folder = first_folder(root, ["Raw"]) if segmented is None else None
    for one in valid:
        whole = clip_path(folder, one)
        media = whole if segmented is None else os.path.join(segmented, f"{one.video}_{one.clip}.mp4")
        yield one.record("mosi", {"sentiment": one.row.cells["label"].strip()}, media)
    # Rows with mistakes are counted as such, not as absent.
    written = {(row.cells["video_id"].strip(), row.cells["clip_id"].strip()) for row in rows}
    present = {(one.split, one.video) for one in valid}
    for split, (video, clip) in product(SPLITS, ABSENT_IN_COPIES.items()):
        if (split, video) in present and (video, clip) not in written:
            yield Excluded(
                id=f"mosi/{split}/{video}/{clip}",
                split=split,
                reason=f"{path.name} has no row for clip {clip} of {video}, which the published set has",
                source=str(path),
            )
    problems.check()
