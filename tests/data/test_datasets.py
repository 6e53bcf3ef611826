"""Readers, on small trees laid out like the real ones, and what is common to them."""

import os
from collections import Counter
from inspect import signature
from pathlib import Path

import dataset_table
import pytest
from dataset_fixtures import ravdess_tree
from dataset_fixtures import read_split as read
from omegaconf import OmegaConf

from affect.config import ConfigError, DataError, DatasetConfig, Kind, Task
from affect.config.tasks import problems as task_problems
from affect.data import SPLITS, Record
from affect.data.label_checks import infer_labels
from affect.data.leakage import check_disjoint
from affect.data.problems import Excluded
from affect.data.readers import check_options, manifest, meld, ravdess
from affect.data.subsets import subset

CONF = Path(__file__).parents[2] / "conf" / "dataset"
READERS = {"manifest": manifest, "meld": meld, "ravdess": ravdess}


def shipped(name, root, **options):
    """The configuration of conf/dataset/<name>.yaml, typed as in a run, with another root and other options."""
    raw = OmegaConf.load(CONF / f"{name}.yaml")
    raw.root = str(root)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), raw))
    for task_name, task in config.task_definitions.items():
        task.name = task_name
    config.options.update(options)
    return config


def table(folder, *lines, name="clips.csv"):
    folder.mkdir(exist_ok=True)
    for clip in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / clip).touch()
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def record(number, label=None, split="train", **more):
    labels = {} if label is None else {"mood": label}
    fields = {"dataset": "x", "text": "", "group": "g"} | more
    return Record(id=f"x/{split}/{number}", split=split, labels=labels, **fields)


# --- the shipped YAML ---


@pytest.mark.parametrize("name", READERS)
def test_shipped_yaml_fits_its_reader(name):
    raw = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    assert raw.startswith(f"# @package datasets.{name}\n")
    config = shipped(name, "nowhere")
    assert check_options(config) is READERS[name]
    assert set(config.tasks) <= set(config.task_definitions)
    for task in config.task_definitions.values():
        assert not list(task_problems(task))
        assert "{labels}" in task.question[config.language]


@pytest.mark.parametrize("name", READERS)
def test_shipped_options_are_all_there_with_the_defaults_of_the_reader(name):
    parameters = [p for p in signature(READERS[name].records).parameters.values() if p.kind is p.KEYWORD_ONLY]
    options = shipped(name, "nowhere").options
    assert sorted(p.name for p in parameters) == sorted(options)
    for parameter in parameters:
        assert parameter.default in (parameter.empty, options[parameter.name])


# --- options ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"contxt": 3},
            r"options.contxt is not an option of the reader 'meld' \(did you mean 'context'\?\): choose from context",
        ),
        ({"context": "3"}, "options.context='3' of the reader 'meld' has to be of type int"),
        ({"context": True}, "options.context=True .* of type int"),
    ],
)
def test_wrong_option_is_refused_before_anything_is_read(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        read("meld", shipped("meld", tmp_path, **change), "val")


def test_union_and_literal_options():
    for labels in (None, ["a"], {"a": "b"}):
        check_options(shipped("manifest", "x", labels=labels))
    with pytest.raises(
        ConfigError, match=r"options.labels=\[1\] .* has to be of type list\[str\] \| dict\[str, str\] \| None"
    ):
        check_options(shipped("manifest", "x", labels=[1]))
    with pytest.raises(ConfigError, match=r"options.media='avi'"):
        check_options(shipped("ravdess", "x", media="avi"))


def test_option_without_default_has_to_be_set():
    config = shipped("ravdess", "x")
    del config.options["splits"]
    with pytest.raises(ConfigError, match=r"options.splits of the reader 'ravdess' is not set"):
        check_options(config)


def test_unknown_reader_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"reader=meldd .*did you mean 'meld'.*manifest, meld, .*ravdess"):
        check_options(DatasetConfig(reader="meldd", root="x"))


# --- manifest ---


def test_manifest_with_default_names_needs_no_option(tmp_path):
    root = table(
        tmp_path,
        "clip,text,label,Unused,split,speaker,start,end,id",
        "a.mp4, hm ,happy,,Train,anna,0.5,2,one",
        "a.mp4,,,,train,,,,two",
        "b.mp4,x,sad,,DEV,ben,,,three",
    )
    records, excluded = read("mine", shipped("manifest", root), "train")
    assert not excluded
    assert records[0] == Record(
        id="mine/train/one",
        dataset="mine",
        split="train",
        text=" hm ",
        labels={"label": "happy"},
        speaker="anna",
        group="anna",
        media=str(tmp_path / "a.mp4"),
        start=0.5,
        end=2.0,
        source="clips.csv, row 2",
    )
    assert (records[1].labels, records[1].speaker, records[1].group) == ({}, None, "a.mp4")
    assert [r.id for r in read("mine", shipped("manifest", root), "val")[0]] == ["mine/val/three"]


def test_manifest_groups_do_not_depend_on_how_the_root_is_given(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "set"
    folder.parent.mkdir()
    elsewhere = tmp_path / "elsewhere.mp4"
    elsewhere.touch()
    root = table(
        folder,
        "clip,text,label,split",
        "a.mp4,x,happy,test",
        "./a.mp4,x,happy,test",
        "../set/b.mp4,x,happy,test",
        f"{folder}/a.mp4,x,happy,test",
        f"{elsewhere},x,happy,test",
        "../../elsewhere.mp4,x,happy,test",
        ",x,happy,test",
    )
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (folder / "same.csv").symlink_to(root)
    monkeypatch.chdir(folder)
    ways = [
        root,
        "clips.csv",
        "./clips.csv",
        "../set/clips.csv",
        folder / ".." / "set" / "clips.csv",
        tmp_path / "link" / "set" / "clips.csv",
        "same.csv",
        "../../link/set/same.csv",
    ]
    groups = [[r.group for r in read("manifest", shipped("manifest", way), "test")[0]] for way in ways]
    assert groups == [groups[0]] * len(ways)
    assert groups[0] == [
        "a.mp4",
        "a.mp4",
        "../set/b.mp4",
        "a.mp4",
        str(elsewhere),
        "../../elsewhere.mp4",
        "manifest/test/8",
    ]


def test_manifest_named_columns_language_and_intensity(tmp_path):
    root = table(tmp_path, "file\tsaid\tval\tsplit\tvideo", "a.mp4\t好\t-0.4\ttest\tv1", name="m.tsv")
    config = shipped("manifest", root, clip="file", text="said", labels={"label": "val"}, group="video")
    config.language = "zh"
    config.task_definitions["label"].kind = Kind.intensity
    config.task_definitions["label"].low, config.task_definitions["label"].high = -1.0, 1.0
    (one,), _ = read("manifest", config, "test")
    assert (one.text, one.labels, one.group, one.language) == ("好", {"label": -0.4}, "v1", "zh")
    assert one.id == "manifest/test/2"


@pytest.mark.parametrize("value", ["1.5", "nan", "inf", "high"])
def test_manifest_intensity_outside_its_range(tmp_path, value):
    config = shipped("manifest", table(tmp_path, "clip,text,label,split", f"a.mp4,x,{value},test"))
    config.task_definitions["label"] = Task(name="label", kind=Kind.intensity, low=-1.0, high=1.0, step=0.1)
    with pytest.raises(
        DataError, match=f"clips.csv, row 2: the label '{value}' of task 'label' is not a number from -1 to 1"
    ):
        read("manifest", config, "test")


def test_manifest_without_splits_or_labels_is_for_prediction(tmp_path):
    config = shipped("manifest", table(tmp_path, "clip,text", "a.mp4,x", ",y"))
    records, _ = read("manifest", config, "test")
    assert [(r.labels, r.media is None) for r in records] == [({}, False), ({}, True)]
    with pytest.raises(
        DataError, match="has no column 'split', so all its rows are test rows, but split 'train' is asked for"
    ):
        read("manifest", config, "train")


def test_manifest_text_alone(tmp_path):
    config = shipped("manifest", table(tmp_path, "text,label,split", "x,happy,test"), require_clips=False)
    assert read("manifest", config, "test")[0][0].media is None


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("clip,text,Label", {}, r"lacks the column 'label' \(did you mean 'Label'\?\)"),
        ("clip,text,Split", {}, r"lacks the column 'split' \(did you mean 'Split'\?\)"),
        ("clip,text,split", {}, "lacks the column 'label'; it has: clip, text, split. Remedy: rename a column"),
        ("clip,text,x", {"labels": ["mood"]}, "lacks the column 'mood'"),
        ("clip,text,x", {"split_column": "part"}, "lacks the column 'part'"),
        ("clip,text,x", {"speaker": "who"}, "lacks the column 'who'"),
        ("path,text,x", {}, "lacks the column 'clip'"),
    ],
)
def test_manifest_missing_column(tmp_path, header, options, message):
    with pytest.raises(DataError, match=message):
        read("manifest", shipped("manifest", table(tmp_path, header, "a.mp4,x,test"), **options), "test")


def test_manifest_reports_everything_at_once(tmp_path):
    root = table(
        tmp_path,
        "clip,text,label,split,id,start,end",
        "a.mp4,x,happy,train,1,,",
        "a.mp4,x,hapy,train,2,,",
        "a.mp4,x,happy,trian,3,,",
        "zz.mp4,x,happy,train,4,,",
        "a.mp4,x,happy,train,1,,",
        "a.mp4,x,happy,train,6,3,2",
        "a.mp4,x,happy,train,7,-1,2",
        'a.mp4,x,happy,train,8,"1,5",',
        "a.mp4,x,happy,train",
        "a.mp4,x,happy,train,,,",
        "a.mp4,x,happy,train,9,,0",
    )
    config = shipped("manifest", root)
    config.task_definitions["label"].labels = ["happy", "sad"]
    with pytest.raises(DataError) as caught:
        read("manifest", config, "train")
    message = str(caught.value)
    for row, words in {
        3: "the label 'hapy' of task 'label' is not one of happy, sad (did you mean 'happy'?): correct it",
        4: "the split 'trian' is not one of train, valid, val, dev, validation, test",
        5: f"the clip {tmp_path / 'zz.mp4'} does not exist: correct the path",
        6: "has the id 'manifest/train/1' of clips.csv, row 2",
        7: "the clip starts at 3 s and ends at 2 s",
        8: "the start '-1' is not a time in seconds",
        9: "the start '1,5' is not a time in seconds",
        10: "has 4 cells where the header has 7",
        11: "the id in column 'id' is empty",
        12: "the clip starts at 0 s and ends at 0 s",
    }.items():
        assert f"clips.csv, row {row}: {words}" in message
    assert message.splitlines()[10:] == [
        "Remedy: correct these rows, or leave them out, listed and counted, with datasets.manifest.on_bad_rows=exclude"
    ]


def test_manifest_split_without_rows(tmp_path):
    config = shipped("manifest", table(tmp_path, "clip,text,label,split", "a.mp4,x,happy,train"))
    with pytest.raises(DataError, match=r"no row is in split 'val' \(train 1\)"):
        read("manifest", config, "val")


def test_labels_of_undefined_tasks_are_refused(tmp_path):
    config = shipped("manifest", table(tmp_path, "clip,text,mood,split", "a.mp4,x,happy,train"), labels=["mood"])
    with pytest.raises(ConfigError, match="labels for the task 'mood', which is not under its task_definitions"):
        read("manifest", config, "train")


def test_labels_can_be_taken_from_the_training_rows():
    task = Task(name="mood", question={"en": "?"})
    assert infer_labels([record(1, "sad"), record(2, "happy"), record(3, "sad"), record(4)], task) == ["happy", "sad"]
    for labels, message in (
        (["sad"], "single label"),
        (["sad", "Sad"], "names a label twice"),
        ([None], "no record has one"),
    ):
        with pytest.raises(DataError, match=message):
            infer_labels([record(i, label) for i, label in enumerate(labels)], task)


# --- MELD ---

MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"


def meld_root(folder, *rows):
    lines = [f'{number},{row},4,7,"0:00:01,0","0:00:02,0"' for number, row in enumerate(rows, start=1)]
    (folder / "dev_sent_emo.csv").write_text("\n".join([MELD_HEADER, *lines]) + "\n", encoding="utf-8")
    return folder


def test_meld_context_follows_ids_within_the_dialogue(tmp_path):
    root = meld_root(
        tmp_path,
        "You\u2019re late,Ross,anger,negative,0,7",
        '"Oh, hi",Joey,joy,positive,1,0',
        "First,Ross,neutral,neutral,0,0",
        "Second,Joey,neutral,neutral,0,3",
    )
    records, excluded = read("meld", shipped("meld", root, context=2), "val")
    assert not excluded
    assert [r.context for r in records] == [("Ross: First", "Joey: Second"), (), (), ("Ross: First",)]
    assert records[0] == Record(
        id="meld/val/0/7",
        dataset="meld",
        split="val",
        text="You\u2019re late",
        labels={"emotion": "anger", "sentiment": "negative"},
        context=("Ross: First", "Joey: Second"),
        speaker="Ross",
        group="val/0",
        source="dev_sent_emo.csv, row 2",
    )
    assert [r.context for r in read("meld", shipped("meld", root), "val")[0]] == [()] * 4


def test_meld_names_clips_where_the_folder_is(tmp_path):
    meld_root(tmp_path, "Hi,Ross,joy,positive,12,3")
    (tmp_path / "dev_splits_complete").mkdir()
    (one,), _ = read("meld", shipped("meld", tmp_path), "val")
    assert one.media == str(tmp_path / "dev_splits_complete" / "dia12_utt3.mp4")


def test_meld_bad_rows(tmp_path):
    meld_root(tmp_path, "Hi,Ross,joy,positive,0,0", "Hi,Ross,joyful,positive,0,0", "Hi,Ross,joy,positive,0,x")
    with pytest.raises(DataError) as caught:
        read("meld", shipped("meld", tmp_path), "val")
    assert "row 4: Dialogue_ID and Utterance_ID have to be whole numbers" in str(caught.value)
    assert "row 3: has the id 'meld/val/0/0' of dev_sent_emo.csv, row 2" in str(caught.value)
    assert "row 3: the label 'joyful' of task 'emotion' is not one of neutral," in str(caught.value)
    with pytest.raises(DataError, match=r"train_sent_emo.csv does not exist \(similar files there: dev_sent_emo.csv\)"):
        read("meld", shipped("meld", tmp_path), "train")
    with pytest.raises(DataError, match=r"options.context=-1"):
        read("meld", shipped("meld", tmp_path, context=-1), "val")


# --- RAVDESS ---


def test_ravdess_counts_absent_actors(tmp_path):
    records, excluded = read("ravdess", shipped("ravdess", ravdess_tree(tmp_path, [9, 10])), "val")
    assert len(records) == 120
    assert [(e.id, e.count) for e in excluded] == [("ravdess/val/actor_21", 60), ("ravdess/val/actor_22", 60)]
    counts = Counter(r.labels["emotion"] for r in records)
    assert counts.pop("neutral") == 8  # said with normal intensity only
    assert set(counts.values()) == {16} and len(counts) == 7
    assert records[0] == Record(
        id="ravdess/val/03-01-01-01-01-01-09",
        dataset="ravdess",
        split="val",
        text="Kids are talking by the door",
        labels={"emotion": "neutral"},
        speaker="actor_09",
        group="actor_09",
        media=str(tmp_path / "Actor_09" / "03-01-01-01-01-01-09.wav"),
        source="Actor_09/03-01-01-01-01-01-09.wav",
    )


def test_ravdess_takes_audiovisual_speech_out_of_all_mp4(tmp_path):
    folder = ravdess_tree(tmp_path, [11], "mp4") / "Actor_11"
    for other in (
        "02-01-03-01-01-01-11.mp4",
        "01-02-03-01-01-01-11.mp4",
        "03-01-03-01-01-01-11.wav",
        "._01-01-03-01-01-01-11.mp4",
    ):
        (folder / other).touch()
    records, _ = read("ravdess", shipped("ravdess", tmp_path, media="mp4"), "test")
    assert len(records) == 60
    assert {Path(r.media).name[:5] for r in records} == {"01-01"}


def test_ravdess_missing_and_misnamed_files(tmp_path):
    folder = ravdess_tree(tmp_path, [11]) / "Actor_11"
    (folder / "03-01-08-02-02-02-11.wav").unlink()
    records, excluded = read("ravdess", shipped("ravdess", tmp_path), "test")
    assert len(records) == 59
    gone = "Actor_11/03-01-08-02-02-02-11.wav"
    assert excluded[0] == Excluded(
        id="ravdess/test/03-01-08-02-02-02-11", split="test", reason=f"there is no file {gone}", source=gone
    )
    for bad in ("03-01-09-01-01-01-11", "03-01-01-02-01-01-11", "copy of 03-01-01-01-01-01-11", "03-01-01-01-01-01-12"):
        (folder / f"{bad}.wav").touch()
    with pytest.raises(DataError) as caught:
        read("ravdess", shipped("ravdess", tmp_path), "test")
    assert str(caught.value).count("is not named MM-VC-EE-II-SS-RR-AA") == 3
    assert "Actor_11/03-01-01-01-01-01-12.wav: is of actor 12: move it" in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [1, 2], "val": [3], "test": [2]}, "has actor 2 in both train and test"),
        (
            {"train": [1], "val": [25], "test": [2]},
            "splits.val of RAVDESS has the actor 25: actors are numbered 1 to 24",
        ),
        ({"train": [1], "val": [], "test": [2]}, "splits.val of RAVDESS is empty"),
        ({"train": [1, 1], "val": [3], "test": [2]}, "names an actor twice"),
        ({"train": [1], "dev": [3], "test": [2]}, "names train, dev, test: give actors to each of train, val, test"),
    ],
)
def test_ravdess_splits(tmp_path, splits, message):
    with pytest.raises(DataError, match=message):
        read("ravdess", shipped("ravdess", tmp_path, splits=splits), "train")


def test_ravdess_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"no clip in split 'test' \(there is no folder Actor_11"):
        read("ravdess", shipped("ravdess", tmp_path), "test")
    with pytest.raises(DataError, match="ravdes does not exist"):
        read("ravdess", shipped("ravdess", tmp_path / "ravdes"), "test")


# --- common ---


def test_prepare_makes_a_dataset_that_is_not_there_and_only_then(tmp_path, monkeypatch):
    made = []

    def prepare(root):
        root.mkdir()
        made.append(meld_root(root, "Hi,Ross,joy,positive,0,0"))

    monkeypatch.setattr(meld, "prepare", prepare, raising=False)
    for _ in range(2):
        assert len(read("meld", shipped("meld", tmp_path / "new"), "val")[0]) == 1
    assert made == [tmp_path / "new"]


TASK = Task(name="mood", labels=["happy", "sad"])


def test_subset_is_stratified_nested_and_in_order():
    records = [record(i, "happy" if i % 10 < 7 else "sad" if i % 10 < 9 else None) for i in range(200)]
    chosen = {count: subset(records, TASK, count, seed=3) for count in (10, 20, 60)}
    assert [
        Counter(r.labels["mood"] if r.labels else None for r in chosen[10])[key] for key in ("happy", "sad", None)
    ] == [7, 2, 1]
    assert [r.id for r in chosen[60]] == [r.id for r in records if r in chosen[60]]
    assert {r.id for r in chosen[10]} < {r.id for r in chosen[20]} < {r.id for r in chosen[60]}
    assert {r.id for r in subset(records[::-1], TASK, 20, seed=3)} == {r.id for r in chosen[20]}
    assert {r.id for r in subset(records, TASK, 20, seed=4)} != {r.id for r in chosen[20]}
    assert subset(records, TASK, None, seed=3) == records


def test_subset_rounds_to_the_largest_remainders():
    # Shares of 4 out of 5 + 3 + 2: 2.0, 1.2, 0.8, so the last one gets the record that is left.
    records = [record(i, "abc"[(i >= 5) + (i >= 8)]) for i in range(10)]
    assert Counter(r.labels["mood"] for r in subset(records, TASK, 4, seed=0)) == {"a": 2, "b": 1, "c": 1}


def test_subset_of_an_intensity_goes_by_sign():
    task = Task(name="mood", kind=Kind.intensity, low=-3, high=3, step=0.1)
    records = [record(i, value) for i, value in enumerate([-1.0, -2.0, -0.1, -3.0, 0.0, 0.0, 1.0, 2.0])]
    chosen = [r.labels["mood"] for r in subset(records, task, 4, seed=0)]
    assert [sum(v < 0 for v in chosen), chosen.count(0.0), sum(v > 0 for v in chosen)] == [2, 1, 1]


@pytest.mark.parametrize("count", [3, 0, -1])
def test_subset_that_cannot_be_drawn(count):
    with pytest.raises(DataError, match=f"a subset of {count} records out of 2 cannot be drawn"):
        subset([record(1, "sad"), record(2, "sad")], TASK, count, seed=0)


def test_one_clip_in_two_splits():
    train = [record(1, media="a.mp4", start=0.0, end=2.0, source="t.csv, row 2"), record(2)]
    test = [record(1, split="test", media="./a.mp4", end=2.0, source="t.csv, row 9"), record(2, split="test")]
    with pytest.raises(DataError, match=r"t.csv, row 9: split 'test' has the clip of t.csv, row 2 in split 'train'"):
        check_disjoint({"train": train, "test": test}, speaker_independent=False)
    check_disjoint(
        {"train": train, "test": [record(1, split="test", media="a.mp4", start=2.0)]}, speaker_independent=False
    )


def test_one_speaker_in_two_splits():
    by_split = {
        "train": [record(1, speaker="anna"), record(2)],
        "val": [record(3, split="val", speaker="anna"), record(4)],
    }
    check_disjoint(by_split, speaker_independent=False)
    with pytest.raises(DataError, match="speaker 'anna': has 1 clips in split 'train' and 1 in split 'val'"):
        check_disjoint(by_split, speaker_independent=True)


# --- the published data, where it is at hand ---


@pytest.fixture(scope="module")
def shared():
    folder = os.environ.get("AFFECT_SHARED_DATA")
    if not folder:
        pytest.skip("AFFECT_SHARED_DATA does not name a folder with the published MELD and RAVDESS.")
    return Path(folder)


def test_published_meld(shared):
    by_split = {split: read("meld", shipped("meld", shared / "meld", context=3), split)[0] for split in SPLITS}
    assert [len(records) for records in by_split.values()] == [9_989, 1_109, 2_610]
    assert Counter(r.labels["emotion"] for r in by_split["train"]) == {
        "neutral": 4_710,
        "joy": 1_743,
        "surprise": 1_205,
        "anger": 1_109,
        "sadness": 683,
        "disgust": 271,
        "fear": 268,
    }
    assert [len({r.group for r in records}) for records in by_split.values()] == [1_038, 114, 280]
    assert sum(any(ord(c) > 127 for c in r.text) for r in by_split["train"]) == 2_740
    check_disjoint(by_split, speaker_independent=False)


def test_published_ravdess(shared):
    config = shipped("ravdess", shared / "ravdess")
    by_split, excluded = {}, {}
    for split in SPLITS:
        by_split[split], excluded[split] = read("ravdess", config, split)
    assert [len(records) + sum(e.count for e in excluded[split]) for split, records in by_split.items()] == [
        960,
        240,
        240,
    ]
    assert all(Path(r.media).is_file() for records in by_split.values() for r in records)
    check_disjoint(by_split, speaker_independent=True)


# --- the documentation ---


@pytest.mark.parametrize("page", sorted(dataset_table.updated()), ids=lambda path: path.name)
def test_the_documentation_lists_the_datasets_as_their_readers_state_them(page):
    assert page.read_text(encoding="utf-8") == dataset_table.updated()[page], "run: python tests/dataset_table.py"
