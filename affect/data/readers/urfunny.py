"""UR-FUNNY: the last sentence of a passage from a TED talk is funny or not; the sentences before it are context.

On disk, version 2 (urfunny2_videos may be missing, for work with text; language_sdk.pkl is langauge_sdk.pkl in some
copies):

    <root>/data_folds.pkl     <root>/humor_label_sdk.pkl     <root>/urfunny2_videos/14052.mp4 …
    <root>/language_sdk.pkl

They are pickles of dictionaries, read by the restricted unpickler of affect.data.pickles:

    data_folds:       {"train": [14052, …], "dev": […], "test": […]}
    language_sdk:     {14052: {"punchline_sentence": "and that was the good news",
                               "context_sentences": ["we lost the house", …], …}, …}
    humor_label_sdk:  {14052: 1, …}

Version 1 was published without clips, and its labels are 0.0 and 1.0. Where it has no language_sdk.pkl, the words are
those of word_list.pkl, a list, at the positions that word_embedding_indexes_sdk.pkl gives:

    {14052: {"punchline_embedding_indexes": [17, 4, …], "context_embedding_indexes": [[5, 9, …], …]}, …}

Version 1 has 10,598 / 2,626 / 3,290 passages, and 92 labels more that are in no fold. Version 2 has about 7,614 / 980 /
994, and its label file those of version 1 as well. A clip has context and punchline, the label is about the punchline.
The files do not say which passages are of one talk or by one speaker, so each is a group of its own and confidence
intervals are narrower than they should be.

Citation: Hasan, Rahman, Zadeh, Zhong, Tanveer, Morency, Hoque: UR-FUNNY: A Multimodal Language Dataset for
Understanding Humor, EMNLP-IJCNLP 2019. Obtain: https://github.com/ROC-HCI/UR-FUNNY
(the link of version 1 is dead).
"""

import operator
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from affect.config import DataError
from affect.data import pickles
from affect.data.facts import Published
from affect.data.problems import Excluded, Problems
from affect.data.readers.places import check_context, clips_folder, last, table_path
from affect.data.record import SPLIT_NAMES, SPLITS, Record

FOLDS = "data_folds.pkl"
LABELS = "humor_label_sdk.pkl"
LANGUAGE = ("language_sdk.pkl", "langauge_sdk.pkl")
INDEXES = "word_embedding_indexes_sdk.pkl"
WORDS = "word_list.pkl"
CLIPS = "urfunny2_videos"
RELEASE = "take all files from one release"

# Version 1: counted in its data_folds.pkl. Version 2: no source counts all three folds, and 980 (494 humorous) is the
# only count on which two agree.
PUBLISHED = (
    Published(splits=("train",), count=10598, options={"version": 1}),
    Published(splits=("val",), count=2626, options={"version": 1}),
    Published(splits=("test",), count=3290, options={"version": 1}),
    Published(splits=("train",), count=7614, exact=False, options={"version": 2}),
    Published(
        splits=("val",),
        count=980,
        classes={"humour": {"humorous": 494, "serious": 486}},
        exact=False,
        options={"version": 2},
    ),
    Published(splits=("test",), count=994, exact=False, options={"version": 2}),
)
LICENCE = "No licence is given; the talks are TED's (CC BY-NC-ND 4.0): for research only."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()


def records(root: Path, *, version: Literal[1, 2] = 2, context: int | None = None) -> Iterator[Record | Excluded]:
    """One record per passage, in the order of the folds; its text is the punchline.

    `context`: how many earlier sentences are given, None is all of them. The passages that have a label and are in
    no fold are one Excluded of the training split.
    """
    check_context(context, "UR-FUNNY")
    problems = Problems()
    folds = _folds(table_path(root, FOLDS), problems)
    labels = _by_id(table_path(root, LABELS))
    text_file, texts, sentences = _texts(root, version)
    folder = clips_folder(root, CLIPS) if version == 2 else None
    for name, clips in folds.items():
        for clip in clips:
            source, split = f"{FOLDS}, fold {name}, id {clip}", SPLIT_NAMES[name]
            if clip not in labels or clip not in texts:
                lacking = LABELS if clip not in labels else text_file
                problems.add(source, f"is not in {lacking}: {RELEASE}", split=split)
                continue
            humorous = labels[clip]
            if not isinstance(humorous, (int, float)) or humorous not in (0, 1):
                problems.add(
                    f"{LABELS}, id {clip}",
                    f"the label {reprlib.repr(humorous)} is not 0 (serious) or 1 (humorous): {RELEASE}",
                    split=split,
                )
                continue
            try:
                punchline, earlier = sentences(texts[clip])
            except _Unreadable as error:
                problems.add(f"{text_file}, id {clip}", f"{error}: {RELEASE}", split=split)
                continue
            yield Record(
                id=f"urfunny/{split}/{clip}",
                dataset="urfunny",
                split=split,
                text=punchline,
                labels={"humour": "humorous" if humorous else "serious"},
                context=last(earlier, context),
                group=clip,
                media=None if folder is None else str(folder / f"{clip}.mp4"),
                source=source,
            )
    unplaced = labels.keys() - {clip for clips in folds.values() for clip in clips}
    if unplaced:
        yield Excluded(
            id="urfunny/train/in_no_fold",
            split="train",
            reason=f"labelled, but in no fold of {FOLDS}",
            source=LABELS,
            count=len(unplaced),
        )
    problems.check()


class _Unreadable(Exception):
    """A mistake in the text of a passage; the caller adds file and id."""


def _folds(path: Path, problems: Problems) -> dict[str, list[str]]:
    """Ids by fold, as the file names it."""
    folds = pickles.load(path)
    if not isinstance(folds, dict):
        raise DataError(f"{path} has to be a dictionary of folds, and is a {type(folds).__name__}: {RELEASE}")
    splits = [SPLIT_NAMES[name] for name in folds if name in SPLIT_NAMES]
    if len(splits) != len(folds) or sorted(splits) != sorted(SPLITS):
        raise DataError(
            f"{path} has to have the folds train, dev and test, and has {', '.join(map(reprlib.repr, folds))}:"
            f" {RELEASE}"
        )
    fold_of: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    for name, ids in folds.items():
        if not isinstance(ids, Iterable):
            raise DataError(f"{path}: fold {name} is {reprlib.repr(ids)} and has to be a list of ids: {RELEASE}")
        by_name[name] = []
        for clip in [_id(path, each) for each in ids]:
            if clip in fold_of:
                again = ", again" if fold_of[clip] == name else ""  # the first occurrence is kept
                problems.add(
                    f"{path.name}, fold {name}, id {clip}{again}",
                    f"is in fold {fold_of[clip]} already: {RELEASE}",
                    split=SPLIT_NAMES[name],
                )
                continue
            fold_of[clip] = name
            by_name[name].append(clip)
    return by_name


def _by_id(path: Path) -> dict[str, object]:
    content = pickles.load(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} has to be a dictionary by id, and is a {type(content).__name__}: {RELEASE}")
    by_id = {_id(path, key): value for key, value in content.items()}
    if len(by_id) < len(content):
        raise DataError(f"{path} has an id both as a number and as a string: {RELEASE}")
    return by_id


def _id(path: Path, key: object) -> str:
    if isinstance(key, str):
        return key
    try:
        return str(operator.index(key))
    except TypeError as error:
        raise DataError(f"{path} has the id {reprlib.repr(key)}, which is not a whole number: {RELEASE}") from error


def _texts(root: Path, version: int) -> tuple[str, dict[str, object], Callable[[object], tuple[str, list[str]]]]:
    """Name and content of the file of texts, and the function from an entry of it to punchline and context."""
    present = [name for name in LANGUAGE if (root / name).exists()]
    if len(present) > 1:
        raise DataError(f"{root} has both {' and '.join(present)}, two spellings of one file: leave one of them")
    if present:
        return present[0], _by_id(root / present[0]), _spelled_out
    if version == 2:
        return LANGUAGE[0], _by_id(table_path(root, LANGUAGE[0])), _spelled_out
    if not (root / INDEXES).exists() or not (root / WORDS).exists():
        raise DataError(
            f"{root} has neither {LANGUAGE[0]} nor both {INDEXES} and {WORDS}, which the words of version 1 are taken"
            " from: put them there"
        )
    words = pickles.load(root / WORDS)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{root / WORDS} has to be a list of words: {RELEASE}")
    return INDEXES, _by_id(root / INDEXES), lambda entry: _looked_up(entry, words)


def _spelled_out(entry: object) -> tuple[str, list[str]]:
    punchline, context = _parts(entry, "punchline_sentence", "context_sentences")
    if not isinstance(context, (list, tuple)):
        raise _Unreadable("context_sentences is not a list of sentences")
    return _sentence(punchline), [_sentence(each) for each in context]


def _sentence(value: object) -> str:
    # The publishers describe a sentence as a list, the files have strings.
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise _Unreadable(f"{reprlib.repr(value)} is not a sentence")
    return " ".join(" ".join(words).split())


def _looked_up(entry: object, words: Sequence[str]) -> tuple[str, list[str]]:
    punchline, context = _parts(entry, "punchline_embedding_indexes", "context_embedding_indexes")
    try:
        positions = [[operator.index(each) for each in sentence] for sentence in (punchline, *context)]
    except TypeError as error:
        raise _Unreadable(f"its indexes are not lists of whole numbers ({error})") from error
    if wrong := [each for sentence in positions for each in sentence if not 0 <= each < len(words)]:
        raise _Unreadable(f"the index {wrong[0]} is outside of the {len(words):,} words of {WORDS}")
    spoken = [" ".join(words[each] for each in sentence) for sentence in positions]
    return spoken[0], spoken[1:]


def _parts(entry: object, *names: str) -> list[object]:
    if not isinstance(entry, Mapping):
        raise _Unreadable(f"{reprlib.repr(entry)} is not a dictionary with {' and '.join(names)}")
    if missing := [name for name in names if name not in entry]:
        raise _Unreadable(f"lacks {' and '.join(missing)} (it has {', '.join(map(str, entry))})")
    return [entry[name] for name in names]
