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
13,708 have a clip that can be read (see KNOWN_ISSUES). The table has curly quotes, and they are kept; copies in cp1252
instead of UTF-8 are refused, with the line, since guessing the encoding would change the text.

Citation: Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea: MELD: A Multimodal Multi-Party Dataset for Emotion
Recognition in Conversations, ACL 2019. Obtain: https://github.com/declare-lab/MELD.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from affect.data.facts import Finding, Ids, Issue, Published, Records, Severity
from affect.data.problems import Problems, parts
from affect.data.readers.places import check_context, last, table_path
from affect.data.record import SPLITS, Record
from affect.data.tables import Row, read_table

FILES = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
CLIPS = {"train": "train_splits", "val": "dev_splits_complete", "test": "output_repeated_splits_test"}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


def _published(split: str, count: int, emotions: tuple[int, ...], sentiments: tuple[int, ...]) -> Published:
    names = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
    classes = {
        "emotion": dict(zip(names, emotions, strict=True)),
        "sentiment": dict(zip(("neutral", "positive", "negative"), sentiments, strict=True)),
    }
    return Published(splits=(split,), count=count, classes=classes)


# Statistics in the README of https://github.com/declare-lab/MELD; equal to a count of its three tables.
PUBLISHED = (
    _published("train", 9989, (4710, 1743, 1205, 1109, 683, 271, 268), (4710, 2334, 2945)),
    _published("val", 1109, (470, 163, 150, 153, 111, 22, 40), (470, 233, 406)),
    _published("test", 2610, (1256, 402, 281, 345, 208, 68, 50), (1256, 521, 833)),
)
LICENCE = "Annotations and code GPL-3.0; the clips are of a copyrighted series, for research only."
SAME_CLIPS_AS = ()
CUT_FROM = "Friends"
IDS = Ids.split

# Issues 9, 20, 22, 27, 39 and 47 of the repository, and other loaders. Dialogue 241 has picture and sound out of step.
KNOWN_ISSUES = (
    Issue(
        what="no readable clip in any copy",
        remedy="none: runs that need the clip leave them out",
        clips={
            "meld/train/125/3": "the published file cannot be read, since its index (moov atom) is missing",
            "meld/val/110/7": "the published archive has no such file",
        },
    ),
    Issue(
        what="clips cut minutes too long",
        remedy="none: model.max_seconds leaves them out",
        clips={
            "meld/train/309/0": "is cut minutes too long",
            "meld/test/38/4": "lasts about 5 minutes",
            "meld/test/220/0": "lasts about 4 minutes",
        },
    ),
    Issue(
        what="clips that decode with bad sound",
        remedy="leave them out of a manifest of your own if sound matters; about 200 of train are like the first",
        clips={
            "meld/train/793/0": "one of about 200 train clips of more than 2.5 MB with damaged sound",
            "meld/test/279/15": "left out by other benchmarks",
        },
    ),
)


def records(root: Path, *, context: int = 0) -> Iterator[Record]:
    """One record per utterance, in the order of the files.

    `context`: how many earlier utterances of the same dialogue are given, as "Speaker: text".
    """
    check_context(context, "MELD")
    yield from parts({(split,): _split(root, split, context) for split in SPLITS})


def _split(root: Path, split: str, context: int) -> Iterator[Record]:
    problems = Problems((split,))
    usable: list[Row] = []
    dialogues: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(table_path(root, FILES[split]), COLUMNS, problems):
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
            turns[row.number] = last(spoken[:position], context)
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


def audit(root: Path, by_split: Records) -> Iterator[Finding]:
    """Unused dialogue ids, dialogues whose utterances are not numbered 0, 1, 2, …, and clips without a row in the table
    (val dia49_utt4 and 5, dia66_utt9 and 10; in test also final_videos_testdia….mp4)."""
    for split, utterances in by_split.items():
        numbers: dict[int, list[int]] = defaultdict(list)
        for record in utterances:
            dialogue, utterance = record.id.rsplit("/", 2)[1:]
            numbers[int(dialogue)].append(int(utterance))
        unused = sorted(set(range(max(numbers))) - numbers.keys())
        gaps = [dialogue for dialogue, ids in numbers.items() if sorted(ids) != list(range(len(ids)))]
        total = f"{len(numbers):,} dialogues"
        if unused:
            yield Finding(
                severity=Severity.note,
                what=f"{split}: {total}; ids not given out: {', '.join(map(str, unused))}",
                count=len(unused),
                remedy="none: it is so in the published table",
            )
        if gaps:
            yield Finding(
                severity=Severity.note,
                what=f"{split}: {len(gaps)} of {total} do not number their utterances 0, 1, 2, …: {gaps[:5]}",
                count=len(gaps),
                remedy="none: the context is made by order, not by number",
            )
        labelled = {"dia{}_utt{}.mp4".format(*record.id.rsplit("/", 2)[1:]) for record in utterances}
        # Hidden files belong to the file system (macOS writes ._dia0_utt0.mp4 beside each), not to the dataset.
        clips = {path.name for path in (root / CLIPS[split]).glob("*.mp4") if not path.name.startswith(".")}
        if extra := sorted(clips - labelled):
            yield Finding(
                severity=Severity.note,
                what=f"{split}: clips that no row of the table stands for: {', '.join(extra[:5])}",
                count=len(extra),
                remedy="none: they are not read",
            )
