"""MUStARD: utterances of sitcoms, sarcastic or sincere, each with the lines spoken before it.

On disk (utterances_final may be missing, for work with text; split_indices.p is needed for the five folds alone):

    <root>/sarcasm_data.json     <root>/utterances_final/1_60.mp4 …
    <root>/split_indices.p

An entry of sarcasm_data.json:

    {"1_60": {"utterance": "It's just a privilege to watch your mind at work.", "speaker": "SHELDON",
              "context": ["I never would have identified …", "My apologies. What's your plan?"],
              "context_speakers": ["LEONARD", "SHELDON"], "show": "BBT", "sarcasm": true}, …}

690 utterances, half of them sarcastic: 356 of FRIENDS, 280 of BBT, 40 of GOLDENGIRLS, 14 of SARCASMOHOLICS. There is no
official split into three, but two into training and test part, and `protocol` chooses between them:

speaker_independent: the test part is FRIENDS, whose speakers are in no other show. Nothing but the JSON is needed.
five_fold: the five stratified folds of split_indices.p, of which `fold` (0 to 4) is tested on; a result is the mean of
all five. Speakers, shows and neighbouring lines are in both parts.

A fifth of the training part is held out as validation part. Whole scenes are held out, so that no line that a clip of
one part says is context in the other: clips of a show are of one scene when they share a line of five words or more
(15 groups of two or three; the others are alone). In every show the sarcastic and the sincere scenes are taken in the
order of the sha256 of their names, so the choice depends neither on the order of the file nor on the machine.
Validation and training part do share speakers: one show has most of the clips, and in the small ones nearly all are
sarcastic, so a validation part with other speakers could not choose between checkpoints.

Citation: Castro, Hazarika, Pérez-Rosas, Zimmermann, Mihalcea, Poria: Towards Multimodal Sarcasm Detection (An Obviously
Perfect Paper), ACL 2019. Obtain: https://github.com/soujanyaporia/MUStARD. MUStARD++ has 688 of these clips.
"""

import json
import operator
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from affect.config import DataError
from affect.data import pickles
from affect.data.facts import TRAINING, Finding, Published, Records, Severity
from affect.data.problems import Problems, did_you_mean
from affect.data.readers.places import check_context, clips_folder, last, table_path
from affect.data.readers.scenes import TEST_SHOW, grouped, long_lines, one_line, shuffled, speaker_of
from affect.data.record import SPLITS, Record
from affect.data.tables import read_text

ANNOTATIONS = "sarcasm_data.json"
FOLDS = "split_indices.p"
CLIPS = "utterances_final"
FIELDS = {"utterance": str, "speaker": str, "context": list, "context_speakers": list, "show": str, "sarcasm": bool}
KINDS = {str: "a string", list: "a list of strings", bool: "true or false"}
NUM_FOLDS = 5
VALIDATION = 0.2
"""Share of the scenes of the training part that are held out."""


def _published(splits: tuple[str, ...], sarcastic: int, sincere: int, **options: str) -> Published:
    classes = {"sarcasm": {"sarcastic": sarcastic, "sincere": sincere}}
    return Published(splits=splits, count=sarcastic + sincere, classes=classes, options=options)


# 690 and 345 each: the paper. Shows and their classes: counted in the repository's sarcasm_data.json. Folds: its
# split_indices.p.
PUBLISHED = (
    _published(TRAINING, 193, 141, protocol="speaker_independent"),
    _published(("test",), 152, 204, protocol="speaker_independent"),
    Published(splits=TRAINING, count=552, options={"protocol": "five_fold"}),
    Published(splits=("test",), count=138, options={"protocol": "five_fold"}),
    _published(SPLITS, 345, 345),
)
SHOWS = {"FRIENDS": 356, "BBT": 280, "GOLDENGIRLS": 40, "SARCASMOHOLICS": 14}
LICENCE = "Annotations and code MIT; the clips are of copyrighted series, for research only."
SAME_CLIPS_AS = ("mustard_plus_plus",)
CUT_FROM = "Friends"
KNOWN_ISSUES = ()


def records(
    root: Path,
    *,
    protocol: Literal["speaker_independent", "five_fold"] = "speaker_independent",
    fold: int = 0,
    context: int | None = None,
) -> Iterator[Record]:
    """One record per utterance, in the order of the file. Line breaks inside a line become spaces.

    `fold` (0 to 4) is that of five_fold. `context`: how many earlier lines are given, None is all of them. The
    group is the scene, the speaker "SHOW/NAME". Raises DataError for the annotations, and for five_fold without its
    file.
    """
    check_context(context, "MUStARD")
    problems = Problems()
    clips, everything = _entries(table_path(root, ANNOTATIONS))
    faults = {clip: list(_faults(entry)) for clip, entry in everything.items()}
    entries = {clip: entry for clip, entry in everything.items() if not faults[clip]}
    if not entries:
        _report(faults, None, problems)
        problems.check()
    folder = clips_folder(root, CLIPS)
    scenes = grouped(
        {clip: long_lines(entry["show"], (entry["utterance"], *entry["context"])) for clip, entry in entries.items()}
    )
    try:
        test = _test(root, clips, fold) if protocol == "five_fold" else _of_show(entries, TEST_SHOW)
    except DataError:  # faulty entries may be the cause
        _report(faults, None, problems)
        problems.check()
        raise
    if protocol == "speaker_independent":
        test |= {clip for clip in clips if faults[clip] and _show(everything[clip]) == TEST_SHOW}
    _report(faults, test, problems)
    held_out = _held_out(entries, scenes, test)
    for clip, entry in entries.items():
        split = "test" if clip in test else "val" if scenes[clip] in held_out else "train"
        turns = [
            f"{who}: {one_line(line)}" for who, line in zip(entry["context_speakers"], entry["context"], strict=True)
        ]
        yield Record(
            id=f"mustard/{split}/{clip}",
            dataset="mustard",
            split=split,
            text=one_line(entry["utterance"]),
            labels={"sarcasm": "sarcastic" if entry["sarcasm"] else "sincere"},
            context=last(turns, context),
            speaker=speaker_of(entry["show"], entry["speaker"]),
            group=f"{entry['show']}/{scenes[clip]}",
            media=None if folder is None else str(folder / f"{clip}.mp4"),
            source=f"{ANNOTATIONS}, id '{clip}'",
        )
    problems.check()


def audit(root: Path, by_split: Records) -> Iterator[Finding]:
    """Whether the shows have as many clips as published."""
    shows = Counter(record.group.split("/")[0] for records in by_split.values() for record in records)
    counted = ", ".join(f"{show} {count}" for show, count in shows.most_common())
    if shows == SHOWS:
        yield Finding(
            severity=Severity.note,
            what=f"shows, as published: {counted}",
            count=len(SHOWS),
            remedy="none: one show can be tested on, the speakers then are new",
        )
    else:
        yield Finding(
            severity=Severity.warning,
            what=f"shows: {counted}, published are {', '.join(f'{show} {count}' for show, count in SHOWS.items())}",
            count=sum(abs(shows[show] - SHOWS.get(show, 0)) for show in {*shows, *SHOWS}),
            remedy="complete the copy, or say that it differs",
        )


class _Object(dict[str, Any]):
    """A JSON object, with its repeated keys: which of their values is right is unknown."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated = {key: count for key, count in Counter(key for key, _ in pairs).items() if count > 1}


class _Repeated:
    """The entries of an id that the file has more than once."""

    def __init__(self, count: int, last: object) -> None:
        self.count, self.last = count, last


def _entries(path: Path) -> tuple[list[str], dict[str, Any]]:
    """All ids, in the order of the file, and the entries by id, which can be any JSON value."""
    try:
        entries = json.loads(read_text(path), object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: {error.msg}, so it is not JSON: get the file again from its publisher"
        ) from error
    except RecursionError as error:
        raise DataError(
            f"{path} has lists or objects nested too deeply to be read: get the file again from its publisher"
        ) from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path} is not an object with an entry for each id: get the file again from its publisher")
    assert isinstance(entries, _Object)
    return list(entries), entries | {clip: _Repeated(count, entries[clip]) for clip, count in entries.repeated.items()}


def _report(faults: Mapping[str, Sequence[str]], test: set[str] | None, problems: Problems) -> None:
    """Adds the faults of entries to `problems`. An entry that is not in `test` may belong to train or val, since its
    scene is unknown; `test` is None if the test part is unknown too."""
    for clip, sentences in faults.items():
        splits = SPLITS if test is None else ("test",) if clip in test else TRAINING
        for sentence in sentences:
            problems.add(f"{ANNOTATIONS}, id '{clip}'", sentence, split=splits)


def _show(entry: object) -> object:
    if isinstance(entry, _Repeated):
        return _show(entry.last)
    return entry.get("show") if isinstance(entry, dict) else None


def _faults(entry: object) -> Iterator[str]:
    if isinstance(entry, _Repeated):
        yield f"is there {entry.count} times: leave one of them"
        return
    if not isinstance(entry, dict):
        yield f"is not an object with {', '.join(FIELDS)}: restore it from the original"
        return
    for key, count in entry.repeated.items() if isinstance(entry, _Object) else ():
        yield f"has the key '{key}' {count} times: leave one of them"
    for name, kind in FIELDS.items():
        if name not in entry:
            yield f"lacks '{name}'{did_you_mean(name, entry)}; it has: {', '.join(entry)}: restore it from the original"
        elif not isinstance(entry[name], kind):
            yield f"has {entry[name]!r} as '{name}', which has to be {KINDS[kind]}: restore it from the original"
        elif kind is list and not all(isinstance(item, str) for item in entry[name]):
            yield f"has something other than strings in '{name}': restore it from the original"
    lines, speakers = (entry.get(name) for name in ("context", "context_speakers"))
    if isinstance(lines, list) and isinstance(speakers, list) and len(lines) != len(speakers):
        yield f"has {len(lines)} lines of context and {len(speakers)} speakers of them: give every line its speaker"


def _held_out(entries: Mapping[str, Any], scenes: Mapping[str, str], test: set[str]) -> set[str]:
    """Scenes of the training part that form the validation split."""
    strata: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for clip in entries:
        if clip not in test:
            # The label of the clip that names the scene: hardly any scene has two.
            strata[entries[clip]["show"], entries[scenes[clip]]["sarcasm"]].add(scenes[clip])
    held_out: set[str] = set()
    for together in strata.values():
        held_out.update(shuffled("mustard", together)[: round(VALIDATION * len(together))])
    return held_out


def _of_show(entries: Mapping[str, Any], show: str) -> set[str]:
    clips = {clip for clip, entry in entries.items() if entry["show"] == show}
    if not clips or len(clips) == len(entries):
        shows = ", ".join(sorted({entry["show"] for entry in entries.values()}))
        raise DataError(
            f"{ANNOTATIONS} has clips of {shows}, and protocol speaker_independent tests on {show} and trains on the"
            " other shows: restore the file from the original"
        )
    return clips


def _test(root: Path, clips: Sequence[str], fold: int) -> set[str]:
    """Test clips of a fold of split_indices.p, which has positions in the order of the JSON."""
    if not 0 <= fold < NUM_FOLDS:
        raise DataError(f"options.fold={fold} of MUStARD is not one of its folds: choose from 0 to {NUM_FOLDS - 1}")
    if not (root / FOLDS).exists():
        raise DataError(
            f"{root / FOLDS} does not exist, and protocol five_fold takes its folds from it: get it from data/ of the"
            " publishers' repository, or set options.protocol=speaker_independent"
        )
    path = root / FOLDS
    folds = pickles.load(path)
    try:
        # Accepts numpy integers, but no floats.
        train, test = ([operator.index(position) for position in part] for part in folds[fold])
        num_folds = len(folds)
    except (TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"{path} is not a list of {NUM_FOLDS} pairs of training and test positions ({error}): get the file again"
            " from its publisher"
        ) from error
    if num_folds != NUM_FOLDS or sorted(train + test) != list(range(len(clips))):
        raise DataError(
            f"{path} has {num_folds} folds, and fold {fold} has {len(train)} training and {len(test)} test positions:"
            f" {NUM_FOLDS} folds are expected, each with every one of the {len(clips)} clips of {ANNOTATIONS} once;"
            " get both files from one release"
        )
    return {clips[position] for position in test}
