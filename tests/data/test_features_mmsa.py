"""MMSA's feature files: each clip gets its own steps of them, and what does not fit is refused, or counted and said."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_fixtures import MMSA_ROWS, mmsa_tree
from feature_files import pickled, split_of, write

from affect.baselines.features import files
from affect.config import DataError, WriteError
from affect.data import Record, loading
from affect.data.features import mmsa_pickle, pooled
from affect.data.features.mmsa import MmsaFeatures
from affect.data.part import Part

ALL = ("text", "audio", "video")
IDS = {
    "train": ["_dI--eQ6qVU$_$1", "_dI--eQ6qVU$_$12", "03bSnISJMiM$_$3"],
    "valid": ["101787$_$3", "a_b$_$0"],
    "test": ["jUzDDGyPkXU$_$0", "jUzDDGyPkXU$_$10"],
}
LABELS = {"train": [-2.4, -0.8, 1.0], "valid": [0.0, 1 / 3], "test": [3.0, -1.0]}


def mosi(**options: Any) -> dict[str, dict[str, Any]]:
    return {name: split_of(ids, LABELS[name], seed=number, **options) for number, (name, ids) in enumerate(IDS.items())}


def part(split: str = "train", **changes: Any) -> Part:
    """The part that the annotations of `mosi()` make."""
    name = {"val": "valid"}.get(split, split)
    records = [
        Record(
            id=f"mosi/{split}/{spelled.replace('$_$', '/')}",
            dataset="mosi",
            split=split,
            text="SAD",
            group=spelled.split("$_$")[0],
            labels={"sentiment": label},
            source=f"label.csv, row {row}",
        )
        for row, (spelled, label) in enumerate(zip(IDS[name], LABELS[name], strict=True), start=2)
    ]
    options = {"expected": len(records), "outside_subset": 0, "records": records} | changes
    return Part(dataset="mosi", split=split, **options)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., MmsaFeatures]:
    """The features of a file with this content."""

    def made(content: Any, *, protocol: int = 4, old: bool = True, modalities: tuple[str, ...] = ALL) -> MmsaFeatures:
        path = tmp_path / "Processed" / "unaligned_50.pkl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else pickled(content, protocol, old=old))
        return MmsaFeatures(path, tmp_path / "cache", modalities)

    return made


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(("protocol", "old"), [(2, True), (3, True), (4, True), (4, False), (5, True), (5, False)])
def test_each_clip_has_its_own_steps_in_every_protocol(read, tmp_path, protocol, old):
    content = mosi()
    features = read(content, protocol=protocol, old=old)
    assert features.widths == {"text": 768, "audio": 5, "video": 20}
    for split in ("train", "val", "test"):
        fields = content[{"val": "valid"}.get(split, split)]
        for row, record in enumerate(part(split).records):
            found = features.of(record)
            assert list(found) == ["text", "audio", "video"]
            for modality, first in (("text", 3), ("audio", 5), ("video", 4)):
                array = fields[{"video": "vision"}.get(modality, modality)]
                assert found[modality].dtype is torch.float32 and found[modality].shape[0] == first + row
                assert np.array_equal(found[modality].numpy(), array[row, : first + row])
    assert not list((tmp_path / "cache" / "features").glob(".*")), "something was left beside it"


def test_aligned_clips_have_the_steps_of_text(read):
    content = mosi(aligned=True)
    features = read(content)
    for row, record in enumerate(part().records):
        found = features.of(record)
        assert {len(sequence) for sequence in found.values()} == {3 + row}
        assert np.array_equal(found["audio"].numpy(), content["train"]["audio"][row, : 3 + row])


@pytest.mark.parametrize("aligned", [True, False])
def test_clips_that_are_padded_in_front(read, capsys, aligned):
    content = mosi(aligned=aligned)
    for fields in content.values():
        for name, axis in (("text", 1), ("audio", 1), ("vision", 1), ("text_bert", 2)):
            # The steps of a clip go to the end in their order.
            fields[name] = np.stack([np.roll(clip, -steps, axis - 1) for clip, steps in _with_steps(fields, name)])
    features = read(content)
    expected = mosi(aligned=aligned)["train"]
    for row, record in enumerate(part().records):
        for modality, sequence in features.of(record).items():
            steps = 3 + row if aligned or modality == "text" else {"audio": 5, "video": 4}[modality] + row
            array = expected[{"video": "vision"}.get(modality, modality)]
            assert np.array_equal(sequence.numpy(), array[row, :steps]), modality
    features.join(part())
    said = capsys.readouterr().out
    assert "audio features in unaligned_50.pkl: 3 of 3 clips are padded in front, so their last steps are used" in said


def _with_steps(fields: dict[str, Any], name: str) -> list[tuple[np.ndarray, int]]:
    given = fields.get(f"{name}_lengths", [3, 4, 5][: len(fields["id"])])
    return list(zip(fields[name], given, strict=True))


def test_the_same_content_is_converted_once(read, tmp_path, capsys):
    content = mosi()
    first = read(content)
    assert "reading the features, once for this content" in capsys.readouterr().out
    again = MmsaFeatures(write(tmp_path / "elsewhere.pkl", content), tmp_path / "cache", ["audio"])
    assert "reading" not in capsys.readouterr().out
    assert again.widths == {"audio": 5} and list(again.of(part().records[0])) == ["audio"]
    assert again.identity() != first.identity() and again.identity()["sha256"] == first.identity()["sha256"]
    content["train"]["audio"][0, 0, 0] += 1
    assert read(content).identity()["sha256"] != first.identity()["sha256"]
    assert "reading" in capsys.readouterr().out


def test_it_can_be_handed_to_other_processes_and_its_tensors_are_their_own(read):
    features = read(mosi())
    record = part().records[1]
    before = features.of(record)["audio"].clone()
    copy = pickle.loads(pickle.dumps(features))
    features.of(record)["audio"].zero_()
    assert torch.equal(copy.of(record)["audio"], before) and torch.equal(features.of(record)["audio"], before)
    assert len(pickle.dumps(features)) < 10_000


def test_numbers_that_are_not_finite_count_as_zero(read, capsys):
    content = mosi()
    content["train"]["audio"] = content["train"]["audio"].astype(np.float64)
    content["train"]["audio"][0, 1, :3] = [-np.inf, np.inf, np.nan]
    content["train"]["audio"][2, 0, 4] = 1e300  # is infinite in float32
    content["train"]["audio"][2, 100, 4] = -np.inf  # beyond the clip
    content["train"]["vision"][1, 0] = np.nan
    features = read(content)
    records = part().records
    assert features.of(records[0])["audio"][1].tolist()[:3] == [0, 0, 0]
    assert features.of(records[2])["audio"][0, 4] == 0 and not features.of(records[1])["video"][0].any()
    assert np.array_equal(features.of(records[0])["audio"][0], content["train"]["audio"][0, 0].astype(np.float32))
    for split in ("train", "val"):
        features.join(part(split))
    said = capsys.readouterr().out
    assert (
        "mosi train: audio features in unaligned_50.pkl: 2 of 3 clips have 4 numbers that are -inf, inf or NaN, which"
        " count as 0" in said
    )
    assert "mosi train: video features in unaligned_50.pkl: 1 of 3 clips have 20 numbers that are -inf" in said
    assert "1 of 3 clips have steps beyond their length that are not zero and are left out, as in MMSA" in said
    assert "mosi val: audio" not in said


def test_lengths_beyond_the_array_and_of_zero(read, capsys):
    content = mosi()
    content["train"]["audio_lengths"] = np.array([9999, 0, 7.0])
    content["train"]["text_bert"][1] = 0
    features = read(content)
    found = [features.of(record) for record in part().records]
    assert [len(sequences["audio"]) for sequences in found] == [375, 1, 7]
    assert len(found[1]["text"]) == 1 and not found[1]["text"].any() and not found[1]["audio"].any()
    features.join(part())
    said = capsys.readouterr().out
    assert "audio features in unaligned_50.pkl: 1 of 3 clips have a length beyond the steps of the file" in said
    assert "audio features in unaligned_50.pkl: 1 of 3 clips have no step and are used as one step of zeros" in said
    assert "text features in unaligned_50.pkl: 1 of 3 clips have no step" in said


def test_text_without_a_mask_ends_with_its_last_step_that_is_not_zero(read):
    content = mosi()
    for fields in content.values():
        del fields["text_bert"]
    assert [len(read(content).of(record)["text"]) for record in part().records] == [3, 4, 5]


def test_ids_as_bytes_arrays_and_with_another_joint(read):
    for spelled in (
        lambda ids: [name.encode() for name in ids],
        lambda ids: np.array(ids),
        lambda ids: np.array(ids, object),
        lambda ids: tuple(name.replace("$_$", "/") for name in ids),
        lambda ids: [name.replace("$_$", "_") for name in ids],
    ):
        content = mosi()
        for fields in content.values():
            fields["id"] = spelled(fields["id"])
        assert [len(read(content).of(record)["audio"]) for record in part().records] == [5, 6, 7]


# ---------------------------------------------------------------- how it is joined


def test_records_and_features_that_have_no_counterpart(read, capsys):
    features = read(mosi())
    ours = part()
    more = [
        Record(id=f"mosi/train/{clip}", dataset="mosi", split="train", text="", group="x", source=f"row {clip}")
        for clip in ("nowhere/1", "101787/3")
    ]
    ours.records = [*ours.records[1:], *more]
    ours.expected, ours.outside_subset = 5, 1
    features.join(ours)
    assert [record.id for record in ours.records] == ["mosi/train/_dI--eQ6qVU/12", "mosi/train/03bSnISJMiM/3"]
    assert [(item.id, item.split, item.reason, item.source) for item in ours.excluded] == [
        ("mosi/train/nowhere/1", "train", "no features in unaligned_50.pkl", "row nowhere/1"),
        ("mosi/train/101787/3", "train", "unaligned_50.pkl has its features in split 'val'", "row 101787/3"),
    ]
    said = capsys.readouterr().out
    assert f"mosi train: 2 of 4 clips have features in {features.path}\n" in said
    assert (
        "mosi train: 2 of 4 clips are left out, since the file has no features of them in this split, 1 of them because"
        " they are in another split of it (mosi/train/nowhere/1, mosi/train/101787/3; exclusions.csv of a run lists"
        " them)" in said
    )
    assert (
        "mosi train: 1 of the 3 clips of this split of the file are not used, since no record has them"
        " (_dI--eQ6qVU$_$1; records outside of the subset: 1)" in said
    )


def test_what_fits_is_said_in_one_line(read, capsys):
    features = read(mosi())
    capsys.readouterr()
    ours = part("val")
    features.join(ours)
    assert capsys.readouterr().out == f"mosi val: 2 of 2 clips have features in {features.path}\n"
    assert len(ours.records) == 2 and not ours.excluded


@pytest.mark.parametrize("name", ["mosi", "mosei", "sims", "simsv2"])
def test_the_records_of_the_readers_find_their_features(configure, tmp_path, capsys, name):
    cfg = configure(f"dataset={name}", f"datasets.{name}.root={mmsa_tree(tmp_path / name, name)}", "modalities=t")
    rows = [line.split(",") for line in MMSA_ROWS[name][1:]]
    content: dict[str, Any] = {}
    for split in ("train", "valid", "test"):
        of_split = [row for row in rows if split in row]
        labels = [float(next(cell for cell in row[3:] if cell.strip("-.0123456789") == "" != cell)) for row in of_split]
        content[split] = split_of([f"{row[0]}$_${row[1]}" for row in of_split], labels)
    features = MmsaFeatures(write(tmp_path / name / "Processed" / "f.pkl", content), tmp_path / "cache", ALL)
    capsys.readouterr()
    for ours, count in zip(loading.read(cfg, ["train", "val", "test"]), (2, 1, 1), strict=True):
        features.join(ours)
        assert len(ours.records) == count and not ours.excluded
        assert [len(features.of(record)["audio"]) for record in ours.records] == [5, 6][:count]
        said = capsys.readouterr().out
        assert said == f"{name} {ours.split}: {count} of {count} clips have features in {features.path}\n", said


def test_labels_that_differ_are_counted_and_said(read, capsys):
    content = mosi()
    content["train"]["regression_labels"] = [-2.4, -0.8001, np.nan]
    content["valid"]["regression_labels"] = [1.0, 1 / 3]
    content["valid"]["regression_labels_T"] = [1.0, 1.0]
    features = read(content)
    for split in ("train", "val"):
        features.join(part(split))
    said = capsys.readouterr().out
    assert "mosi train: 1 of 3 clips have another label" not in said
    assert (
        "mosi val: 1 of 2 clips have another label for sentiment in the annotations than in unaligned_50.pkl"
        " (mosi/val/101787/3: 0 and 1): that of the annotations is used" in said
    )


def test_a_file_of_another_dataset(read):
    features = read(mosi())
    ours = part()
    for record in ours.records:
        object.__setattr__(record, "id", record.id.replace("/_dI", "/0dI").replace("03b", "33b"))
    with pytest.raises(
        DataError,
        match=r"unaligned_50.pkl has none of the 3 clips of mosi train: its ids are like '_dI--eQ6qVU\$_\$1', where"
        r" '0dI--eQ6qVU\$_\$1' was looked for: name the file of this dataset in features.file",
    ):
        features.join(ours)
    swapped = read({"train": mosi()["test"], "test": mosi()["train"]})
    with pytest.raises(DataError, match="none of the 3 clips of mosi train, though 3 of them are in its other splits"):
        swapped.join(part())
    with pytest.raises(DataError, match=r"has no clips in split 'val', which mosi has \(it has some in train, test\)"):
        swapped.join(part("val"))
    with pytest.raises(DataError, match=r"has no features of mosi/train/_dI--eQ6qVU/1 in its split 'train'"):
        swapped.of(part().records[0])


# ---------------------------------------------------------------- what is refused


def changed(change: Callable[[dict[str, Any]], Any], split: str = "train") -> dict[str, Any]:
    content = mosi()
    change(content[split])
    return content


BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "no dict": (lambda: [1, 2], r"holds a list, and MMSA's feature files a dict of train, valid and test"),
    "other splits": (lambda: {"fold1": {}}, r"holds a dict of fold1, and MMSA's"),
    "two of a split": (
        lambda: mosi() | {"val": mosi()["valid"]},
        r"has the splits 'valid' and 'val', which are one: delete one",
    ),
    "no id": (
        lambda: changed(lambda fields: fields.pop("id")),
        r"split 'train' has no field 'id' \(it has annotations, audio, .*\), so its rows cannot be joined to clips",
    ),
    "ids of the CMU SDK": (
        lambda: changed(lambda fields: fields.update(id=np.array([["a", "0", "1"]] * 3))),
        r"split 'train': 'id' has the shape \(3, 3\), and MMSA's files one string a clip .* perhaps a file of the CMU",
    ),
    "an empty id": (
        lambda: changed(lambda fields: fields["id"].__setitem__(1, " ")),
        r"split 'train', row 1: the id ' ' is empty or no text, so the row belongs to no clip: restore it",
    ),
    "an id that is a number": (
        lambda: changed(lambda fields: fields["id"].__setitem__(1, 7), "valid"),
        r"split 'valid', row 1: the id 7 is empty or no text",
    ),
    "an id that is not UTF-8": (
        lambda: changed(lambda fields: fields["id"].__setitem__(0, b"\xff")),
        r"split 'train', row 0: the id b'\\xff' is empty or no text",
    ),
    "an id twice": (
        lambda: changed(lambda fields: fields["id"].__setitem__(2, fields["id"][0])),
        r"split 'train', row 2: the id '_dI--eQ6qVU\$_\$1' is that of row 0 too: leave one of them out",
    ),
    "arrays of other clips": (
        lambda: changed(lambda fields: fields.update(vision=fields["vision"][:2])),
        r"split 'train': 'vision' has 2 rows and 'id' 3, so it is not known which clip a row belongs to",
    ),
    "labels of other clips": (
        lambda: changed(lambda fields: fields.update(regression_labels=[1.0])),
        r"split 'train': 'regression_labels' has 1 rows and 'id' 3",
    ),
    "text as bytes": (
        lambda: changed(lambda fields: fields.update(text=np.full((3, 50), b"word"))),
        r"split 'train': 'text' is an array of the type \|S4, not of numbers: restore it",
    ),
    "a list of arrays": (
        lambda: changed(lambda fields: fields.update(audio=list(fields["audio"]))),
        r"split 'train': 'audio' is a list, not an array \(clips, steps, numbers\): make the file again",
    ),
    "vectors": (
        lambda: changed(lambda fields: fields.update(audio=fields["audio"].mean(1))),
        r"split 'train': 'audio' has the shape \(3, 5\), not \(clips, steps, numbers\): name a file of sequences",
    ),
    "another width": (
        lambda: changed(lambda fields: fields.update(audio=fields["audio"][:, :, :4]), "test"),
        r"has other widths in split 'train' \(\{'text': 768, 'audio': 5, 'video': 20\}\) than in 'test'",
    ),
    "a modality in some splits": (
        lambda: changed(lambda fields: fields.pop("text"), "test"),
        r"has other widths in split 'train' .* than in 'test' \(\{'audio': 5, 'video': 20\}\)",
    ),
    "no features": (
        lambda: {"train": {"id": ["a$_$1"]}},
        r"split 'train' has none of text, audio, vision: name a file of features in features.file",
    ),
    "one of the lengths": (
        lambda: changed(lambda fields: fields.pop("audio_lengths")),
        r"split 'train' has vision_lengths and no audio_lengths, so it is not known which steps are padding",
    ),
    "no lengths": (
        lambda: changed(lambda fields: [fields.pop("audio_lengths"), fields.pop("vision_lengths")]),
        r"split 'train' has no audio_lengths, and 'audio' is not aligned to text \(it has 375 steps, text 50\)",
    ),
    "a negative length": (
        lambda: changed(lambda fields: fields["audio_lengths"].__setitem__(1, -4)),
        r"split 'train', row 1 \(_dI--eQ6qVU\$_\$12\): 'audio_lengths' is -4, not a number of steps: restore it",
    ),
    "half a step": (
        lambda: changed(lambda fields: fields["audio_lengths"].__setitem__(1, 4.5)),
        r"row 1 .*: 'audio_lengths' is 4.5, not a number of steps",
    ),
    "no length for a clip": (
        lambda: changed(lambda fields: fields["audio_lengths"].__setitem__(1, None)),
        r"row 1 \(_dI--eQ6qVU\$_\$12\): 'audio_lengths' is None, not a number: restore it",
    ),
    "lengths of other clips": (
        lambda: changed(lambda fields: fields["audio_lengths"].pop()),
        r"split 'train': 'audio_lengths' has 2 rows and 'id' 3",
    ),
    "a length that is an array": (
        lambda: changed(lambda fields: fields["audio_lengths"].__setitem__(1, np.array([4, 5]))),
        r"row 1 .*: 'audio_lengths' is array\(\[4, 5\]\), not a number",
    ),
    "one length for all": (
        lambda: changed(lambda fields: fields.update(audio_lengths=375)),
        r"split 'train': 'audio_lengths' is 375, not a list of one number a clip",
    ),
    "text_bert of other steps": (
        lambda: changed(lambda fields: fields.update(text_bert=fields["text_bert"][:, :, :39])),
        r"split 'train': 'text_bert' has the shape \(3, 3, 39\) where that of 'text', \(3, 50, 768\), asks for",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_refused_by_name(read, tmp_path, case):
    content, sentence = BROKEN[case]
    with pytest.raises(DataError, match=r"unaligned_50\.pkl.*" + sentence):
        read(content())
    assert not list((tmp_path / "cache").glob("features/*")), "something was left of it"


def test_a_modality_that_is_not_there(read):
    content = mosi()
    for fields in content.values():
        del fields["vision"]
    with pytest.raises(
        DataError,
        match=r"unaligned_50.pkl has no field vision \(it has text, audio\): leave video out of the modalities, or name"
        " another",
    ):
        read(content)
    assert read(content, modalities=("audio", "text")).widths == {"text": 768, "audio": 5}


def test_an_empty_split_is_refused_by_those_who_need_it(read):
    content = mosi()
    content["valid"] = {name: values[:0] for name, values in content["valid"].items()}
    features = read(content)
    features.join(part())
    with pytest.raises(DataError, match=r"has no clips in split 'val', which mosi has \(it has some in train, test\)"):
        features.join(part("val"))


def test_splits_that_are_no_splits_are_said(read, capsys):
    read(mosi() | {"train_mix": mosi()["train"]})
    assert "not read, since they are none of train, valid and test: train_mix" in capsys.readouterr().out


def test_files_that_are_no_whole_and_harmless_pickles(read, tmp_path):
    whole = pickled(mosi())
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(DataError, match=r"unaligned_50\.pkl is not a whole pickle .*: get the file again"):
            read(whole[:length])
    with pytest.raises(DataError, match=r"unaligned_50\.pkl is not a whole pickle"):
        read(b"video_id,clip_id,text\n")

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    with pytest.raises(DataError, match=r"asks for posix\.system, and a file of features needs only .* malicious"):
        read(mosi() | {"train_mix": Payload()}, old=False)
    with pytest.raises(DataError, match=r"asks for torch\._utils\._rebuild_tensor_v2, and a file of features needs"):
        read({"train": {"text": torch.zeros(1, 2, 3)}}, old=False)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(
        DataError,
        match=r"aligned_50.pkl does not exist \(its folder has unaligned_50.pkl\): put MMSA's feature file there, or",
    ):
        MmsaFeatures(tmp_path / "Processed" / "aligned_50.pkl", tmp_path / "cache", ALL)


def test_a_converted_file_that_is_damaged(read, tmp_path, capsys):
    read(mosi())
    [folder] = (tmp_path / "cache" / "features").iterdir()
    (folder / "index.json").write_text('{"joint"')
    capsys.readouterr()
    again = read(mosi())
    assert "index.json is damaged" in capsys.readouterr().out
    packed = folder / "train.audio.f32"
    packed.write_bytes(packed.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"train.audio.f32 has 356 bytes where 360 were written: delete .*, and it is"):
        read(mosi())
    with pytest.raises(DataError, match=r"train.audio.f32 was cut short while it was in use: delete"):
        again.of(part().records[2])


def test_a_file_that_changes_while_it_is_read(read, tmp_path, monkeypatch):
    convert = mmsa_pickle.read

    def copied_late(path: Path) -> Any:
        splits = convert(path)
        path.write_bytes(path.read_bytes() + b" ")
        return splits

    monkeypatch.setattr(mmsa_pickle, "read", copied_late)
    with pytest.raises(DataError, match=r"unaligned_50.pkl changed while it was read: start the run again"):
        read(mosi())
    monkeypatch.undo()
    assert len(read(mosi()).of(part().records[0])["audio"]) == 5


def test_workers_of_a_data_loader_read_at_once(read):
    features = read(mosi())
    records = [record for split in ("train", "val", "test") for record in part(split).records] * 20
    expected = [features.of(record)["video"] for record in records]  # the file is open before the workers are made
    loader = torch.utils.data.DataLoader(
        records, batch_size=None, num_workers=2, collate_fn=lambda record: features.of(record)["video"]
    )
    assert all(torch.equal(first, second) for first, second in zip(loader, expected, strict=True))


def test_a_cache_that_cannot_be_written(read, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").write_text("a file")
    with pytest.raises(WriteError, match=r"the features of .* could not be kept in .*/features .*: they need at most"):
        read(mosi())


# ---------------------------------------------------------------- pooling


@pytest.mark.parametrize(("steps", "most"), [(10, 3), (7, 7), (3, 50), (375, 50), (50, 1), (101, 100)])
def test_pooling_takes_means_of_segments(steps, most):
    sequence = torch.randn(steps, 4, generator=torch.Generator().manual_seed(0))
    found = pooled(sequence, most)
    expected = (
        [
            sequence[[step for step in range(steps) if step * most // steps == segment]].mean(0)
            for segment in range(most)
        ]
        if steps > most
        else list(sequence)
    )
    assert torch.allclose(found, torch.stack(expected), atol=1e-6) and len(found) == min(steps, most)


def test_pooling_divides_evenly_and_keeps_types():
    sequence = torch.arange(12.0).reshape(6, 2)
    assert pooled(sequence, 3).tolist() == [[1, 2], [5, 6], [9, 10]]
    long = torch.full((60_000, 1), 60_000, dtype=torch.float16)
    assert pooled(long, 2).dtype is torch.float16 and pooled(long, 2).tolist() == [[60_000], [60_000]]
    with pytest.raises(ValueError, match="max_steps has to be at least 1, not 0"):
        pooled(sequence, 0)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("Processed/unaligned_50.pkl", "Processed/unaligned_50.pkl"),
        ("Processed/unaligned_50.pkl", "Processed/unaligned_39.pkl"),
        ("Processed/unaligned_50.pkl", "unaligned_39.pkl"),
        ("Processed/unaligned_39.pkl", "unaligned_39.pkl"),
    ],
)
def test_the_unaligned_file_of_ch_sims_is_found_under_each_of_its_names(configure, tmp_path, asked, name):
    root = tmp_path / "sims"
    steps = {"text": 39, "audio": 400, "vision": 55}
    path = write(root / name, {"train": split_of(["video_0001$_$0001"], [-1.0], steps=steps)})
    words = ("model=mult", "dataset=sims", f"datasets.sims.root={root}", f"cache_root={tmp_path / 'cache'}")
    [features] = files(configure(*words, "features=mmsa_unaligned", f"features.file={asked}")).values()
    assert features.path == path and features.widths == {"text": 768, "audio": 5, "video": 20}


def test_an_absent_file_is_named_with_all_its_names(configure, tmp_path):
    write(tmp_path / "other.pkl", {})
    words = ("model=mult", "dataset=sims", f"datasets.sims.root={tmp_path}", "features=mmsa_unaligned")
    with pytest.raises(DataError) as refused:
        files(configure(*words))
    looked_for = ("Processed/unaligned_50.pkl does not", "Processed/unaligned_39.pkl, nor", "/unaligned_39.pkl (their")
    assert all(part in str(refused.value) for part in looked_for) and "folders have other.pkl)" in str(refused.value)
    with pytest.raises(DataError, match=r"Processed/own.pkl does not exist \(its folder has no other .pkl file\): put"):
        files(configure(*words, "features.file=Processed/own.pkl"))  # no other file is taken for one that is named
    with pytest.raises(DataError, match=r"unaligned_50.pkl does not exist \(its folder"):
        files(configure("model=mult", "dataset=mosi", f"datasets.mosi.root={tmp_path}", "features=mmsa_unaligned"))
