"""IEMOCAP, MER2023 and MELD, on trees laid out like the real ones; shares of a split; clips that two sets share."""

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_fixtures import iemocap_dialogue, iemocap_tree, meld_table, mer2023_tree
from dataset_fixtures import read_split as read

from affect.config import Config, ConfigError, DataError, DatasetConfig, Kind, Task, to_yaml
from affect.data import SPLITS, Record, leakage, loading
from affect.data.overlap import overlap, shared_source
from affect.data.part import Part
from affect.data.problems import Excluded
from affect.data.readers import check_options, meld
from affect.data.subsets import whole_groups
from affect.data.trained_on import trained_models

Configure = Callable[..., Config]


def of(configure: Configure, name: str, root: Path, *words: str) -> DatasetConfig:
    """The shipped configuration of a dataset, at another root."""
    modalities = "av" if name == "mer2023" else "ta" if "datasets.iemocap.modalities=ta" in words else "tav"
    cfg = configure(f"dataset={name}", f"modalities={modalities}", f"datasets.{name}.root={root}", *words)
    return cfg.datasets[name]


def told(root: Path, config: DatasetConfig, name: str, split: str = "test") -> str:
    """What the reader of broken data says, without the remedy that every report of rows ends with."""
    with pytest.raises(DataError) as caught:
        read(name, config, split)
    return str(caught.value).partition("\nRemedy: correct these rows")[0]


# ---------------------------------------------------------------- IEMOCAP


@pytest.fixture
def iemocap_root(tmp_path: Path) -> Path:
    return iemocap_tree(tmp_path / "iemocap")


def test_iemocap_four_classes(iemocap_root: Path, configure: Configure) -> None:
    (iemocap_root / "Session5/dialog/avi/DivX").mkdir(parents=True)
    (iemocap_root / "Session5/dialog/EmoEvaluation/._Ses05F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    config = of(configure, "iemocap", iemocap_root, "datasets.iemocap.options.context=2")
    records, excluded = read("iemocap", config, "test")
    assert [r.labels["emotion4"] for r in records] == ["neutral", "happy", "happy", "sad", "angry"]
    assert records[1] == Record(
        id="iemocap/test/Ses05F_impro01_M001",
        dataset="iemocap",
        split="test",
        text="Words 1.",
        labels={"emotion4": "happy", "valence": 2.5, "arousal": 3.3333, "dominance": 2.0},
        context=("Woman: Words 0.", "Man: Mmhmm."),
        speaker="Ses05_M",
        group="Ses05F_impro01",
        media=str(iemocap_root / "Session5/dialog/avi/DivX/Ses05F_impro01.avi"),
        start=1.5,
        end=2.25,
        source="Ses05F_impro01.txt, row 7",
    )
    assert [(e.id, e.reason, e.count) for e in excluded] == [
        ("iemocap/test/session5/fru", "frustrated (fru), which is not in the 4-way set", 1),
        ("iemocap/test/session5/xxx", "no agreement of the raters (xxx), which is not in the 4-way set", 1),
    ]


def test_iemocap_sessions_and_label_sets(iemocap_root: Path, configure: Configure) -> None:
    def sessions(*words: str) -> dict[str, list[str]]:
        config = of(configure, "iemocap", iemocap_root, *words)
        by_split = {split: read("iemocap", config, split)[0] for split in SPLITS}
        return {split: sorted({r.speaker[4] for r in records if r.speaker}) for split, records in by_split.items()}

    assert sessions() == {"train": ["1", "2", "3"], "val": ["4"], "test": ["5"]}
    assert sessions("datasets.iemocap.options.test_session=1") == {
        "train": ["2", "3", "4"],
        "val": ["5"],
        "test": ["1"],
    }
    words = ("datasets.iemocap.options.test_session=2", "datasets.iemocap.options.val_session=5")
    assert sessions(*words) == {"train": ["1", "3", "4"], "val": ["5"], "test": ["2"]}

    six = ("datasets.iemocap.options.labels=6", "datasets.iemocap.tasks=[emotion6]")
    records, excluded = read("iemocap", of(configure, "iemocap", iemocap_root, *six), "train")
    assert Counter(r.labels["emotion6"] for r in records) == dict.fromkeys(
        ("neutral", "happy", "excited", "sad", "angry", "frustrated"), 3
    )
    assert [e.count for e in excluded] == [1, 1, 1]
    records, excluded = read(
        "iemocap", of(configure, "iemocap", iemocap_root, "datasets.iemocap.options.labels=all"), "test"
    )
    assert (len(records), excluded) == (7, [])
    assert set(records[5].labels) == {"emotion6", "valence", "arousal", "dominance"}
    assert set(records[6].labels) == {"valence", "arousal", "dominance"}


def test_iemocap_sound_of_utterances_and_no_clips(iemocap_root: Path, configure: Configure) -> None:
    words = ("datasets.iemocap.options.media=wav", "datasets.iemocap.modalities=ta")
    config = of(configure, "iemocap", iemocap_root, *words)
    assert {(r.media, r.start, r.end) for r in read("iemocap", config, "test")[0]} == {(None, None, None)}
    (iemocap_root / "Session5/sentences/wav").mkdir(parents=True)
    one = read("iemocap", config, "test")[0][0]
    assert one.media == str(iemocap_root / "Session5/sentences/wav/Ses05F_impro01/Ses05F_impro01_F000.wav")
    assert (one.start, one.end) == (None, None)


def test_iemocap_task_of_the_other_label_set_has_nothing_to_learn(iemocap_root: Path, configure: Configure) -> None:
    cfg = configure(
        "dataset=iemocap", f"datasets.iemocap.root={iemocap_root}", "datasets.iemocap.tasks=[emotion6]", "modalities=t"
    )
    with pytest.raises(DataError, match="dataset 'iemocap' has no label for emotion6 in split 'train'"):
        loading.read(cfg, ["train", "val", "test"])


def test_iemocap_ratings_beyond_the_scale_and_missing_words_are_no_labels(tmp_path: Path, configure: Configure) -> None:
    name = "Ses05M_script01_1b"
    rated = [f"[{i}.0 - {i}.5]\t{name}_F00{i}\tneu\t[5.5000, 0.5000, 2.0000]" for i in range(3)]
    said = [f"{name}_F000 [000.0-000.5]: A.", f"{name}_F002 [002.0-002.5]: B.", f"{name}_F002 [002.0-002.5]: C."]
    iemocap_dialogue(tmp_path, 5, name, rated, said)
    records, excluded = read("iemocap", of(configure, "iemocap", tmp_path), "test")
    assert [r.labels for r in records] == [{"emotion4": "neutral", "dominance": 2.0}]
    assert [(e.id, e.reason) for e in excluded] == [
        (f"iemocap/test/{name}_F001", "not in the transcriptions"),
        (f"iemocap/test/{name}_F002", "twice in the transcriptions"),
    ]


def test_iemocap_broken_lines_are_reported_together(iemocap_root: Path, configure: Configure) -> None:
    path = iemocap_root / "Session5/dialog/EmoEvaluation/Ses05F_impro01.txt"
    text = path.read_text(encoding="utf-8")
    text = text.replace("\tneu\t", "\tneutral\t").replace("_M001\thap\t[2.5000, 3.3333, 2.0000]", "_M001\thap")
    text = text.replace("Ses05F_impro01_F002", "Ses05F_impro02_F002").replace("_M003", "_F004")
    path.write_text(text, encoding="utf-8-sig")
    message = told(iemocap_root, of(configure, "iemocap", iemocap_root), "iemocap").splitlines()
    restore = "is not '[start - end]  Ses05F_impro01_F000  neu  [valence, activation, dominance]': restore the line"
    assert message == [
        "Ses05F_impro01.txt, row 3: the emotion 'neutral' is not one of neu, hap, exc, sad, ang, fru, sur, fea, dis,"
        " oth, xxx: restore it from the release",
        f"Ses05F_impro01.txt, row 7: {restore} from the release",
        f"Ses05F_impro01.txt, row 11: {restore} from the release",
        "Ses05F_impro01.txt, row 19: has the id 'iemocap/test/Ses05F_impro01_F004' of Ses05F_impro01.txt, row 15: give"
        " every clip an id of its own",
    ]


def test_iemocap_broken_trees(iemocap_root: Path, configure: Configure) -> None:
    what = (
        "does not exist: the root of IEMOCAP is the folder that holds Session1 to Session5, set the dataset's root to"
        f" {iemocap_root}"
    )
    for near in (iemocap_root.parent, iemocap_root / "Session1"):
        assert told(near, of(configure, "iemocap", near), "iemocap") == f"{near / 'Session5'} {what}"
    config = of(configure, "iemocap", iemocap_root)
    dialog = iemocap_root / "Session5" / "dialog"
    said = dialog / "transcriptions" / "Ses05F_impro01.txt"
    said.write_bytes(said.read_bytes().replace(b"Words 1", b"Word\x92s 1"))
    assert told(iemocap_root, config, "iemocap") == f"{said}, line 4: byte 0x92 is not UTF-8: save it as UTF-8"
    said.rename(said.with_name("Ses05F_impro02.txt"))
    assert f"{said} does not exist (similar files there: Ses05F_impro02.txt)" in told(iemocap_root, config, "iemocap")
    (dialog / "EmoEvaluation" / "Ses05F_impro01.txt").unlink()
    assert told(iemocap_root, config, "iemocap") == (
        f"{dialog / 'EmoEvaluation'} has no file Ses05….txt, which hold the labels: unpack the whole release"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test_session=6"], "options.test_session=6 of IEMOCAP is not a session: they are numbered 1 to 5"),
        (["test_session=3", "val_session=3"], "options.test_session and options.val_session of IEMOCAP are both 3"),
        (["context=-1"], "options.context=-1 of IEMOCAP counts earlier turns: 0 is none"),
    ],
)
def test_iemocap_options(iemocap_root: Path, configure: Configure, words: list[str], message: str) -> None:
    config = of(configure, "iemocap", iemocap_root, *(f"datasets.iemocap.options.{word}" for word in words))
    assert message in told(iemocap_root, config, "iemocap")


def test_iemocap_label_set_that_does_not_exist(iemocap_root: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"options.labels=5 of the reader 'iemocap' has to be of type Literal\[4, 6"):
        of(configure, "iemocap", iemocap_root, "datasets.iemocap.options.labels=5")


# ---------------------------------------------------------------- MER2023


@pytest.fixture
def mer_root(tmp_path: Path) -> Path:
    return mer2023_tree(tmp_path / "mer2023")


def test_mer2023_validation_is_a_share_of_each_emotion(mer_root: Path, configure: Configure) -> None:
    config = of(configure, "mer2023", mer_root)
    (train, _), (val, _) = (read("mer2023", config, split) for split in ("train", "val"))
    assert Counter(r.labels["emotion"] for r in val) == {"happy": 2, "sad": 2}
    assert len(train) == 36 and not {r.group for r in train} & {r.group for r in val}
    ranked = sorted(
        (f"sample_{i:08d}" for i in range(1, 40, 2)), key=lambda name: hashlib.sha256(name.encode()).digest()
    )
    assert {r.group for r in val if r.labels["emotion"] == "happy"} == set(ranked[:2])
    half = of(configure, "mer2023", mer_root, "datasets.mer2023.options.val_share=0.5")
    assert {r.id for r in val} < {r.id for r in read("mer2023", half, "val")[0]}


def test_mer2023_test_sets_and_clips(mer_root: Path, configure: Configure) -> None:
    (one,), _ = read("mer2023", of(configure, "mer2023", mer_root), "test")
    assert one == Record(
        id="mer2023/test/sample_00000101",
        dataset="mer2023",
        split="test",
        text="",
        labels={"emotion": "angry", "valence": -1.0},
        group="sample_00000101",
        language="zh",
        source="test1-label.csv, row 2",
    )
    for part in ("test2", "test3"):
        (mer_root / part).mkdir()
    (mer_root / "test2" / "sample_00000201.avi").touch()
    (two,), _ = read("mer2023", of(configure, "mer2023", mer_root, "datasets.mer2023.options.test_set=2"), "test")
    assert two.media == str(mer_root / "test2" / "sample_00000201.avi")
    third = of(configure, "mer2023", mer_root, "datasets.mer2023.options.test_set=3")
    (three,), _ = read("mer2023", third, "test")
    assert (three.labels, three.media) == (
        {"emotion": "surprise"},
        str(mer_root / "test3" / "samplenew_00000001.mp4"),
    )
    (mer_root / "test3-label.csv").write_text("name,discrete\nsamplenew_00000001,surprise\n", encoding="utf-8")
    assert read("mer2023", third, "test")[0] == [three]


def test_mer2023_transcripts(mer_root: Path, configure: Configure) -> None:
    (mer_root / "said.csv").write_text("name,sentence\nsample_00000101,我不去。\n", encoding="utf-8")
    words = ("datasets.mer2023.options.transcripts=said.csv", "datasets.mer2023.modalities=tav")
    config = of(configure, "mer2023", mer_root, *words)
    assert [r.text for r in read("mer2023", config, "test")[0]] == ["我不去。"]
    assert "has no clip in split 'val' (not in said.csv; not in said.csv" in told(mer_root, config, "mer2023", "val")
    (mer_root / "said.csv").write_text("name,words\nsample_00000101,x\n", encoding="utf-8")
    assert told(mer_root, config, "mer2023") == (
        f"{mer_root / 'said.csv'} has no column text or sentence or chinese for the words; it has: name, words. Remedy:"
        " rename its column to text"
    )
    (mer_root / "said.csv").write_text("name,text\nsample_00000101,x\nsample_00000101,y\n", encoding="utf-8")
    assert told(mer_root, config, "mer2023") == (
        "said.csv, row 3: has the name 'sample_00000101' of said.csv, row 2: leave one of the two out"
    )


def test_mer2023_needs_modalities_without_text(configure: Configure) -> None:
    with pytest.raises(ConfigError, match="modalities=tav has text, but dataset=mer2023 has only audio and video"):
        configure("dataset=mer2023")


def test_mer2023_broken_tables(mer_root: Path, configure: Configure) -> None:
    config = of(configure, "mer2023", mer_root)
    path = mer_root / "test1-label.csv"
    path.write_text("name,discrete,valence\na,angry,6\na,fear,-10\n,sad,0\nb,sad,\n", encoding="utf-8")
    (mer_root / "test1").mkdir()
    for clip in ("b.avi", "b.mp4", "._b.mp4"):
        (mer_root / "test1" / clip).touch()
    assert told(mer_root, config, "mer2023").splitlines() == [
        "test1-label.csv, row 4: the name is empty: name the clip's file, without its ending",
        "test1/b.mp4: is beside b.avi: leave one file a clip in the folder",
        "test1-label.csv, row 2: the label '6' of task 'valence' is not a number from -5 to 5: correct it, or the range"
        " under task_definitions.valence",
        "test1-label.csv, row 3: the label 'fear' of task 'emotion' is not one of neutral, angry, happy, sad, worried,"
        " surprise: correct it, or declare it under task_definitions.emotion.labels",
        "test1-label.csv, row 3: the label '-10' of task 'valence' is not a number from -5 to 5: correct it, or the"
        " range under task_definitions.valence",
        "test1-label.csv, row 3: has the id 'mer2023/test/a' of test1-label.csv, row 2: give every clip an id of its"
        " own",
        "test1-label.csv, row 5: the label '' of task 'valence' is not a number from -5 to 5: correct it, or the range"
        " under task_definitions.valence",
    ]
    path.write_text("name,emotion\na,angry\n", encoding="utf-8")
    assert f"{path} lacks the column 'discrete' and 'valence'; it has: name, emotion." in told(
        mer_root, config, "mer2023"
    )
    path.write_bytes("name,discrete,valence\n我,angry,0\n".encode("gbk"))
    assert told(mer_root, config, "mer2023") == f"{path}, line 2: byte 0xce is not UTF-8: save it as UTF-8"
    (mer_root / "labels").mkdir()
    path.rename(mer_root / "labels" / path.name)
    assert told(mer_root, config, "mer2023") == (
        f"{path} does not exist, but {mer_root / 'labels' / path.name} does: set the dataset's root to"
        f" {mer_root / 'labels'}"
    )
    share = of(configure, "mer2023", mer_root, "datasets.mer2023.options.val_share=0")
    assert told(mer_root, share, "mer2023", "val") == (
        "options.val_share=0 of MER2023 is the share of train that is split off as val: above 0 and below 1"
    )


# ---------------------------------------------------------------- MELD


def test_meld_clips_that_no_row_stands_for(tmp_path: Path, configure: Configure) -> None:
    meld_table(tmp_path, "Hi,Ross,joy,positive,66,8")
    [one] = read("meld", of(configure, "meld", tmp_path), "val")[0]
    assert [found.what for found in meld.audit(tmp_path, {"val": [one]}) if "clips" in found.what] == []
    folder = tmp_path / meld.CLIPS["val"]
    folder.mkdir()
    for name in ("dia66_utt8", "dia66_utt10", "dia66_utt9", "._dia66_utt8", "final_videos_testdia1_utt0"):
        (folder / f"{name}.mp4").touch()
    [finding] = [found for found in meld.audit(tmp_path, {"val": [one]}) if "clips" in found.what]
    extra = "dia66_utt10.mp4, dia66_utt9.mp4, final_videos_testdia1_utt0.mp4"
    assert finding.what == f"val: clips that no row of the table stands for: {extra}" and finding.count == 3
    assert [r.id for r in read("meld", of(configure, "meld", tmp_path), "val")[0]] == ["meld/val/66/8"]


def test_meld_broken_tables(tmp_path: Path, configure: Configure) -> None:
    root = tmp_path / "meld"
    config = of(configure, "meld", root)
    path = meld_table(root, "You\u2019re late,Ross,joy,positive,0,0", encoding="cp1252")
    assert told(root, config, "meld", "val") == f"{path}, line 2: byte 0x92 is not UTF-8: save it as UTF-8"
    path = meld_table(root, "Hi,Ross,joy,positive,0,0")
    path.write_text(path.read_text(encoding="utf-8").replace("Dialogue_ID", "Dialogue"), encoding="utf-8")
    assert "lacks the column 'Dialogue_ID' (did you mean 'Dialogue'?)" in told(root, config, "meld", "val")
    meld_table(root, "Hi,Ross,joy,happy,0,0", "Hi,Ross,joy,positive,00,0", "Hi,Ross,joy,positive,-1,0")
    assert told(root, config, "meld", "val").splitlines() == [
        "dev_sent_emo.csv, row 4: Dialogue_ID and Utterance_ID have to be whole numbers: restore them from the"
        " original",
        "dev_sent_emo.csv, row 2: the label 'happy' of task 'sentiment' is not one of neutral, positive, negative:"
        " correct it, or declare it under task_definitions.sentiment.labels",
    ]
    for near in (tmp_path, root / "dev_splits_complete"):
        assert told(near, of(configure, "meld", near), "meld", "val") == (
            f"{near / path.name} does not exist, but {path} does: set the dataset's root to {root}"
        )


# ---------------------------------------------------------------- a share of the training clips

TASK = Task(name="mood", labels=["happy", "sad", "rare"])


def clip(dataset: str, split: str, own: str, **more: object) -> Record:
    fields = {"text": "", "group": own.split("/")[0]} | more
    return Record(id=f"{dataset}/{split}/{own}", dataset=dataset, split=split, **fields)  # type: ignore[arg-type]


def dialogues() -> list[Record]:
    """300 dialogues of 1 to 12 clips, 60 % happy, 34 % sad, 6 % rare."""
    labels = ["happy"] * 30 + ["sad"] * 17 + ["rare"] * 3
    made: list[Record] = []
    for group in range(300):
        for i in range(1 + group * 7 % 12):
            label = labels[(len(made) * 13) % 50]
            made.append(clip("x", "train", f"{group}/{i}", labels={"mood": label}))
    return made


def test_fractions_are_nested_whole_and_stratified() -> None:
    records = dialogues()
    sizes = Counter(r.group for r in records)
    before: set[str] = set()
    for fraction in (0.05, 0.1, 0.2, 0.5, 0.8, 1.0):
        drawn, counts = whole_groups(records, TASK, fraction, seed=4)
        ids = {r.id for r in drawn}
        assert before <= ids
        before = ids
        assert all(n == sizes[group] for group, n in Counter(r.group for r in drawn).items())
        assert abs(len(drawn) - fraction * len(records)) <= 6  # half of the largest dialogue
        assert [r.id for r in drawn] == [r.id for r in records if r.id in ids]
        for stratum, n in counts["strata"].items():
            assert abs(n["drawn"] / len(drawn) - n["of"] / len(records)) < 0.03, stratum
        mean = len(drawn) / counts["groups"], len(records) / 300
        assert abs(mean[0] - mean[1]) < 1, "short or long dialogues are preferred"
    assert counts == {
        "fraction": 1.0,
        "asked": 1950,
        "drawn": 1950,
        "of": 1950,
        "groups": 300,
        "of_groups": 300,
        "strata": {
            f"label {name}": {"drawn": n, "of": n} for name, n in (("happy", 1170), ("rare", 117), ("sad", 663))
        },
    }


def test_a_number_of_clips_is_a_fraction_too() -> None:
    records = dialogues()
    tenth, counts = whole_groups(records, TASK, 0.1, seed=4)
    assert whole_groups(records, TASK, 195, seed=4) == (tenth, counts | {"fraction": 195})
    assert whole_groups(records, TASK, 1950, seed=4)[0] == records
    with pytest.raises(DataError, match="fraction=1951 of 1,950 training records cannot be drawn: give a share above"):
        whole_groups(records, TASK, 1951, seed=4)


def test_a_fraction_depends_on_seed_and_ids_alone() -> None:
    records = dialogues()
    drawn = {r.id for r in whole_groups(records, TASK, 0.1, seed=4)[0]}
    renamed = [
        clip("x", "train", r.id.removeprefix("x/train/"), labels=r.labels, group=f"/here/{r.group}") for r in records
    ]
    assert {r.id for r in whole_groups(renamed[::-1], TASK, 0.1, seed=4)[0]} == drawn
    assert {r.id for r in whole_groups(records, TASK, 0.1, seed=5)[0]} != drawn
    assert len({r.group for r in whole_groups(records, TASK, 1e-9, seed=4)[0]}) == 1


def test_fraction_in_a_run(mer_root: Path, configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset=mer2023", f"datasets.mer2023.root={mer_root}", "modalities=av"]
    parts = loading.read(configure(*words, "datasets.mer2023.fraction=0.5"), ["train", "val"])
    account = parts[0].account()
    assert (account["expected"], account["outside_subset"], account["used"]) == (36, 18, 18)
    assert account["fraction"]["strata"] == {
        "label happy": {"drawn": 9, "of": 18},
        "label sad": {"drawn": 9, "of": 18},
    }
    assert "fraction" not in parts[1].account() and parts[1].account()["used"] == 4
    assert capsys.readouterr().out == (
        "mer2023 train: fraction=0.5 asks for 18 of 36 clips; whole groups make 18, in 18 of 36 groups (happy 9 of 18,"
        " sad 9 of 18)\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["fraction=0"],
            "fraction=0 is neither a share of the training clips, above 0 and up to 1, nor a number of them, 2 or more:"
            " give one of these, or null for all",
        ),
        (["fraction=1.5"], "fraction=1.5 is neither a share of the training clips"),
        (["fraction=-3"], "fraction=-3 is neither a share of the training clips"),
        (
            ["fraction=0.5", "subset.train=3"],
            "fraction=0.5 and subset.train=3 both say how many training clips are used",
        ),
    ],
)
def test_fraction_that_cannot_be(configure: Configure, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        configure("dataset=meld", *(f"datasets.meld.{word}" for word in words))


def test_several_labels_that_apply(tmp_path: Path, configure: Configure) -> None:
    table = tmp_path / "clips.csv"
    table.write_text("clip,text,label,split\n,a,joy | anger,test\n,b,joy,test\n,c,,test\n", encoding="utf-8")
    cfg = configure("dataset=manifest", f"datasets.manifest.root={table}", "modalities=t")
    task = cfg.datasets["manifest"].task_definitions["label"]
    task.kind, task.labels = Kind.multi_label, ["joy", "anger", "fear"]
    records, _ = read("manifest", cfg.datasets["manifest"], "test")
    assert [r.labels for r in records] == [{"label": ("anger", "joy")}, {"label": ("joy",)}, {}]
    assert list(whole_groups(records, task, 1, seed=0)[1]["strata"]) == ["label anger|joy", "label joy", "unlabelled"]
    task.labels = ["joy", "fear"]
    assert told(table, cfg.datasets["manifest"], "manifest") == (
        "clips.csv, row 2: the label 'anger' of task 'label' is not one of joy, fear: correct it, or declare it under"
        " task_definitions.label.labels"
    )


def test_a_module_that_is_no_reader_is_no_choice() -> None:
    with pytest.raises(
        ConfigError, match="reader=places is not a reader in affect/data/readers: choose from demo"
    ) as caught:
        check_options(DatasetConfig(reader="places", root="x"))
    offered = str(caught.value).split("choose from ")[1].split(", ")
    assert {"iemocap", "mer2023", "meld"} <= set(offered) and not {"places", "scenes"} & set(offered)


# ---------------------------------------------------------------- clips that two datasets share


def pairs(first: Record, second: Record, *readers: str) -> int:
    return len(overlap([first], [second], (readers[0], readers[1])))


def test_what_is_the_same_clip() -> None:
    sims, simsv2 = clip("a", "train", "video_0001/0001"), clip("b", "test", "video_0001/0001")
    assert pairs(sims, simsv2, "sims", "simsv2") == pairs(sims, simsv2, "iemocap", "iemocap") == 1
    assert pairs(sims, simsv2, "sims", "mosi") == pairs(sims, simsv2, "sims", "mustard") == 0
    assert pairs(clip("m", "test", "1_60"), clip("p", "train", "1_60"), "mustard", "mustard_plus_plus") == 1
    # MELD's ids begin anew in every split, and those of manifests are numbers of rows.
    assert pairs(sims, simsv2, "meld", "meld") == pairs(sims, simsv2, "manifest", "manifest") == 0
    assert pairs(sims, clip("b", "train", "video_0001/0001"), "meld", "meld") == 1
    here = {"media": "a.avi", "start": 1.0}
    assert pairs(clip("a", "train", "1", **here), clip("b", "test", "2", **here), "manifest", "iemocap") == 1
    whole, before = clip("b", "test", "2", media="a.avi"), clip("b", "test", "2", media="a.avi", end=1.05)
    assert pairs(clip("a", "train", "1", **here), whole, "manifest", "iemocap") == 1
    assert pairs(clip("a", "train", "1", **here), before, "manifest", "iemocap") == 0
    assert pairs(clip("a", "train", "1", **here), clip("b", "train", "1", **here), "sims", "simsv2") == 1
    assert (shared_source("meld", "mustard"), shared_source("mustard", "mustard_plus_plus")) == ("Friends", None)


def sims_root(root: Path, table: str, *rows: str) -> Path:
    root.mkdir(parents=True)
    with (root / table).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode"])
        for row in rows:
            name, mode, *label = row.split()
            writer.writerow([*name.split("/"), "好", *(label or ["0.2"]), "0.2", "0.2", "0.2", "Positive", mode])
    return root


@pytest.fixture
def both_sims(tmp_path: Path) -> list[str]:
    """Words for CH-SIMS and CH-SIMS v2, where a test clip of the one is a training clip of the other."""
    sims = sims_root(tmp_path / "sims", "label.csv", "video_1/0001 train", "video_1/0002 valid", "video_2/0001 test")
    rows = ("video_1/0001 train", "video_1/0002 valid", "video_2/0001 train", "new_1/00001 valid", "new_2/00001 test")
    v2 = sims_root(tmp_path / "simsv2", "meta.csv", *rows, "new_3/00001 train")
    return [f"datasets.sims.root={sims}", f"datasets.simsv2.root={v2}", "modalities=t"]


def test_datasets_that_contain_each_other_are_refused(both_sims: list[str], configure: Configure) -> None:
    cfg = configure("dataset=[sims,simsv2]", *both_sims)
    with pytest.raises(DataError) as caught:
        loading.read(cfg, ["train", "val", "test"])
    assert str(caught.value) == (
        "dataset 'simsv2' has 2 clips of dataset 'sims' (1 in its train and the other's test, 1 in its train and the"
        " other's train; for example simsv2/train/video_1/0001 is sims/train/video_1/0001): they would be trained on"
        " and tested on, or trained on twice. Leave them out of one with datasets.simsv2.exclude_overlap_with=[sims],"
        " or use one of the two datasets"
    )
    # Nobody is trained: both test sets can be scored with one model.
    assert len(loading.read(cfg, ["test"])) == 2


def test_the_clips_of_another_dataset_can_be_left_out(both_sims: list[str], configure: Configure) -> None:
    cfg = configure("dataset=[sims,simsv2]", *both_sims, "datasets.simsv2.exclude_overlap_with=[sims]")
    parts = {(part.dataset, part.split): part for part in loading.read(cfg, ["train", "val", "test"])}
    assert [r.id for r in parts["simsv2", "train"].records] == ["simsv2/train/new_3/00001"]
    account = parts["simsv2", "train"].account()
    assert (account["expected"], account["used"], account["reasons"]) == (3, 1, {"also in dataset sims": 2})
    assert parts["simsv2", "train"].excluded[0] == Excluded(
        id="simsv2/train/video_1/0001", split="train", reason="also in dataset sims", source="meta.csv, row 2"
    )
    turned = configure("dataset=[sims,simsv2]", *both_sims, "datasets.sims.exclude_overlap_with=[simsv2]")
    with pytest.raises(
        DataError, match=r"every clip of dataset 'sims' in split 'train' is also in dataset 'simsv2'.*turn"
    ):
        loading.read(turned, ["train", "val", "test"])
    for other in ("sims", "mosi"):
        wrong = configure("dataset=sims", *both_sims[::2], f"datasets.sims.exclude_overlap_with=[{other}]")
        with pytest.raises(
            ConfigError, match=f"names '{other}', which is not another dataset of this run: choose from none"
        ):
            loading.read(wrong, ["test"])


def trained(folder: Path, cfg: Config) -> str:
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(cfg), encoding="utf-8")
    return str(folder)


def test_a_model_is_not_tested_on_what_it_was_trained_with(
    both_sims: list[str], tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", configure("dataset=simsv2", *both_sims[1:]))
    cfg = configure("dataset=sims", *both_sims[::2])
    cfg.run = run
    with pytest.raises(DataError) as caught:
        loading.read(cfg, ["test"])
    assert str(caught.value) == (
        "dataset 'sims' has 1 clips of dataset 'simsv2' (1 in its test and the other's train; for example"
        f" sims/test/video_2/0001 is simsv2/train/video_2/0001), with which run={run} was trained or its checkpoint"
        " chosen: they cannot test it, so leave them out with datasets.sims.exclude_overlap_with=[simsv2], or choose"
        " another split or dataset"
    )
    own = configure("dataset=simsv2", *both_sims[1:])
    own.run = run
    assert [part.split for part in loading.read(own, ["train"])] == ["train"], "its own training clips may be looked at"
    (tmp_path / "simsv2" / "meta.csv").unlink()
    capsys.readouterr()
    with pytest.raises(DataError) as caught:
        loading.read(cfg, ["test"])
    assert str(caught.value).startswith(
        f"whether sims has clips that run={run} was trained on is not known: {run} has no clips.json.gz, since an"
        " earlier version of affect made it, and its dataset 'simsv2' cannot be read here ("
    )
    assert str(caught.value).endswith("or go on without knowing, with allow_unknown_overlap=true")
    cfg.allow_unknown_overlap = True
    assert len(loading.read(cfg, ["test"])) == 1
    assert "The run goes on, since allow_unknown_overlap=true" in capsys.readouterr().out


def test_a_model_is_not_tested_on_another_fold_of_its_own_training(
    iemocap_root: Path, tmp_path: Path, configure: Configure
) -> None:
    words = ["dataset=iemocap", f"datasets.iemocap.root={iemocap_root}", "modalities=t"]
    run = trained(tmp_path / "run", configure(*words))
    cfg = configure(*words, "datasets.iemocap.options.test_session=4")
    cfg.run = run
    with pytest.raises(DataError, match=r"\(5 in its test and the other's val.*evaluate with the options of that run"):
        loading.read(cfg, ["test"])
    cfg = configure(*words, "datasets.iemocap.options.context=1")
    cfg.run = run
    assert len(loading.read(cfg, ["test"])[0].records) == 5


def test_a_run_on_another_machine_is_looked_up_under_this_data_root(tmp_path: Path, configure: Configure) -> None:
    run = trained(tmp_path / "run", configure("dataset=meld", "data_root=/elsewhere"))
    cfg = configure("dataset=meld", f"data_root={tmp_path}")
    cfg.run = run
    [model] = trained_models(cfg)
    (of_run,) = model.datasets.values()
    assert (of_run.root, of_run.task_definitions["emotion"].name) == (str(tmp_path / "meld"), "emotion")
    (tmp_path / "run" / "config.yaml").write_text("datasets: {meld: {readr: meld}}\ndata_root: x\ncache_root: y\n")
    with pytest.raises(ConfigError, match=r"config.yaml does not say what the run was trained on \(Key 'readr' not in"):
        trained_models(cfg)


def parts(*records: Record) -> list[Part]:
    return [Part(dataset=r.dataset, split=r.split, expected=1, outside_subset=0, records=[r]) for r in records]


def test_sets_cut_from_one_programme_are_named(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = configure("dataset=[meld,demo]")
    cfg.datasets["demo"].reader = "mustard"
    leakage.check_datasets(cfg, parts(clip("meld", "train", "0/1"), clip("demo", "test", "1_60")))
    assert "meld and demo are both cut from Friends, in different ways" in capsys.readouterr().out


def test_two_annotations_of_one_file_may_be_trained_together(configure: Configure) -> None:
    cfg = configure("dataset=[meld,demo]")
    for config in cfg.datasets.values():
        config.reader = "manifest"
    one, same = (clip(name, "train", "1", media="a.mp4") for name in ("meld", "demo"))
    leakage.check_datasets(cfg, parts(one, same))
    with pytest.raises(DataError, match="1 in its test and the other's train"):
        leakage.check_datasets(cfg, parts(one, clip("demo", "test", "7", media="./a.mp4")))


# ---------------------------------------------------------------- the published data, where it is at hand


def test_published_meld(configure: Configure) -> None:
    folder = os.environ.get("AFFECT_SHARED_DATA")
    if not folder:
        pytest.skip("AFFECT_SHARED_DATA does not name a folder with the published MELD.")
    config = of(configure, "meld", Path(folder) / "meld")
    by_split = {split: read("meld", config, split)[0] for split in SPLITS}
    assert [len(records) for records in by_split.values()] == [9_989, 1_109, 2_610]
    ids = {r.id for records in by_split.values() for r in records}
    assert {id for issue in meld.KNOWN_ISSUES for id in issue.clips} <= ids
    assert sum("\u2019" in r.text for r in by_split["train"]) > 2_000
    task = Task(name="emotion", kind=Kind.classification, labels=["neutral", "joy"])
    drawn, counts = whole_groups(by_split["train"], task, 0.1, seed=0)
    assert abs(len(drawn) - 999) <= 5
    assert all(abs(n["drawn"] / len(drawn) - n["of"] / 9_989) < 0.005 for n in counts["strata"].values())
