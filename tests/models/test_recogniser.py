"""Whisper as a recogniser, on a tiny one with random weights; the oracle is transformers' own generation."""

import doctest
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_recogniser, tiny_wav2vec2
from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperForConditionalGeneration

from affect.config import ConfigError
from affect.models import recogniser as module
from affect.models.recogniser import Recogniser, repeats

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recogniser(tmp_path_factory.mktemp("recogniser") / "whisper")


@pytest.fixture(scope="module")
def whisper(folder: Path) -> Recogniser:
    return Recogniser(str(folder), str(folder), CPU)


@pytest.fixture(scope="module")
def waveforms() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(0.1 * random.standard_normal(round(16_000 * s))).astype(np.float32) for s in (1.0, 31.0, 2.5)]


def test_transcripts_are_those_of_transformers_clip_by_clip(folder, whisper, waveforms):
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    features, tokenizer = AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = []
    for waveform in waveforms:
        longer = len(waveform) > 480_000
        padding = {"padding": "longest", "truncation": False} if longer else {}
        inputs = features(waveform, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True, **padding)
        ids = model.generate(**inputs, task="transcribe", language="zh", return_timestamps=longer)
        kept = [token for token in ids[0].tolist() if token < tokenizer.eos_token_id]
        expected.append(tokenizer.decode(kept).strip())
    transcripts = whisper.transcribe(waveforms, "zh")
    assert [transcript.text for transcript in transcripts] == expected
    assert len(set(expected)) > 1 and all(transcript.tokens <= 12 for transcript in transcripts)
    alone = [whisper.transcribe([waveform], "zh")[0] for waveform in waveforms]
    assert alone == transcripts
    assert whisper.transcribe([], "zh") == []


def test_where_whisper_hears_no_speech_nothing_is_written(whisper, waveforms, monkeypatch):
    monkeypatch.setattr(module, "NO_SPEECH", 0.0)
    assert {transcript.text for transcript in whisper.transcribe(waveforms, "en")} == {""}
    monkeypatch.setattr(module, "LOG_PROBABILITY", -1e9)  # but where it is sure of its words, these count
    kept = whisper.transcribe(waveforms, "en")
    monkeypatch.undo()
    assert kept == whisper.transcribe(waveforms, "en") and all(transcript.tokens for transcript in kept)


def test_a_language_it_has_not_is_refused(whisper):
    whisper.check("zh", "datasets.mine.language")
    whisper.check("auto", "transcription.language")
    with pytest.raises(ConfigError, match=r"datasets.mine.language=xx is no language of .* one of en, zh, or auto"):
        whisper.check("xx", "datasets.mine.language")
    assert whisper.transcribe([np.zeros(16_000, np.float32)], "auto")[0].tokens > 0


def test_models_that_are_no_whisper_or_lack_their_tokens_are_refused(folder, tmp_path):
    other = tiny_wav2vec2(tmp_path / "wav2vec2")
    with pytest.raises(ConfigError, match="is a model of type wav2vec2, and transcripts are made by Whisper"):
        Recogniser(str(other), str(other), CPU)
    with pytest.raises(ConfigError, match=r"transcription\.model=nowhere cannot be loaded"):
        Recogniser("nowhere", str(tmp_path / "nowhere"), CPU)
    shutil.copytree(folder, tmp_path / "bare")
    settings = json.loads((folder / "generation_config.json").read_text())
    del settings["lang_to_id"]
    (tmp_path / "bare" / "generation_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"has no lang_to_id in its generation_config\.json"):
        Recogniser("bare", str(tmp_path / "bare"), CPU)
    settings["is_multilingual"] = False
    (tmp_path / "bare" / "generation_config.json").write_text(json.dumps(settings))
    english = Recogniser("bare", str(tmp_path / "bare"), CPU)
    with pytest.raises(ConfigError, match="knows English alone"):
        english.check("zh", "datasets.mine.language")
    assert english.transcribe([np.zeros(16_000, np.float32)], "en")[0].tokens > 0


def test_a_transcript_that_goes_round_in_circles_is_noticed():
    assert repeats("I am going to the door. " * 9) and not repeats("") and not repeats("no no no")
    assert doctest.testmod(module).failed == 0
