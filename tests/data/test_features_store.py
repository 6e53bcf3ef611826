"""The cache of computed features: what is kept is what comes back, and for nothing else."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from affect.config import DataError, Intervention, InterventionConfig
from affect.data import Record
from affect.data.clips import ClipSource
from affect.data.features import store
from affect.data.features.store import CachedFeatures
from affect.data.file_hashes import file_versions
from affect.data.interventions import Plan

IDENTITIES = {"text": {"encoder": "tiny", "layer": 3}, "audio": {"encoder": "mel"}, "video": {"encoder": "faces"}}
WIDTHS = {"text": 6, "audio": 4, "video": 3}


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    made = []
    for number, text in enumerate(["what a day", "oh", "oh"]):
        clip = tmp_path / f"{number}.wav"
        clip.write_bytes(bytes([number]) * 100)
        made.append(
            Record(id=f"own/train/{number}", dataset="own", split="train", text=text, group="x", media=str(clip))
        )
    return made


def source_of(records: list[Record], cache: Path, **options: Any) -> ClipSource:
    return ClipSource(versions=file_versions([record.media for record in records], cache), **options)


def opened(
    records: list[Record], cache: Path, *, gigabytes: float = 1.0, identities: Any = IDENTITIES, **options: Any
) -> CachedFeatures:
    said: list[str] = []
    files = store.open_files(cache, gigabytes, said.append)
    return CachedFeatures(
        files, store.keys(records, source_of(records, cache, **options), identities), WIDTHS, identities
    )


def numbers(steps: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(steps, width, generator=torch.Generator().manual_seed(seed))


def fill(features: CachedFeatures, records: list[Record]) -> dict[str, list[str]]:
    computed = {}
    for modality, absent in features.missing(records).items():
        computed[modality] = [record.id for record in absent]
        for record in absent:
            features.put(record, modality, numbers(3 + int(record.id[-1]), WIDTHS[modality]))
    return computed


def test_what_is_put_comes_back_in_every_process_and_run(records, tmp_path):
    features = opened(records, tmp_path / "cache")
    ids = [record.id for record in records]
    # Two records say the same.
    assert fill(features, records) == {"text": ids[:2], "audio": ids, "video": ids}
    again = pickle.loads(pickle.dumps(opened(records, tmp_path / "cache")))
    assert again.missing(records) == {} and again.identity() == features.identity()
    assert json.loads(json.dumps(again.identity()))["extractors"] == IDENTITIES
    for record in records:
        found = again.of(record)
        assert list(found) == ["text", "audio", "video"]
        for modality, sequence in found.items():
            number = min(int(record.id[-1]), 1) if modality == "text" else int(record.id[-1])
            assert sequence.dtype is torch.float32
            assert torch.equal(sequence, numbers(3 + number, WIDTHS[modality]))


def test_another_input_or_extractor_is_another_key(records, tmp_path):
    cache = tmp_path / "cache"
    fill(opened(records, cache), records)
    ids = [record.id for record in records]

    def missing(of: list[Record] = records, **options: Any) -> dict[str, list[str]]:
        absent = opened(of, cache, **options).missing(of)
        return {modality: [record.id for record in them] for modality, them in absent.items()}

    assert missing() == {}
    assert missing(plan=Plan(InterventionConfig(name=Intervention.mute))) == {"audio": ids, "video": ids}
    assert missing(identities=IDENTITIES | {"text": {"encoder": "tiny", "layer": 2}}) == {"text": ids[:2]}
    assert missing([replace(records[0], text="what a night"), *records[1:]]) == {"text": ids[:1]}
    assert missing([replace(records[0], language="zh"), *records[1:]]) == {"text": ids[:1]}
    assert missing([replace(records[0], start=0.5), *records[1:]]) == {"audio": ids[:1], "video": ids[:1]}
    assert missing([replace(records[0], id="other/test/9"), *records[1:]]) == {}, "content counts, not the id"
    Path(records[2].media).write_bytes(b"another recording")
    assert missing() == {"audio": ids[2:], "video": ids[2:]}


def test_sequences_are_float32_and_have_a_step(records, tmp_path):
    features = opened(records, tmp_path / "cache")
    fill(features, records)
    features.put(records[0], "audio", torch.zeros(0, 4))
    features.put(records[0], "video", torch.full((2, 3), 0.1, dtype=torch.bfloat16, requires_grad=True))
    found = features.of(records[0])
    assert found["audio"].tolist() == [[0.0] * 4]
    assert torch.equal(found["video"], torch.full((2, 3), 0.1, dtype=torch.bfloat16).float())
    assert not found["video"].requires_grad


def test_refusals_name_the_record(records, tmp_path):
    features = opened(records, tmp_path / "cache")
    with pytest.raises(DataError, match=r"the text features of own/train/0 are not in .*computed, so they were not"):
        features.of(records[0])
    bad = torch.tensor([[1.0, torch.inf, torch.nan, 0.0]])
    with pytest.raises(DataError, match="the audio features of own/train/0 have 2 of 4 numbers that are NaN or"):
        features.put(records[0], "audio", bad)
    with pytest.raises(DataError, match=r"has no room for the features of the run \(it may take 1e-07 GB, .*cache_gb"):
        fill(opened(records, tmp_path / "small", gigabytes=1e-7), records)
    with pytest.raises(DataError, match=r"own/train/1 has no clip, so its audio features cannot be computed: leave"):
        store.keys([replace(records[1], media=None)], source_of(records, tmp_path / "cache"), IDENTITIES)
    source = source_of(records, tmp_path / "cache")
    Path(records[1].media).write_bytes(b"is being copied")
    with pytest.raises(DataError, match=r"own/train/1 has a clip that changed or cannot be read, .*1\.wav"):
        store.keys(records, source, IDENTITIES)
    text = {"text": IDENTITIES["text"]}
    assert set(store.keys([replace(records[1], media=None)], source, text)["own/train/1"]) == {"text"}


def test_damage_is_said_and_the_features_are_missing(records, tmp_path):
    features = opened(records, tmp_path / "cache")
    fill(features, records)
    path = features.files.path(features.keys[records[0].id]["audio"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"the audio features of own/train/0 are not in .* or damaged while the run"):
        features.of(records[0])
    assert features.missing(records) == {"audio": [records[0]]}
