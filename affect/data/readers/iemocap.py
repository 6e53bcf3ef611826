"""IEMOCAP: ten actors in five sessions, a woman and a man each, who improvise or speak scripted dialogues.

On disk (IEMOCAP_full_release; of the clips only what `media` asks for is needed, and nothing for work with text):

    <root>/Session1/ … <root>/Session5/
        dialog/EmoEvaluation/Ses01F_impro01.txt …      labels
        dialog/transcriptions/Ses01F_impro01.txt …     words and times
        dialog/avi/DivX/Ses01F_impro01.avi …           whole dialogues, both speakers side by side, with sound
        sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav …

A line of EmoEvaluation (seconds, utterance, emotion, means of valence, activation and dominance), below it the lines of
the single raters (C-E1: …, A-E3: …), which are not read; and one of transcriptions:

    [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
    Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.

The letter in Ses01F is the actor with the motion capture; who speaks is told by the last part, F000 or M000. The
transcriptions also hold utterances that were not rated (…_MXX0) and remarks without a time ("M: Yeah."): they are no
clips, and only the former are context.

151 dialogues; 2,659 of the utterances are surprised, fearful, disgusted or other, or their raters disagree. The 4-way
set is happy with excited, sad, neutral and angry. There is no official split: a session is left out for testing.

Citation: Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee, Narayanan: IEMOCAP: Interactive Emotional Dyadic Motion
Capture Database, Language Resources and Evaluation 42, 2008. Obtain: https://sail.usc.edu/iemocap.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from affect.config import DataError
from affect.data.facts import Published
from affect.data.problems import Excluded, Problems, parts
from affect.data.readers.places import check_context, last
from affect.data.record import Record
from affect.data.tables import missing_file, read_text

SESSIONS = (1, 2, 3, 4, 5)
EMOTIONS = {
    "neu": "neutral",
    "hap": "happy",
    "exc": "excited",
    "sad": "sad",
    "ang": "angry",
    "fru": "frustrated",
    "sur": "surprised",
    "fea": "fearful",
    "dis": "disgusted",
    "oth": "other",
    "xxx": "no agreement of the raters",
}
LABEL_SETS = {
    "emotion4": {"hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral", "ang": "angry"},
    "emotion6": {code: EMOTIONS[code] for code in ("hap", "sad", "neu", "ang", "exc", "fru")},
}
"""Label by code, for the two label sets in use; the first merges excited with happy."""

DIMENSIONS = ("valence", "arousal", "dominance")
"""In the order of a line; the release calls the second one activation."""

SPEAKERS = {"F": "Woman", "M": "Man"}

NUMBER = r"\d+(?:\.\d+)?"
RATED = re.compile(
    rf"\[{NUMBER} *- *{NUMBER}\]\s+(?P<utterance>\S+)\s+(?P<emotion>\S+)"
    rf"\s+\[(?P<valence>{NUMBER}), *(?P<arousal>{NUMBER}), *(?P<dominance>{NUMBER})\]"
)
SAID = re.compile(rf"(?P<utterance>Ses\S+_[FM]\w*) +\[(?P<start>{NUMBER}) *- *(?P<end>{NUMBER})\]:(?P<text>.*)")

_EMOTIONS4 = {"happy": 1636, "sad": 1084, "neutral": 1708, "angry": 1103}
_EMOTIONS6 = {"happy": 595, "sad": 1084, "neutral": 1708, "angry": 1103, "excited": 1041, "frustrated": 1849}

# Counted in EmoEvaluation of the release; the 4-way counts by session are those of every paper that uses them. Many
# papers have 7,433 for the 6-way set, from features in which 53 more utterances are happy.
PUBLISHED = (
    *(
        Published(splits=("test",), count=count, options={"labels": 4, "test_session": session})
        for session, count in zip(SESSIONS, (1085, 1023, 1151, 1031, 1241), strict=True)
    ),
    Published(count=5531, classes={"emotion4": _EMOTIONS4}, options={"labels": 4}),
    Published(count=7380, classes={"emotion6": _EMOTIONS6}, options={"labels": 6}),
    Published(count=10039, options={"labels": "all"}),
)
LICENCE = "Signed release form of USC: for research only, clips and transcripts must not be passed on."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()


def records(
    root: Path,
    *,
    test_session: int = 5,
    val_session: int | None = None,
    labels: Literal[4, 6, "all"] = 4,
    media: Literal["avi", "wav"] = "avi",
    context: int = 0,
) -> Iterator[Record | Excluded]:
    """One record per utterance, by dialogue and then as they were rated.

    `test_session` is left out for testing, `val_session` (None: the one before it, and 5 before 1) for choosing the
    checkpoint; the other three train, so no speaker is in two splits. `labels` is the set of utterances: 4 has the task
    emotion4, 6 has emotion6, and all has both and also those with neither; utterances outside the set are one Excluded
    an emotion and session. Every utterance has valence, arousal and dominance, means of the raters from 1 to 5; a mean
    outside of that, which a rater's slip can make, is no label. `media`: avi cuts the utterance out of its dialogue by
    the times of the transcription, wav is the file of the utterance. `context` is the number of utterances before it in
    its dialogue, given as "Woman: text" or "Man: text".

    An utterance that the transcriptions do not have, or have twice, is an Excluded. Raises DataError for options,
    folders and lines.
    """
    sessions = _sessions(test_session, val_session)
    check_context(context, "IEMOCAP")
    yield from parts(
        {(split,): _split(root, split, numbers, labels, media, context) for split, numbers in sessions.items()}
    )


def _split(
    root: Path, split: str, sessions: list[int], labels: Literal[4, 6, "all"], media: str, context: int
) -> Iterator[Record | Excluded]:
    problems = Problems((split,))
    for session in sessions:
        folder = _session_folder(root, session)
        outside: Counter[str] = Counter()
        for path in sorted((folder / "dialog" / "EmoEvaluation").glob(f"Ses{session:02d}*.txt")):
            said, twice = _transcription(folder / "dialog" / "transcriptions" / path.name)
            turns = sorted(said, key=lambda utterance: said[utterance][:2])
            spoken = [f"{SPEAKERS[_sex(utterance)]}: {said[utterance][2]}" for utterance in turns]
            position = {utterance: number for number, utterance in enumerate(turns)}
            for source, rated in _rated(path, problems):
                utterance, emotion = rated["utterance"], rated["emotion"]
                label_values = _labels(rated, labels)
                if labels != "all" and f"emotion{labels}" not in label_values:
                    outside[emotion] += 1
                    continue
                if utterance not in said or utterance in twice:
                    reason = f"{'twice' if utterance in twice else 'not'} in the transcriptions"
                    yield Excluded(id=f"iemocap/{split}/{utterance}", split=split, reason=reason, source=source)
                    continue
                start, end, text = said[utterance]
                here = position[utterance]
                clip = _clip(folder, path.stem, utterance, media)
                yield Record(
                    id=f"iemocap/{split}/{utterance}",
                    dataset="iemocap",
                    split=split,
                    text=text,
                    labels=label_values,
                    context=last(spoken[:here], context),
                    speaker=f"Ses{session:02d}_{_sex(utterance)}",
                    group=path.stem,
                    media=clip,
                    start=start if clip is not None and media == "avi" else None,
                    end=end if clip is not None and media == "avi" else None,
                    source=source,
                )
        for emotion in EMOTIONS:
            if outside[emotion]:
                yield Excluded(
                    id=f"iemocap/{split}/session{session}/{emotion}",
                    split=split,
                    reason=f"{EMOTIONS[emotion]} ({emotion}), which is not in the {labels}-way set",
                    source=str(folder / "dialog" / "EmoEvaluation"),
                    count=outside[emotion],
                )
    problems.check()


def _sessions(test: int, val: int | None) -> dict[str, list[int]]:
    for option, session in (("test_session", test), ("val_session", val)):
        if session is not None and session not in SESSIONS:
            raise DataError(f"options.{option}={session} of IEMOCAP is not a session: they are numbered 1 to 5")
    if val is None:
        val = test - 1 or SESSIONS[-1]
    if val == test:
        raise DataError(
            f"options.test_session and options.val_session of IEMOCAP are both {test}: the session that chooses the"
            " checkpoint cannot test it, name another one"
        )
    return {"train": [s for s in SESSIONS if s not in (val, test)], "val": [val], "test": [test]}


def _session_folder(root: Path, session: int) -> Path:
    """The folder of a session. Raises DataError if its labels or transcriptions are missing."""
    if not root.is_dir():
        raise missing_file(root)
    folder = root / f"Session{session}"
    if not folder.is_dir():
        near = next(iter(sorted(root.glob(f"*/{folder.name}"))), root.parent / folder.name)
        remedy = f"set the dataset's root to {near.parent}" if near.is_dir() else "unpack the whole release there"
        raise DataError(
            f"{folder} does not exist: the root of IEMOCAP is the folder that holds Session1 to Session5, {remedy}"
        )
    for part, content in (("EmoEvaluation", "labels"), ("transcriptions", "words and times")):
        if not any((folder / "dialog" / part).glob(f"Ses{session:02d}*.txt")):
            raise DataError(
                f"{folder / 'dialog' / part} has no file Ses{session:02d}….txt, which hold the {content}: unpack the"
                " whole release"
            )
    return folder


def _rated(path: Path, problems: Problems) -> Iterator[tuple[str, re.Match[str]]]:
    """Source and fields (see RATED) of every utterance of a file of EmoEvaluation."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.startswith("["):
            continue
        source = f"{path.name}, row {number}"
        rated = RATED.fullmatch(line)
        if not rated or not re.fullmatch(rf"{path.stem}_[FM]\w*\d", rated["utterance"]):
            problems.add(
                source,
                f"is not '[start - end]  {path.stem}_F000  neu  [valence, activation, dominance]': restore the line"
                " from the release",
            )
        elif rated["emotion"] not in EMOTIONS:
            problems.add(
                source,
                f"the emotion '{rated['emotion']}' is not one of {', '.join(EMOTIONS)}: restore it from the release",
            )
        else:
            yield source, rated


def _transcription(path: Path) -> tuple[dict[str, tuple[float, float, str]], set[str]]:
    """Start, end (seconds) and text of every timed utterance of a dialogue, and the utterances that occur twice."""
    said_by_utterance: dict[str, tuple[float, float, str]] = {}
    twice = set()
    for line in _lines(path):
        if said := SAID.fullmatch(line):
            if said["utterance"] in said_by_utterance:
                twice.add(said["utterance"])
            said_by_utterance[said["utterance"]] = (float(said["start"]), float(said["end"]), said["text"].strip())
    return said_by_utterance, twice


def _lines(path: Path) -> list[str]:
    return [line.rstrip() for line in read_text(path).split("\n")]


def _labels(rated: re.Match[str], which: Literal[4, 6, "all"]) -> dict[str, str | float]:
    names = LABEL_SETS if which == "all" else (f"emotion{which}",)
    values: dict[str, str | float] = {
        name: LABEL_SETS[name][rated["emotion"]] for name in names if rated["emotion"] in LABEL_SETS[name]
    }
    return values | {name: float(rated[name]) for name in DIMENSIONS if 1 <= float(rated[name]) <= 5}


def _sex(utterance: str) -> str:
    """F or M. Of the speaker, which is not the letter in Ses01F."""
    return utterance.rsplit("_", 1)[1][0]


def _clip(folder: Path, dialogue: str, utterance: str, media: str) -> str | None:
    clips = folder / "dialog" / "avi" / "DivX" if media == "avi" else folder / "sentences" / "wav"
    if not clips.is_dir():
        return None
    return str(clips / f"{dialogue}.avi" if media == "avi" else clips / dialogue / f"{utterance}.wav")
