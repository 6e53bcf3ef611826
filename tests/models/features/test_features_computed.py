"""The cache of features is filled once, and gives what the extractors compute."""

import csv
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_composed_language, tiny_manifest

from affect.config import DataError, FeaturesConfig, Intervention, InterventionConfig
from affect.data import Record
from affect.data.clips import ClipSource
from affect.data.features.store import CachedFeatures
from affect.data.file_hashes import file_versions
from affect.data.interventions import Plan
from affect.data.media import MediaError, Sampling, decode
from affect.data.part import Part
from affect.models.features import computed
from affect.models.features.computed import ComputedFeatures

CPU = torch.device("cpu")
SAMPLING = Sampling(audio=True, video=True, num_frames=3, frame_size=32, max_seconds=30)
MODALITIES = ("text", "audio", "video")


class Corpus:
    """Six clips of a second with a part, a configuration of features, and an empty cache."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, root / "cache"
        table = tiny_manifest(root / "data", train=6, val=0, test=0)
        self.records = [
            Record(
                id=f"tiny/train/{i}",
                dataset="tiny",
                split="train",
                text=row["text"],
                group=row["speaker"],
                media=str(table.parent / row["clip"]),
            )
            for i, row in enumerate(csv.DictReader(table.open(encoding="utf-8")))
        ]
        self.config = FeaturesConfig(text=str(tiny_composed_language(root / "model")), max_steps=7)

    def source(self, **how: object) -> ClipSource:
        return ClipSource(versions=file_versions([r.media for r in self.records], self.cache), **how)

    def prepare(self, source: ClipSource | None = None, **changed: object) -> ComputedFeatures:
        part = Part(dataset="tiny", split="train", expected=6, outside_subset=0, records=list(self.records))
        return computed.prepare(
            [part], MODALITIES, replace(self.config, **changed), source or self.source(), SAMPLING, self.cache, CPU
        )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record and modality of everything that is put into the cache."""
    puts: list[tuple[str, str]] = []

    def counting(
        self: CachedFeatures, record: Record, modality: str, steps: torch.Tensor, put: Callable = CachedFeatures.put
    ) -> None:
        puts.append((record.id, modality))
        put(self, record, modality, steps)

    monkeypatch.setattr(CachedFeatures, "put", counting)
    return puts


def test_what_is_read_is_what_extractors_compute_and_is_computed_once(
    corpus: Corpus, kept: list[tuple[str, str]]
) -> None:
    features = corpus.prepare()
    texts = {record.text for record in corpus.records}
    assert len(kept) == len(set(kept)) == 2 * 6 + len(texts)
    kept.clear()
    again = pickle.loads(pickle.dumps(corpus.prepare()))
    assert not kept
    extractors = {name: computed.extractor(name, corpus.config, SAMPLING, corpus.cache, CPU) for name in MODALITIES}
    for record in corpus.records:
        clip = decode(record.media, SAMPLING)
        own = features.of(record)
        assert set(own) == set(MODALITIES)
        for name, extractor in extractors.items():
            expected = extractor.of([record.text if name == "text" else clip])[0]
            assert 1 <= len(expected) <= 7 and expected.shape[1] == features.widths[name]
            torch.testing.assert_close(own[name], expected, atol=1e-5, rtol=0)
            assert torch.equal(again.of(record)[name], own[name])
    assert json.loads(json.dumps(features.identity())) == again.identity()


def test_a_change_of_one_modality_computes_that_alone(corpus: Corpus, kept: list[tuple[str, str]]) -> None:
    first = corpus.prepare()
    kept.clear()
    other = corpus.prepare(text_layer="1")
    assert {modality for _, modality in kept} == {"text"} and other.identity() != first.identity()
    kept.clear()
    silent = corpus.prepare(corpus.source(plan=Plan(InterventionConfig(name=Intervention.mute))))
    record = corpus.records[0]
    assert not torch.equal(silent.of(record)["audio"], first.of(record)["audio"])
    assert torch.equal(silent.of(record)["video"], first.of(record)["video"])


def test_processes_that_fill_the_cache_together_read_the_same(corpus: Corpus) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: corpus.prepare(), range(2))
    for record in corpus.records:
        assert all(torch.equal(one.of(record)[name], two.of(record)[name]) for name in MODALITIES)


def test_a_clip_that_has_gone_fails_when_it_is_asked_for(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    source = corpus.source()
    gone, changed = corpus.records[0], corpus.records[1]
    os.remove(gone.media)
    shutil.copy(corpus.records[2].media, changed.media)
    with caplog.at_level(logging.WARNING, logger="affect"):
        features = corpus.prepare(source)
    assert f"features: {gone.id} cannot be decoded any more, and fails in its batch: {gone.media}" in caplog.text
    with pytest.raises(MediaError, match="put the file there"):
        features.of(gone)
    # As a language model does, what is now in the file is used; it is kept under no name.
    assert torch.equal(features.of(changed)["audio"], features.of(corpus.records[2])["audio"])
    assert len(features.of(corpus.records[3])) == 3


def test_a_clip_that_breaks_while_features_are_computed_fails_alone(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = corpus.records[4]

    def unchanged(self: ClipSource, record: Record, *rest: object, plain: Callable = ClipSource.unchanged) -> object:
        if record.id == broken.id:
            raise MediaError("corrupt", record.media, "it has no moov atom")
        return plain(self, record, *rest)

    monkeypatch.setattr(ClipSource, "unchanged", unchanged)
    features = corpus.prepare()
    with pytest.raises(MediaError, match="no moov atom"):
        features.of(broken)
    assert all(set(features.of(record)) == set(MODALITIES) for record in corpus.records if record is not broken)


def test_without_room_the_run_is_refused(corpus: Corpus) -> None:
    with pytest.raises(DataError, match=r"no room for the features .* raise features.cache_gb"):
        corpus.prepare(cache_gb=1e-6)
