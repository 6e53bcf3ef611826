"""Published sizes of datasets by split and class, and their licences.

Where a set has no official split, the counts are those of parts that every choice of splits leaves whole: MUStARD's
train and val together are the training part of its paper.
"""

import base64
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affect.config import Kind, Task
from affect.data.record import SPLITS, Record

TRAINING = ("train", "val")
"""The part of a set without an official validation split that readers divide into train and val."""


TEXTS = Path(__file__).with_name("published_texts.json")
"""By reader: the published files that were hashed, and `hashes`: the `text_hash` of every record that the reader gives
for them (default options, all splits), sorted, one after the other, in base64. No text can be read from them. A test
computes them again where the files are."""

HASH_BYTES = 3

IDS_BY_SPLIT = {"meld"}
"""Readers whose ids begin anew in every split, so that the split is part of what is hashed. Elsewhere it is not, as a
protocol may put a clip into another one."""

TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
"""Quotes and dashes that editors and copies exchange for those of ASCII."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How many records some splits have together."""

    splits: tuple[str, ...]
    count: int
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By task, the records of each class (see `classes`). Tasks and classes that are not there are not known."""
    exact: bool = True
    """False where the sources say "about" or do not agree."""


def expected(reader: str, options: Mapping[str, Any]) -> list[Expected]:
    """What the published set of a reader holds with these options (all of its reader's, defaults included); empty
    where nothing is published, as of a manifest."""
    return list(_SIZES[reader](options)) if reader in _SIZES else []


def total(wanted: Sequence[Expected]) -> Expected | None:
    """What is published of all splits together: said so, or the sum where every split is counted. None where part of
    the set is not known. A class count is there where every part has one."""
    whole = next((each for each in wanted if set(each.splits) == set(SPLITS)), None)
    if whole is not None:
        return whole
    parts: list[Expected] = []
    for each in sorted(wanted, key=lambda each: -len(each.splits)):
        if not any(set(each.splits) & set(part.splits) for part in parts):
            parts.append(each)
    if {split for part in parts for split in part.splits} != set(SPLITS):
        return None
    tasks = set.intersection(*(set(part.classes) for part in parts))
    return Expected(
        splits=SPLITS,
        count=sum(part.count for part in parts),
        classes={task: dict(sum((Counter(part.classes[task]) for part in parts), Counter())) for task in tasks},
        exact=all(part.exact for part in parts),
    )


def same_text(text: str) -> str:
    """A transcript without what copies of a table change harmlessly: the shape of quotes and dashes, and white space.

    >>> same_text(" It\u2019s \u201cfine\u201d \u2014 really\u2026")
    'It\'s "fine" - really...'
    """
    return " ".join(unicodedata.normalize("NFKC", text.translate(TYPOGRAPHY)).split())


def text_hash(record: Record, reader: str) -> bytes:
    """Of a record's id, without dataset, and text: the first HASH_BYTES bytes of sha256 of "id\\ntext", the text in
    the spelling of `same_text`. The id has its split only where IDS_BY_SPLIT says so."""
    own = record.id.removeprefix(f"{record.dataset}/")
    if reader not in IDS_BY_SPLIT:
        own = own.removeprefix(f"{record.split}/")
    return hashlib.sha256(f"{own}\n{same_text(record.text)}".encode()).digest()[:HASH_BYTES]


def text_hashes(reader: str) -> frozenset[bytes] | None:
    """`text_hash` of every record of the published set; None where it is not known. Of 10,000 texts that differ, one to
    nine are taken for the published ones, since the hashes are short."""
    known = json.loads(TEXTS.read_text(encoding="utf-8"))
    if reader not in known:
        return None
    data = base64.b64decode(known[reader]["hashes"])
    return frozenset(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def classes(records: Sequence[Record], task: Task) -> dict[str, int]:
    """Records by class of `task`: its labels (a multi-label record counts for each of its labels), or the sign of an
    intensity: negative, zero, positive. Classes without a record are there with 0; records without a label count
    nowhere."""
    found: Counter[str] = Counter()
    for record in records:
        if task.name not in record.labels:
            continue
        value = record.labels[task.name]
        if isinstance(value, tuple):
            found.update(value)
        elif task.kind is Kind.intensity:
            found["negative" if float(value) < 0 else "positive" if float(value) > 0 else "zero"] += 1
        else:
            found[str(value)] += 1
    order = ["negative", "zero", "positive"] if task.kind is Kind.intensity else list(task.labels)
    return {name: found[name] for name in [*order, *sorted(found.keys() - set(order))]}


def _signs(negative: int, zero: int, positive: int) -> dict[str, dict[str, int]]:
    return {"sentiment": {"negative": negative, "zero": zero, "positive": positive}}


def _meld(options: Mapping[str, Any]) -> Iterator[Expected]:
    # Statistics in the README of https://github.com/declare-lab/MELD; equal to a count of its three tables.
    emotions = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
    sentiments = ("neutral", "positive", "negative")
    for split, count, emotion, sentiment in (
        ("train", 9989, (4710, 1743, 1205, 1109, 683, 271, 268), (4710, 2334, 2945)),
        ("val", 1109, (470, 163, 150, 153, 111, 22, 40), (470, 233, 406)),
        ("test", 2610, (1256, 402, 281, 345, 208, 68, 50), (1256, 521, 833)),
    ):
        known = {
            "emotion": dict(zip(emotions, emotion, strict=True)),
            "sentiment": dict(zip(sentiments, sentiment, strict=True)),
        }
        yield Expected(splits=(split,), count=count, classes=known)


def _mustard(options: Mapping[str, Any]) -> Iterator[Expected]:
    # 690 and 345 each: the paper. Shows and their classes: counted in the repository's sarcasm_data.json. Folds: its
    # split_indices.p.
    if options["protocol"] == "five_fold":
        yield Expected(splits=TRAINING, count=552)
        yield Expected(splits=("test",), count=138)
    else:
        yield Expected(splits=TRAINING, count=334, classes={"sarcasm": {"sarcastic": 193, "sincere": 141}})
        yield Expected(splits=("test",), count=356, classes={"sarcasm": {"sarcastic": 152, "sincere": 204}})
    yield Expected(splits=SPLITS, count=690, classes={"sarcasm": {"sarcastic": 345, "sincere": 345}})


def _mustard_plus_plus(options: Mapping[str, Any]) -> Iterator[Expected]:
    # Counted in the repository's mustard++_text.csv. Its splits are this project's, so the whole is what is known.
    yield Expected(splits=SPLITS, count=1202, classes={"sarcasm": {"sarcastic": 601, "sincere": 601}})


def _mintrec(options: Mapping[str, Any]) -> Iterator[Expected]:
    # Sizes: the paper. Classes: counted in train.tsv, dev.tsv and test.tsv of https://github.com/thuiar/MIntRec.
    yield Expected(splits=("train",), count=1334)
    yield Expected(splits=("val",), count=445)
    yield Expected(splits=("test",), count=445)
    intents = {"Complain": 286, "Inform": 284, "Praise": 213, "Apologise": 136, "Thank": 124, "Advise": 122}
    intents |= {"Criticize": 117, "Arrange": 110, "Introduce": 105, "Care": 95, "Comfort": 88, "Leave": 85}
    intents |= {"Prevent": 73, "Taunt": 62, "Greet": 60, "Agree": 59, "Flaunt": 52, "Oppose": 51, "Joke": 51}
    yield Expected(splits=SPLITS, count=2224, classes={"intent": intents | {"Ask for help": 51}})


def _ravdess(options: Mapping[str, Any]) -> Iterator[Expected]:
    # Livingstone and Russo 2018: two sentences, twice, in two intensities, of which neutral has one: 60 an actor.
    emotions = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    for split in SPLITS:
        actors = len(options["splits"][split])
        known = {"neutral": 4 * actors} | dict.fromkeys(emotions, 8 * actors)
        yield Expected(splits=(split,), count=60 * actors, classes={"emotion": known})


def _mosi(options: Mapping[str, Any]) -> Iterator[Expected]:
    # cmu_mosi_std_folds.py of the CMU Multimodal SDK, and MMSA's label.csv. Signs: MMSA's processed test labels.
    yield Expected(splits=("train",), count=1284)
    yield Expected(splits=("val",), count=229)
    yield Expected(splits=("test",), count=686, classes=_signs(379, 30, 277))


def _mosei(options: Mapping[str, Any]) -> Iterator[Expected]:
    # MMSA's label.csv and processed test labels.
    yield Expected(splits=("train",), count=16326)
    yield Expected(splits=("val",), count=1871)
    yield Expected(splits=("test",), count=4659, classes=_signs(1350, 1025, 2284))


def _sims(options: Mapping[str, Any]) -> Iterator[Expected]:
    # The paper's Table 1, and MMSA's processed labels.
    yield Expected(splits=("train",), count=1368, classes=_signs(742, 207, 419))
    yield Expected(splits=("val",), count=456)
    yield Expected(splits=("test",), count=457, classes=_signs(248, 69, 140))


def _simsv2(options: Mapping[str, Any]) -> Iterator[Expected]:
    # v2(s) as MERBench counts it; the paper has one clip less in train. v2(u) is another table, without labels and
    # splits.
    if options["table"] == "meta.csv":
        yield Expected(splits=("train",), count=2722)
        yield Expected(splits=("val",), count=647)
        yield Expected(splits=("test",), count=1034, classes=_signs(488, 123, 423))


def _iemocap(options: Mapping[str, Any]) -> Iterator[Expected]:
    # Counted in EmoEvaluation of the release; the 4-way counts by session are those of every paper that uses them.
    if options["labels"] == 4:
        by_session = {1: 1085, 2: 1023, 3: 1151, 4: 1031, 5: 1241}
        yield Expected(splits=("test",), count=by_session[options["test_session"]])
        emotions = {"happy": 1636, "sad": 1084, "neutral": 1708, "angry": 1103}
        yield Expected(splits=SPLITS, count=5531, classes={"emotion4": emotions})
    elif options["labels"] == 6:
        # 7,433 in many papers, whose features have 53 more happy utterances than these files.
        emotions = {"happy": 595, "sad": 1084, "neutral": 1708, "angry": 1103, "excited": 1041, "frustrated": 1849}
        yield Expected(splits=SPLITS, count=7380, classes={"emotion6": emotions})
    else:
        yield Expected(splits=SPLITS, count=10039)


def _mer2023(options: Mapping[str, Any]) -> Iterator[Expected]:
    # The label files as MERTools reads them (https://github.com/zeroQiaoba/MERTools).
    emotions = {"neutral": 871, "angry": 822, "happy": 689, "sad": 383, "worried": 462, "surprise": 146}
    yield Expected(splits=TRAINING, count=3373, classes={"emotion": emotions})
    yield Expected(splits=("test",), count={1: 411, 2: 412, 3: 834}[options["test_set"]])


def _urfunny(options: Mapping[str, Any]) -> Iterator[Expected]:
    # Version 1: counted in its data_folds.pkl. Version 2: no source counts all three folds, and 980 (494 humorous) is
    # the only one that two agree on.
    if options["version"] == 1:
        for split, count in (("train", 10598), ("val", 2626), ("test", 3290)):
            yield Expected(splits=(split,), count=count)
        return
    yield Expected(splits=("train",), count=7614, exact=False)
    yield Expected(splits=("val",), count=980, classes={"humour": {"humorous": 494, "serious": 486}}, exact=False)
    yield Expected(splits=("test",), count=994, exact=False)


_SIZES = {
    "iemocap": _iemocap,
    "meld": _meld,
    "mer2023": _mer2023,
    "mintrec": _mintrec,
    "mosei": _mosei,
    "mosi": _mosi,
    "mustard": _mustard,
    "mustard_plus_plus": _mustard_plus_plus,
    "ravdess": _ravdess,
    "sims": _sims,
    "simsv2": _simsv2,
    "urfunny": _urfunny,
}

LICENCES = {
    "demo": "Synthetic clips, made by affect: no restriction.",
    "iemocap": "Signed release form of USC: for research only, clips and transcripts must not be passed on.",
    "manifest": "Your own clips: their licence, and the consent of those they show, are yours to know.",
    "meld": "Annotations and code GPL-3.0; the clips are of a copyrighted series, for research only.",
    "mer2023": "Signed agreement of the MER challenge: for research only, clips must not be passed on.",
    "mintrec": "Annotations and code MIT; the clips are of a copyrighted series, for research only.",
    "mosei": "No licence file; the videos belong to those who put them on YouTube: for research, not to be passed on.",
    "mosi": "No licence file; CMU has withdrawn the videos for their speakers' privacy: not to be passed on.",
    "mustard": "Annotations and code MIT; the clips are of copyrighted series, for research only.",
    "mustard_plus_plus": "No licence is given; the clips are of copyrighted series, for research only.",
    "ravdess": "CC BY-NC-SA 4.0: name its authors, not for commercial use, pass derivatives on under the same licence.",
    "sims": "No licence file; the clips are of copyrighted films and series, for research only.",
    "simsv2": "No licence file; the clips are of copyrighted films and series, for research only.",
    "urfunny": "No licence is given; the talks are TED's (CC BY-NC-ND 4.0): for research only.",
}
"""By reader, a reminder of one sentence; the dataset's own terms are what holds."""
