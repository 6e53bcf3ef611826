"""MELD: utterances of multi-party dialogues in the series Friends, with emotion and sentiment.

On disk (MELD.Raw.tar.gz with its inner archives unpacked; any of the clip folders may be missing, for work with text):

    <root>/train_sent_emo.csv     <root>/train_splits/dia0_utt0.mp4 …
    <root>/dev_sent_emo.csv       <root>/dev_splits_complete/dia0_utt0.mp4 …
    <root>/test_sent_emo.csv      <root>/output_repeated_splits_test/dia0_utt0.mp4 …

A row, with its header:

    Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime
    2,What?,Monica,surprise,negative,0,1,4,7,"00:21:01,927","00:21:03,261"

Dialogue ids begin anew in every split, and utterance ids have gaps (72 dialogues of train). The times are those of the
episode; the clips are already cut. 9,989 / 1,109 / 2,610 utterances in 1,038 / 114 / 280 dialogues, of which 13,706 of
13,708 have a clip that can be read (see UNUSABLE). The table has curly quotes, and they are kept; copies in cp1252
instead of UTF-8 are refused, with the line, since guessing the encoding would change the text.

Citation: Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea: MELD: A Multimodal Multi-Party Dataset for Emotion
Recognition in Conversations, ACL 2019. Obtain: https://github.com/declare-lab/MELD (annotations and code GPL-3.0; the
clips are of a copyrighted series, for research only).
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from affect.config import DataError
from affect.data.record import Record
from affect.data.tables import Problems, Row, read_table

FILES = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
CLIPS = {"train": "train_splits", "val": "dev_splits_complete", "test": "output_repeated_splits_test"}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")

UNUSABLE = {
    "meld/train/125/3": "the published file cannot be read, since its index (moov atom) is missing",
    "meld/val/110/7": "the published archive has no such file",
}
"""By id, the annotated utterances without a clip. Their text is sound, so they are used where clips are not needed."""

MISCUT = {
    "meld/train/309/0": "is cut minutes too long",
    "meld/test/38/4": "lasts about 5 minutes",
    "meld/test/220/0": "lasts about 4 minutes",
}
"""By id, clips that can be read but hold far more than their utterance: model.max_seconds leaves them out."""

BAD_SOUND = {
    "meld/train/793/0": "one of about 200 train clips of more than 2.5 MB with damaged sound",
    "meld/test/279/15": "left out by other benchmarks",
}
"""By id, examples of clips that decode, so that no check finds them. In dialogue 241 the picture is out of step with
the sound. Source of all three lists: issues 9, 20, 22, 27, 39 and 47 of the repository, and other loaders."""


def records(root: Path, split: str, *, context: int = 0) -> Iterator[Record]:
    """One record an utterance, in the order of the file.

    `context` is the number of utterances before it, of the same dialogue, that are given as "Speaker: text". Where the
    split's clip folder exists, every record names its clip, also one that is absent or damaged: checking the media says
    so, and excludes it by id. Raises DataError for the table.
    """
    if context < 0:
        raise DataError(f"options.context={context} of MELD counts earlier utterances: 0 is none")
    problems = Problems(split)
    usable: list[Row] = []
    dialogues: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(_table(root, split), COLUMNS, problems):
        if not (row.cells["Dialogue_ID"].isdecimal() and row.cells["Utterance_ID"].isdecimal()):
            problems.add(
                row.source, "Dialogue_ID and Utterance_ID have to be whole numbers: restore them from the original"
            )
            continue
        usable.append(row)
        dialogues[row.cells["Dialogue_ID"]].append(row)
    turns: dict[int, tuple[str, ...]] = {}
    for dialogue in dialogues.values():
        dialogue.sort(key=lambda row: int(row.cells["Utterance_ID"]))
        spoken = [f"{row.cells['Speaker']}: {row.cells['Utterance']}" for row in dialogue]
        for position, row in enumerate(dialogue):
            turns[row.number] = tuple(spoken[max(0, position - context) : position])
    folder = root / CLIPS[split]
    has_clips = folder.is_dir()
    for row in usable:
        dialogue_id, utterance_id = row.cells["Dialogue_ID"], row.cells["Utterance_ID"]
        yield Record(
            id=f"meld/{split}/{dialogue_id}/{utterance_id}",
            dataset="meld",
            split=split,
            text=row.cells["Utterance"],
            labels={"emotion": row.cells["Emotion"], "sentiment": row.cells["Sentiment"]},
            context=turns[row.number],
            speaker=row.cells["Speaker"],
            group=f"{split}/{dialogue_id}",
            media=str(folder / f"dia{dialogue_id}_utt{utterance_id}.mp4") if has_clips else None,
            source=row.source,
        )
    problems.check()


def unlabelled_clips(root: Path, split: str) -> list[str]:
    """Names, sorted, of the clips of a split that no row of its table stands for: the published archives have some (val
    dia49_utt4 and 5, dia66_utt9 and 10; in test also final_videos_testdia….mp4). `records` passes them over. Empty
    where there is no folder of clips. Raises DataError for the table."""
    folder = root / CLIPS[split]
    if not folder.is_dir():
        return []
    rows = read_table(_table(root, split), COLUMNS, Problems())
    labelled = {f"dia{row.cells['Dialogue_ID']}_utt{row.cells['Utterance_ID']}.mp4" for row in rows}
    # Hidden files are the file system's (macOS writes ._dia0_utt0.mp4 beside each), not the dataset's.
    return sorted(p.name for p in folder.glob("*.mp4") if not p.name.startswith(".") and p.name not in labelled)


def _table(root: Path, split: str) -> Path:
    """The table of a split; DataError where it lies one folder deeper or higher than the root says."""
    path = root / FILES[split]
    if not path.is_file():
        near = next(iter(sorted(root.glob(f"*/{path.name}"))), root.parent / path.name)
        if near.is_file():
            raise DataError(
                f"{path} does not exist, but {near} does: the root of MELD is the folder that holds the tables"
                f" (…_sent_emo.csv) and the folders of clips; set it to {near.parent}, or move the tables"
            )
    return path
