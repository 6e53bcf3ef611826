"""Small trees in the layout of every dataset: annotations, for the tests of readers, damages of them, and where their
clips lie, for the test that trains and evaluates on all of them. Nothing here opens media or imports torch."""

import csv
import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affect.config import DatasetConfig
from affect.data import SPLITS, annotations
from affect.data.annotations import Split
from affect.data.readers import ravdess


def read_split(name: str, config: DatasetConfig, split: str | None) -> Split:
    """The records of one split, and what is left out of it. None: all splits are checked, as in a training; those of
    the last one."""
    return annotations.read(name, config).splits(SPLITS if split is None else [split])[split or SPLITS[-1]]


IEMOCAP_EMOTIONS = ("neu", "hap", "exc", "sad", "ang", "fru", "xxx")
IEMOCAP_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def iemocap_dialogue(root: Path, session: int, name: str, lines: list[str], said: list[str]) -> None:
    folder = root / f"Session{session}" / "dialog"
    for part in ("EmoEvaluation", "transcriptions"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rated = "".join(f"{line}\nC-E1:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n" for line in lines)
    (folder / "EmoEvaluation" / f"{name}.txt").write_text(IEMOCAP_HEADER + rated, encoding="utf-8")
    (folder / "transcriptions" / f"{name}.txt").write_text("\n".join(said) + "\n", encoding="utf-8")


def iemocap_tree(root: Path) -> Path:
    """A dialogue a session, with an utterance of each of IEMOCAP_EMOTIONS, a second long."""
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        who = [f"{name}_{'FM'[i % 2]}{i:03d}" for i in range(len(IEMOCAP_EMOTIONS))]
        rated = [
            f"[{i}.5000 - {i + 1}.2500]\t{utterance}\t{IEMOCAP_EMOTIONS[i]}\t[2.5000, 3.3333, 2.0000]"
            for i, utterance in enumerate(who)
        ]
        said = [f"{utterance} [00{i}.5000-00{i + 1}.2500]: Words {i}." for i, utterance in enumerate(who)]
        said[1:1] = ["M: Yeah.", f"{name}_MXX0 [000.6000-000.7000]: Mmhmm."]
        iemocap_dialogue(root, session, name, rated, said)
    return root


def mer2023_tree(root: Path) -> Path:
    """40 training rows, and one of each test set."""
    root.mkdir()
    train = [f"sample_{i:08d},{'happy' if i % 2 else 'sad'},{i / 4 - 5}" for i in range(40)]
    (root / "train-label.csv").write_text("\n".join(["name,discrete,valence", *train]) + "\n", encoding="utf-8-sig")
    for part, row in (("test1", "sample_00000101,angry,-1"), ("test2", "sample_00000201,worried,0.5")):
        (root / f"{part}-label.csv").write_text(f"name,discrete,valence\n{row}\n", encoding="utf-8")
    (root / "test3-label.csv").write_text("name,discrete,valence\nsamplenew_00000001,surprise,-10\n", encoding="utf-8")
    return root


MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
MELD_TABLES = {"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}


def meld_table(root: Path, *rows: str, split: str = "val", encoding: str = "utf-8") -> Path:
    root.mkdir(exist_ok=True)
    path = root / MELD_TABLES[split]
    lines = [f'{i},{row},4,7,"0:00:01,0","0:00:02,0"' for i, row in enumerate(rows, start=1)]
    path.write_text("\n".join([MELD_HEADER, *lines]) + "\n", encoding=encoding)
    return path


def ravdess_tree(folder: Path, actors: Iterable[int], suffix: str = "wav") -> Path:
    """Every speech recording of the actors, empty."""
    for actor in actors:
        (folder / f"Actor_{actor:02d}").mkdir()
        for name in ravdess._speech_names(actor, suffix):
            (folder / f"Actor_{actor:02d}" / f"{name}.{suffix}").touch()
    return folder


def mintrec_tree(root: Path) -> Path:
    root.mkdir()
    for name, rows in {
        "train": ["S05\tE16\t329\tteens are drinking it.\tInform", "S05\tE16\t7\tcan you?\tAsk for help"],
        "dev": ["S04\tE01\t07\ti'm sorry.\tApologise"],
        "test": ["S06\tE02\t25\tthat is not true, marcus.\tOppose"],
    }.items():
        lines = ["season\tepisode\tclip\ttext\tlabel", *rows]
        (root / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def mustard_entry(
    text: str,
    show: str = "BBT",
    sarcasm: bool = True,
    speaker: str = "SHELDON",
    context: Iterable[tuple[str, str]] = (("LEONARD", "What's your plan?"),),
) -> dict[str, Any]:
    return {
        "utterance": text,
        "speaker": speaker,
        "context": [line for _, line in context],
        "context_speakers": [who for who, _ in context],
        "show": show,
        "sarcasm": sarcasm,
    }


MUSTARD_SHARED = "Not to mention you'd have to power down on Saturdays."


def mustard_entries() -> dict[str, Any]:
    """Ten alone and two that share a line in BBT, and two of Friends."""
    entries = {
        f"1_{n}": mustard_entry(f"Utterance number {n} has a line of its own", sarcasm=n % 2 == 0) for n in range(10)
    }
    entries["1_506"] = mustard_entry(
        "I suppose.", context=(("RAJ", MUSTARD_SHARED), ("PERSON", "Oh, baby.\nReally?")), sarcasm=False
    )
    entries["1_507"] = mustard_entry(MUSTARD_SHARED.upper(), speaker="PERSON1", sarcasm=False)
    entries["2_1"] = mustard_entry("You can’t go back in time.", "FRIENDS", False, "CHANDLER")
    entries["2_02"] = mustard_entry(MUSTARD_SHARED, "FRIENDS", True, "MONICA")
    return entries


def mustard_tree(root: Path, entries: dict[str, Any] | None = None) -> Path:
    root.mkdir()
    text = json.dumps(mustard_entries() if entries is None else entries, ensure_ascii=False, indent=4)
    (root / "sarcasm_data.json").write_text(text, encoding="utf-8")
    return root


PLUS_PLUS_HEADER = (
    "SCENE,KEY,SENTENCE,END_TIME,SPEAKER,SHOW,Sarcasm,Sarcasm_Type,Implicit_Emotion,Explicit_Emotion,Valence,Arousal"
)


def plus_plus_scene(
    name, sentence, show="BBT", speaker="SHELDON", labels=("0", "NONE", "Anger", "Neutral", "2", "7"), context=()
):
    rows = [[name, f"{name}_c_{n}", line, "0:07", who, show, *[""] * 6] for n, (who, line) in enumerate(context)]
    return [*rows, [name, f"{name}_u", sentence, "0:01.570000", speaker, show, *labels]]


def plus_plus_rows() -> list[list[str]]:
    rows = []
    for number in range(20):
        rows += plus_plus_scene(
            f"1_S11E{number // 2:02}_{number:03}", f"Utterance number {number} has a line of its own"
        )
    rows += plus_plus_scene(
        "1_0506", "I suppose.", context=[("-", f"line {n}") for n in range(10)] + [("RAJ", "Ah.\nNo.")]
    )
    misnamed = plus_plus_scene("1_S11E03_067", "I'm not setting her up with Raj.", speaker="PERSON2")
    misnamed[-1][1] = "Disgust"
    sarcastic = ("1", "PRO", "Ridicule", "Surprise", "3", "8")
    return rows + misnamed + plus_plus_scene("2_1", "Was that place\nthe sun?", "FRIENDS", "CHANDLER", sarcastic)


def plus_plus_tree(root, rows=None, header=PLUS_PLUS_HEADER):
    root.mkdir()
    with (root / "mustard++_text.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(plus_plus_rows() if rows is None else rows)
    return root


def urfunny_passage(number: int) -> dict[str, Any]:
    return {
        "punchline_sentence": f"punchline {number}",
        "context_sentences": [f"first {number}", f"second\n{number}"],
        "punchline_intervals": [(0.1, 0.2)],
    }


URFUNNY = {
    "data_folds.pkl": {"train": [14052, 3], "dev": [7], "test": ["0011"]},
    "language_sdk.pkl": {key: urfunny_passage(key) for key in (14052, 3, 7, "0011")},
    "humor_label_sdk.pkl": {14052: 1, 3: 0, 7: 1, "0011": 0},
}


def urfunny_tree(root: Path, **changed: Any) -> Path:
    """`changed` by the name without .pkl; None leaves the file out."""
    root.mkdir()
    contents = URFUNNY | {f"{name}.pkl": content for name, content in changed.items()}
    for name, content in contents.items():
        if content is not None:
            (root / name).write_bytes(pickle.dumps(content))
    return root


MMSA_TABLES = {"mosi": "label.csv", "mosei": "label.csv", "sims": "label.csv", "simsv2": "meta.csv"}
MMSA_HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
MOSEI_HEADER = "video_id,clip_id,text,label,annotation,mode,label_T,label_A,label_V"
MMSA_ROWS = {
    "mosi": [
        MMSA_HEADER,
        "_dI--eQ6qVU,1,A LOT OF SAD PARTS,-2.4,,,,Negative,train",
        '_dI--eQ6qVU,12,"THERE IS SAD PART, I THINK",-0.8,,,,Negative,train',
        "101787,3,IT WAS OK,0.0,,,,Neutral,valid",
        "jUzDDGyPkXU,0,GREAT,3.0,,,,Positive,test",
    ],
    "mosei": [
        MOSEI_HEADER,
        "-3g5yACwYnA,2,I'm quite proud,0.33333334,Positive,train,,,",
        "-3g5yACwYnA,13,Not so much,-1.6666666,Negative,train,,,",
        "101787,0,It was fine,0.0,Neutral,valid,,,",
        "xyz_,0,Great,3.0,Positive,test,,,",
    ],
    "sims": [
        MMSA_HEADER,
        "video_0001,0001,我不想嫁给李茶,-1.0,-1.0,-0.8,-1.0,Negative,train",
        "video_0001,0010,“是吗？”,0.2,,0.0,0.4,Positive,train",
        "video_0002,0001,嗯,0.0,0.0,0.0,0.0,Neutral,valid",
        "video_0003,0001,太好了,1.0,1.0,0.8,1.0,Positive,test",
    ],
    "simsv2": [
        MMSA_HEADER,
        "video_0001,0001,我不想嫁给李茶,-1.0,-1.0,-0.8,-1.0,Negative,train",
        "aqgy3_0001,00000,“是吗？”,0.2,,0.0,0.4,Positive,train",
        "video_0002,0001,嗯,0.0,0.0,0.0,0.0,Neutral,valid",
        "test11,00006,太好了,-0.1,1.0,0.8,1.0,Negative,test",
    ],
}


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def mmsa_tree(folder: Path, name: str, *lines: str) -> Path:
    """A root with the set's table; its four rows where no lines are given."""
    write_lines(folder / MMSA_TABLES[name], *(lines or MMSA_ROWS[name]))
    return folder


# ---------------------------------------------------------------- whole datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A dataset in small."""

    write: Callable[[Path], object]
    """Writes the annotations into a root that does not exist yet."""
    clips: list[str]
    """Paths of the files with clips, in the root."""
    expected: Mapping[str, int]
    """Rows of the annotations by split."""
    used: Mapping[str, int] | None = None
    """Records that are used by split; None is all rows."""
    unlabelled: Mapping[str, int] | None = None
    """Test records without a label by task; None is none."""
    tasks: tuple[str, ...]
    words: tuple[str, ...] = ()
    """Of the command line, for options whose default does not suit so few clips; what follows `datasets.NAME.`."""
    modalities: str = "tav"


def _counts(train: int, val: int, test: int) -> dict[str, int]:
    return {"train": train, "val": val, "test": test}


def _meld(root: Path) -> None:
    meld_table(
        root, "Hi,Ross,joy,positive,0,0", "No!,Joey,anger,negative,0,2", "Hm,Ross,neutral,neutral,1,0", split="train"
    )
    meld_table(root, "Oh\u2019s me,Ross,surprise,positive,0,0", split="val")
    meld_table(root, "Well,Phoebe,neutral,neutral,0,0", "Ugh,Joey,disgust,negative,0,1", split="test")


MOSEI_EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")


def _mosei(root: Path) -> None:
    cells = [",".join(MOSEI_EMOTIONS), "0.6666667,0,0,3.0,0,0", "0,1,0,0,0,0", "0,0,0,0,0,0", "0,0,,0,0,2.0"]
    mmsa_tree(root, "mosei", *(f"{row},{more}" for row, more in zip(MMSA_ROWS["mosei"], cells, strict=True)))


def _ravdess(root: Path) -> None:
    root.mkdir()
    ravdess_tree(root, (1, 9, 11))


_SENTIMENTS = ("sentiment", "sentiment_text", "sentiment_audio", "sentiment_video")
_SPEECH = [
    f"03-01-{e:02d}-{i:02d}-{s:02d}-{r:02d}" for e in range(1, 9) for i in (1, 2) for s in (1, 2) for r in (1, 2)
]
_IEMOCAP = [(session, f"Ses0{session}F_impro01") for session in range(1, 6)]
_SPOKEN = [f"{'FM'[i % 2]}{i:03d}" for i in range(len(IEMOCAP_EMOTIONS))]

FIXTURES = {
    "iemocap": Fixture(
        write=iemocap_tree,
        clips=[f"Session{session}/dialog/avi/DivX/{name}.avi" for session, name in _IEMOCAP],
        # Seven of each session, of which the 4-way set has five.
        expected=_counts(21, 7, 7),
        used=_counts(6, 5, 5),
        tasks=("emotion4", "valence", "arousal", "dominance"),
        words=("subset.train=6",),
    ),
    "iemocap, 6-way and by utterance": Fixture(
        write=iemocap_tree,
        clips=[
            f"Session{session}/sentences/wav/{name}/{name}_{who}.wav" for session, name in _IEMOCAP for who in _SPOKEN
        ],
        expected=_counts(21, 7, 7),
        used=_counts(6, 6, 6),
        tasks=("emotion6",),
        words=("options.labels=6", "options.media=wav", "modalities=ta", "subset.train=6"),
        modalities="ta",
    ),
    "mer2023": Fixture(
        write=mer2023_tree,
        clips=[*(f"train/sample_{i:08d}.{'avi' if i == 7 else 'mp4'}" for i in range(40)), "test1/sample_00000101.mp4"],
        expected=_counts(36, 4, 1),
        used=_counts(8, 4, 1),
        tasks=("emotion", "valence"),
        words=("subset.train=8",),
        modalities="av",
    ),
    "meld": Fixture(
        write=_meld,
        clips=[
            *(f"train_splits/dia{clip}.mp4" for clip in ("0_utt0", "0_utt2", "1_utt0")),
            "dev_splits_complete/dia0_utt0.mp4",
            *(f"output_repeated_splits_test/dia{clip}.mp4" for clip in ("0_utt0", "0_utt1")),
        ],
        expected=_counts(3, 1, 2),
        tasks=("emotion", "sentiment"),
    ),
    "mintrec": Fixture(
        write=mintrec_tree,
        clips=[f"raw_data/{clip}.mp4" for clip in ("S05/E16/329", "S05/E16/7", "S04/E01/07", "S06/E02/25")],
        expected=_counts(2, 1, 1),
        tasks=("intent",),
    ),
    "mosei": Fixture(
        write=_mosei,
        clips=[f"Raw/{clip}.mp4" for clip in ("-3g5yACwYnA/2", "-3g5yACwYnA/13", "101787/0", "xyz_/0")],
        expected=_counts(2, 1, 1),
        unlabelled={"anger": 1},
        tasks=("sentiment", *MOSEI_EMOTIONS),
    ),
    "mosi": Fixture(
        write=lambda root: mmsa_tree(root, "mosi"),
        clips=[f"Raw/{clip}.mp4" for clip in ("_dI--eQ6qVU/1", "_dI--eQ6qVU/12", "101787/3", "jUzDDGyPkXU/0")],
        expected=_counts(2, 1, 1),
        tasks=("sentiment",),
    ),
    "mustard": Fixture(
        write=mustard_tree,
        clips=[f"utterances_final/{clip}.mp4" for clip in mustard_entries()],
        # Of the twelve of BBT a fifth of the sarcastic and of the sincere scenes validate.
        expected=_counts(10, 2, 2),
        tasks=("sarcasm",),
    ),
    "mustard_plus_plus": Fixture(
        write=plus_plus_tree,
        # The clip of the utterance whose KEY is "Disgust" is named as all others are.
        clips=[f"final_utterance_videos/{row[0]}_u.mp4" for row in plus_plus_rows() if row[6]],
        # As the hashes of the groups' names have it.
        expected=_counts(14, 2, 7),
        used=_counts(6, 2, 7),
        words=("subset.train=6",),
        tasks=("sarcasm", "implicit_emotion", "explicit_emotion", "valence", "arousal"),
    ),
    "ravdess": Fixture(
        write=_ravdess,
        clips=[
            f"Actor_{actor:02d}/{name}-{actor:02d}.wav"
            for actor in (1, 9, 11)
            for name in _SPEECH
            if not name.startswith("03-01-01-02")  # neutral has no strong intensity
        ],
        expected=_counts(60, 60, 60),
        used=_counts(8, 4, 4),
        tasks=("emotion",),
        words=(
            *("options.splits.train=[1]", "options.splits.val=[9]", "options.splits.test=[11]"),
            *("subset.train=8", "subset.val=4", "subset.test=4"),
        ),
        modalities="ta",
    ),
    "sims": Fixture(
        write=lambda root: mmsa_tree(root, "sims"),
        clips=[f"Raw/video_000{clip}.mp4" for clip in ("1/0001", "1/0010", "2/0001", "3/0001")],
        expected=_counts(2, 1, 1),
        tasks=_SENTIMENTS,
    ),
    "simsv2": Fixture(
        write=lambda root: mmsa_tree(root, "simsv2"),
        clips=[
            f"Raw/{clip}.mp4" for clip in ("video_0001/0001", "aqgy3_0001/00000", "video_0002/0001", "test11/00006")
        ],
        expected=_counts(2, 1, 1),
        tasks=_SENTIMENTS,
    ),
    "urfunny": Fixture(
        write=urfunny_tree,
        clips=[f"urfunny2_videos/{clip}.mp4" for clip in ("14052", "3", "7", "0011")],
        expected=_counts(2, 1, 1),
        tasks=("humour",),
    ),
}
"""By the name of the dataset, with a comma before what tells a second one apart. `demo` and `manifest` make clips of
their own, see affect.data.demo_corpus.generate and tiny_models."""


# ---------------------------------------------------------------- damaged rows


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def faulty_entry(root: Path) -> None:
    path = root / "sarcasm_data.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    entries["2_9"] = mustard_entry("Of Friends, but broken.", "FRIENDS", True, "MONICA") | {"sarcasm": "yes"}
    path.write_text(json.dumps(entries), encoding="utf-8")


def twice_in_file(root: Path) -> None:
    """An id with two entries: which of them holds is not known, so both are wrong."""
    path = root / "sarcasm_data.json"
    text = path.read_text(encoding="utf-8").rstrip().removesuffix("}")
    path.write_text(text + ', "2_02": ' + json.dumps(mustard_entry("Again.", "FRIENDS")) + "}", encoding="utf-8")


def odd_scene(root: Path) -> None:
    rows = plus_plus_scene("9_9", "What?", labels=("2", "NONE", "Anger", "Neutral", "2", "7"), context=[("RAJ", "Ah.")])
    other = plus_plus_tree(root.with_name("other"), rows)
    append(root / "mustard++_text.csv", (other / "mustard++_text.csv").read_text(encoding="utf-8").partition("\n")[2])


def without_label(root: Path) -> None:
    path = root / "data_folds.pkl"
    folds = pickle.loads(path.read_bytes())
    folds["test"].append(99)
    path.write_bytes(pickle.dumps(folds))


def misnamed(root: Path) -> None:
    (root / "Actor_01" / "03-01-09-01-01-01-01.wav").touch()


DAMAGES = {
    "meld": ("meld", lambda r: append(r / "train_sent_emo.csv", '9,A,B,joy,positive,x,1,1,1,"0","0"\n'), {"train": 1}),
    "meld, label": (
        "meld",
        lambda r: append(r / "dev_sent_emo.csv", '9,A,B,joyful,positive,7,1,1,1,"0","0"\n'),
        {"val": 1},
    ),
    "mintrec": ("mintrec", lambda r: append(r / "test.tsv", "S06\tE02\t26\ttoo\tmany\tOppose\n"), {"test": 1}),
    "mosi": ("mosi", lambda r: append(r / "label.csv", "101787,1.0,WELL,1.0,,,,Positive,test\n"), {"test": 1}),
    "mosi, two splits": (
        "mosi",
        lambda r: append(r / "label.csv", "101787,3,IT WAS OK,0.0,,,,Neutral,test\n"),
        {"test": 1},
    ),
    "mosei": (
        "mosei",
        lambda r: append(r / "label.csv", "101787,1/2,Well,1.0,Positive,valid,,,,0,0,0,0,0,0\n"),
        {"val": 1},
    ),
    "sims": ("sims", lambda r: append(r / "label.csv", "video_0003,2,好,,1.0,0.8,1.0,Positive,test\n"), {"test": 1}),
    "simsv2": (
        "simsv2",
        lambda r: append(r / "meta.csv", "test11,1.02E+05,好,-0.1,1.0,0.8,1.0,Negative,test\n"),
        {"test": 1},
    ),
    "simsv2, no split": (
        "simsv2",
        lambda r: append(r / "meta.csv", "test11,0004,好,a,b,c\n"),
        dict.fromkeys(SPLITS, 1),
    ),
    "mustard": ("mustard", faulty_entry, {"test": 1}),
    "mustard, an id twice": ("mustard", twice_in_file, {"test": 1}),
    "mustard_plus_plus": ("mustard_plus_plus", odd_scene, dict.fromkeys(SPLITS, 1)),
    "mer2023": ("mer2023", lambda r: append(r / "train-label.csv", ",happy,1\n"), {"train": 1, "val": 1}),
    "urfunny": ("urfunny", without_label, {"test": 1}),
    "ravdess": ("ravdess", misnamed, {"train": 0}),
    "iemocap": (
        "iemocap",
        lambda r: append(r / "Session5/dialog/EmoEvaluation/Ses05F_impro01.txt", "[1 - 2]\tSes05F_x\tneu\n"),
        {"test": 1},
    ),
    "manifest": ("manifest", lambda r: append(r / "clips.csv", ",words,joy,test,too many\n"), dict.fromkeys(SPLITS, 1)),
    "manifest, label": ("manifest", lambda r: append(r / "clips.csv", ",words,nan,test\n"), {"test": 1}),
    "demo": (
        "demo",
        lambda r: append(r / "index.csv", "demo/test/9,test,s,clips/test_0001.mp4,A,low,joy,serious\n"),
        {"test": 1},
    ),
}
"""By case: the dataset, what damages its fixture, and the number of records that are lost, by split."""
