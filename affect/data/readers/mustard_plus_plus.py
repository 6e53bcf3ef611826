"""MUStARD++: utterances of sitcoms with sarcasm, the emotion behind it and the one on the surface, valence and arousal.

On disk (final_utterance_videos may be missing, for work with text):

    <root>/mustard++_text.csv     <root>/final_utterance_videos/1_10004_u.mp4 …

Two rows, with their header; the first is a line of context, the second an utterance:

    SCENE,KEY,SENTENCE,END_TIME,SPEAKER,SHOW,Sarcasm,Sarcasm_Type,Implicit_Emotion,Explicit_Emotion,Valence,Arousal
    1_10004,1_10004_c_01,Who was he?,0:08,SHELDON,BBT,,,,,,
    1_10004,1_10004_u,"And of those few months, …?",0:07,SHELDON,BBT,0,NONE,Anger,Anger,2,7

1,202 utterances, half of them sarcastic, and 4,839 lines of context. Sentences have line breaks, which become spaces.
The utterance of scene 1_S11E03_067 has the KEY "Disgust". A speaker of context is often "-", and then the line stands
alone. END_TIME has several formats and is not read: the clips are already cut.

There is no official split, so `protocol` chooses between two, both made of whole groups. A group is an episode, where
the scene's name has one (1_S11E03_067), joined with all scenes of the show that share a line of five words or more with
it, so that no line that a clip of one part says is context in another.

grouped: of every show about 20 % of the clips are tested on and 10 % validated on, in the order of the sha256 of the
groups' names, which depends neither on the order of the file nor on the machine. Speakers are in all parts.
speaker_independent: tested on FRIENDS, as in MUStARD; of the other shows 20 % are validated on.

Citation: Ray, Mishra, Nunna, Bhattacharyya: A Multimodal Corpus for Emotion Recognition in Sarcasm, LREC 2022. Obtain:
https://github.com/cfiltnlp/MUStARD_Plus_Plus. 688 of the clips are those of MUStARD, whose ids are SCENE here.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from affect.data.facts import Published
from affect.data.problems import Problems
from affect.data.readers.places import check_context, clips_folder, last, table_path
from affect.data.readers.scenes import TEST_SHOW, grouped, long_lines, one_line, shuffled, speaker_of
from affect.data.record import Record
from affect.data.tables import Row, read_table

ANNOTATIONS = "mustard++_text.csv"
CLIPS = "final_utterance_videos"
LABELS = {
    "implicit_emotion": "Implicit_Emotion",
    "explicit_emotion": "Explicit_Emotion",
    "valence": "Valence",
    "arousal": "Arousal",
}
"""Column by task, for tasks whose cells are the labels."""
COLUMNS = ("SCENE", "KEY", "SENTENCE", "SPEAKER", "SHOW", "Sarcasm", *LABELS.values())
SARCASM = {"0": "sincere", "1": "sarcastic"}
MISNAMED = ("1_S11E03_067", "Disgust")
"""SCENE and KEY of the one utterance whose KEY is not SCENE_u in the published file."""
EPISODE = re.compile(r"\d+_S\d+E\d+(?=_)")

# Counted in the repository's mustard++_text.csv. Its splits are this project's, so only the total is published.
PUBLISHED = (Published(count=1202, classes={"sarcasm": {"sarcastic": 601, "sincere": 601}}),)
LICENCE = "No licence is given; the clips are of copyrighted series, for research only."
SAME_CLIPS_AS = ("mustard",)
CUT_FROM = "Friends"
KNOWN_ISSUES = ()


def records(
    root: Path,
    *,
    protocol: Literal["grouped", "speaker_independent"] = "grouped",
    context: int | None = None,
) -> Iterator[Record]:
    """One record per utterance, in the order of the file.

    `context`: how many earlier lines are given, None is all of them. The speaker is "SHOW/NAME".
    """
    check_context(context, "MUStARD++")
    problems = Problems()
    utterances: dict[str, Row] = {}
    reported: set[str] = set()
    turns: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    for row in read_table(table_path(root, ANNOTATIONS), COLUMNS, problems):
        scene, key = row.cells["SCENE"].strip(), row.cells["KEY"].strip()
        place = re.fullmatch(re.escape(scene) + r"_c_(\d+)", key)
        if scene and place and not row.cells["Sarcasm"].strip():
            turns[scene].append((int(place[1]), row))
        elif not scene or (key != f"{scene}_u" and (scene, key) != MISNAMED):
            problems.add(
                row.source,
                f"the KEY '{key}' is not SCENE_u (an utterance, with labels) or SCENE_c_NN (context, without) of the"
                f" SCENE '{scene}': restore it from the original",
            )
            reported.add(scene)
        elif row.cells["Sarcasm"].strip() not in SARCASM:
            problems.add(
                row.source,
                f"the Sarcasm '{row.cells['Sarcasm']}' of an utterance is not 0 or 1: restore it from the original",
            )
            reported.add(scene)
        elif scene in utterances:
            problems.add(
                row.source,
                f"the SCENE '{scene}' has its utterance in {utterances[scene].source} already: leave one of them",
            )
        else:
            utterances[scene] = row
    for scene in sorted(turns.keys() - utterances.keys() - reported):
        problems.add(ANNOTATIONS, f"the SCENE '{scene}' has context but no utterance: restore it from the original")
    # _c_10 comes after _c_9, whatever the order of the file.
    context_of = {scene: [row for _, row in sorted(turns[scene], key=lambda turn: turn[0])] for scene in utterances}
    groups = grouped({scene: list(_links(row, context_of[scene])) for scene, row in utterances.items()})
    splits = _splits({scene: row.cells["SHOW"] for scene, row in utterances.items()}, groups, protocol)
    folder = clips_folder(root, CLIPS)
    for scene, row in utterances.items():
        split = splits[scene]
        cells = {name: row.cells[name].strip() for name in COLUMNS}
        earlier = [_spoken(turn) for turn in context_of[scene]]
        yield Record(
            id=f"mustard_plus_plus/{split}/{scene}",
            dataset="mustard_plus_plus",
            split=split,
            text=one_line(cells["SENTENCE"]),
            labels={"sarcasm": SARCASM[cells["Sarcasm"]]} | {task: cells[column] for task, column in LABELS.items()},
            context=last(earlier, context),
            speaker=speaker_of(cells["SHOW"], cells["SPEAKER"]),
            group=f"{cells['SHOW']}/{groups[scene]}",
            media=None if folder is None else str(folder / f"{scene}_u.mp4"),
            source=row.source,
        )
    problems.check()


def _spoken(row: Row) -> str:
    speaker, line = row.cells["SPEAKER"].strip(), one_line(row.cells["SENTENCE"])
    return line if speaker == "-" else f"{speaker}: {line}"


def _links(utterance: Row, context: Iterable[Row]) -> Iterator[str]:
    """What joins a scene to others of its show: the episode and the longer lines."""
    show = utterance.cells["SHOW"]
    if episode := EPISODE.match(utterance.cells["SCENE"].strip()):
        yield f"{show} {episode[0]}"
    yield from long_lines(show, (row.cells["SENTENCE"] for row in (utterance, *context)))


def _splits(shows: Mapping[str, str], groups: Mapping[str, str], protocol: str) -> dict[str, str]:
    """Split by scene; `shows` and `groups` are by scene too."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for scene, show in shows.items():
        sizes[show][groups[scene]] += 1
    split_of: dict[str, str] = {}
    for show, counts in sizes.items():
        # Shares of the show's clips at which the test part and the validation part end.
        if protocol == "grouped":
            test_end, val_end = 0.2, 0.3
        else:
            test_end, val_end = (1.0, 1.0) if show == TEST_SHOW else (0.0, 0.2)
        before = 0
        for group in shuffled("mustard_plus_plus", counts):
            share = before / counts.total()
            split_of[group] = "test" if share < test_end else "val" if share < val_end else "train"
            before += counts[group]
    return {scene: split_of[groups[scene]] for scene in shows}
