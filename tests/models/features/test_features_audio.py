"""Features of sound: a tone has its pitch, silence has numbers, and a long clip as many steps as a short one."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_hubert, tiny_wav2vec2, tiny_whisper
from transformers import AutoFeatureExtractor, AutoModel

from affect.baselines import rules
from affect.config import Config, ConfigError
from affect.data.media import SAMPLING_RATE, Clip
from affect.models.composed.features import LogMel
from affect.models.features.audio import PROSODY, Acoustic, Egemaps, SpeechStates
from affect.models.features.steps import to_steps

AT = {name: LogMel.NUM_MELS + i for i, name in enumerate(PROSODY)}


def clip(waveform: np.ndarray) -> Clip:
    return Clip(waveform=waveform.astype(np.float32), frames=None, seconds=len(waveform) / SAMPLING_RATE)


def voice(hertz: float, seconds: float) -> np.ndarray:
    """float[samples]: eight harmonics, harmonic k with amplitude 1 / k, a tenth of full scale in all."""
    phase = 2 * np.pi * hertz * np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 9))
    return 0.1 * tone / np.sqrt(np.mean(tone**2))


@pytest.mark.parametrize("hertz", [90, 220, 400])
def test_a_tone_has_its_pitch_and_level(hertz: float) -> None:
    features = Acoustic(50).of([clip(voice(hertz, 2))])[0]
    assert features.shape == (50, Acoustic.width) and features.dtype == torch.float32
    inside = features[2:-2]
    assert 100 * 2 ** inside[:, AT["pitch"]].numpy() == pytest.approx(np.full(46, hertz), rel=0.01)
    assert (inside[:, AT["voiced"]] == 1).all() and (inside[:, AT["speech"]] == 1).all()
    assert inside[:, AT["level"]].numpy() == pytest.approx(np.full(46, -1.0), abs=0.05)  # a tenth of full scale


def test_pitch_is_that_of_the_voiced_frames_of_a_step() -> None:
    half = np.concatenate([voice(200, 0.5), np.zeros(SAMPLING_RATE // 2)])
    step = Acoustic(1).of([clip(half)])[0][0]
    assert float(step[AT["voiced"]]) == pytest.approx(0.5, abs=0.04)
    assert float(step[AT["pitch"]]) == pytest.approx(1.0, abs=0.02)


def test_bands_are_log_mel_and_short_clips_have_a_step_for_every_frame() -> None:
    sound = voice(150, 0.2).astype(np.float32)
    features = Acoustic(50).of([clip(sound)])[0]
    assert len(features) == 21
    torch.testing.assert_close(features[:, : LogMel.NUM_MELS], LogMel()([sound])["audio_features"][0].T)


@pytest.mark.parametrize(
    ("waveform", "steps"),
    [(np.zeros(SAMPLING_RATE), 50), (np.zeros(1), 1), (voice(200, 0.1), 11), (voice(120, 300), 50)],
)
def test_silence_the_shortest_and_the_longest_clips_have_finite_features(waveform: np.ndarray, steps: int) -> None:
    extractor = Acoustic(50)
    features = extractor.of([clip(waveform), clip(voice(200, 1))])
    assert features[0].shape == (steps, extractor.width) and torch.isfinite(features[0]).all()
    torch.testing.assert_close(extractor.of([clip(waveform)])[0], features[0], atol=0, rtol=0)
    if not waveform.any():
        assert not features[0][:, [AT["voiced"], AT["speech"], AT["pitch"], AT["change"]]].any()


def test_means_count_what_means_something() -> None:
    frames = torch.arange(12.0).reshape(6, 2)
    counted = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 0], [1, 1], [1, 0]], dtype=torch.bool)
    expected = torch.tensor([[2.0, 1.0], [8.0, 9.0]])
    torch.testing.assert_close(to_steps(frames, 2, counted), expected)
    assert not to_steps(frames, 2, torch.zeros(6, 2, dtype=torch.bool)).any()
    torch.testing.assert_close(to_steps(frames, 6), frames)


def test_egemaps_without_the_package_is_refused_with_its_licence(
    monkeypatch: pytest.MonkeyPatch, configure: Callable[..., Config]
) -> None:
    said = r"licence allows research .* forbids commercial use: .*pip install -e '.\[opensmile\]'"
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(ConfigError, match=said):
        Egemaps(50)
    monkeypatch.setattr(rules, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=said):
        configure("model=vectors", "features.audio=egemaps")
    assert configure("model=vectors", "features.audio=egemaps", "modalities=tv").features.audio == "egemaps"


def test_egemaps_has_the_pitch_of_a_tone() -> None:
    pytest.importorskip("opensmile")
    extractor = Egemaps(50)
    names = extractor.smile.feature_names
    tone, silence, short = extractor.of([clip(voice(220, 2)), clip(np.zeros(SAMPLING_RATE)), clip(voice(220, 0.01))])
    assert tone.shape == (50, 25) and silence.shape == (50, 25) and short.shape == (1, 25)
    assert all(torch.isfinite(features).all() for features in (tone, silence, short))
    pitch = tone[2:-2, names.index("F0semitoneFrom27.5Hz_sma3nz")].numpy()
    assert 27.5 * 2 ** (pitch / 12) == pytest.approx(np.full(46, 220.0), rel=0.01)


def speech(folder: Path, layer: str = "last", max_steps: int = 50, max_seconds: float = 30.0) -> SpeechStates:
    return SpeechStates(str(folder), layer, max_steps, max_seconds, folder.parent, torch.device("cpu"))


@pytest.mark.parametrize("make", [tiny_whisper, tiny_wav2vec2, tiny_hubert])
@pytest.mark.parametrize("layer", ["0", "1", "last"])
def test_a_layer_of_a_speech_encoder_is_that_of_transformers(
    make: Callable[[Path], Path], layer: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "model")
    waveform = voice(180, 0.4).astype(np.float32)
    extractor = speech(folder, layer)
    states = extractor.of([clip(waveform)])[0]
    inputs = AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    encoder = model.encoder if model.config.is_encoder_decoder else model
    with torch.no_grad():
        output = encoder(next(iter(inputs.values())), output_hidden_states=True)
    expected = output.last_hidden_state if layer == "last" else output.hidden_states[int(layer)]
    expected = expected[0, :20] if make is tiny_whisper else expected[0]  # Whisper has 50 states a second, of 30 s
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)
    others = [clip(voice(300, 0.9)), clip(waveform), clip(np.zeros(SAMPLING_RATE // 10))]
    together = extractor.of(others)
    torch.testing.assert_close(together[1], states, atol=1e-5, rtol=0)
    assert len(together[0]) <= 50 and all(torch.isfinite(features).all() for features in together)


def test_a_speech_encoder_is_told_from_others_and_refused_where_it_cannot_serve(tmp_path: Path) -> None:
    folder = tiny_whisper(tmp_path / "model")
    identities = [speech(folder).identity, speech(folder, "0").identity, speech(folder, max_steps=10).identity]
    assert all(identities.count(each) == 1 for each in identities)
    with pytest.raises(ConfigError, match=r"model.max_seconds=60 and the processor of features.audio=.* takes 30 s"):
        speech(folder, max_seconds=60.0)
    with pytest.raises(ConfigError, match=r"features.audio_layer=weighted is no layer of .*: give .* to 1 .after"):
        speech(folder, "weighted")
