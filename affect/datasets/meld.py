"""MELD: utterances of multi-party dialogues in the series Friends, with emotion and sentiment.

On disk (MELD.Raw.tar.gz with its inner archives unpacked; any of the clip folders may be missing, for work with text):

    <root>/train_sent_emo.csv     <root>/train_splits/dia0_utt0.mp4 …
    <root>/dev_sent_emo.csv       <root>/dev_splits_complete/dia0_utt0.mp4 …
    <root>/test_sent_emo.csv      <root>/output_repeated_splits_test/dia0_utt0.mp4 …

A row, with its header:

    Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime
    2,What?,Monica,surprise,negative,0,1,4,7,"00:21:01,927","00:21:03,261"

Dialogue ids begin anew in every split, and utterance ids have gaps (72 dialogues of train). The times are those of the
episode; the clips are already cut.

Citation: Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea: MELD: A Multimodal Multi-Party Dataset for Emotion
Recognition in Conversations, ACL 2019. Obtain: https://github.com/declare-lab/MELD (annotations and code GPL-3.0; the
clips are of a copyrighted series, for research only).
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from affect.record import DataError, Record
from affect.tables import Problems, Row, read_table

FILES = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
CLIPS = {"train": "train_splits", "val": "dev_splits_complete", "test": "output_repeated_splits_test"}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


def records(root: Path, split: str, *, context: int = 0) -> Iterator[Record]:
    """One record an utterance, in the order of the file.

    `context` is the number of utterances before it, of the same dialogue, that are given as "Speaker: text". Where the
    split's clip folder exists, every record names its clip, also one that is absent or damaged: checking the media says
    so, and excludes it by id. Raises DataError for the table.
    """
    if context < 0:
        raise DataError(f"options.context={context} of MELD counts earlier utterances: 0 is none")
    problems = Problems()
    usable: list[Row] = []
    dialogues: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(root / FILES[split], COLUMNS, problems):
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
