"""Interventions: they change exactly what they name, and no cache gives what was not asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affect.config import Config, ConfigError, Intervention
from affect.data import Record, clip_cache
from affect.data.clips import ClipSource
from affect.data.file_hashes import file_versions
from affect.data.media import Sampling, write_clip

WANTED = Sampling(audio=True, video=True, num_frames=2, frame_size=16, max_seconds=5)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    path = tmp_path / "clip.mp4"
    tone = 0.5 * np.sin(np.arange(16_000) / 16_000 * 440 * 2 * np.pi).astype(np.float32)
    frames = np.random.default_rng(1).integers(0, 255, (8, 16, 16, 3), dtype=np.uint8)
    write_clip(path, frames=frames, fps=8, waveform=tone, sampling_rate=16_000)
    return Record(id="d/test/1", dataset="d", split="test", text="hello", group="g", media=str(path))


def sources(record: Record, tmp_path: Path) -> list[ClipSource]:
    """Two sources over one cache: the clip as it was recorded, and muted."""
    files = clip_cache.open_files(tmp_path / "cache", 1.0, print)
    versions = file_versions({record.media}, tmp_path / "cache")
    return [ClipSource(files, versions, {}, intervention) for intervention in (Intervention.none, Intervention.mute)]


@pytest.mark.parametrize("muted_first", [False, True])
def test_a_muted_clip_has_silence_and_the_same_frames_also_from_a_warm_cache(
    record: Record, tmp_path: Path, muted_first: bool
) -> None:
    plain, muted = sources(record, tmp_path)
    fresh = ClipSource().clip(record, WANTED)
    assert np.abs(fresh.waveform).max() > 0.3
    for source in (muted, plain, muted) if muted_first else (plain, muted, plain):
        clip = source.clip(record, WANTED)
        expected = np.zeros_like(fresh.waveform) if source is muted else fresh.waveform
        np.testing.assert_array_equal(clip.waveform, expected)
        assert clip.waveform.dtype == fresh.waveform.dtype
        np.testing.assert_array_equal(clip.frames, fresh.frames)
        assert clip.seconds == fresh.seconds


def test_what_is_computed_from_a_muted_clip_has_a_key_of_its_own(record: Record, tmp_path: Path) -> None:
    plain, muted = sources(record, tmp_path)
    assert plain.key(record) == muted.key(record)[:-1] and muted.key(record)[-1] == "mute"
    Path(record.media).write_bytes(b"another content")
    assert plain.key(record) is None and muted.key(record) is None


def test_only_one_module_opens_clips() -> None:
    """Whatever looks at a clip asks a ClipSource; the cache behind it is its own."""
    root = Path(clip_cache.__file__).parents[1]
    own = {root / "data" / name for name in ("clips.py", "clip_cache.py")}
    names = [
        path.relative_to(root)
        for path in root.rglob("*.py")
        if path not in own and any("data.media" in line and "decode" in line for line in path.open(encoding="utf-8"))
    ]
    assert names == []


@pytest.mark.parametrize(
    ("program", "words", "sentence"),
    [
        ("evaluate", ["intervention=mute", "modalities=t"], "modalities=t has none"),
        ("train", ["intervention=mute"], "intervention=mute is for `python evaluate.py`: it is for evaluation alone"),
    ],
)
def test_an_intervention_that_makes_no_sense_is_refused(
    configure: Callable[..., Config], program: str, words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configure(*words, program=program)
