"""What affect.data.audit finds in records and clips; that it decodes once, and goes on where it was."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import wave
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console

from affect.config import Config, ConfigError, DataError, DatasetConfig, Kind, Task
from affect.data import SPLITS, Record, annotations, clip_checks, published_texts, readers
from affect.data.audit import clip_findings, clips, findings, table
from affect.data.audit.clips import FLOOR_DBFS, black, level, measurements
from affect.data.audit.examine import Examination, examine
from affect.data.audit.findings import known_clips, known_issues
from affect.data.counts import classes, total
from affect.data.facts import Finding, Severity
from affect.data.media import write_clip
from affect.data.problems import Excluded
from affect.data.published_texts import normalised, text_hash, text_hashes

Configure = Callable[..., Config]
ROOT = Path(__file__).resolve().parents[2]
EMOTION = Task(name="emotion", labels=["joy", "anger"], question={"en": "?"})


def record(name: str, split: str = "train", text: str = "So.", label: str | None = "joy", **rest) -> Record:
    labels = {} if label is None else {"emotion": label}
    return Record(
        **{"id": f"set/{split}/{name}", "dataset": "set", "split": split, "text": text, "labels": labels, "group": name}
        | rest
    )


def config(**rest) -> DatasetConfig:
    plain = {"reader": "manifest", "root": "set.csv", "tasks": ["emotion"], "task_definitions": {"emotion": EMOTION}}
    return DatasetConfig(**plain | rest)


def only(found: Sequence[Finding], words: str) -> Finding:
    """The one finding whose text matches."""
    matching = [finding for finding in found if re.search(words, finding.what)]
    assert len(matching) == 1, (words, [finding.what for finding in found])
    return matching[0]


# ---------------------------------------------------------------- published sizes


SHIPPED = sorted(path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml"))


def shipped(configure: Configure, name: str, **options) -> DatasetConfig:
    words = [f"dataset={name}", "modalities=" + ("av" if name == "mer2023" else "t"), f"datasets.{name}.root=nowhere"]
    words += [f"datasets.{name}.options.{option}={value}" for option, value in options.items()]
    return configure(*words, program="doctor").datasets[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_dataset_states_its_facts(name, configure: Configure):
    config = shipped(configure, name)
    module = readers.module(config.reader)
    facts = ("PUBLISHED", "LICENCE", "KNOWN_ISSUES", "SAME_CLIPS_AS")
    assert [fact for fact in facts if not hasattr(module, fact)] == []
    assert module.LICENCE.endswith(".") and all(readers.module(other) is not None for other in module.SAME_CLIPS_AS)
    for issue in module.KNOWN_ISSUES:
        assert all(id.startswith(f"{config.reader}/") for id in issue.clips)
    counts = readers.published(config)
    for each in counts:
        assert each.options.keys() <= config.options.keys() and set(each.splits) <= set(SPLITS)
        for task_name, classes_of in each.classes.items():
            task = config.task_definitions[task_name]
            labels = {"negative", "zero", "positive"} if task.kind is Kind.intensity else set(task.labels)
            assert set(classes_of) == labels and sum(classes_of.values()) == each.count
    assert bool(counts) == any(each.classes for each in counts) == (name not in ("demo", "manifest"))


def test_classes_of_each_kind():
    number = Task(name="emotion", kind=Kind.intensity, low=-1, high=1, step=0.5)
    several = Task(name="emotion", kind=Kind.multi_label, labels=["joy", "anger"])
    records = [record("0", label=-0.1), record("1", label=0.0), record("2", label=1.0), record("3", label=None)]
    assert classes(records, number) == {"negative": 1, "zero": 1, "positive": 1}
    both = [record("0", label=("anger", "joy")), record("1", label=("joy",)), record("2", label=())]
    assert classes(both, several) == {"joy": 2, "anger": 1}
    assert classes([record("0")], EMOTION) == {"joy": 1, "anger": 0}


def test_sizes_that_differ_and_classes_that_do():
    meld = readers.constant("meld", "PUBLISHED", ())
    tasks = {"emotion": Task(name="emotion", labels=list(meld[0].classes["emotion"]))}
    whole = [
        record(f"{label}{i}", "val", label=label) for label, n in meld[1].classes["emotion"].items() for i in range(n)
    ]
    settings = DatasetConfig(reader="meld", root="", tasks=["emotion"], task_definitions=tasks)
    assert list(findings.sizes({"val": whole}, meld, settings)) == [], "splits that are not there are not counted as 0"
    less = only(list(findings.sizes({"val": whole[5:]}, meld, settings)), "1,104 clips, 1,109 published")
    assert less.severity is Severity.error and less.count == 5
    changed = [record("other", "val", label="joy"), *whole[1:]]
    odd = only(list(findings.sizes({"val": changed}, meld, settings)), "classes of emotion")
    assert "neutral 469 for 470" in odd.what and "joy 164 for 163" in odd.what and odd.severity is Severity.error


def test_what_a_reader_leaves_out_is_one_finding_a_reason():
    missing = [
        Excluded(id=f"set/train/{i}", split="train", reason=f"there is no file Actor_0{i}/a.wav", source=f"a{i}.wav")
        for i in range(9)
    ]
    outside = Excluded(id="set/test/x", split="test", reason="other (oth), not in the set", source="f", count=3)
    first, second = findings.left_out([*missing, outside], complete={"test"})
    assert first.count == 9 and first.severity is Severity.warning and len(first.examples) == 5
    assert "train 9: " in first.what and "Actor_…" in first.what
    assert second.count == 3 and second.severity is Severity.note and "other (oth)" in second.what


# ---------------------------------------------------------------- records


def test_texts():
    by_split = {
        "train": [record("0", text=" "), record("1", text="It\u2019s"), record("2", text="plain")],
        "val": [record("3", "val", text="don\xd5t"), record("4", "val", text="We\u00e2\u20ac\u2122re")],
    }
    found = list(findings.texts(by_split, config()))
    assert only(found, "empty").ids == ("set/train/0",)
    assert only(found, "wrongly read").ids == ("set/val/3", "set/val/4")
    foreign = only(found, "not ASCII")
    assert foreign.count == 3 and foreign.severity is Severity.note and "train 1, val 2" in foreign.what
    assert "U+2019 1" in foreign.what
    chinese = {"train": [record("0", text="我不想嫁给李茶"), record("1", text="Ça va, Õ mort")]}
    assert list(findings.texts(chinese, config(language="zh"))) == []
    nothing = list(findings.texts({"train": [record("0", text="nan"), record("1", text="Nan, look!")]}, config()))
    assert only(nothing, "the transcript is 'nan', which pandas").ids == ("set/train/0",)
    without_text = {"train": [record("0", text="")]}
    assert list(findings.texts(without_text, config(modalities="av"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "I don?t know",
        "It?s na?ve",
        "qu?est-ce que c'est ?",
        "???, ???????!",
        "don\ufffdt",
        "It\x92s",
        "itâ€™s",
        "caf\u00c3\u00a9",
        "Â¿qu\u00c3\u00a9?",
        "donвЂ™t",
        "don‚Äôt",
        "donΓÇÖt",
        "don鈥檛",
        "ðŸ˜€ great",
        "ÐŸÑ€Ð¸Ð²ÐµÑ‚",
        "ä½\u00a0å¥½",
        "don&#39;t &amp; won&rsquo;t",
        r"don\u2019t",
        r"don\x92t",
    ],
)
def test_texts_of_a_broken_encoding(text):
    [finding] = findings.texts({"val": [record("0", "val", text=text)]}, config(language="fr"))
    assert finding.severity is Severity.warning and "val 1: the transcript has " in finding.what


@pytest.mark.parametrize(
    "text",
    [
        "It\u2019s fine \u2014 really\u2026",
        "What?No! Oh?My God?",
        "Who? me?",
        "??",
        "Really??!",
        "café, naïve, Ångström, MANHÃ, São Paulo",
        "S\u00c9\u2026 \u00abOui\u00bb, dit-elle",
        "\u4f60\u597d\u5417?\u6211\u4e0d\u77e5\u9053\uff1f",
        "Привет, мир",
        "AT&T; R&D at 5 > 3 & C:\\new\\use",
        "20 € – 30 £",
    ],
)
def test_texts_that_are_as_they_should_be(text):
    assert [each for each in findings.texts({"val": [record("0", "val", text=text)]}, config(language="zh"))] == []


def test_damage_in_the_published_file_is_a_note_and_other_texts_are_an_error(monkeypatch, tmp_path):
    texts = ["I?ve got it.", "So \u2018what\u2019\u2026", "It\u2019s fine\u2014really", "No"]
    published = [record(f"{i}", "val", id=f"meld/val/0/{i}", dataset="meld", text=t) for i, t in enumerate(texts)]
    known = b"".join(sorted(text_hash(each, "meld") for each in published))
    (tmp_path / "meld.json").write_text(json.dumps({"hashes": base64.b64encode(known).decode()}), encoding="utf-8")
    monkeypatch.setattr(published_texts, "FOLDER", tmp_path)
    hashes = text_hashes("meld")
    assert hashes is not None and len(hashes) == 4 and text_hashes("mustard") is None
    settings = config(reader="meld")
    assert only(list(findings.texts({"val": published}, settings, hashes)), "inside words").severity is Severity.note
    # Another name of the dataset, and a copy with quotes and dashes of ASCII: the texts are the published ones.
    copy = [replace(r, id=r.id.replace("meld", "mine"), dataset="mine", text=normalised(r.text)) for r in published]
    assert list(findings.published_texts({"val": copy}, settings, hashes)) == []
    copy[2] = replace(copy[2], text="It?s fine-really")
    copy[3] = replace(copy[3], text=copy[0].text)
    [finding] = findings.published_texts({"val": copy}, settings, hashes)
    assert finding.severity is Severity.error and finding.ids == ("mine/val/0/2", "mine/val/0/3")
    assert finding.what.startswith("val: 2 of 4 texts differ from the published file")
    [lost, _] = findings.texts({"val": copy}, settings, hashes)
    assert (lost.severity, lost.ids) == (Severity.warning, ("mine/val/0/2", "mine/val/0/3"))
    assert "(the first: 'It?s')" in lost.what


def test_labels():
    by_split = {
        "train": [record("0"), record("1", label="anger"), record("2", label=None)],
        "test": [record("3", "test")],
    }
    found = list(findings.labels(by_split, config()))
    assert only(found, "train: no label for emotion").ids == ("set/train/2",)
    assert only(found, "test: no clip of emotion is anger").severity is Severity.warning
    assert len(found) == 2
    unlabelled = list(findings.labels({"train": [record("0", label=None)]}, config()))
    assert [finding.severity for finding in unlabelled] == [Severity.error]


def test_speakers_groups_and_texts_in_several_splits():
    by_split = {
        "train": [record("0", speaker="anna", group="film"), record("1", speaker="ben", group="other")],
        "test": [
            record("2", "test", text="so.", speaker="anna", group="film"),
            record("3", "test", text="No", group="new"),
        ],
    }
    found = list(findings.shared(by_split, config()))
    assert only(found, "speakers in more than one split: anna").severity is Severity.note
    assert only(found, "1 of 3 groups").severity is Severity.warning
    assert only(found, "text and label").ids == ("set/test/2",)
    strict = list(findings.shared(by_split, config(speaker_independent=True)))
    assert only(strict, "speakers").severity is Severity.error


def test_other_labels_are_no_repeated_text():
    by_split = {"train": [record("0")], "test": [record("1", "test", label="anger")]}
    assert list(findings.shared(by_split, config())) == []


# ---------------------------------------------------------------- single sets


def meld_record(split: str, dialogue: int, utterance: int) -> Record:
    name = f"{dialogue}/{utterance}"
    return record(name, split, id=f"friends/{split}/{name}", dataset="friends", group=f"{split}/{dialogue}")


def issues(reader: str, name: str, root: Path, by_split) -> list[Finding]:
    return list(known_issues(name, config(reader=reader, root=str(root)), by_split))


def test_quirks_of_meld(tmp_path):
    train = [meld_record("train", *ids) for ids in [(0, 0), (0, 1), (2, 0), (2, 2), (125, 3)]]
    found = issues("meld", "friends", tmp_path, {"train": train})
    assert only(found, "no readable clip").ids == ("friends/train/125/3",)
    assert only(found, "ids not given out: 1, 3").count == 126 - 3
    assert only(found, "do not number").count == 2
    assert {"friends/train/125/3", "friends/val/110/7"} <= known_clips("friends", "meld").keys()
    assert {finding.severity for finding in found} == {Severity.note}


def test_clips_of_meld_that_no_row_stands_for(tmp_path):
    (tmp_path / "dev_splits_complete").mkdir()
    for name in ("dia0_utt0", "dia66_utt9"):
        (tmp_path / "dev_splits_complete" / f"{name}.mp4").touch()
    header = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\nSo.,Ross,joy,positive,0,0\n"
    (tmp_path / "dev_sent_emo.csv").write_text(header, encoding="utf-8")
    found = list(issues("meld", "meld", tmp_path, {"val": [meld_record("val", 0, 0)]}))
    assert "dia66_utt9.mp4" in only(found, "no row").what


def test_quirks_of_other_sets(tmp_path):
    intents = [record("0", label="x", labels={"intent": "Apologise"}), record("1", labels={"intent": "Thank"})]
    assert only(list(issues("mintrec", "set", tmp_path, {"train": intents})), "Apologise").count == 1
    shows = [record("0", group="FRIENDS/1"), record("1", group="BBT/2")]
    assert only(list(issues("mustard", "set", tmp_path, {"train": shows})), "shows").severity is Severity.warning
    videos = [record("0", group="-mJ2ud6oKI8"), record("1", group="elsewhere")]
    assert only(list(issues("mosei", "set", tmp_path, {"train": videos})), "wrong times").ids == ("set/train/0",)
    values = [record(f"{v}", labels={"sentiment": v}) for v in (-0.1, -0.2, 0.6, 1.0)]
    assert only(list(issues("simsv2", "set", tmp_path, {"test": values})), "0.2").ids == ("set/train/-0.1",)
    assert list(issues("manifest", "set", tmp_path, {"train": shows})) == []


# ---------------------------------------------------------------- one clip


def test_level():
    time = np.arange(16000, dtype=np.float32) / 16000
    assert level(np.sin(2 * np.pi * 440 * time)) == pytest.approx(-3.01, abs=0.01)
    assert level(np.full(100, 0.1, dtype=np.float32)) == pytest.approx(-20)
    assert level(np.zeros(100, dtype=np.float32)) == FLOOR_DBFS
    assert level(np.full(100, 1e-9, dtype=np.float32)) == FLOOR_DBFS


def test_black():
    frames = np.zeros((4, 10, 10, 3), dtype=np.uint8)
    frames[1] = 25  # a tenth of full luma is still black
    frames[2] = 27
    frames[3, 0, :3] = 255  # three of a hundred pixels are lit: subtitles, a lamp
    assert black(frames) == 0.5
    frames[:] = (0, 255, 0)
    assert black(frames) == 0


# ---------------------------------------------------------------- clips of a dataset


def write_wav(path: Path, seconds: float, amplitude: float, frequency: float = 200) -> str:
    samples = amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * 16000)) / 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((32767 * samples).astype("<i2").tobytes())
    return str(path)


def write_video(path: Path, brightness: int, seconds: float = 1.0, sound: bool = True) -> str:
    frames = np.full((round(10 * seconds), 32, 32, 3), brightness, dtype=np.uint8)
    waveform = 0.1 * np.ones(round(seconds * 16000), dtype=np.float32) if sound else None
    write_clip(path, frames=frames, fps=10, waveform=waveform, sampling_rate=16000)
    return str(path)


@pytest.fixture
def odd(tmp_path) -> dict[str, list[Record]]:
    """A record for each thing that can be odd about a clip."""
    corrupt = tmp_path / "corrupt.mp4"
    corrupt.write_bytes(b"no film at all " * 100)
    same = write_video(tmp_path / "same.mp4", 150)
    (tmp_path / "copy.mp4").write_bytes(Path(same).read_bytes())
    media = {
        "good": write_video(tmp_path / "good.mp4", 120),
        "black": write_video(tmp_path / "black.mp4", 0),
        "long": write_video(tmp_path / "long.mp4", 90, seconds=3),
        "mute": write_video(tmp_path / "mute.mp4", 60, sound=False),
        "blind": write_wav(tmp_path / "blind.wav", 1, 0.5),
        "silent": write_wav(tmp_path / "silent.wav", 1, 0.0),
        "short": write_wav(tmp_path / "short.wav", 0.2, 0.5, 300),
        "gone": str(tmp_path / "gone.mp4"),
        "known": str(tmp_path / "known.mp4"),
        "corrupt": str(corrupt),
        "same": same,
        "whole": write_wav(tmp_path / "whole.wav", 2, 0.2),
        "part": str(tmp_path / "whole.wav"),
    }
    train = [record(name, media=path) for name, path in media.items()]
    train[-1] = record("part", media=media["part"], start=0.5, end=1.5)
    return {"train": train, "test": [record("copy", "test", media=str(tmp_path / "copy.mp4"))]}


def test_odd_clips(odd, tmp_path):
    everything = [r for records in odd.values() for r in records]
    measured = measurements(everything, "av", tmp_path / "cache", num_workers=2)
    assert list(measured) == [r.id for r in everything]
    assert measured["set/train/good"].outcomes == {} and measured["set/train/good"].black == 0
    assert measured["set/train/mute"].seconds == pytest.approx(1, abs=0.05), "what a clip has is measured all the same"
    assert measured["set/train/part"].content == measured["set/train/whole"].content
    found = list(clip_findings.clips(odd, measured, {"set/train/known": "in no copy"}, max_seconds=2.5))
    told = {
        r"missing \(": ("gone", Severity.error),
        "missing, as in every copy": ("known", Severity.note),
        "corrupt": ("corrupt", Severity.error),
        "no_audio": ("mute", Severity.warning),
        "below -70 dBFS": ("silent", Severity.warning),
        "frames are black": ("black", Severity.warning),
        "longer than model.max_seconds=2.5": ("long", Severity.warning),
        "shorter than 0.3 s": ("short", Severity.warning),
    }
    for words, (name, severity) in told.items():
        finding = only(found, f"train 1: .*{words}")
        assert (finding.ids, finding.severity) == ((f"set/train/{name}",), severity)
    assert only(found, "no_video").ids == tuple(f"set/train/{n}" for n in ("blind", "silent", "short", "whole", "part"))
    twins = only(found, "by content, is in more than one split")
    assert twins.ids == ("set/train/same", "set/test/copy") and twins.severity is Severity.error
    assert len(found) == len(told) + 2, [finding.what for finding in found]


def test_what_clips_are_used_in_spite_of(tmp_path):
    good = write_wav(tmp_path / "good.wav", 1, 0.5)
    content = Path(good).read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:-3000])
    with wave.open(str(tmp_path / "opposite.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.tile(np.array([5000, -5000], dtype="<i2"), 16000).tobytes())
    records = [record(name, media=str(tmp_path / f"{name}.wav")) for name in ("good", "cut", "opposite")]
    for _ in range(2):  # measured, then kept
        measured = measurements(records, "a", tmp_path / "cache", num_workers=1)
        found = list(clip_findings.clips({"train": records}, measured, {}, max_seconds=30))
        cut = only(found, "train 1: the last moments of their sound are missing .*ends at 0.91 s")
        opposite = only(found, "train 1: their channels cancel each other .*channel 0 alone was taken")
        assert len(found) == 2 and cut.severity is opposite.severity is Severity.note
        assert (cut.ids, opposite.ids) == (("set/train/cut",), ("set/train/opposite",))
        assert measured["set/train/opposite"].level == pytest.approx(20 * np.log10(5000 / 32768), abs=0.01)


def test_the_same_content_within_a_split(tmp_path):
    path = write_wav(tmp_path / "a.wav", 1, 0.1)
    by_split = {"train": [record("0", media=path), record("1", media=path), record("2", media=path, start=0.5)]}
    measured = measurements(by_split["train"], "a", tmp_path, num_workers=1)
    twins = only(list(clip_findings.clips(by_split, measured, {}, max_seconds=30)), "under several ids")
    assert twins.ids == ("set/train/0", "set/train/1") and twins.severity is Severity.warning


def test_windows_that_overlap_and_other_containers_are_found_across_splits(tmp_path):
    path = write_wav(tmp_path / "a.wav", 2, 0.1)
    copy = str(tmp_path / "b.mkv")
    with av.open(str(path)) as old, av.open(copy, "w") as new:
        track = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = track
                new.mux(packet)
    by_split = {
        "train": [record("0", media=path, start=0.0, end=1.0), record("1", media=path, start=0.5, end=1.2)],
        "val": [record("2", "val", media=path, start=1.2, end=1.6)],
        "test": [record("3", "test", media=copy, start=0.8, end=1.1)],
    }
    everything = [r for records in by_split.values() for r in records]
    measured = measurements(everything, "a", tmp_path, num_workers=1)
    [found] = [f for f in clip_findings.clips(by_split, measured, {}, max_seconds=30) if "the same clip" in f.what]
    assert found.ids == ("set/train/0", "set/train/1", "set/test/3") and found.severity is Severity.error


def test_without_any_clip_there_is_one_finding():
    by_split = {"train": [record(str(i)) for i in range(30)]}
    measured = {r.id: clips.measure(r, "av") for r in by_split["train"]}
    (finding,) = clip_findings.clips(by_split, measured, {}, max_seconds=30)
    assert finding.count == 30 and finding.severity is Severity.error and "modalities=t" in finding.remedy


def test_a_second_run_decodes_nothing(odd, tmp_path, decoded):
    first = measurements(odd["train"], "av", tmp_path / "cache", num_workers=2)
    assert len(decoded) > len(first)
    decoded.clear()
    done: list[int] = []
    again = measurements(odd["train"], "av", tmp_path / "cache", num_workers=2, progress=done.append)
    assert again == first and sum(done) == len(first)
    assert sorted(Path(name).stem for name in decoded) == ["gone", "known"], (
        "only what is not there is looked for again"
    )
    decoded.clear()
    measurements(odd["test"], "av", tmp_path / "cache", num_workers=1)
    assert decoded == [], "the content is known, under another name"


def test_a_killed_run_goes_on(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(clip_checks, "BATCH", 2)
    records = [record(str(i), media=write_wav(tmp_path / f"{i}.wav", 0.5, 0.1, 100 + i)) for i in range(6)]

    def stop(done: int) -> None:
        if len(decoded) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measurements(records, "a", tmp_path / "cache", num_workers=1, progress=stop)
    decoded.clear()
    assert len(measurements(records, "a", tmp_path / "cache", num_workers=1)) == 6
    assert {Path(name).stem for name in decoded} == {"2", "3", "4", "5"}


def test_other_modalities_are_measured_for_themselves(tmp_path):
    one = [record("0", media=write_video(tmp_path / "0.mp4", 100))]
    (audio,) = measurements(one, "a", tmp_path, num_workers=1).values()
    (both,) = measurements(one, "av", tmp_path, num_workers=1).values()
    assert (audio.black, both.black) == (None, 0.0) and audio.level == both.level is not None


def test_a_very_long_file_is_not_decoded_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "MAX_SECONDS", 1.0)
    one = [record("0", media=write_wav(tmp_path / "0.wav", 2, 0.1))]
    (measured,) = measurements(one, "a", tmp_path, num_workers=1).values()
    assert list(measured.outcomes) == ["too_long"] and measured.seconds is None


# ---------------------------------------------------------------- the whole


@pytest.fixture
def manifest(tmp_path) -> Path:
    rows = [("good", "train", "joy", 120), ("other", "train", "anger", 60), ("dark", "test", "joy", 0)]
    with (tmp_path / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("clip", "text", "label", "split", "id"))
        for name, split, label, brightness in rows:
            write_video(tmp_path / f"{name}.mp4", brightness)
            writer.writerow((f"{name}.mp4", f"It is {name}.", label, split, name))
        writer.writerow(("gone.mp4", "", "joy", "val", "gone"))
    return tmp_path / "clips.csv"


def examined(root: Path, configure: Configure, *words: str) -> Examination:
    cfg = configure("dataset=manifest", f"datasets.manifest.root={root}", *words, program="doctor")
    return examine(
        "manifest",
        cfg.datasets["manifest"],
        modalities=cfg.modalities,
        cache_root=root.parent / "cache",
        max_seconds=30,
        num_workers=1,
    )


def test_examination_of_a_manifest(manifest, configure: Configure):
    found = examined(manifest, configure)
    assert [(row["splits"], row["found"], row["usable"]) for row in found.sizes] == [
        (["train"], 2, 2),
        (["val"], 1, 0),
        (["test"], 1, 1),
        (["train", "val", "test"], 4, 3),
    ]
    assert found.classes["label"][0]["found"] == {"anger": 1, "joy": 1}
    assert found.clips["train"]["seconds"]["0.5"] == pytest.approx(1, abs=0.1)
    assert "val" not in found.clips
    assert only(found.findings, "frames are black").ids == ("manifest/test/dark",)
    assert only(found.findings, "missing").severity is Severity.error
    assert only(found.findings, "nothing is published").severity is Severity.note
    order = [finding.severity for finding in found.findings]
    assert order == sorted(order, key=list(Severity).index) and found.num_errors == 1
    kept = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert kept["findings"][0]["ids"] == ["manifest/val/gone"] and kept["findings"][0]["remedy"]


def test_annotations_alone_open_no_clip(manifest, configure: Configure, decoded):
    for clip in manifest.parent.glob("*.mp4"):
        clip.unlink()
    found = examined(manifest, configure, "modalities=t")
    assert decoded == [] and found.modalities == "t" and found.sizes[0]["usable"] is None
    assert only(found.findings, "audio and video not looked at").remedy == "modalities=tav"
    assert found.num_errors == 0


def test_what_a_dataset_does_not_have_is_said(manifest, configure: Configure):
    found = examined(manifest, configure, "datasets.manifest.modalities=ta")
    assert only(found.findings, "video not looked at: the dataset has none") and found.modalities == "ta"


def test_a_split_that_cannot_be_read_is_a_finding_and_a_dataset_that_cannot_a_refusal(manifest, configure: Configure):
    text = manifest.read_text(encoding="utf-8").replace(",val,", ",train,")
    manifest.write_text(text, encoding="utf-8")
    cannot = only(examined(manifest, configure).findings, "val cannot be read")
    assert "no row is in split 'val'" in cannot.what and cannot.severity is Severity.error
    with pytest.raises(DataError, match=r"absent\.csv does not exist") as caught:
        examined(manifest.with_name("absent.csv"), configure)
    assert len(str(caught.value).splitlines()) == 1, "the same for three splits is said once"


def test_labels_that_are_no_closed_set_are_a_finding(manifest, configure: Configure):
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("anger", "Joy"), encoding="utf-8")
    assert only(examined(manifest, configure).findings, "labels cannot be taken").severity is Severity.error


def test_the_table_is_plain_when_piped(manifest, configure: Configure):
    found = examined(manifest, configure)
    out = io.StringIO()
    table.show(found, Console(file=out, width=table.WIDTH, color_system=None, markup=False, highlight=False))
    text = out.getvalue()
    assert "\x1b" not in text and not set("│┃─━╇") & set(text)
    assert re.search(r"^split +published +found +left out +usable clips", text, re.M)
    assert re.search(r"^train +- +2 +0 +2", text, re.M)
    assert "error   val 1: missing" in text and "→ put the file there" in text
    assert "manifest: 1 error, " in text and "Licence: Your own clips" in text


def test_the_total_is_found_and_published(manifest, configure: Configure):
    [*_, whole] = examined(manifest, configure, "modalities=t").sizes
    assert (whole["splits"], whole["found"], whole["published"], whole["left_out"]) == (list(SPLITS), 4, None, 0)
    out = io.StringIO()
    found = examined(manifest, configure, "modalities=t")
    table.show(found, Console(file=out, width=table.WIDTH, color_system=None, markup=False, highlight=False))
    assert re.search(r"^total +- +4 +0 +- +4", out.getvalue(), re.M)
    assert re.search(r"^label +train +val +test +total$", out.getvalue(), re.M)
    assert re.search(r"^joy +1 +1 +1 +3$", out.getvalue(), re.M)


@pytest.mark.parametrize(
    ("name", "count", "exact"),
    [
        ("meld", 13708, True),
        ("mustard", 690, True),
        ("mintrec", 2224, True),
        ("mosei", 22856, True),
        ("sims", 2281, True),
        ("simsv2", 4403, True),
        ("iemocap", 5531, True),
        ("mer2023", 3784, True),
        ("ravdess", 1440, True),
        ("urfunny", 9588, False),
    ],
)
def test_published_totals(name, count, exact, configure: Configure):
    whole = total(readers.published(shipped(configure, name)))
    assert (whole.count, whole.exact) == (count, exact)
    for counts in whole.classes.values():
        assert sum(counts.values()) == count
    assert total([]) is None and total(readers.constant("meld", "PUBLISHED", ())[:2]) is None


def test_published_counts_follow_the_options(configure: Configure):
    def counts(name: str, **options) -> list[tuple[str, int]]:
        return [("+".join(c.splits), c.count) for c in readers.published(shipped(configure, name, **options))]

    assert counts("mustard", protocol="five_fold") == [("train+val", 552), ("test", 138), ("train+val+test", 690)]
    assert counts("iemocap", test_session=1) == [("test", 1085), ("train+val+test", 5531)]
    assert counts("iemocap", labels="all") == [("train+val+test", 10039)]
    assert counts("mer2023", test_set=3) == [("train+val", 3373), ("test", 834)]
    assert counts("urfunny", version=1) == [("train", 10598), ("val", 2626), ("test", 3290)]
    assert counts("simsv2", table="other.csv") == []
    assert counts("ravdess", splits="{train:[1,2],val:[3],test:[4]}") == [("train", 120), ("val", 60), ("test", 60)]


def test_rows_to_which_no_label_applies_are_not_those_without_one(configure: Configure, tmp_path):
    cells = ["joy", "anger", "none", "none", ""]
    rows = [f"words {n},{cell},{split}" for split in SPLITS for n, cell in enumerate(cells)]
    (tmp_path / "clips.csv").write_text("\n".join(["text,label,split", *rows]), encoding="utf-8")
    task = "datasets.manifest.task_definitions.label"
    words = (f"{task}.kind=multi_label", f"{task}.labels=[joy,anger]", f"{task}.headline=micro_f1", "modalities=t")
    found = examined(tmp_path / "clips.csv", configure, *words)
    assert found.classes["label"][0]["found"] == {"joy": 1, "anger": 1, "none of them": 2}
    assert only(found.findings, "test: no label for label").ids == ("manifest/test/16",)


def test_a_label_that_no_training_row_has_is_an_error(manifest, configure: Configure):
    text = manifest.read_text(encoding="utf-8").replace(",joy,test", ",joyy,test")
    manifest.write_text(text, encoding="utf-8")
    finding = only(examined(manifest, configure, "modalities=t").findings, "test cannot be read")
    assert finding.severity is Severity.error and finding.ids == ("clips.csv, row 4",)
    assert "the label 'joyy' of task 'label' is not one of anger, joy (did you mean 'joy'?)" in finding.what


def test_published_counts_stand_in_the_cells_that_differ():
    rows = table._class_rows(
        [
            {"splits": ["train"], "found": {"joy": 3, "anger": 1}, "published": {"joy": 3, "anger": 2}},
            {"splits": ["val"], "found": {"joy": 0, "anger": 1}, "published": None},
        ]
    )
    assert rows == [["joy", "3", "0"], ["anger", "1 of 2", "1"], ["as published", "no", "unknown"]]


# ---------------------------------------------------------------- the program


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "affect", "doctor", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_program(manifest):
    words = ("dataset=manifest", f"datasets.manifest.root={manifest}", f"cache_root={manifest.parent / 'cache'}")
    plain = run(*words)
    assert plain.returncode == 0, plain.stderr
    kept = manifest.parent / "cache" / "doctor" / "manifest.json"
    assert f"Kept in {kept}" in plain.stdout
    findings_of = json.loads(kept.read_text(encoding="utf-8"))["findings"]
    assert {finding["severity"] for finding in findings_of} == {"error", "warning", "note"}
    strict = run(*words, "strict=true")
    assert strict.returncode == 1 and "strict=true: 1 of the findings are errors" in strict.stderr
    assert strict.stdout == plain.stdout, "a second run says the same"


def test_a_cache_that_cannot_be_made_is_refused(manifest):
    done = run("dataset=manifest", f"datasets.manifest.root={manifest}", f"cache_root={manifest}")
    assert done.returncode == 1 and re.search(
        r"the folder .*clips.csv/doctor cannot be made .*cache_root=", done.stderr
    )
    assert "Traceback" not in done.stderr


def test_what_the_doctor_accepts_and_refuses(configure: Configure):
    assert configure("dataset=ravdess", program="doctor").modalities == "tav", "no model is involved"
    with pytest.raises(ConfigError, match="modalities=x has to be made of the letters"):
        configure("dataset=ravdess", "modalities=x", program="doctor")
    with pytest.raises(ConfigError, match=r"run=outputs/a is for `python evaluate.py` and .*: leave it out here"):
        configure("dataset=meld", "run=outputs/a", program="doctor")
    with pytest.raises(ConfigError, match=r"strict=true is for `affect doctor`"):
        configure("dataset=demo", "strict=true", program="train")


# ---------------------------------------------------------------- the real sets


def shared(name: str) -> Path:
    if "AFFECT_SHARED_DATA" not in os.environ:
        pytest.skip("AFFECT_SHARED_DATA is not set: it names a folder with the real annotations.")
    root = Path(os.environ["AFFECT_SHARED_DATA"]) / name
    if not root.is_dir():
        pytest.skip(f"{root} does not exist: the real {name} is not here.")
    return root


@pytest.mark.parametrize(
    ("name", "found_too"),
    [
        (
            "meld",
            ["ids not given out: 60", "train: 72 of 1,038 dialogues", "train 2,740, val 308, test 757: an English"],
        ),
        ("mustard", ["shows, as published", "train 2, test 7: .*wrongly read"]),
        ("mintrec", ["Apologise", "43 of 43 groups"]),
    ],
)
def test_real_annotations_are_as_published(name, found_too, configure: Configure, tmp_path):
    cfg = configure(f"dataset={name}", "modalities=t", f"datasets.{name}.root={shared(name)}", program="doctor")
    found = examine(name, cfg.datasets[name], modalities="t", cache_root=tmp_path, max_seconds=30, num_workers=1)
    assert found.num_errors == 0
    assert all(row["published"] in (None, row["found"]) for row in found.sizes)
    assert {tuple(row["splits"]) for row in found.sizes if row["published"] is not None}
    for words in found_too:
        only(found.findings, words)


@pytest.mark.parametrize("name", ["meld", "mustard", "mintrec"])
def test_hashes_are_those_of_the_published_texts(name, configure: Configure):
    root = shared(name)
    config = configure(f"dataset={name}", "modalities=t", f"datasets.{name}.root={root}").datasets[name]
    records = [record for split in annotations.read(name, config).splits(SPLITS).values() for record in split.records]
    kept = json.loads((published_texts.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert b"".join(sorted(text_hash(each, name) for each in records)) == base64.b64decode(kept["hashes"])
    assert {file: sha256((root / file).read_bytes()).hexdigest() for file in kept["files"]} == kept["files"]


def test_a_public_copy_of_meld_with_lost_apostrophes(configure: Configure, tmp_path):
    text = (shared("meld") / "dev_sent_emo.csv").read_bytes().decode("utf-8")
    (tmp_path / "dev_sent_emo.csv").write_text(text.replace("\u2019", "?"), encoding="utf-8")
    found = examine(
        "meld",
        configure("dataset=meld", "modalities=t", f"datasets.meld.root={tmp_path}", program="doctor").datasets["meld"],
        modalities="t",
        cache_root=tmp_path,
        max_seconds=30,
        num_workers=1,
    )
    affected = sum("\u2019" in row for row in re.findall(r"(?m)^\d+,.*$", text))
    differ = only(found.findings, "texts differ from the published file")
    assert f"val: {differ.count:,} of 1,109 texts" in differ.what and affected - 5 < differ.count <= affected
    assert only(found.findings, "inside words").count > 0.8 * differ.count
