"""Clips that train a model and test it too, by whatever name: within a run, and of a model that was trained before."""

import csv
import functools
import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from dataset_fixtures import plus_plus_scene, plus_plus_tree
from tiny_models import tiny_manifest

from affect.cli.knowledge import main as describe
from affect.config import Config, ConfigError, DataError
from affect.data import Record, clip_rows, file_hashes, loading, stream_hashes
from affect.data.duplicates import compare_contents
from affect.data.media import SAMPLING_RATE, write_clip
from affect.data.overlap import Content, same_clips
from affect.data.part import Part
from affect.data.readers import manifest
from affect.runs import run_data, run_folder

Configure = Callable[..., Config]
Rows = list[tuple[str, str] | tuple[str, str, float, float]]

TASK = "datasets.manifest.task_definitions.label.labels=[joy,anger,sadness]"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of train_0.mp4 to train_3.mp4, test_0.mp4 and test_1.mp4, all different."""
    return tiny_manifest(tmp_path_factory.mktemp("corpus"), train=4, val=2, test=2).parent / "clips"


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """`table(name, rows)`: a manifest with a row for each (clip, split) or (clip, split, start, end)."""

    def made(name: str, rows: Rows) -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("clip", "text", "label", "split", "start", "end"))
            for number, (clip, split, *window) in enumerate(rows):
                begin, end = window or ("", "")
                label = ("joy", "anger", "sadness")[number % 3]
                writer.writerow((clip, f"the words of row {number} in {name}", label, split, begin, end))
        return path

    return made


@pytest.fixture
def read(configure: Configure, tmp_path: Path) -> Callable[..., tuple[Config, list[Part]]]:
    """`read(table, splits, *words)`: configuration and parts, after both checks that a run makes."""

    def made(table: Path, names: list[str], *words: str, program: str = "train", **keys: str) -> tuple:
        data = ["dataset=manifest", f"datasets.manifest.root={table}", f"cache_root={tmp_path / 'cache'}"]
        model = [] if any(word.startswith("model=") for word in words) else ["model=qwen2_5_omni_3b"]
        cfg = configure(*data, TASK, *model, *words, program=program)
        for key, value in keys.items():
            setattr(cfg, key, value)
        parts = loading.read(cfg, names)
        compare_contents(parts, cfg)
        return cfg, parts

    return made


def remux(source: Path, target: Path) -> str:
    """Copies the tracks of a file into another container, as `ffmpeg -c copy` does."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        tracks = {s.index: new.add_stream_from_template(s) for s in (*old.streams.audio, *old.streams.video)}
        for packet in old.demux(*(old.streams[index] for index in tracks)):
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                new.mux(packet)
    return str(target)


def in_three_splits(clips: Path, extra: Rows) -> Rows:
    own = [(str(clips / f"{split}_{i}.mp4"), split) for split in ("train", "val", "test") for i in (0, 1)]
    return [*own, *extra]


ALL = ["train", "val", "test"]


# ---------------------------------------------------------------- within a dataset


def renamed(clips: Path, folder: Path) -> str:
    return str(shutil.copyfile(clips / "train_0.mp4", folder / "other.mp4"))


def linked(clips: Path, folder: Path) -> str:
    (folder / "link.mp4").symlink_to(clips / "train_0.mp4")
    return str(folder / "link.mp4")


def linked_folder(clips: Path, folder: Path) -> str:
    (folder / "linked").symlink_to(clips)
    return str(folder / "linked" / "train_0.mp4")


def hard_link(clips: Path, folder: Path) -> str:
    os.link(clips / "train_0.mp4", folder / "hard.mp4")
    return str(folder / "hard.mp4")


@pytest.mark.parametrize("modalities", ["tav", "a", "t"])
@pytest.mark.parametrize(
    "copy",
    [
        renamed,
        linked,
        linked_folder,
        hard_link,
        *(lambda clips, folder, e=e: remux(clips / "train_0.mp4", folder / f"x.{e}") for e in ("mkv", "mov", "ts")),
    ],
    ids=["renamed", "link", "linked folder", "hard link", "mkv", "mov", "ts"],
)
def test_one_clip_under_another_name_in_train_and_test(
    clips: Path, table: Callable, read: Callable, tmp_path: Path, copy: Callable, modalities: str
) -> None:
    other = copy(clips, tmp_path)
    path = table("clips.csv", in_three_splits(clips, [(other, "test")]))
    with pytest.raises(DataError) as caught:
        read(path, ALL, f"modalities={modalities}")
    assert str(caught.value) == (
        f"clips.csv, row 8: split 'test' has the clip of clips.csv, row 2 in split 'train' ({other} holds what"
        f" {clips / 'train_0.mp4'} does): leave it in one of them, or set"
        " datasets.manifest.cross_split_duplicates to exclude (the copy in 'train' is left out) or allow"
    )


@pytest.mark.parametrize(
    ("train", "test", "same"),
    [
        ((0.0, 0.4), (0.2, 0.6), True),
        ((0.0, 0.4), (0.4, 0.6), False),
        ((0.0, 0.4), (0.31, 0.6), False),  # annotated times are rounded
        ((0.0, 0.4), (0.29, 0.6), True),
        (("", ""), (0.2, 0.6), True),
        ((0.2, ""), ("", 0.2), False),
        (("", 0.05), (0.0, 0.05), True),  # equal, however short
    ],
)
def test_windows_of_one_recording(
    clips: Path, table: Callable, read: Callable, train: tuple, test: tuple, same: bool
) -> None:
    whole = str(clips / "train_3.mp4")
    path = table("clips.csv", in_three_splits(clips, [(whole, "train", *train), (whole, "test", *test)]))
    if same:
        with pytest.raises(DataError, match=r"clips.csv, row 9: split 'test' has the clip of clips.csv, row 8 in spl"):
            read(path, ALL)
    else:
        read(path, ALL)


def test_windows_of_copies_count_from_their_own_beginning(
    clips: Path, table: Callable, read: Callable, tmp_path: Path
) -> None:
    copy = remux(clips / "train_3.mp4", tmp_path / "x.mkv")
    apart: Rows = [(str(clips / "train_3.mp4"), "train", 0.0, 0.4), (copy, "test", 0.4, 0.7)]
    read(table("apart.csv", in_three_splits(clips, apart)), ALL)
    apart[1] = (copy, "test", 0.2, 0.7)
    with pytest.raises(DataError, match=r"row 9: split 'test' has the clip of together.csv, row 8"):
        read(table("together.csv", in_three_splits(clips, apart)), ALL)


@pytest.mark.parametrize("how", [renamed, linked])
def test_duplicates_can_be_left_out_or_allowed(
    clips: Path, table: Callable, read: Callable, tmp_path: Path, how: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table("clips.csv", in_three_splits(clips, [(how(clips, tmp_path), "test")]))
    policy = "datasets.manifest.cross_split_duplicates"
    _, parts = read(path, ALL, f"{policy}=exclude")
    assert [len(part.records) for part in parts] == [1, 2, 3], "the test split stays whole"
    [gone] = parts[0].excluded
    assert (gone.id, gone.reason) == ("manifest/train/2", "same clip in split test")
    assert parts[0].account()["reasons"] == {"same clip in split test": 1}
    told = "manifest: 1 clips of split 'test' are in split 'train' too, and {}, since cross_split_duplicates={}; for"
    assert capsys.readouterr().out.count(told.format("left out of it", "exclude")) == 1
    _, parts = read(path, ALL, f"{policy}=allow")
    assert [len(part.records) for part in parts] == [2, 2, 3]
    assert capsys.readouterr().out.count(told.format("used in both", "allow")) == 1


def test_equal_words_are_not_one_clip(clips: Path, table: Callable, read: Callable) -> None:
    path = table("clips.csv", in_three_splits(clips, []))
    path.write_text("\n".join(line.replace("row 0", "row 4") for line in path.read_text().splitlines()) + "\n")
    assert path.read_text().count("the words of row 4") == 2
    assert [len(part.records) for part in read(path, ALL)[1]] == [2, 2, 2]
    assert [len(part.records) for part in read(path, ALL, "modalities=t")[1]] == [2, 2, 2]


def test_a_screen_or_a_silence_that_many_clips_have_makes_them_no_copies(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    black, moving = np.zeros((8, 32, 32, 3), np.uint8), noise.integers(0, 255, (2, 8, 32, 32, 3), dtype=np.uint8)
    sounds = [0.3 * noise.standard_normal(SAMPLING_RATE).astype(np.float32) for _ in range(2)]
    held = []
    for name, frames, sound in (
        *(("black", black, sound) for sound in sounds),
        *(("silent", each, np.zeros(SAMPLING_RATE, np.float32)) for each in moving),
        *(("mute", each, None) for each in moving),
    ):
        path = tmp_path / f"{name}{len(held)}.mp4"
        write_clip(path, frames=frames, fps=8, waveform=sound, sampling_rate=SAMPLING_RATE)
        held.append(file_hashes.file_contents([str(path)], tmp_path)[str(path)])
    same = {(a, b) for a in range(6) for b in range(a) if held[a].holds_the_same_as(held[b])}
    # A film with a silent track is the film without it.
    assert same == {(4, 2), (5, 3)}
    assert [len(content.audio) for content in held] == [1, 1, 0, 0, 0, 0]


def test_many_windows_of_one_long_recording_are_compared_quickly() -> None:
    def cut(split: str, shift: float) -> list[Record]:
        return [
            Record(
                id=f"m/{split}/{i}",
                dataset="m",
                split=split,
                text="",
                group="",
                media="long.mp4",
                start=i + shift,
                end=i + shift + 0.5,
            )
            for i in range(20_000)
        ]

    assert same_clips(cut("train", 0.0), cut("test", 0.5)) == []
    pairs = same_clips(cut("train", 0.0), cut("test", 0.25))
    assert [(a.id, b.id) for a, b in pairs[:2]] == [("m/train/0", "m/test/0"), ("m/train/1", "m/test/1")]
    assert len(pairs) == 20_000


def test_a_run_reads_every_dataset_once(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose labels are taken from its rows, and one that another dataset leaves out."""
    read: list[str] = []

    def counting(root: Path, records: Callable = manifest.records, **options: object) -> object:
        read.append(root.name)
        return records(root, **options)

    monkeypatch.setattr(manifest, "records", functools.wraps(manifest.records)(counting))
    first, second = tiny_manifest(tmp_path / "first", train=3, val=2, test=2), tmp_path / "second.csv"
    rows = [f",words,{label},{split}" for split in ALL for label in ("joy", "anger")]
    second.write_text("\n".join(["clip,text,label,split", *rows, ""]), encoding="utf-8")
    cfg = configure("dataset=manifest", f"datasets.manifest.root={first}", f"cache_root={tmp_path / 'cache'}")
    cfg.datasets["other"] = replace(cfg.datasets["manifest"], root=str(second), exclude_overlap_with=["manifest"])
    parts = loading.read(cfg, ALL)
    assert [(part.dataset, part.split) for part in parts] == [(n, s) for n in ("manifest", "other") for s in ALL]
    assert sorted(read) == sorted([first.name, "second.csv"])
    compare_contents(parts, cfg)
    assert len(read) == 2


# ---------------------------------------------------------------- hashes of tracks


def encoded(path: Path, codec: str) -> Path:
    wave = np.random.default_rng(1).integers(-9000, 9000, 16_000).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "first", "others"),
    [
        ("pcm_s16le", "wav", ["mkv", "mov"]),
        ("libmp3lame", "mp3", ["mkv", "mp4"]),
        ("aac", "m4a", ["aac", "mkv", "ts"]),
        ("libopus", "ogg", ["webm", "mkv", "mp4"]),
    ],
)
def test_sound_keeps_its_hash_in_other_containers(tmp_path: Path, codec: str, first: str, others: list[str]) -> None:
    path = encoded(tmp_path / f"a.{first}", codec)
    hashes = stream_hashes.stream_hashes(path)
    assert [len(kind) for kind in hashes] == [1, 0]
    for ending in others:
        assert stream_hashes.stream_hashes(remux(path, tmp_path / f"b.{ending}")) == hashes, ending


def test_lossless_sound_has_one_hash_in_every_codec(tmp_path: Path) -> None:
    made = [("a.wav", "pcm_s16le"), ("b.flac", "flac"), ("c.aiff", "pcm_s16be"), ("d.mkv", "pcm_s16be")]
    assert len({stream_hashes.stream_hashes(encoded(tmp_path / name, codec)) for name, codec in made}) == 1


def test_tracks_are_hashed_once_for_every_content(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    hashes = stream_hashes.stream_hashes
    monkeypatch.setattr(stream_hashes, "stream_hashes", lambda path: asked.append(path) or hashes(path))
    paths = [str(clips / "train_0.mp4"), renamed(clips, tmp_path), str(tmp_path / "gone.mp4")]
    (tmp_path / "torn.mp4").write_bytes((clips / "train_0.mp4").read_bytes()[:700])
    held = file_hashes.file_contents([*paths, str(tmp_path / "torn.mp4")], tmp_path / "cache")
    assert held[paths[0]] == held[paths[1]] and paths[2] not in held and len(asked) == 2
    assert held[str(tmp_path / "torn.mp4")].audio == ()
    assert file_hashes.file_contents(paths[:2], tmp_path / "cache") == {path: held[path] for path in paths[:2]}
    assert len(asked) == 2


# ---------------------------------------------------------------- a model that was trained before


@pytest.fixture
def trained(read: Callable, table: Callable, clips: Path, tmp_path: Path) -> Path:
    """The folder of a run whose annotations and clips are gone."""
    mine = tmp_path / "elsewhere"
    shutil.copytree(clips, mine)
    path = table("trained.csv", in_three_splits(mine, []))
    cfg, parts = read(path, ALL, f"output_root={tmp_path}")
    folder = run_folder.create(cfg, "train", str(tmp_path / "run"))
    run_data.write_clips(folder, cfg, parts, compare_contents(parts, cfg))
    run_data.write_data(folder, parts, {})
    path.unlink()
    shutil.rmtree(mine)
    return folder


def test_a_run_folder_knows_its_training_clips_without_the_data(
    trained: Path, clips: Path, table: Callable, read: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table("theirs.csv", [(renamed(clips, tmp_path), "test"), (str(clips / "train_3.mp4"), "test")])
    evaluated = {"program": "evaluate", "run": str(trained)}
    with pytest.raises(DataError) as caught:
        read(path, ["test"], **evaluated)
    assert str(caught.value) == (
        "dataset 'manifest' has 1 clips of dataset 'manifest' (1 in its test and the other's train; for example"
        f" manifest/test/2 is manifest/train/2), with which run={trained} was trained or its checkpoint chosen: they"
        " cannot test it, so evaluate with the options of that run, or leave them out with"
        " datasets.manifest.cross_split_duplicates=exclude, or choose another split or dataset"
    )
    with pytest.raises(DataError, match="has 1 clips of dataset 'manifest'"):
        read(path, ["test"], "modalities=t", **evaluated)
    _, [part] = read(path, ["test"], "datasets.manifest.cross_split_duplicates=exclude", **evaluated)
    assert [record.id for record in part.records] == ["manifest/test/3"]
    assert [item.reason for item in part.excluded] == [f"a training clip of run={trained}"]
    capsys.readouterr()
    with pytest.raises(DataError, match="with which run="):
        read(path, ["test"], "datasets.manifest.cross_split_duplicates=allow", **evaluated)
    free = table("free.csv", [(str(clips / "test_0.mp4"), "test"), (str(clips / "train_2.mp4"), "test")])
    assert len(read(free, ["test"], **evaluated)[1][0].records) == 2
    chose = table("chose.csv", [(remux(clips / "val_1.mp4", tmp_path / "v.mkv"), "test")])
    with pytest.raises(DataError, match="1 in its test and the other's val"):
        read(chose, ["test"], **evaluated)


def test_its_own_data_may_move_and_be_looked_at_again(
    trained: Path, clips: Path, table: Callable, read: Callable
) -> None:
    moved = table("moved.csv", in_three_splits(clips, []))
    for split in ALL:
        assert len(read(moved, [split], program="evaluate", run=str(trained))[1][0].records) == 2


def test_an_evaluation_stands_for_the_run_it_evaluated(
    trained: Path, clips: Path, table: Callable, read: Callable, configure: Configure, tmp_path: Path
) -> None:
    data = ["dataset=manifest", f"datasets.manifest.root={tmp_path / 'x.csv'}", "modalities=t"]
    cfg = configure(*data, program="evaluate")
    cfg.run = str(trained)
    evaluation = run_folder.create(cfg, "evaluate", str(tmp_path / "evaluation"))
    path = table("theirs.csv", [(str(clips / "train_0.mp4"), "test")])
    with pytest.raises(DataError, match=f"with which run={trained} was trained"):
        read(path, ["test"], program="evaluate", run=str(evaluation))


def test_an_exported_model_is_still_that_of_its_run(
    trained: Path, clips: Path, table: Callable, read: Callable, tmp_path: Path
) -> None:
    """By its folder, and so does a run that begins with it."""
    exported = tmp_path / "export_merged"
    exported.mkdir()
    shutil.copyfile(trained / clip_rows.FILE, exported / clip_rows.FILE)
    words = ["model=qwen2_5_omni_3b", f"model.checkpoint={exported}"]
    path = table("theirs.csv", [(str(clips / "train_0.mp4"), "test"), (str(clips / "train_3.mp4"), "test")])
    with pytest.raises(DataError, match=f"with which model.checkpoint={exported} was trained"):
        read(path, ["test"], *words, program="evaluate")
    rows = [("train_0", "train"), ("train_3", "train"), ("val_0", "val"), ("test_0", "test")]
    again = table("again.csv", [(str(clips / f"{name}.mp4"), split) for name, split in rows])
    cfg, parts = read(again, ALL, *words)
    second = run_folder.create(cfg, "train", str(tmp_path / "second"))
    run_data.write_clips(second, cfg, parts, compare_contents(parts, cfg))
    for name, refused in (("train_1", True), ("train_3", True), ("test_1", False)):
        path = table(f"{name}.csv", [(shutil.copyfile(clips / f"{name}.mp4", tmp_path / f"{name}_.mp4"), "test")])
        if refused:
            with pytest.raises(DataError, match=f"with which run={second} was trained"):
                read(path, ["test"], program="evaluate", run=str(second))
        else:
            read(path, ["test"], program="evaluate", run=str(second))


def test_clips_of_a_run_that_cannot_be_known_are_refused(
    trained: Path, clips: Path, table: Callable, read: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table("theirs.csv", [(str(clips / "train_0.mp4"), "test")])
    whole = (trained / clip_rows.FILE).read_bytes()
    (trained / clip_rows.FILE).write_bytes(whole[:-9])
    with pytest.raises(ConfigError, match=r"clips.json.gz cannot be read \(.*restore the file"):
        read(path, ["test"], program="evaluate", run=str(trained))
    (trained / clip_rows.FILE).unlink()
    with pytest.raises(DataError, match=r"^whether manifest has clips that run=.*allow_unknown_overlap=true$"):
        read(path, ["test"], program="evaluate", run=str(trained))
    read(path, ["test"], "allow_unknown_overlap=true", program="evaluate", run=str(trained))
    assert "is not known: " in capsys.readouterr().out


def test_a_run_of_an_earlier_version_is_known_by_its_data(
    clips: Path, table: Callable, read: Callable, tmp_path: Path
) -> None:
    cfg, _ = read(table("trained.csv", in_three_splits(clips, [])), ALL)
    folder = run_folder.create(cfg, "train", str(tmp_path / "old"))
    path = table("theirs.csv", [(renamed(clips, tmp_path), "test")])
    with pytest.raises(DataError, match=f"with which run={folder} was trained"):
        read(path, ["test"], program="evaluate", run=str(folder))


def test_words_that_a_model_was_trained_with_are_counted(
    trained: Path, clips: Path, table: Callable, read: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table("theirs.csv", [(str(clips / "train_3.mp4"), "test"), (str(clips / "test_1.mp4"), "test")])
    path.write_text(path.read_text().replace("row 1 in theirs.csv", "row 1 in trained.csv"))
    read(path, ["test"], program="evaluate", run=str(trained))
    told = "manifest test: 1 of 2 transcripts of 5 words and more are word for word those of clips that run="
    assert told in capsys.readouterr().out


def test_what_a_run_folder_keeps_is_small_and_holds_no_words(
    clips: Path, table: Callable, read: Callable, tmp_path: Path
) -> None:
    cfg, parts = read(table("trained.csv", in_three_splits(clips, [])), ALL)
    contents = compare_contents(parts, cfg)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run_data.write_clips(tmp_path / name, cfg, parts, contents)
    assert (tmp_path / "a" / clip_rows.FILE).read_bytes() == (tmp_path / "b" / clip_rows.FILE).read_bytes()
    kept = json.loads(gzip.decompress((tmp_path / "a" / clip_rows.FILE).read_bytes()))
    assert kept["readers"] == {"manifest": "manifest"} and len(kept["rows"]) == 6
    first = kept["rows"][0]
    assert (first["id"], first["split"], first["window"]) == ("manifest/train/2", "train", [None, None])
    assert len(first["sha256"]) == len(first["audio"][0]) == len(first["video"][0]) == 32
    assert "words" not in json.dumps(kept) and str(clips) not in json.dumps(kept)
    many = [
        Record(id=f"set/train/dialogue_{i}/{i % 20}", dataset="set", split="train", text=f"{i}", group="g")
        for i in range(10_000)
    ]
    random = np.random.default_rng(0)
    held = {r.id: Content(sha256=random.bytes(16).hex(), audio=(random.bytes(16).hex(),)) for r in many}
    clip_rows.write(tmp_path, clip_rows.rows(many, held), {"set": "meld"}, [])
    assert (tmp_path / clip_rows.FILE).stat().st_size < 1_000_000


def test_mustard_plus_plus_is_known_to_hold_what_a_run_on_mustard_learnt(configure: Configure, tmp_path: Path) -> None:
    def clip(dataset: str, split: str, name: str) -> Record:
        return Record(id=f"{dataset}/{split}/{name}", dataset=dataset, split=split, text="Yes.", group="g")

    cfg = configure("dataset=mustard", "data_root=/nowhere")
    folder = run_folder.create(cfg, "train", str(tmp_path / "run"))
    ids = {"train": ["1_60", "1_70"], "val": ["1_80"]}
    parts = [
        Part(
            dataset="mustard",
            split=s,
            expected=2,
            outside_subset=0,
            records=[clip("mustard", s, name) for name in names],
        )
        for s, names in ids.items()
    ]
    run_data.write_clips(folder, cfg, parts, {})
    rows = plus_plus_scene("1_60", "Yes.", "FRIENDS") + plus_plus_scene("2_1", "No.", "FRIENDS")
    plus_plus_tree(tmp_path / "mustard_plus_plus", rows)
    protocol = "datasets.mustard_plus_plus.options.protocol=speaker_independent"
    words = ("dataset=mustard_plus_plus", f"data_root={tmp_path}", protocol, "modalities=t")
    cfg = configure(*words, program="evaluate")
    cfg.run = str(folder)
    with pytest.raises(DataError, match=r"has 1 clips of dataset 'mustard' .*exclude_overlap_with=\[mustard\]"):
        loading.read(cfg, ["test"])
    cfg.datasets["mustard_plus_plus"].exclude_overlap_with = ["mustard"]
    [part] = loading.read(cfg, ["test"])
    assert [record.id for record in part.records] == ["mustard_plus_plus/test/2_1"]


# ---------------------------------------------------------------- a generator of descriptions


def described_by(folder: Path) -> list[str]:
    return ["knowledge=mllm", f"knowledge.mllm_run={folder}", "prompting=knowledge", "modalities=tav"]


def test_a_generator_may_not_describe_the_clips_it_was_trained_on(
    trained: Path, clips: Path, table: Callable, read: Callable, tmp_path: Path
) -> None:
    path = table("theirs.csv", in_three_splits(clips, [(renamed(clips, tmp_path), "test")]))
    words = ["datasets.manifest.cross_split_duplicates=allow", *described_by(trained)]
    for program in ("train", "evaluate"):
        with pytest.raises(DataError) as caught:
            read(path, ["test"], *words, program=program)
        assert f"with which knowledge.mllm_run={trained} was trained or its checkpoint chosen" in str(caught.value)
    excluded = [words[0].replace("allow", "exclude"), *words[1:]]
    _, [part] = read(path, ["test"], *excluded, program="evaluate")
    assert len(part.records) == 2
    # The generator of a run on the same clips describes train and val as what they were, and test is new to it.
    assert [len(p.records) for p in read(table("same.csv", in_three_splits(clips, [])), ALL, *words)[1]] == [2, 2, 2]


def test_a_val_clip_that_trained_the_generator_chooses_no_checkpoint(
    trained: Path, clips: Path, table: Callable, read: Callable
) -> None:
    rows = [("train_2", "train"), ("train_0", "val"), ("test_0", "test")]
    path = table("theirs.csv", [(str(clips / f"{name}.mp4"), split) for name, split in rows])
    with pytest.raises(DataError, match="1 in its val and the other's train"):
        read(path, ALL, *described_by(trained))


def test_the_program_that_fills_the_store_asks_too(
    trained: Path, clips: Path, table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table("theirs.csv", [(str(clips / "train_0.mp4"), "test"), (str(clips / "train_3.mp4"), "test")])
    data = ["dataset=manifest", f"datasets.manifest.root={path}", TASK, f"cache_root={tmp_path / 'cache'}"]
    words = [*data, "knowledge=mllm", f"knowledge.mllm_run={trained}", "knowledge.splits=[test]"]
    monkeypatch.setattr(sys, "argv", ["knowledge", *words])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        describe()
    assert f"with which knowledge.mllm_run={trained} was trained" in str(caught.value)
    assert not (tmp_path / "cache" / "knowledge").exists()
