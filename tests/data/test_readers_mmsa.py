"""CMU-MOSI, CMU-MOSEI, CH-SIMS and CH-SIMS v2, on small trees laid out like the real ones. The sets themselves may not
be passed on, so their published sizes are tested where AFFECT_SHARED_DATA has them."""

import codecs
import os
import re
import time
from collections import Counter
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest
from dataset_fixtures import MMSA_HEADER, MMSA_ROWS, MMSA_TABLES, MOSEI_HEADER, mmsa_tree, write_lines
from dataset_fixtures import read_split as read

from affect.config import ConfigError, DataError, OnBadRows
from affect.config.tasks import problems as task_problems
from affect.data import SPLITS, Record
from affect.data.leakage import check_disjoint
from affect.data.problems import Excluded
from affect.data.readers import check_options, mosei, mosi, sims, simsv2
from affect.prompting.messages import messages

READERS = {"mosi": mosi, "mosei": mosei, "sims": sims, "simsv2": simsv2}
PUBLISHED = {
    "mosi": {"train": 1284, "val": 229, "test": 686},
    "mosei": {"train": 16326, "val": 1871, "test": 4659},
    "sims": {"train": 1368, "val": 456, "test": 457},
    "simsv2": {"train": 2722, "val": 647, "test": 1034},
}


COMPOSED = {}


@pytest.fixture
def split_of(configure):
    """`split_of(name, root, split, **options)`: what a run that chooses the dataset reads. Composed once a dataset."""

    def made(name, root, split="train", on_bad_rows="refuse", **options):
        if name not in COMPOSED:
            COMPOSED[name] = configure(f"dataset={name}").datasets[name]
        cfg, bad = COMPOSED[name], OnBadRows(on_bad_rows)
        return read(name, replace(cfg, root=str(root), options=cfg.options | options, on_bad_rows=bad), split)

    return made


# ---------------------------------------------------------------- what all four have in common


@pytest.mark.parametrize("name", READERS)
def test_the_configuration_fits_the_reader(configure, name):
    cfg = configure(f"dataset={name}").datasets[name]
    assert check_options(cfg) is READERS[name]
    parameters = [p for p in signature(READERS[name].records).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert {p.name: p.default for p in parameters} == cfg.options
    assert cfg.tasks == ["sentiment"]
    for task in cfg.task_definitions.values():
        assert not list(task_problems(task))
        assert list(task.question) == [cfg.language]
        assert "{low}" in task.question[cfg.language] and "{high}" in task.question[cfg.language]


def test_the_module_of_what_they_share_is_no_reader(configure):
    cfg = configure("dataset=mosi").datasets["mosi"]
    cfg.reader = "mmsa"
    with pytest.raises(ConfigError, match="reader=mmsa is not a"):
        check_options(cfg)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("spelling", ["valid", "val", "dev", "validation", " Valid "])
def test_splits_are_read_in_every_spelling(tmp_path, split_of, name, spelling):
    root = mmsa_tree(tmp_path, name, *(line.replace("valid", spelling) for line in MMSA_ROWS[name]))
    found = {split: split_of(name, root, split) for split in SPLITS}
    assert [len(found[split][0]) for split in SPLITS] == [2, 1, 1]
    assert not any(excluded for _, excluded in found.values())
    assert found["val"][0][0].id == f"{name}/val/" + {"mosi": "101787/3", "mosei": "101787/0"}.get(
        name, "video_0002/0001"
    )
    check_disjoint({split: records for split, (records, _) in found.items()}, speaker_independent=False)


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, split_of, name):
    path = mmsa_tree(tmp_path, name) / MMSA_TABLES[name]
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert len(split_of(name, tmp_path)[0]) == 2


@pytest.mark.parametrize("name", READERS)
def test_clips_are_named_where_their_folder_is(tmp_path, split_of, name):
    mmsa_tree(tmp_path, name)
    assert [r.media for r in split_of(name, tmp_path)[0]] == [None, None]
    (tmp_path / "Raw").mkdir()
    records = split_of(name, tmp_path)[0]
    for record in records:
        _, _, video, clip = record.id.split("/")
        assert record.media == str(tmp_path / "Raw" / video / f"{clip}.mp4")
        assert (record.start, record.end, record.group, record.speaker) == (None, None, video, None)


BROKEN = {
    "a column is missing": (
        lambda lines: [line.rsplit(",", 4)[0] for line in lines],
        r"{table} lacks the column 'mode'; it has: video_id, clip_id, text, label",
    ),
    "a column is called otherwise": (
        lambda lines: [lines[0].replace("clip_id", "Clip_ID"), *lines[1:]],
        r"{table} lacks the column 'clip_id' \(did you mean 'Clip_ID'\?\)",
    ),
    "a split is unknown": (
        lambda lines: [line.replace("train", "trian") for line in lines],
        r"{table}, row 2: the mode 'trian' is not one of train, valid, val, dev, validation, test: correct it",
    ),
    "a label is too large": (
        lambda lines: [lines[0], re.sub(r",-\d\.\d|,0\.3+4", ",-3.0000002", lines[1], count=1), *lines[2:]],
        r"{table}, row 2: the label '-3.0000002' of task 'sentiment' is not a number from -\d to \d: correct it",
    ),
    "a label is no number": (
        lambda lines: [lines[0], re.sub(r",-\d\.\d|,0\.3+4", ",nan", lines[1], count=1), *lines[2:]],
        r"{table}, row 2: the label 'nan' of task 'sentiment' is not a number",
    ),
    "a label is empty": (
        lambda lines: [lines[0], re.sub(r",-\d\.\d|,0\.3+4", ",", lines[1], count=1), *lines[2:]],
        r"{table}, row 2: the label is empty",
    ),
    "a clip is there twice": (
        lambda lines: [*lines, lines[1]],
        r"{table}, row 6: has the id '{name}/train/[\w-]+/\d+' of {table}, row 2: give every clip an id of its own",
    ),
    "a clip is in two splits": (
        lambda lines: [*lines, lines[1].replace("train", "test")],
        r"row 6: clip [\w-]+/\d+ is in split 'test' here and in 'train' in {table}, row 2: leave it in one of them",
    ),
    "a spreadsheet took the video for a number": (
        lambda lines: [lines[0], "1.01787E+05" + lines[1][lines[1].index(",") :], *lines[2:]],
        r"row 2: the video_id '1.01787E\+05' contains '\.', which no id does .*restore it from the original table",
    ),
    "pandas took the clip for a number": (
        lambda lines: [lines[0], re.sub(r",\d+,", ",1.0,", lines[1], count=1), *lines[2:]],
        r"row 2: the clip_id '1.0' contains '\.', which no id does",
    ),
    "an id is empty": (
        lambda lines: [lines[0], lines[1][lines[1].index(",") :], *lines[2:]],
        r"row 2: the video_id is empty: restore it from the original table",
    ),
    "a row has a cell too many": (
        lambda lines: [lines[0], lines[1] + ",", *lines[2:]],
        r"{table}, row 2: has 10 cells where the header has 9",
    ),
    "there are no rows": (lambda lines: lines[:1], r"{table} has a header but no rows"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_table_is_refused(tmp_path, split_of, name, mistake):
    change, message = BROKEN[mistake]
    mmsa_tree(tmp_path, name, *change(MMSA_ROWS[name]))
    with pytest.raises(DataError, match=message.format(table=re.escape(MMSA_TABLES[name]), name=name)):
        split_of(name, tmp_path, None)


@pytest.mark.parametrize("name", READERS)
def test_all_rows_are_reported_together(tmp_path, split_of, name):
    lines = list(MMSA_ROWS[name])
    lines[1] = lines[1].replace("train", "trian")
    lines[2] = re.sub(r",-?\d\.\d+,", ",7,", lines[2], count=1)
    lines[4] = lines[4].replace("test", "")
    mmsa_tree(tmp_path, name, *lines)
    with pytest.raises(DataError) as caught:
        split_of(name, tmp_path)
    *sentences, remedy = str(caught.value).splitlines()
    assert remedy.endswith(f"datasets.{name}.on_bad_rows=exclude")
    assert [re.search(r"row (\d)", sentence)[1] for sentence in sentences] in (["2", "4", "3"], ["2", "5", "3"])


@pytest.mark.parametrize("name", ["sims", "simsv2"])
def test_another_encoding_is_refused_by_line(tmp_path, split_of, name):
    (tmp_path / MMSA_TABLES[name]).write_bytes("\n".join(MMSA_ROWS[name]).encode("gb18030"))
    with pytest.raises(DataError, match=rf"{MMSA_TABLES[name]}, line 2: byte 0x\w\w is not UTF-8: save it as UTF-8"):
        split_of(name, tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_a_root_that_is_nearly_right_is_told(tmp_path, split_of, name):
    table = MMSA_TABLES[name]
    right = mmsa_tree(tmp_path / "sets" / f"CMU-{name.upper()}", name)
    (right / "Raw").mkdir()
    for wrong in (right.parent, right / "Raw", right.parent / name):
        said = f"{wrong / table} does not exist, but {right / table} does: set the dataset's root to {right}"
        with pytest.raises(DataError, match=re.escape(said)):
            split_of(name, wrong)
    with pytest.raises(DataError, match=rf"elsewhere/{name}/{table} does not exist, nor does its folder"):
        split_of(name, tmp_path / "elsewhere" / name)


@pytest.mark.parametrize("name", READERS)
def test_a_split_without_rows_is_refused(tmp_path, split_of, name):
    mmsa_tree(tmp_path, name, *MMSA_ROWS[name][:3])
    with pytest.raises(DataError, match=f"dataset '{name}' has no clip in split 'test'"):
        split_of(name, tmp_path, "test")


@pytest.mark.parametrize("name", READERS)
def test_published_sizes(split_of, name):
    shared = os.environ.get("AFFECT_SHARED_DATA")
    if shared is None or not (Path(shared) / name / MMSA_TABLES[name]).is_file():
        pytest.skip(f"AFFECT_SHARED_DATA names no folder with {name}/{MMSA_TABLES[name]}.")
    for split, count in PUBLISHED[name].items():
        records, excluded = split_of(name, Path(shared) / name, split)
        assert len(records) + sum(item.count for item in excluded) == count


# ---------------------------------------------------------------- CMU-MOSI


def test_mosi_record(tmp_path, split_of):
    mmsa_tree(tmp_path, "mosi")
    assert split_of("mosi", tmp_path)[0][1] == Record(
        id="mosi/train/_dI--eQ6qVU/12",
        dataset="mosi",
        split="train",
        text="THERE IS SAD PART, I THINK",
        labels={"sentiment": -0.8},
        group="_dI--eQ6qVU",
        source="label.csv, row 3",
    )


@pytest.mark.parametrize("folder", mosi.SEGMENTED)
def test_mosi_clips_in_the_folder_of_cmu(tmp_path, split_of, folder):
    mmsa_tree(tmp_path, "mosi")
    (tmp_path / folder).mkdir(parents=True)
    expected = str(tmp_path / folder / "_dI--eQ6qVU_1.mp4")
    assert split_of("mosi", tmp_path)[0][0].media == expected
    assert split_of("mosi", tmp_path, layout="cmu")[0][0].media == expected
    assert split_of("mosi", tmp_path, layout="mmsa")[0][0].media != expected


def test_mosi_layout_that_is_not_there(tmp_path, split_of):
    (mmsa_tree(tmp_path, "mosi") / "Raw").mkdir()
    with pytest.raises(DataError, match=r"none of the folders Raw/Video/Segmented, .*set options.layout=auto"):
        split_of("mosi", tmp_path, layout="cmu")
    with pytest.raises(ConfigError, match=r"options.layout='cmus' of the reader 'mosi'"):
        split_of("mosi", tmp_path, layout="cmus")


def test_mosi_names_the_rows_that_copies_lack(tmp_path, split_of):
    rows = ["2WGyTLYerpo,43,AND ALSO,1.0,,,,Positive,train", "BioHAh1qJAQ,30,NO,-1.0,,,,Negative,train"]
    mmsa_tree(tmp_path, "mosi", *MMSA_ROWS["mosi"], *rows)
    records, excluded = split_of("mosi", tmp_path)
    assert len(records) == 4
    assert excluded == [
        Excluded(
            id="mosi/train/2WGyTLYerpo/44",
            split="train",
            reason="label.csv has no row for clip 44 of 2WGyTLYerpo, which the published set has",
            source=str(tmp_path / "label.csv"),
        )
    ]
    assert not split_of("mosi", tmp_path, "test")[1]


# ---------------------------------------------------------------- CMU-MOSEI


def test_mosei_keeps_labels_as_they_are_and_reads_emotions_where_there_are(tmp_path, split_of):
    mmsa_tree(tmp_path, "mosei")
    assert [r.labels for r in split_of("mosei", tmp_path)[0]] == [{"sentiment": 0.33333334}, {"sentiment": -1.6666666}]
    emotions = ",".join(mosei.EMOTIONS)
    cells = ["0.6666667,0,0,3.0,0,0", "0,1,0,0,,0", "0,0,0,0,0,0", "0,0,0,0,0,3.1"]
    lines = [f"{line},{more}" for line, more in zip(MMSA_ROWS["mosei"], [emotions, *cells], strict=True)]
    mmsa_tree(tmp_path, "mosei", *lines)
    first, second = (r.labels for r in split_of("mosei", tmp_path)[0])
    assert first == {"sentiment": 0.33333334, "happy": 0.6666667, "sad": 0.0, "anger": 0.0} | {
        "surprise": 3.0,
        "disgust": 0.0,
        "fear": 0.0,
    }
    assert set(second) == {"sentiment", *mosei.EMOTIONS} - {"disgust"}
    with pytest.raises(DataError, match=r"row 5: the label '3.1' of task 'fear' is not a number from 0 to 3"):
        split_of("mosei", tmp_path, "test")
    mmsa_tree(tmp_path, "mosei", lines[0].replace("happy", "Happy"), *lines[1:])
    with pytest.raises(DataError, match=r"label.csv has the column 'Happy', where 'happy' is expected: rename it"):
        split_of("mosei", tmp_path)


def cmu_tree(folder, inside="", **transcripts):
    """CMU's folders, with a transcript a video, and label.csv."""
    mmsa_tree(folder, "mosei")
    (folder / inside / "Videos/Full/Combined").mkdir(parents=True)
    lines = {
        "-3g5yACwYnA": [
            "-3g5yACwYnA___2___4.84___14.052___I'm ___ quite proud.",
            "-3g5yACwYnA___13___-0.48___3.5___No",
        ],
        "101787": ["101787___0___0.0___5.5___It was fine"],
        "xyz_": ["xyz____0___1___2___Great"],
    } | transcripts
    for video, said in lines.items():
        write_lines(folder / inside / "Transcript/Segmented/Combined" / f"{video}.txt", *said, "")
    return folder


@pytest.mark.parametrize("inside", ["", "Raw"])
def test_mosei_clips_are_cut_by_the_times_of_the_transcripts(tmp_path, split_of, inside):
    root = cmu_tree(tmp_path, inside)
    videos = root / inside / "Videos/Full/Combined"
    records, excluded = split_of("mosei", root)
    assert not excluded
    assert records == [
        Record(
            id="mosei/train/-3g5yACwYnA/2",
            dataset="mosei",
            split="train",
            text="I'm ___ quite proud.",
            labels={"sentiment": 0.33333334},
            group="-3g5yACwYnA",
            media=str(videos / "-3g5yACwYnA.mp4"),
            start=4.84,
            end=14.052,
            source="label.csv, row 2",
        ),
        Record(
            id="mosei/train/-3g5yACwYnA/13",
            dataset="mosei",
            split="train",
            text="No",
            labels={"sentiment": -1.6666666},
            group="-3g5yACwYnA",
            media=str(videos / "-3g5yACwYnA.mp4"),
            start=0.0,  # half a second before the video begins, says the transcript
            end=3.5,
            source="label.csv, row 3",
        ),
    ]
    (one,), _ = split_of("mosei", root, "test")
    assert (one.id, one.text, one.start, one.end) == ("mosei/test/xyz_/0", "Great", 1.0, 2.0)
    videos.rmdir()
    (one,), _ = split_of("mosei", root, "test")
    assert (one.text, one.media, one.start, one.end) == ("Great", None, None, None)


def test_mosei_labels_of_cmu_by_interval_or_clip(tmp_path, split_of):
    root = cmu_tree(tmp_path)
    by_clip = tmp_path / "labels.csv"
    write_lines(by_clip, "video,clip,sentiment,happy,split", "-3g5yACwYnA,13,-2,0.5,train", "101787,0,1,0,val")
    (one,), _ = split_of("mosei", root, table="labels.csv")
    assert (one.id, one.text, one.labels) == ("mosei/train/-3g5yACwYnA/13", "No", {"sentiment": -2.0, "happy": 0.5})
    lines = ["video,start,end,sentiment,split", "-3g5yACwYnA,-0.480,3.5,-2,train", "-3g5yACwYnA,4.84,14.05,1,train"]
    write_lines(by_clip, *lines, "-3g5yACwYnA,20,21,1,train", "101787,0,5.5,1,val")
    records, excluded = split_of("mosei", root, table="labels.csv")
    assert [r.id for r in records] == ["mosei/train/-3g5yACwYnA/13", "mosei/train/-3g5yACwYnA/2"]
    assert [item.id for item in excluded] == ["mosei/train/-3g5yACwYnA/20000ms-21000ms"]
    write_lines(by_clip, *lines, "101787,0,later,1,val")
    with pytest.raises(DataError, match=r"labels.csv, row 4: start '0' and end 'later' have to be times in seconds"):
        split_of("mosei", root, None, table="labels.csv")
    write_lines(by_clip, "video,from,to,sentiment,split", *lines[1:])
    with pytest.raises(DataError, match=r"labels.csv lacks the column 'clip_id'"):
        split_of("mosei", root, table="labels.csv")


def test_mosei_rows_that_cannot_be_cut_are_listed(tmp_path, split_of):
    root = cmu_tree(tmp_path, **{"-3g5yACwYnA": ["-3g5yACwYnA___2___14___14___x"]})
    records, excluded = split_of("mosei", root, "val")
    assert len(records) == 1 and not excluded
    write_lines(root / "label.csv", *MMSA_ROWS["mosei"], "gone,0,x,0,Neutral,train,,,", "101787,1,x,0,Neutral,train,,,")
    write_lines(root / "label.csv", *(root / "label.csv").read_text().splitlines(), "101787,0,x,0,Neutral,valid,,,")
    with pytest.raises(
        DataError, match=r"no clip in split 'train' \(-3g5yACwYnA.txt has it begin at 14 s and end at 14"
    ):
        split_of("mosei", root)
    items = [item for item in mosei.records(root) if item.split == "train"]
    assert [(item.id, item.source) for item in items] == [
        ("mosei/train/-3g5yACwYnA/2", "label.csv, row 2"),
        ("mosei/train/-3g5yACwYnA/13", "label.csv, row 3"),
        ("mosei/train/gone/0", "label.csv, row 6"),
        ("mosei/train/101787/1", "label.csv, row 7"),
    ]
    assert "-3g5yACwYnA.txt has no line for this clip" in items[1].reason
    assert "there is no transcript gone.txt" in items[2].reason


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("101787___0___0.0___It was fine", r"101787.txt, line 2: is not 101787___clip___start___end___text with times"),
        ("101787___0___zero___1___It was", r"101787.txt, line 2: is not 101787___clip___start___end___text with times"),
        ("101788___0___0.0___1___It was", r"101787.txt, line 2: is not 101787___clip___start___end___text with times"),
        ("101787___0___0.0___1___It was", r"101787.txt, line 2: is a second line for clip 0: leave one of them out"),
    ],
)
def test_mosei_broken_transcripts_are_refused(tmp_path, split_of, line, message):
    root = cmu_tree(tmp_path, **{"101787": ["101787___0___0.0___5.5___It was fine", line]})
    with pytest.raises(DataError, match=message):
        split_of("mosei", root, "val")


def test_mosei_what_layout_cmu_needs(tmp_path, split_of):
    root = cmu_tree(tmp_path)
    transcript = root / "Transcript/Segmented/Combined/101787.txt"
    transcript.write_bytes(b"101787___0___0.0___5.5___caf\xe9\n")
    with pytest.raises(DataError, match=r"101787.txt: byte 0xe9 at 28 is not UTF-8"):
        split_of("mosei", root, "val")
    (root / "label.csv").unlink()
    with pytest.raises(
        DataError,
        match=r"label.csv does not exist, and CMU's archive has no table of final labels .*: put MMSA's label.csv"
        r" there, or a CSV with the columns video_id, clip_id \(or start and end\), label \(or sentiment\) and mode",
    ):
        split_of("mosei", root, "val")
    (root / "Transcript").rename(root / "Transcripts")
    for layout in ("auto", "cmu"):
        with pytest.raises(
            DataError, match=r"has neither the folder Transcript/Segmented/Combined nor Raw/Transcript/"
        ):
            split_of("mosei", root, "val", layout=layout)


def test_mosei_of_full_size_is_read_quickly(tmp_path, split_of):
    rows = [
        f'vid{number // 7:05d}_-x,{number % 7},"And so, I said, this is sentence number {number}",0.33333334,Positive,'
        f"{split},,,"
        for split, count, first in (("train", 16326, 0), ("valid", 1871, 20000), ("test", 4659, 30000))
        for number in range(first, first + count)
    ]
    mmsa_tree(tmp_path, "mosei", MOSEI_HEADER, *rows)
    (tmp_path / "Raw").mkdir()
    begin = time.process_time()
    sizes = Counter({split: len(split_of("mosei", tmp_path, split)[0]) for split in SPLITS})
    seconds = time.process_time() - begin
    assert sizes == PUBLISHED["mosei"]
    # All three splits, so the table is read three times; a busy machine takes several times as long as a free one.
    assert seconds < 6, f"{seconds:.1f} s of CPU for the three splits"


# ---------------------------------------------------------------- CH-SIMS and CH-SIMS v2


def test_sims_record(tmp_path, split_of):
    mmsa_tree(tmp_path, "sims")
    first, second = split_of("sims", tmp_path)[0]
    assert first == Record(
        id="sims/train/video_0001/0001",
        dataset="sims",
        split="train",
        text="我不想嫁给李茶",
        labels={"sentiment": -1.0, "sentiment_text": -1.0, "sentiment_audio": -0.8, "sentiment_video": -1.0},
        group="video_0001",
        language="zh",
        source="label.csv, row 2",
    )
    assert second.labels == {"sentiment": 0.2, "sentiment_audio": 0.0, "sentiment_video": 0.4}


def test_sims_is_asked_in_chinese(configure, tmp_path):
    cfg = configure("dataset=sims", "prompting=plain")
    cfg.datasets["sims"].root = str(mmsa_tree(tmp_path, "sims"))
    record = read("sims", cfg.datasets["sims"], "train")[0][0]
    asked = str(messages(record, cfg.datasets["sims"].task_definitions["sentiment"], cfg.prompting, "t"))
    assert "我不想嫁给李茶" in asked and "用-1.0（非常消极）到1.0（非常积极）之间的一个数字回答" in asked
    assert not re.search("[A-Za-z]{3,} [a-z]", asked.replace("'", "")), "English words are left in the prompt"


def test_sims_gets_its_leading_zeros_back(tmp_path, split_of):
    mmsa_tree(
        tmp_path, "sims", *(line.replace(",0001,", ",1,").replace(",0010,", ",10,") for line in MMSA_ROWS["sims"])
    )
    assert [r.id for r in split_of("sims", tmp_path)[0]] == ["sims/train/video_0001/0001", "sims/train/video_0001/0010"]


def older_release(folder):
    cells = [line.split(",") for line in MMSA_ROWS["sims"][1:]]
    for column, position in {"label_M": 3, "label_T": 4, "label_A": 5, "label_V": 6}.items():
        rows = [",".join((c[0], str(int(c[1])), c[2], c[position])) for c in cells]
        write_lines(folder / f"metadata/sentiment/{column}.csv", "video_id,clip_id,text,label", *rows)
    for split, positions in {"train": "01", "val": "2", "test": "3"}.items():
        write_lines(folder / f"metadata/{split}_index.csv", "index", *positions)
    return folder


def test_sims_older_release_gives_the_same_records(tmp_path, split_of):
    new, old = mmsa_tree(tmp_path / "new", "sims"), older_release(tmp_path / "old")
    for split in SPLITS:
        expected, found = (split_of("sims", root, split)[0] for root in (new, old))
        assert [(r.id, r.text, r.labels) for r in found] == [(r.id, r.text, r.labels) for r in expected]
    assert found[0].source == "label_M.csv, row 5"
    sentiment = old / "metadata/sentiment"
    for column in ("label_T", "label_A", "label_V"):
        (sentiment / f"{column}.csv").unlink()
    lines = [line.split(",") for line in (sentiment / "label_M.csv").read_text().splitlines()]
    write_lines(sentiment / "label_M.csv", *(",".join((c[0], c[1], c[3])) for c in lines))
    write_lines(old / "metadata/Translation.csv", "video_id,clip_id,Chinese", *(",".join(c[:3]) for c in lines[1:]))
    (one,), _ = split_of("sims", old, "test")
    assert (one.text, one.labels) == ("太好了", {"sentiment": 1.0})


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        (
            "val_index.csv",
            ["index", "4"],
            r"val_index.csv, row 2: the index '4' is not a row of label_M.csv, .* 0 to 3",
        ),
        ("val_index.csv", ["index", "2", "0"], r"val_index.csv, row 3: the index 0 is in split 'train' already"),
        ("val_index.csv", ["id", "2"], r"val_index.csv lacks the column 'index'; it has: id"),
        ("test_index.csv", ["index", "2.0"], r"the index '2.0' is not a row of label_M.csv"),
        (
            "train_index.csv",
            ["index", "1"],
            r"label_M.csv, row 2: clip video_0001/0001, which is index 0, is in none of",
        ),
        (
            "sentiment/label_A.csv",
            ["video_id,clip_id,label", "video_0001,1,0"],
            r"label_M.csv, row 3: clip video_0001/0010 has no row for its label_A in the file that holds it",
        ),
    ],
)
def test_sims_older_release_broken(tmp_path, split_of, file, lines, message):
    write_lines(older_release(tmp_path) / "metadata" / file, *lines)
    with pytest.raises(DataError, match=message):
        split_of("sims", tmp_path)


def test_sims_older_release_keeps_its_positions_when_a_row_is_left_out(tmp_path, split_of):
    older_release(tmp_path)
    sentiment = tmp_path / "metadata/sentiment"
    lines = (sentiment / "label_M.csv").read_text(encoding="utf-8").splitlines()
    write_lines(sentiment / "label_M.csv", lines[0], f"{lines[1]},too many", *lines[2:])
    with pytest.raises(DataError, match=r"label_M.csv, row 2: has 5 cells where the header has 4"):
        split_of("sims", tmp_path)
    found = {split: split_of("sims", tmp_path, split, on_bad_rows="exclude") for split in SPLITS}
    assert [[record.id.split("/", 1)[1] for record in records] for records, _ in found.values()] == [
        ["train/video_0001/0010"],
        ["val/video_0002/0001"],
        ["test/video_0003/0001"],
    ]
    assert [sum(item.count for item in excluded) for _, excluded in found.values()] == [1, 1, 1]
    (sentiment / "label_A.csv").write_text("video_id,clip_id,label\nvideo_0003,1,0\n", encoding="utf-8")
    records, excluded = split_of("sims", tmp_path, "test", on_bad_rows="exclude")
    assert len(records) == 1 and [item.source for item in excluded] == ["label_M.csv, row 2"]
    with pytest.raises(DataError, match=r"no clip in split 'val' .*clip video_0002/0001 has no row for its label_A"):
        split_of("sims", tmp_path, "val", on_bad_rows="exclude")


def test_mosei_lines_of_transcripts_are_not_counted_twice(tmp_path, split_of):
    said = ["-3g5yACwYnA___2___4.84___x___proud", "-3g5yACwYnA___13___1___3.5___No", "-3g5yACwYnA___13___7___8___No"]
    cmu_tree(tmp_path, **{"-3g5yACwYnA": said})
    records, excluded = split_of("mosei", tmp_path, "train", on_bad_rows="exclude")
    assert [(record.id, record.start) for record in records] == [("mosei/train/-3g5yACwYnA/13", 1.0)]
    assert [(item.source, item.count) for item in excluded] == [
        ("label.csv, row 2", 1),
        ("-3g5yACwYnA.txt, line 1", 0),
        ("-3g5yACwYnA.txt, line 3", 0),
    ]


def test_mosi_a_row_that_is_wrong_is_not_missing_too(tmp_path, split_of):
    rows = ["BioHAh1qJAQ,1,GOOD,1.0,,,,Positive,train", "BioHAh1qJAQ,30,BAD,,,,,Negative,train"]
    mmsa_tree(tmp_path, "mosi", *MMSA_ROWS["mosi"], *rows)
    _, excluded = split_of("mosi", tmp_path, "train", on_bad_rows="exclude")
    assert [(item.source, item.count, item.bad_row) for item in excluded] == [("label.csv, row 7", 1, True)]


def test_sims_older_release_without_an_index(tmp_path, split_of):
    (older_release(tmp_path) / "metadata/val_index.csv").unlink()
    with pytest.raises(DataError, match=r"metadata/val_index.csv does not exist"):
        split_of("sims", tmp_path)
    with pytest.raises(
        DataError, match=r"metadata/metadata/sentiment/label_M.csv does not exist, but .* set the .*root"
    ):
        split_of("sims", tmp_path / "metadata")
    with pytest.raises(DataError, match=r"sentiment has neither label.csv nor, as in the older release, metadata/"):
        split_of("sims", tmp_path / "metadata" / "sentiment")


def test_the_two_releases_are_told_apart(tmp_path, split_of):
    first, second = mmsa_tree(tmp_path / "a", "sims"), mmsa_tree(tmp_path / "b", "simsv2")
    with pytest.raises(DataError, match=r"has meta.csv where CH-SIMS has label.csv, .*: choose dataset=simsv2"):
        split_of("sims", second)
    with pytest.raises(DataError, match=r"has label.csv and no meta.csv, .*: choose dataset=sims, or set"):
        split_of("simsv2", first)
    assert len(split_of("simsv2", first, table="label.csv")[0]) == 2


def test_a_clip_has_the_same_video_and_clip_id_in_both_releases(tmp_path, split_of):
    first, second = mmsa_tree(tmp_path / "a", "sims"), mmsa_tree(tmp_path / "b", "simsv2")
    found = [
        {record.id.split("/", 1)[1] for record in split_of(*side)[0]} for side in (("sims", first), ("simsv2", second))
    ]
    assert found[0] & found[1] == {"train/video_0001/0001"}


def test_simsv2_keeps_ids_of_both_lengths_and_the_odd_label(tmp_path, split_of):
    mmsa_tree(tmp_path, "simsv2")
    assert [r.id for r in split_of("simsv2", tmp_path)[0]][1] == "simsv2/train/aqgy3_0001/00000"
    assert split_of("simsv2", tmp_path, "test")[0][0].labels["sentiment"] == -0.1
    mmsa_tree(tmp_path, "simsv2", *MMSA_ROWS["simsv2"][:2], MMSA_ROWS["simsv2"][3].replace(",0001,", ",1,"))
    with pytest.raises(DataError, match=r"meta.csv, row 3: the clip_id '1' has lost its leading zeros"):
        split_of("simsv2", tmp_path, None)


def test_simsv2_without_labels_is_predicted_and_not_scored(tmp_path, split_of):
    mmsa_tree(tmp_path, "simsv2", MMSA_HEADER, "aqgy1_0001,00000,好,,,,,,", "aqgy1_0001,00001,好,,,,,,unlabelled")
    records, _ = split_of("simsv2", tmp_path, "test")
    assert [(r.id, r.labels) for r in records] == [
        ("simsv2/test/aqgy1_0001/00000", {}),
        ("simsv2/test/aqgy1_0001/00001", {}),
    ]
    mmsa_tree(tmp_path, "simsv2", *MMSA_ROWS["simsv2"], "test1,00001,好,,0.2,0.2,0.2,Positive,test")
    with pytest.raises(DataError, match=r"row 6: the label is empty but label_T, label_A, label_V has one: restore it"):
        split_of("simsv2", tmp_path, None)


@pytest.mark.parametrize("name", ["sims", "simsv2"])
def test_sentiment_of_one_modality_is_checked_too(tmp_path, split_of, name):
    mmsa_tree(tmp_path, name, *(line.replace("-0.8", "-1.2") for line in MMSA_ROWS[name]))
    with pytest.raises(
        DataError, match=r"row 2: the label '-1.2' of task 'sentiment_audio' is not a number from -1 to 1"
    ):
        split_of(name, tmp_path)
    mmsa_tree(tmp_path, name, MMSA_ROWS[name][0].replace("label_T", "label_t"), *MMSA_ROWS[name][1:])
    with pytest.raises(DataError, match=r"has the column 'label_t', where 'label_T' is expected: rename it"):
        split_of(name, tmp_path)
