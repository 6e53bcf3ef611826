"""From records to batches: order, accounting, and clips that cannot be used."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from tiny_models import tiny_manifest, tiny_words

from affect import models
from affect.config import Config, DataError, Kind, Task
from affect.data import Record, loading
from affect.data.media import write_clip
from affect.data.problems import Excluded
from affect.evaluation.language import LanguageLearner
from affect.models import Encoder, sampling
from affect.models import collate as collating
from affect.prompting import examples as data
from affect.prompting.messages import Example
from affect.runs import run_results
from affect.training import datamodule, usable_clips
from affect.training import sampler as samplers

Configure = Callable[..., Config]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def table(root: Path) -> Path:
    return tiny_manifest(root / "corpus")


def words(root: Path, table: Path, *more: str) -> list[str]:
    return [*tiny_words(root), "dataset=manifest", f"datasets.manifest.root={table}", *more]


def loaded(cfg: Config, names: list[str]) -> tuple[dict[str, list[Example]], Encoder]:
    parts = loading.read(cfg, names)
    usable_clips.exclude_unusable(parts, cfg)
    _, encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root))
    return {s: data.examples(parts, s, cfg, encoder.count_text, labelled_only=s == "train") for s in names}, encoder


def ids(batch: collating.Batch) -> list[str]:
    return [example.record.id for example in batch.examples]


# --- Order ---


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    sampler = samplers.EpochSampler([1] * 20, seed=3, step_size=4)
    first = list(sampler)
    torch.manual_seed(99)  # another random state changes nothing
    assert list(sampler) == first and sorted(first) == list(range(20)) and len(sampler) == 20
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first and sorted(second) == list(range(20))
    again = samplers.EpochSampler([1] * 20, seed=3, step_size=4)
    again.set_epoch(1)
    assert list(again) == second and list(samplers.EpochSampler([1] * 20, seed=4, step_size=4)) != first


def test_batches_of_training_have_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 203).tolist()
    order = list(samplers.EpochSampler(lengths, seed=3, step_size=4))
    assert sorted(order) == list(range(203))
    batches = [[lengths[i] for i in order[at : at + 4]] for at in range(0, 200, 4)]
    padded = sum(4 * max(batch) - sum(batch) for batch in batches)
    shuffled = [lengths[at : at + 4] for at in range(0, 200, 4)]
    assert padded < 0.2 * sum(4 * max(batch) - sum(batch) for batch in shuffled)
    assert [max(batch) for batch in batches] != sorted(max(batch) for batch in batches), "the batches are in no order"


@pytest.mark.parametrize("count", [9, 40, 200])
def test_no_two_epochs_have_the_same_clips_together(count: int) -> None:
    lengths = list(range(count))
    sampler = samplers.EpochSampler(lengths, seed=3, step_size=4)
    steps = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        order = list(sampler)
        steps.append({frozenset(order[at : at + 4]) for at in range(0, count - 3, 4)})
    assert len(steps[0] & steps[1]) < len(steps[0]) / 4


def test_processes_share_an_epoch_and_go_on_where_they_were() -> None:
    lengths = list(range(11))
    shares = [
        list(samplers.EpochSampler(lengths, seed=3, step_size=2, rank=rank, num_processes=3)) for rank in range(3)
    ]
    assert [len(share) for share in shares] == [4, 4, 4] and set().union(*shares) == set(range(11))
    resumed = samplers.EpochSampler(lengths, seed=3, step_size=2, epoch=0, skip=2, rank=1, num_processes=3)
    assert list(resumed) == shares[1][2:] and len(resumed) == 4
    resumed.set_epoch(1)
    assert len(list(resumed)) == 4, "clips are left out in the epoch that was begun alone"


def test_an_evaluation_is_dealt_out_whole_batches_at_a_time() -> None:
    batches = [[0, 1], [2, 3], [4]]
    assert [samplers.share_once(batches, rank, 2) for rank in (0, 1)] == [[[0, 1], [4]], [[2, 3], []]]
    assert [samplers.share_once(batches[:1], rank, 3) for rank in range(3)] == [[[0, 1]], [[]], [[]]]
    assert samplers.share_once(batches, 0, 1) == batches


def asked(count: int) -> list[Example]:
    """Questions of two datasets, two tasks each, and two languages, in a jumble."""
    tasks = {
        (dataset, name): Task(name=name, kind=kind, question={"en": "?", "zh": "?"})
        for dataset in ("one", "two")
        for name, kind in (("emotion", Kind.classification), ("level", Kind.intensity))
    }
    random = np.random.default_rng(0)
    made = []
    for i in range(count):
        dataset, name = list(tasks)[random.integers(4)]
        language = ("en", "zh")[random.integers(2)]
        record = Record(
            id=f"{dataset}/{i}", dataset=dataset, split="test", text="w" * int(random.integers(50)), group="g"
        )
        task = tasks[dataset, name]
        made.append(Example(record=record, task=task, language=language, messages=[], answer=None))
    return made


def test_batches_never_mix_tasks_datasets_or_languages_and_lose_nothing() -> None:
    examples = asked(101)
    batches = samplers.batches_by_task(examples, 4, lambda e: len(e.record.text))
    assert sorted(i for batch in batches for i in batch) == list(range(101))
    for batch in batches:
        assert 1 <= len(batch) <= 4
        kinds = {(e.record.dataset, e.task.name, e.language) for e in (examples[i] for i in batch)}
        assert len(kinds) == 1
        lengths = [len(examples[i].record.text) for i in batch]
        assert lengths == sorted(lengths, reverse=True)
    assert len(batches) <= 101 // 4 + 8  # one short batch a kind at the most
    assert samplers.batches_by_task([], 4, lambda e: 0) == []


def test_the_training_loader_follows_the_epochs(root: Path, table: Path, configure: Configure) -> None:
    cfg = configure(*words(root, table, "modalities=t", "trainer.batch_size=3"))
    by_split, encoder = loaded(cfg, ["train", "val"])
    loader = datamodule.ClipData(by_split, learner(encoder, cfg), cfg).train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        orders.append([i for batch in loader for i in ids(batch)])
    assert orders[0] == orders[2] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    assert len(orders[0]) == len(set(orders[0])) == 8


def learner(encoder: Any, cfg: Config) -> LanguageLearner:
    """Without a model, which loaders have no use for."""
    return LanguageLearner(None, encoder, cfg.finetuning, cfg.evaluation, sampling.sampling(cfg))


def same(first: Any, second: Any) -> bool:
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_workers_give_the_batches_that_the_process_itself_gives(root: Path, table: Path, configure: Configure) -> None:
    batches = []
    for workers in (0, 2):
        cfg = configure(*words(root, table, f"trainer.num_workers={workers}", "trainer.batch_size=3"))
        by_split, encoder = loaded(cfg, ["train", "val"])
        clips = datamodule.ClipData(by_split, learner(encoder, cfg), cfg)
        batches.append([*clips.train_dataloader(), *clips.val_dataloader()])
    assert len(batches[0]) == 4
    for alone, worker in zip(*batches, strict=True):
        assert ids(alone) == ids(worker) and alone.tensors.keys() == worker.tensors.keys()
        assert all(same(alone.tensors[key], worker.tensors[key]) for key in alone.tensors)
        # What a worker sends back has to be readable as one task still, which is told by identity.
        assert all(example.task is worker.examples[0].task for example in worker.examples)


# --- Content ---


def test_training_batches_have_answers_and_evaluation_batches_have_none(
    root: Path, table: Path, configure: Configure
) -> None:
    cfg = configure(*words(root, table))
    by_split, encoder = loaded(cfg, ["train", "val"])
    clips = datamodule.ClipData(by_split, learner(encoder, cfg), cfg)
    batch = next(iter(clips.train_dataloader()))
    for row, example in enumerate(batch.examples):
        labelled = batch.tensors["labels"][row]
        assert encoder.decode(labelled[labelled != -100].tolist()) == example.record.labels["label"] == example.answer
    assert {"audio_features", "frames"} <= batch.tensors.keys()
    assert all("labels" not in batch.tensors for batch in clips.val_dataloader())


def test_only_labelled_records_are_trained_on(root: Path, tmp_path: Path, configure: Configure) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=4, media=False)
    lines = table.read_text().replace("joy,-1,train", ",,train", 1).replace("joy,-1,test", ",,test", 1)
    table.write_text(lines)
    cfg = configure(*words(root, table, "modalities=t", "datasets.manifest.options.require_clips=false"))
    parts = loading.read(cfg, ["train", "val", "test"])
    _, encoder = models.load(cfg.model, modalities="t", cache_root=root)
    assert len(data.examples(parts, "train", cfg, encoder.count_text, labelled_only=True)) == 3
    tested = data.examples(parts, "test", cfg, encoder.count_text, labelled_only=False)
    assert [e.answer for e in tested] == [None, "anger", "sadness", "joy", "anger", "sadness"]


def test_a_split_without_labels_is_refused_before_anything_is_trained(
    root: Path, tmp_path: Path, configure: Configure
) -> None:
    table = tiny_manifest(tmp_path / "corpus", media=False)
    cfg = configure(*words(root, table, "modalities=t", "datasets.manifest.options.require_clips=false"))
    text = table.read_text()
    for label in ("joy,-1", "anger,0", "sadness,1"):
        text = text.replace(f"{label},val", ",,val")
    table.write_text(text)
    assert len(loading.read(cfg, ["test"])[0].records) == 6
    with pytest.raises(
        DataError, match=r"no clip in split 'val' of manifest has a label, and the checkpoint is chosen"
    ):
        loading.read(cfg, ["train", "val"])
    for label in ("joy,-1", "anger,0", "sadness,1"):
        text = text.replace(f"{label},train", ",,train")
    table.write_text(text)
    cfg.datasets["manifest"].task_definitions["label"].labels = ["joy", "anger"]
    with pytest.raises(
        DataError, match=r"'manifest' has no label for label in split 'train': there is nothing to learn"
    ):
        loading.read(cfg, ["train"])


# --- Clips that cannot be used ---


def test_clips_that_cannot_be_used_are_excluded_and_accounted_for(
    root: Path, tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=6)
    clips = table.parent / "clips"
    (clips / "train_1.mp4").write_bytes(b"no film")
    write_clip(
        clips / "train_2.mp4", frames=np.zeros((8, 32, 32, 3), np.uint8), fps=8, waveform=None, sampling_rate=16000
    )
    write_clip(
        clips / "train_3.mp4",
        frames=np.zeros((1, 32, 32, 3), np.uint8),
        fps=25,
        waveform=np.zeros(640),
        sampling_rate=16000,
    )
    table.write_text(table.read_text().replace("clips/train_0.mp4", ""))
    cfg = configure(*words(root, table))
    parts = loading.read(cfg, ["train", "val"])
    usable_clips.exclude_unusable(parts, cfg)
    account = parts[0].account()
    # A record is named by its row in the table, of which the first is the head.
    assert {item.id: item.reason for item in parts[0].excluded} == {
        "manifest/train/2": "missing",
        "manifest/train/3": "corrupt",
        "manifest/train/4": "no_audio",
        "manifest/train/5": "too_short",
    }
    assert (account["expected"], account["excluded"], account["used"]) == (6, 4, 2)
    assert [record.id for record in parts[0].records] == ["manifest/train/6", "manifest/train/7"]
    assert all(str(clips) in item.source for item in parts[0].excluded[1:])
    said = capsys.readouterr().out
    assert "manifest train: 4 of 6 clips cannot be used and are left out; a run lists them in exclusions.csv" in said
    assert parts[1].account()["excluded"] == 0


def test_the_track_of_the_configuration_is_heard_and_notes_are_said(
    root: Path, tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=6)
    clips = table.parent / "clips"
    for name, ending in (("train_0", ".mp4"), ("train_1", ".mkv")):
        with av.open(str(clips / f"{name}{ending}"), "w") as container:
            streams = [container.add_stream("aac", rate=16000, layout="stereo") for _ in range(2)]
            streams[0].disposition, streams[1].disposition = Disposition(0), Disposition.default
            for stream, pitch in zip(streams, (300, 700), strict=True):
                left = 0.3 * np.sin(2 * np.pi * pitch * np.arange(16000) / 16000, dtype=np.float32)
                right = -left if name == "train_0" else left
                frame = av.AudioFrame.from_ndarray(np.stack([left, right]), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 16000, 0
                container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
    table.write_text(table.read_text().replace("clips/train_1.mp4", "clips/train_1.mkv"))
    for track, pitch in ((None, 700), (0, 300), (1, 700)):
        chosen = [] if track is None else [f"datasets.manifest.audio_track={track}"]
        cfg = configure(*words(root, table, "modalities=ta", *chosen))
        parts = loading.read(cfg, ["train"])
        source = usable_clips.exclude_unusable(parts, cfg)
        said = capsys.readouterr().out
        assert f"cancel each other when they are mixed, so that one of them had to be taken: {clips}" in said
        two = [record for record in parts[0].records if Path(record.media).stem in ("train_0", "train_1")]
        assert len(two) == 2
        for record in two:
            waveform = source.clip(record, sampling.sampling(cfg)).waveform
            assert np.abs(np.fft.rfft(waveform[:16000])).argmax() == pytest.approx(pitch, abs=2)
        # The other clips have one track.
        assert len(parts[0].excluded) == (4 if track == 1 else 0)
        assert all("it has 1 audio track(s) and audio_track=1" in item.source for item in parts[0].excluded)


def test_text_alone_needs_no_clips(root: Path, tmp_path: Path, configure: Configure) -> None:
    table = tiny_manifest(tmp_path / "corpus", media=False)
    cfg = configure(*words(root, table, "modalities=t", "datasets.manifest.options.require_clips=false"))
    by_split, encoder = loaded(cfg, ["train", "val"])
    batch = collating.Collate(encoder, sampling.sampling(cfg), with_answers=True)(by_split["train"])
    assert len(batch.examples) == 8 and "audio_features" not in batch.tensors


def test_a_part_that_is_left_with_nothing_is_refused(root: Path, tmp_path: Path, configure: Configure) -> None:
    table = tiny_manifest(tmp_path / "corpus", train=1, val=1, test=1)
    (table.parent / "clips" / "test_0.mp4").write_bytes(b"no film")
    cfg = configure(*words(root, table, "datasets.manifest.task_definitions.label.labels=[joy,anger]"))
    parts = loading.read(cfg, ["test"])
    with pytest.raises(
        DataError, match=r"no clip of dataset 'manifest', split 'test' can be used; the first of 1: .*test_0"
    ):
        usable_clips.exclude_unusable(parts, cfg)


def test_a_clip_that_vanishes_after_the_check_is_told_from_the_others(
    root: Path, tmp_path: Path, configure: Configure
) -> None:
    table = tiny_manifest(tmp_path / "corpus")
    cfg = configure(*words(root, table))
    by_split, encoder = loaded(cfg, ["train", "val"])
    collate = collating.Collate(encoder, sampling.sampling(cfg), with_answers=True)
    examples = by_split["train"][:3]
    whole = collate(examples)
    Path(examples[1].record.media).unlink()
    batch = collate(examples)
    assert ids(batch) == [examples[0].record.id, examples[2].record.id]
    [(example, why)] = batch.failed
    assert example is examples[1] and "there is no such file; put the file there" in why
    assert torch.equal(batch.tensors["frames"], whole.tensors["frames"][[0, 2]])
    nothing = collate([examples[1]])
    assert nothing.tensors is None and nothing.examples == [] and len(nothing.failed) == 1
    clips = datamodule.ClipData(by_split, learner(encoder, cfg), cfg)
    assert clips.transfer_batch_to_device(nothing, torch.device("cpu"), 0) is nothing


def test_what_was_lost_during_a_run_is_listed(root: Path, table: Path, tmp_path: Path, configure: Configure) -> None:
    cfg = configure(*words(root, table))
    parts = loading.read(cfg, ["test"])
    parts[0].excluded.append(Excluded(id="manifest/test/9", split="test", reason="corrupt", source="x.mp4"))
    summary = {"tasks": {"manifest.label": {}}}
    (tmp_path / "environment.json").write_text('{"program": "evaluate"}')
    run_results.write_results(tmp_path, cfg, parts, [], summary, {"manifest/test/1": "x.mp4: gone"})
    rows = list(csv.DictReader((tmp_path / "exclusions.csv").open(encoding="utf-8")))
    assert [(row["id"], row["reason"]) for row in rows] == [
        ("manifest/test/9", "corrupt"),
        ("manifest/test/1", "lost during the run"),
    ]
    assert json.loads((tmp_path / "data.json").read_text())["lost_during_the_run"] == {"manifest/test/1": "x.mp4: gone"}
