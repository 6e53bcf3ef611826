"""Readers of humour, sarcasm and intent (UR-FUNNY, MUStARD, MUStARD++, MIntRec), on small trees like the real ones."""

import os
import pickle
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import (
    MUSTARD_SHARED,
    PLUS_PLUS_HEADER,
    URFUNNY,
    mintrec_tree,
    mustard_entries,
    mustard_entry,
    mustard_tree,
    plus_plus_rows,
    plus_plus_scene,
    plus_plus_tree,
    read_split,
    urfunny_passage,
    urfunny_tree,
)

from affect.config import ConfigError, DataError
from affect.config.tasks import problems as task_problems
from affect.data import SPLITS
from affect.data.problems import Excluded
from affect.data.readers import mintrec, mustard, mustard_plus_plus, urfunny

READERS = {"mintrec": mintrec, "mustard": mustard, "mustard_plus_plus": mustard_plus_plus, "urfunny": urfunny}


@pytest.fixture
def read(configure):
    """`read(name, root, split, **options)`: as in a run, but for the root and the options."""

    shipped = cache(lambda name: configure(f"dataset={name}").datasets[name])

    def done(name, root, split, **options):
        config = replace(shipped(name), root=str(root), options=shipped(name).options | options)
        return read_split(name, config, split)

    return done


# --- the trees ---


TREES = {"mintrec": mintrec_tree, "mustard": mustard_tree, "mustard_plus_plus": plus_plus_tree, "urfunny": urfunny_tree}
CLIPS = {
    "mintrec": ("raw_data", "test", "S06/E02/25.mp4"),
    "mustard": ("utterances_final", "test", "2_1.mp4"),
    "mustard_plus_plus": ("final_utterance_videos", "test", None),
    "urfunny": ("urfunny2_videos", "test", "0011.mp4"),
}


# --- of all readers ---


@pytest.mark.parametrize("name", READERS)
def test_the_shipped_yaml_fits_its_reader(name, configure):
    raw = (Path(__file__).parents[2] / "conf" / "dataset" / f"{name}.yaml").read_text(encoding="utf-8")
    assert raw.startswith(f"# @package datasets.{name}\n")
    cfg = configure(f"dataset={name}")
    config = cfg.datasets[name]
    assert config.root == f"{cfg.data_root}/{name}"
    parameters = [p for p in signature(READERS[name].records).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert config.options == {p.name: p.default for p in parameters}
    for task in config.task_definitions.values():
        assert not list(task_problems(task))


@pytest.mark.parametrize("name", READERS)
def test_every_split_is_read_and_ids_are_unique(name, read, tmp_path):
    root = TREES[name](tmp_path / name)
    records = [record for split in SPLITS for record in read(name, root, split)[0]]
    assert len({record.id for record in records}) == len(records)
    for record in records:
        assert record.id.startswith(f"{name}/{record.split}/")
        assert record.media is None, "without a folder of clips one works with text"
        assert record.group and record.labels and record.source
        assert "\n" not in record.text + "".join(record.context)


@pytest.mark.parametrize("name", READERS)
def test_where_there_are_clips_every_record_names_its_own(name, read, tmp_path):
    root = TREES[name](tmp_path / name)
    folder, split, clip = CLIPS[name]
    (root / folder).mkdir()
    records, _ = read(name, root, split)
    assert all(Path(record.media).is_relative_to(root / folder) for record in records)
    if clip is not None:
        assert str(root / folder / clip) in {record.media for record in records}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_root_that_is_one_folder_off_is_told_the_right_one(name, split, read, tmp_path):
    right = TREES[name](tmp_path / name)
    (right / "deeper").mkdir()
    for wrong in (tmp_path, right / "deeper"):
        with pytest.raises(
            DataError, match=rf"{wrong}/(\S+) does not exist, but {right}/\1 does: set the dataset's root to {right}$"
        ):
            read(name, wrong, split)
    (right / "deeper" / CLIPS[name][0]).mkdir()
    with pytest.raises(DataError, match=f"the clips are in {right}/deeper/.*, but looked for in .*: move the folder"):
        read(name, right, split)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_without_the_annotations(name, read, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(
        DataError, match=r"does not exist \(no file there has a similar name\): correct the dataset's root"
    ):
        read(name, tmp_path / name, "train")
    with pytest.raises(DataError, match="does not exist, nor does its folder: correct the dataset's root"):
        read(name, tmp_path / "nowhere", "train")


@pytest.mark.parametrize("name", ["mustard", "mustard_plus_plus", "urfunny"])
def test_context_is_cut_to_its_end(name, read, tmp_path):
    root = TREES[name](tmp_path / name)
    whole = [record.context for split in SPLITS for record in read(name, root, split)[0]]
    for count in (0, 1, 2):
        cut = [record.context for split in SPLITS for record in read(name, root, split, context=count)[0]]
        assert cut == [turns[len(turns) - min(count, len(turns)) :] for turns in whole]
    assert max(map(len, whole)) > 1
    with pytest.raises(DataError, match=r"options.context=-1 of .* counts earlier turns: 0 is none, null is all"):
        read(name, root, "test", context=-1)


@pytest.mark.parametrize("name", ["mintrec", "mustard", "mustard_plus_plus"])
def test_a_byte_order_mark_changes_nothing(name, read, tmp_path):
    root = TREES[name](tmp_path / name)
    before = {split: read(name, root, split) for split in SPLITS}
    for path in root.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert {split: read(name, root, split) for split in SPLITS} == before


@pytest.mark.parametrize("name", ["mintrec", "mustard", "mustard_plus_plus"])
def test_another_encoding_is_refused(name, read, tmp_path):
    root = TREES[name](tmp_path / name)
    for path in root.iterdir():
        path.write_bytes(path.read_bytes() + "é".encode("cp1252"))
    with pytest.raises(DataError, match=f"{root}.*byte 0xe9.* is not UTF-8: save it as UTF-8"):
        read(name, root, "train")


# --- MIntRec ---


def test_mintrec(read, tmp_path):
    root = mintrec_tree(tmp_path / "mintrec")
    (record,), excluded = read("mintrec", root, "val")
    assert not excluded
    assert (record.id, record.text, record.labels) == ("mintrec/val/S04/E01/07", "i'm sorry.", {"intent": "Apologise"})
    assert (record.group, record.speaker, record.context) == ("S04/E01", None, ())
    assert [r.labels["intent"] for r in read("mintrec", root, "train")[0]] == ["Inform", "Ask for help"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "S05\tE16\t8\tsorry.\tApologize",
            r"^train.tsv, row 4: the label 'Apologize' of task 'intent' is not one of Complain, .* \(did you mean"
            r" 'Apologise'\?\): correct it",
        ),
        (
            "S05\tE16\t../8\ta\tJoke",
            r"^train.tsv, row 4: the clip '../8' is not written like S05, E16, 329: restore it from the original\n",
        ),
        ("5\tE16\t8\ta\tJoke", r"^train.tsv, row 4: the season '5' is not written like S05, E16, 329"),
        ("S05\tE16\t7\ta\tJoke", r"^train.tsv, row 4: has the id 'mintrec/train/S05/E16/7' of train.tsv, row 3: give"),
        ("S05\tE16\t8\ta", r"^train.tsv, row 4: has 4 cells where the header has 5"),
    ],
)
def test_mintrec_rows_that_are_wrong(row, message, read, tmp_path):
    root = mintrec_tree(tmp_path / "mintrec")
    with (root / "train.tsv").open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=message):
        read("mintrec", root, "train")


def test_mintrec_reports_all_rows_together_and_a_missing_column(read, tmp_path):
    root = mintrec_tree(tmp_path / "mintrec")
    text = (root / "test.tsv").read_text(encoding="utf-8")
    (root / "test.tsv").write_text(text + "S6\tE02\t1\ta\tJoke\nS06\tE02\t2\ta\tLaugh\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 3: the season 'S6'[^\n]*\n[^\n]*row 4: the label 'Laugh'"):
        read("mintrec", root, "test")
    (root / "test.tsv").write_text(text.replace("label", "intent"), encoding="utf-8")
    with pytest.raises(DataError, match="lacks the column 'label'; it has: season, episode, clip, text, intent"):
        read("mintrec", root, "test")


# --- MUStARD ---


def test_mustard(read, tmp_path):
    root = mustard_tree(tmp_path / "mustard")
    by_split = {split: read("mustard", root, split)[0] for split in SPLITS}
    assert [record.id for record in by_split["test"]] == ["mustard/test/2_1", "mustard/test/2_02"]
    # A fifth of 5 sarcastic scenes and of 6 sincere ones.
    assert Counter(record.labels["sarcasm"] for record in by_split["val"])["sarcastic"] == 1
    assert len({record.group for record in by_split["val"]}) == 2
    of = {record.id.split("/")[-1]: record for records in by_split.values() for record in records}
    assert of["1_506"].context == (f"RAJ: {MUSTARD_SHARED}", "PERSON: Oh, baby. Really?")
    assert of["1_506"].group == of["1_507"].group == "BBT/1_506"
    assert of["1_506"].split == of["1_507"].split
    assert of["2_02"].group == "FRIENDS/2_02", "scenes of two shows are two, whatever line they share"
    assert (of["1_506"].speaker, of["1_507"].speaker, of["2_1"].speaker) == ("BBT/SHELDON", None, "FRIENDS/CHANDLER")
    assert (of["2_1"].labels, of["2_02"].labels) == ({"sarcasm": "sincere"}, {"sarcasm": "sarcastic"})
    assert of["2_1"].source == "sarcasm_data.json, id '2_1'"


def test_mustard_splits_do_not_depend_on_the_order_of_the_file(read, tmp_path):
    entries = mustard_entries()
    first = mustard_tree(tmp_path / "first", entries)
    second = mustard_tree(tmp_path / "second", dict(sorted(entries.items(), key=lambda item: item[1]["utterance"])))
    for split in SPLITS:
        first_ids, second_ids = ({r.id for r in read("mustard", root, split)[0]} for root in (first, second))
        assert first_ids == second_ids
    assert {r.group for r in read("mustard", first, "train")[0]} == {
        r.group for r in read("mustard", second, "train")[0]
    }


def five_folds(num_clips):
    everything = np.arange(num_clips)
    return [(np.setdiff1d(everything, everything[fold::5]), everything[fold::5]) for fold in range(5)]


@pytest.mark.parametrize("protocol", [2, 5])
def test_mustard_five_folds(protocol, read, tmp_path):
    root = mustard_tree(tmp_path / "mustard")
    (root / "split_indices.p").write_bytes(pickle.dumps(five_folds(14), protocol))
    clips = list(mustard_entries())
    for fold in range(5):
        by_split = {split: read("mustard", root, split, protocol="five_fold", fold=fold)[0] for split in SPLITS}
        assert [r.id for r in by_split["test"]] == [f"mustard/test/{clip}" for clip in clips[fold::5]]
        assert sum(map(len, by_split.values())) == 14
        assert not {r.group for r in by_split["train"]} & {r.group for r in by_split["val"]}


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (None, r"split_indices.p does not exist, and protocol five_fold takes its folds from it: get it from data/ of"),
        (
            five_folds(15),
            r"has 5 folds, and fold 0 has 12 training and 3 test positions: 5 folds are expected, each with",
        ),
        (five_folds(14)[:4], r"has 4 folds, and fold 0 has 11 training and 3 test positions: 5 folds are expected"),
        ({"train": [0], "test": [1]}, r"is not a list of 5 pairs of training and test positions \(0\): get the file"),
        ([([0.5], [1])] * 5, r"is not a list of 5 pairs of training and test positions \('float' object"),
        ([(range(14), [])] * 5, r"split_indices.p asks for builtins.range, and a file of annotations needs only"),
    ],
)
def test_mustard_folds_that_are_wrong(folds, message, read, tmp_path):
    root = mustard_tree(tmp_path / "mustard")
    if folds is not None:
        (root / "split_indices.p").write_bytes(pickle.dumps(folds))
    with pytest.raises(DataError, match=message):
        read("mustard", root, "train", protocol="five_fold")


def test_mustard_options_that_are_wrong(read, tmp_path):
    root = mustard_tree(tmp_path / "mustard")
    with pytest.raises(DataError, match=r"options.fold=5 of MUStARD is not one of its folds: choose from 0 to 4"):
        read("mustard", root, "train", protocol="five_fold", fold=5)
    with pytest.raises(ConfigError, match=r"options.protocol='mmla' of the reader 'mustard' has to be of type Literal"):
        read("mustard", root, "train", protocol="mmla")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sarcasm": 1}, r"id '1_3': has 1 as 'sarcasm', which has to be true or false: restore it from the original"),
        ({"sarcasm": "true"}, r"id '1_3': has 'true' as 'sarcasm', which has to be true or false"),
        ({"context": "What?"}, r"id '1_3': has 'What\?' as 'context', which has to be a list of strings"),
        ({"context": [1]}, r"id '1_3': has something other than strings in 'context'"),
        ({"context": []}, r"id '1_3': has 0 lines of context and 1 speakers of them: give every line its speaker"),
        ({"show": None}, r"id '1_3': has None as 'show', which has to be a string"),
    ],
)
def test_mustard_entries_that_are_wrong(change, message, read, tmp_path):
    entries = mustard_entries()
    entries["1_3"] |= change
    entries["1_5"] = {"uterance" if key == "utterance" else key: value for key, value in entries["1_5"].items()}
    root = mustard_tree(tmp_path / "mustard", entries)
    lacking = (
        r"sarcasm_data.json, id '1_5': lacks 'utterance' \(did you mean 'uterance'\?\); it has: uterance, speaker,"
    )
    with pytest.raises(DataError, match=rf"^sarcasm_data.json, {message}[^\n]*\n{lacking}"):
        read("mustard", root, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"1_1": {', r"sarcasm_data.json, line 1: Expecting .*, so it is not JSON: get the file again"),
        (
            '{"1_1": ' + "[" * 100_000,
            "sarcasm_data.json has lists or objects nested too deeply to be read: get the file",
        ),
        ("[]", r"sarcasm_data.json is not an object with an entry for each id"),
        ("{}", r"sarcasm_data.json is not an object with an entry for each id"),
        ('{"1_1": 3}', r"sarcasm_data.json, id '1_1': is not an object with utterance, speaker, context,"),
        ('{"1_1": {}, "1_1": {}}', r"^sarcasm_data.json, id '1_1': is there 2 times: leave one of them\n"),
    ],
)
def test_mustard_files_that_are_wrong(text, message, read, tmp_path):
    root = mustard_tree(tmp_path / "mustard")
    (root / "sarcasm_data.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read("mustard", root, "test")


def test_mustard_without_friends_has_no_speaker_independent_test(read, tmp_path):
    root = mustard_tree(tmp_path / "mustard", {"1_1": mustard_entry("a"), "1_2": mustard_entry("b", show="Friends")})
    with pytest.raises(
        DataError, match=r"has clips of BBT, Friends, and protocol speaker_independent tests on FRIENDS"
    ):
        read("mustard", root, "test")


# --- MUStARD++ ---


def test_mustard_plus_plus(read, tmp_path):
    root = plus_plus_tree(tmp_path / "plus")
    records = [record for split in SPLITS for record in read("mustard_plus_plus", root, split)[0]]
    of = {record.id.split("/")[-1]: record for record in records}
    assert len(of) == 23
    assert of["2_1"].text == "Was that place the sun?"
    assert of["2_1"].labels == {
        "sarcasm": "sarcastic",
        "implicit_emotion": "Ridicule",
        "explicit_emotion": "Surprise",
        "valence": 3.0,
        "arousal": 8.0,
    }
    assert of["1_0506"].context == (*(f"line {n}" for n in range(10)), "RAJ: Ah. No.")
    assert (of["1_0506"].speaker, of["1_S11E03_067"].speaker) == ("BBT/SHELDON", None)
    episode = [record for record in records if "S11E03" in record.id]
    assert len(episode) == 3
    assert len({record.group for record in episode}) == len({record.split for record in episode}) == 1


def test_mustard_plus_plus_keeps_groups_together_and_shares(read, tmp_path):
    root = plus_plus_tree(tmp_path / "plus")
    by_split = {split: read("mustard_plus_plus", root, split)[0] for split in SPLITS}
    groups = [{record.group for record in records} for records in by_split.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    # Of 22 clips of BBT, and the single one of Friends, in groups of up to 3.
    assert len(by_split["test"]) in range(5, 9)
    assert len(by_split["val"]) in range(1, 6)
    reversed_root = plus_plus_tree(tmp_path / "reversed", plus_plus_rows()[::-1])
    for split in SPLITS:
        again, _ = read("mustard_plus_plus", reversed_root, split)
        assert {(r.id, r.group, r.context) for r in again} == {(r.id, r.group, r.context) for r in by_split[split]}


def test_mustard_plus_plus_context_is_in_the_order_of_its_numbers(read, tmp_path):
    rows = sorted(plus_plus_rows(), key=lambda row: row[1])
    root = plus_plus_tree(tmp_path / "plus", rows)
    of = {r.id.split("/")[-1]: r for split in SPLITS for r in read("mustard_plus_plus", root, split)[0]}
    assert of["1_0506"].context[-2:] == ("line 9", "RAJ: Ah. No.")


def test_mustard_plus_plus_scenes_that_share_a_line_are_together(read, tmp_path):
    shared = plus_plus_scene(
        "1_9", "Yes.", context=[("-", "I suppose you could have it circumcised."), ("-", "Yes, I do know.")]
    )
    rows = plus_plus_rows() + shared + plus_plus_scene("1_8", "I suppose you could have it: circumcised!")
    root = plus_plus_tree(tmp_path / "plus", rows)
    of = {r.id.split("/")[-1]: r for split in SPLITS for r in read("mustard_plus_plus", root, split)[0]}
    assert of["1_9"].group == of["1_8"].group != of["1_0506"].group
    assert of["1_9"].split == of["1_8"].split


def test_mustard_plus_plus_speaker_independent_tests_on_friends(read, tmp_path):
    root = plus_plus_tree(tmp_path / "plus")
    for split in SPLITS:
        records, _ = read("mustard_plus_plus", root, split, protocol="speaker_independent")
        assert {record.group.startswith("FRIENDS/") for record in records} == {split == "test"}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "KEY",
            "Disgust",
            r"the KEY 'Disgust' is not SCENE_u .* or SCENE_c_NN .* of the SCENE '1_S11E00_000': restore",
        ),
        ("Sarcasm", "", r"the Sarcasm '' of an utterance is not 0 or 1: restore it from the original"),
        ("Sarcasm", "yes", r"the Sarcasm 'yes' of an utterance is not 0 or 1"),
        ("SCENE", "1_0506", r"the KEY '1_S11E00_000_u' is not SCENE_u .* of the SCENE '1_0506'"),
        ("SCENE", "", r"the KEY '1_S11E00_000_u' is not SCENE_u .* of the SCENE ''"),
        ("Valence", "10", r"the label '10' of task 'valence' is not a number from 1 to 9: correct it"),
        ("Arousal", "", r"the label '' of task 'arousal' is not a number from 1 to 9: correct it"),
        (
            "Explicit_Emotion",
            "Ridicule",
            r"the label 'Ridicule' of task 'explicit_emotion' is not one of Anger, Disgust, .*, Surprise: correct it",
        ),
        (
            "Implicit_Emotion",
            "Hapiness",
            r"the label 'Hapiness' of task 'implicit_emotion' is not one of .* \(did you mean 'Happiness'\?\): correct",
        ),
    ],
)
def test_mustard_plus_plus_rows_that_are_wrong(column, value, message, read, tmp_path):
    rows = plus_plus_rows()
    assert rows[0][1] == "1_S11E00_000_u"
    rows[0][PLUS_PLUS_HEADER.split(",").index(column)] = value
    root = plus_plus_tree(tmp_path / "plus", rows)
    with pytest.raises(DataError, match=rf"(?m)^mustard\+\+_text.csv, row 2: {message}"):
        for split in SPLITS:
            read("mustard_plus_plus", root, split)


def test_mustard_plus_plus_files_that_are_wrong(read, tmp_path):
    root = plus_plus_tree(tmp_path / "twice", plus_plus_rows() + plus_plus_scene("2_1", "Again."))
    with pytest.raises(
        DataError, match=r"row 36: the SCENE '2_1' has its utterance in mustard\+\+_text.csv, row 35 already"
    ):
        read("mustard_plus_plus", root, "train")
    root = plus_plus_tree(tmp_path / "alone", plus_plus_rows() + plus_plus_scene("9_9", "", context=[("-", "a")])[:1])
    with pytest.raises(DataError, match=r"the SCENE '9_9' has context but no utterance: restore it from the original"):
        read("mustard_plus_plus", root, "train")
    root = plus_plus_tree(tmp_path / "column", header=PLUS_PLUS_HEADER.replace("Explicit_Emotion", "Explicit Emotion"))
    with pytest.raises(
        DataError, match=r"lacks the column 'Explicit_Emotion' \(did you mean 'Explicit Emotion'\?\); it has"
    ):
        read("mustard_plus_plus", root, "train")


# --- UR-FUNNY ---


def test_urfunny(read, tmp_path):
    root = urfunny_tree(tmp_path / "urfunny")
    by_split = {split: read("urfunny", root, split)[0] for split in SPLITS}
    assert [[r.id for r in records] for records in by_split.values()] == [
        ["urfunny/train/14052", "urfunny/train/3"],
        ["urfunny/val/7"],
        ["urfunny/test/0011"],
    ]
    record = by_split["train"][0]
    assert (record.text, record.context) == ("punchline 14052", ("first 14052", "second 14052"))
    assert [r.labels["humour"] for r in by_split["train"]] == ["humorous", "serious"]
    assert (record.group, record.speaker) == ("14052", None)


def test_urfunny_accepts_the_other_spelling_floats_numpy_and_lists_of_words(read, tmp_path):
    language = {
        key: entry | {"punchline_sentence": ["punch", "line"]} for key, entry in URFUNNY["language_sdk.pkl"].items()
    }
    root = urfunny_tree(
        tmp_path / "urfunny",
        data_folds={"train": np.array([14052, 3]), "valid": (7,), "test": ["0011"]},
        language_sdk=None,
        langauge_sdk=language,
        humor_label_sdk={14052: 1.0, np.int64(3): 0.0, 7: np.float64(1.0), "0011": np.int64(0)},
    )
    assert [r.labels["humour"] for r in read("urfunny", root, "train")[0]] == ["humorous", "serious"]
    assert read("urfunny", root, "val")[0][0].text == "punch line"
    (root / "language_sdk.pkl").write_bytes(pickle.dumps(language))
    with pytest.raises(DataError, match=r"has both language_sdk.pkl and langauge_sdk.pkl, two spellings of one file"):
        read("urfunny", root, "train")


def test_urfunny_labels_in_no_fold_are_counted_once(read, tmp_path):
    root = urfunny_tree(tmp_path / "urfunny", humor_label_sdk=URFUNNY["humor_label_sdk.pkl"] | {100: 1.0, 101: 0.0})
    excluded = [read("urfunny", root, split)[1] for split in SPLITS]
    assert excluded == [
        [
            Excluded(
                id="urfunny/train/in_no_fold",
                split="train",
                reason="labelled, but in no fold of data_folds.pkl",
                source="humor_label_sdk.pkl",
                count=2,
            )
        ],
        [],
        [],
    ]


WORDS = ["the", "good", "news", "was", "bad"]


def indexes(punchline=(0, 1, 2), context=((3, 4), (0,))):
    return {"punchline_embedding_indexes": list(punchline), "context_embedding_indexes": [list(c) for c in context]}


def test_urfunny_version_1_takes_its_words_from_the_list(read, tmp_path):
    by_id = {key: indexes() for key in URFUNNY["language_sdk.pkl"]}
    root = urfunny_tree(tmp_path / "urfunny", language_sdk=None, word_embedding_indexes_sdk=by_id, word_list=WORDS)
    (root / "urfunny2_videos").mkdir()
    (record,), _ = read("urfunny", root, "test", version=1)
    assert (record.text, record.context) == ("the good news", ("was bad", "the"))
    assert record.media is None, "version 1 has no clips, and those of version 2 have another context"
    with pytest.raises(DataError, match=r"language_sdk.pkl does not exist"):
        read("urfunny", root, "test", version=2)
    (root / "word_list.pkl").unlink()
    with pytest.raises(
        DataError,
        match=r"has neither language_sdk.pkl nor both word_embedding_indexes_sdk.pkl and word_list.pkl, which the",
    ):
        read("urfunny", root, "test", version=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (indexes(punchline=(0, 5)), r"the index 5 is outside of the 5 words of word_list.pkl"),
        (indexes(punchline=(-1,)), r"the index -1 is outside of the 5 words of word_list.pkl"),
        (indexes(context=((0.5,),)), r"its indexes are not lists of whole numbers \('float'"),
        (
            {"punchline_embedding_indexes": [0]},
            r"lacks context_embedding_indexes \(it has punchline_embedding_indexes\)",
        ),
    ],
)
def test_urfunny_version_1_indexes_that_are_wrong(wrong, message, read, tmp_path):
    by_id = {key: indexes() for key in URFUNNY["language_sdk.pkl"]} | {7: wrong}
    root = urfunny_tree(tmp_path / "u", language_sdk=None, word_embedding_indexes_sdk=by_id, word_list=WORDS)
    with pytest.raises(DataError, match=rf"^word_embedding_indexes_sdk.pkl, id 7: {message}"):
        read("urfunny", root, None, version=1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "data_folds",
            {"train": [3], "test": [7]},
            r"has to have the folds train, dev and test, and has 'train', 'test'",
        ),
        (
            "data_folds",
            URFUNNY["data_folds.pkl"] | {"extra": []},
            r"has to have the folds train, dev and test, and has 'train', 'dev', 'test', 'extra': take all files from",
        ),
        ("data_folds", [1], r"data_folds.pkl has to be a dictionary of folds, and is a list"),
        (
            "data_folds",
            URFUNNY["data_folds.pkl"] | {"dev": None},
            r"data_folds.pkl: fold dev is None and has to be a list",
        ),
        (
            "data_folds",
            URFUNNY["data_folds.pkl"] | {"dev": [7.5]},
            r"data_folds.pkl has the id 7.5, which is not a whole",
        ),
        (
            "data_folds",
            URFUNNY["data_folds.pkl"] | {"dev": [7, 3]},
            r"data_folds.pkl, fold dev, id 3: is in fold train already",
        ),
        (
            "data_folds",
            URFUNNY["data_folds.pkl"] | {"dev": [8]},
            r"data_folds.pkl, fold dev, id 8: is not in humor_label_sdk.pkl",
        ),
        (
            "humor_label_sdk",
            {14052: 1, 3: 0, "0011": 1},
            r"data_folds.pkl, fold dev, id 7: is not in humor_label_sdk.pkl",
        ),
        (
            "humor_label_sdk",
            URFUNNY["humor_label_sdk.pkl"] | {7: 2},
            r"humor_label_sdk.pkl, id 7: the label 2 is not 0 \(serious\)",
        ),
        (
            "humor_label_sdk",
            URFUNNY["humor_label_sdk.pkl"] | {7: "1"},
            r"humor_label_sdk.pkl, id 7: the label '1' is not 0",
        ),
        ("humor_label_sdk", URFUNNY["humor_label_sdk.pkl"] | {"7": 1}, r"has an id both as a number and as a string"),
        (
            "language_sdk",
            {3: urfunny_passage(3), 14052: urfunny_passage(1), "0011": urfunny_passage(1)},
            r"id 7: is not in language_sdk.pkl: take",
        ),
        (
            "language_sdk",
            URFUNNY["language_sdk.pkl"] | {7: "a"},
            r"language_sdk.pkl, id 7: 'a' is not a dictionary with",
        ),
        (
            "language_sdk",
            URFUNNY["language_sdk.pkl"] | {7: {"punchline_sentence": "a"}},
            r"language_sdk.pkl, id 7: lacks context_sentences \(it has punchline_sentence\): take all files from one",
        ),
        (
            "language_sdk",
            URFUNNY["language_sdk.pkl"] | {7: {"punchline_sentence": 3, "context_sentences": []}},
            r"language_sdk.pkl, id 7: 3 is not a sentence",
        ),
        ("language_sdk", ["a"], r"language_sdk.pkl has to be a dictionary by id, and is a list"),
        (
            "language_sdk",
            {7: re.compile("a")},
            r"language_sdk.pkl asks for re._compile, and a file of annotations needs",
        ),
    ],
)
def test_urfunny_files_that_are_wrong(name, content, message, read, tmp_path):
    root = urfunny_tree(tmp_path / "urfunny", **{name: content})
    with pytest.raises(DataError, match=message):
        read("urfunny", root, None)


def test_urfunny_version_is_1_or_2(read, tmp_path):
    with pytest.raises(
        ConfigError, match=r"options.version=3 of the reader 'urfunny' has to be of type Literal\[1, 2\]"
    ):
        read("urfunny", urfunny_tree(tmp_path / "urfunny"), "train", version=3)


# --- the published data, where it is at hand ---


@pytest.fixture(scope="module")
def shared():
    folder = os.environ.get("AFFECT_SHARED_DATA")
    if not folder:
        pytest.skip("AFFECT_SHARED_DATA does not name a folder with the published MUStARD and MIntRec.")
    return Path(folder)


def test_published_mustard(shared, read):
    by_split = {split: read("mustard", shared / "mustard", split)[0] for split in SPLITS}
    assert [len(records) for records in by_split.values()] == [268, 66, 356]
    assert [Counter(r.labels["sarcasm"] for r in records)["sarcastic"] for records in by_split.values()] == [
        154,
        39,
        152,
    ]
    shows = Counter(r.group.split("/")[0] for records in by_split.values() for r in records)
    assert shows == {"FRIENDS": 356, "BBT": 280, "GOLDENGIRLS": 40, "SARCASMOHOLICS": 14}
    groups = [{r.group for r in records} for records in by_split.values()]
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups)) == 675
    speakers = [{r.speaker for r in records} - {None} for records in by_split.values()]
    assert not (speakers[0] | speakers[1]) & speakers[2]
    assert max(len(r.context) for records in by_split.values() for r in records) == 11


def test_published_mintrec(shared, read):
    by_split = {split: read("mintrec", shared / "mintrec", split)[0] for split in SPLITS}
    assert [len(records) for records in by_split.values()] == [1_334, 445, 445]
    counts = Counter(r.labels["intent"] for r in by_split["train"])
    assert len(counts) == 20
    assert (counts["Complain"], counts["Inform"], counts["Apologise"], counts["Joke"]) == (172, 170, 82, 31)
    assert [len({r.group for r in records}) for records in by_split.values()] == [43, 43, 43]
    assert len({r.id.split("/", 2)[2] for records in by_split.values() for r in records}) == 2_224
