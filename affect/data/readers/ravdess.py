"""RAVDESS: 24 actors speak two sentences in eight emotions; here its speech, not its song.

On disk, as unpacked (Audio_Speech_Actors_01-24.zip for wav, Video_Speech_Actor_XX.zip for mp4):

    <root>/Actor_01/03-01-06-01-02-01-01.wav …     <root>/Actor_24/…

There is no table; the file name has modality (01 audio-video, 02 video only, 03 audio only), vocal channel (01
speech, 02 song), emotion, intensity (01 normal, 02 strong; neutral has no strong), statement, repetition, actor (odd
male, even female). The example: audio only, speech, fearful, normal, "Dogs are sitting by the door", first time, actor
1. 60 speech recordings an actor, 1,440 in all. There is no official split, so the actors of each are an option.

Citation: Livingstone and Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song, PLoS ONE 13(5), 2018.
Licence: CC BY-NC-SA 4.0. Obtain: https://zenodo.org/records/1188976
"""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any, Literal

from affect.config import DataError
from affect.data.facts import Published
from affect.data.problems import Excluded, Problems, parts
from affect.data.record import SPLITS, Record
from affect.data.tables import missing_file

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
NAME = re.compile(r"0[123]-0[12]-(?P<emotion>0[1-8])-(?P<intensity>0[12])-0[12]-0[12]-(?P<actor>\d\d)")
MODALITY = {"wav": "03", "mp4": "01"}
ACTORS = range(1, 25)


def _published(options: Mapping[str, Any]) -> Iterator[Published]:
    """Of each split: 60 recordings per actor, two sentences, twice, in two intensities, of which neutral has one
    (Livingstone and Russo 2018)."""
    for split in SPLITS:
        actors = len(options["splits"][split])
        emotions = {name: 8 * actors for name in EMOTIONS.values()} | {"neutral": 4 * actors}
        yield Published(splits=(split,), count=60 * actors, classes={"emotion": emotions})


PUBLISHED = _published
LICENCE = "CC BY-NC-SA 4.0: name its authors, not for commercial use, pass derivatives on under the same licence."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()


def records(
    root: Path, *, splits: dict[str, list[int]], media: Literal["wav", "mp4"] = "wav"
) -> Iterator[Record | Excluded]:
    """One record per speech recording, by split, actor and name.

    `splits` gives the actors (1-24) of train, val and test; `media` is the kind of file. An actor without a folder is
    one Excluded of 60 clips, and each recording that another actor lacks is one of its own. Raises DataError where
    splits share an actor and for files that are named otherwise.
    """
    _check_splits(splits)
    if not root.is_dir():
        raise missing_file(root)
    yield from parts({(split,): _split(root, split, actors, media) for split, actors in splits.items()})


def _split(root: Path, split: str, actors: list[int], media: str) -> Iterator[Record | Excluded]:
    problems = Problems((split,))
    for actor in actors:
        folder = root / f"Actor_{actor:02d}"
        names = _speech_names(actor, media)
        if not folder.is_dir():
            yield Excluded(
                id=f"ravdess/{split}/actor_{actor:02d}",
                split=split,
                reason=f"there is no folder {folder.name}",
                source=str(folder),
                count=len(names),
            )
            continue
        # Hidden files belong to the file system (macOS writes ._03-01-….wav beside each), not to the dataset.
        present = {
            path.stem for path in folder.iterdir() if path.suffix == f".{media}" and not path.name.startswith(".")
        }
        for name in sorted(present):
            codes = NAME.fullmatch(name)
            if not codes or (codes["emotion"], codes["intensity"]) == ("01", "02"):
                problems.add(
                    f"{folder.name}/{name}.{media}",
                    "is not named MM-VC-EE-II-SS-RR-AA with known codes: restore the name",
                    count=0,  # the recording is counted as missing
                )
            elif int(codes["actor"]) != actor:
                problems.add(
                    f"{folder.name}/{name}.{media}",
                    f"is of actor {codes['actor']}: move it to that actor's folder",
                    count=0,
                )
        for name in names:
            path = folder / f"{name}.{media}"
            source = f"{folder.name}/{path.name}"
            if name not in present:
                yield Excluded(
                    id=f"ravdess/{split}/{name}", split=split, reason=f"there is no file {source}", source=source
                )
                continue
            _, _, emotion, _, statement, _, _ = name.split("-")
            yield Record(
                id=f"ravdess/{split}/{name}",
                dataset="ravdess",
                split=split,
                text=STATEMENTS[statement],
                labels={"emotion": EMOTIONS[emotion]},
                speaker=f"actor_{actor:02d}",
                group=f"actor_{actor:02d}",
                media=str(path),
                source=source,
            )
    problems.check()


def _speech_names(actor: int, media: str) -> list[str]:
    """The 60 file names of an actor's speech, sorted."""
    codes = product(EMOTIONS, ("01", "02"), STATEMENTS, ("01", "02"))
    return [
        f"{MODALITY[media]}-01-{emotion}-{intensity}-{statement}-{repetition}-{actor:02d}"
        for emotion, intensity, statement, repetition in codes
        if (emotion, intensity) != ("01", "02")
    ]


def _check_splits(splits: dict[str, list[int]]) -> None:
    if sorted(splits) != sorted(SPLITS):
        raise DataError(
            f"options.splits of RAVDESS names {', '.join(splits)}: give actors to each of {', '.join(SPLITS)}"
        )
    for name in SPLITS:
        actors = splits[name]
        if not actors:
            raise DataError(f"options.splits.{name} of RAVDESS is empty: give it at least one actor")
        wrong = sorted(set(actors) - set(ACTORS))
        if wrong:
            raise DataError(f"options.splits.{name} of RAVDESS has the actor {wrong[0]}: actors are numbered 1 to 24")
        if len(set(actors)) != len(actors):
            raise DataError(f"options.splits.{name} of RAVDESS names an actor twice: {actors}; name each once")
    for first, second in combinations(SPLITS, 2):
        if shared := sorted(set(splits[first]) & set(splits[second])):
            raise DataError(
                f"options.splits of RAVDESS has actor {', '.join(map(str, shared))} in both {first} and {second}: an"
                " actor belongs to one split, or the result is not speaker-independent"
            )
