"""Features of sound and frames, which the encoders of composed models take."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoFeatureExtractor, AutoImageProcessor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from affect.config import ComposedConfig, ConfigError
from affect.models.pretrained import check_longest, refusals

SAMPLING_RATE = 16_000

KEYS = {"audio": "audio_features", "video": "frames"}
"""Key of a batch with the features of each part."""
AUDIO_WANTED = "conv, or an encoder of the Whisper or wav2vec 2.0 kind"
VISION_WANTED = "conv, or an image encoder"


def extractor(part: str, config: ComposedConfig) -> Any:
    """What makes features of a part, audio or video, for the encoder that the configuration names."""
    if part == "audio":
        return LogMel() if config.audio == "conv" else PretrainedFeatures(config)
    return SquareFrames(config.frame_size) if config.vision == "conv" else PretrainedFrames(config)


class LogMel:
    """Waveforms to log-mel features[B, NUM_MELS, T], zero-padded, with lengths[B]; a frame is 25 ms, every 10 ms.

    The scale is fixed, not relative to the clip: how loud someone speaks is part of how they feel.
    """

    NUM_MELS, WINDOW, HOP = 80, 400, 160

    def __init__(self) -> None:
        self.filters = torch.from_numpy(
            mel_filter_bank(self.WINDOW // 2 + 1, self.NUM_MELS, 50.0, 8_000.0, SAMPLING_RATE, norm="slaney")
        ).float()

    def __call__(self, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
        features = [self._one(torch.from_numpy(waveform)) for waveform in waveforms]
        lengths = torch.tensor([f.shape[1] for f in features])
        padded = torch.zeros(len(features), self.NUM_MELS, int(lengths.max()))
        for row, feature in zip(padded, features, strict=True):
            row[:, : feature.shape[1]] = feature
        return {"audio_features": padded, "audio_lengths": lengths}

    def _one(self, waveform: torch.Tensor) -> torch.Tensor:
        # The transform mirrors a clip at its ends to fill its first window, which takes more than a window of samples.
        waveform = F.pad(waveform, (0, max(0, self.WINDOW + 1 - len(waveform))))
        window = torch.hann_window(self.WINDOW)
        spectrum = torch.stft(waveform, self.WINDOW, self.HOP, window=window, return_complex=True).abs() ** 2
        # -6 … 2 are the powers of ten between the noise floor and loud speech; the result is within about ±1.5.
        return ((self.filters.T @ spectrum).clamp(min=1e-6).log10() + 2) / 2.5


class PretrainedFeatures:
    """Waveforms to the features of a pretrained audio encoder's own extractor: for Whisper log-mel features[B, mel, T],
    always of 30 s, with lengths[B] in frames; for encoders of the wav2vec 2.0 kind the waveforms[B, T], zero-padded,
    with lengths[B] in samples."""

    def __init__(self, config: ComposedConfig, key: str = "model.audio") -> None:
        """`key` names the encoder in messages. Raises ConfigError where the extractor cannot be loaded, is of another
        kind, or takes shorter clips."""
        name = config.audio
        with refusals(key, name, AUDIO_WANTED):
            self.extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=config.trust_remote_code)
        self.whisper = isinstance(self.extractor, WhisperFeatureExtractor)
        if not isinstance(self.extractor, WhisperFeatureExtractor | Wav2Vec2FeatureExtractor):
            raise ConfigError(
                f"{key}={name} has a {type(self.extractor).__name__}, whose features affect cannot use: give"
                f" {AUDIO_WANTED}"
            )
        if self.whisper:
            check_longest(config, self.extractor.chunk_length, f"{key}={name}")

    def __call__(self, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
        if self.whisper:
            # A clip's last millisecond may be over max_seconds, since annotated times are rounded.
            most = self.extractor.n_samples
            assert max(map(len, waveforms)) <= most + SAMPLING_RATE // 1000 + 1, "longer clips have been excluded"
            log_mel = self.extractor([w[:most] for w in waveforms], sampling_rate=SAMPLING_RATE, return_tensors="pt")
            hop = self.extractor.hop_length
            lengths = torch.tensor([-(-min(len(w), most) // hop) for w in waveforms])
            return {"audio_features": log_mel["input_features"], "audio_lengths": lengths}
        # One by one, since some extractors standardise a waveform together with the padding of its batch.
        clips = [
            self.extractor(w, sampling_rate=SAMPLING_RATE, return_tensors="pt")["input_values"][0] for w in waveforms
        ]
        lengths = torch.tensor([len(clip) for clip in clips])
        return {"audio_features": nn.utils.rnn.pad_sequence(clips, batch_first=True), "audio_lengths": lengths}

    def settings(self) -> str:
        """What the features depend on beside the waveforms."""
        return self.extractor.to_json_string()


class SquareFrames:
    """Frames to uint8[B, N, 3, size, size], each in the middle of a black square."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        frames = torch.zeros(len(clips), clips[0].shape[0], 3, self.size, self.size, dtype=torch.uint8)
        for row, clip in zip(frames, clips, strict=True):
            _, height, width, _ = clip.shape
            top, left = (self.size - height) // 2, (self.size - width) // 2
            row[:, :, top : top + height, left : left + width] = torch.from_numpy(clip).permute(0, 3, 1, 2)
        return {"frames": frames}


class PretrainedFrames:
    """Frames to the pixel values of a pretrained vision encoder's own image processor."""

    def __init__(self, config: ComposedConfig) -> None:
        with refusals("model.vision", config.vision, VISION_WANTED):
            self.processor = AutoImageProcessor.from_pretrained(
                config.vision, trust_remote_code=config.trust_remote_code
            )

    def __call__(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        images = [frame for clip in clips for frame in clip]
        pixels = self.processor(images, return_tensors="pt")["pixel_values"]
        return {"frames": pixels.view(len(clips), clips[0].shape[0], *pixels.shape[1:])}

    def settings(self) -> str:
        """What the features depend on beside the frames."""
        return self.processor.to_json_string()
