"""Encoders and projectors of composed models: features of a clip in, a fixed number of soft tokens out.

Two kinds of encoder stand behind one interface: small convolutional ones that are trained from scratch, and pretrained
ones that transformers can load. Nothing in them mixes clips or looks at padding, so a clip's tokens do not depend on
its batch.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.audio_utils import mel_filter_bank

from affect.config import ConfigError
from affect.models import reach
from affect.models.pretrained import refusals, weights

SAMPLING_RATE = 16_000

STATES = {"audio": "audio_states", "video": "video_states"}
"""Keys of a batch with what a pretrained encoder made of its clips before, states[B, num_states, width]."""

AUDIO_WANTED = "conv, or an encoder of the Whisper or wav2vec 2.0 kind"
VISION_WANTED = "conv, or an image encoder"


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
        # A clip shorter than a window cannot be mirrored at its ends, which is how the transform fills its first
        # window.
        waveform = F.pad(waveform, (0, max(0, self.WINDOW + 1 - len(waveform))))
        window = torch.hann_window(self.WINDOW)
        spectrum = torch.stft(waveform, self.WINDOW, self.HOP, window=window, return_complex=True).abs() ** 2
        # -6 … 2 are the powers of ten between the noise floor and loud speech; the result is within about ±1.5.
        return ((self.filters.T @ spectrum).clamp(min=1e-6).log10() + 2) / 2.5


class PretrainedFeatures:
    """Waveforms to what a pretrained audio encoder's own feature extractor makes of them: for Whisper log-mel
    features[B, mel, T], always of 30 s, with lengths[B] in frames; for encoders of the wav2vec 2.0 kind the
    waveforms[B, T], zero-padded, with lengths[B] in samples."""

    def __init__(self, name: str, max_seconds: float, trust_remote_code: bool = False) -> None:
        with refusals("model.audio", name, AUDIO_WANTED):
            self.extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=trust_remote_code)
        self.whisper = isinstance(self.extractor, WhisperFeatureExtractor)
        if not isinstance(self.extractor, WhisperFeatureExtractor | Wav2Vec2FeatureExtractor):
            raise ConfigError(
                f"model.audio={name} has a {type(self.extractor).__name__}, whose features"
                " affect has no use for yet: give"
                f" {AUDIO_WANTED}"
            )
        if self.whisper and max_seconds > self.extractor.chunk_length:
            raise ConfigError(
                f"model.max_seconds={max_seconds:g} and the feature extractor of model.audio={name} takes"
                f" {self.extractor.chunk_length} s at most: set model.max_seconds to"
                f" {self.extractor.chunk_length} or less"
            )

    def __call__(self, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
        if self.whisper:
            # A clip's last millisecond may be over max_seconds, since annotated times are rounded.
            most = self.extractor.n_samples
            assert max(map(len, waveforms)) <= most + SAMPLING_RATE // 1000 + 1, "longer clips have been excluded"
            whole = self.extractor([w[:most] for w in waveforms], sampling_rate=SAMPLING_RATE, return_tensors="pt")
            hop = self.extractor.hop_length
            lengths = torch.tensor([-(-min(len(w), most) // hop) for w in waveforms])
            return {"audio_features": whole["input_features"], "audio_lengths": lengths}
        # One by one, since some extractors standardise a waveform by what its whole batch is padded with.
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
    """Frames to what a pretrained vision encoder's own image processor makes of them."""

    def __init__(self, name: str, trust_remote_code: bool = False) -> None:
        with refusals("model.vision", name, VISION_WANTED):
            self.processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=trust_remote_code)

    def __call__(self, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
        images = [frame for clip in clips for frame in clip]
        pixels = self.processor(images, return_tensors="pt")["pixel_values"]
        return {"frames": pixels.view(len(clips), clips[0].shape[0], *pixels.shape[1:])}

    def settings(self) -> str:
        """What the features depend on beside the frames."""
        return self.processor.to_json_string()


def segment_means(x: torch.Tensor, lengths: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Means[B, num_segments, C] of x[B, C, T] over equal parts of each row's first lengths[B] steps.

    A row with fewer steps than segments repeats steps; every segment is the mean of at least one.
    """
    edges = torch.arange(num_segments + 1, device=x.device)
    bounds = edges * lengths[:, None] // num_segments
    start, end = bounds[:, :-1], torch.maximum(bounds[:, 1:], bounds[:, :-1] + 1)
    sums = F.pad(x.float().cumsum(-1), (1, 0))
    channels = x.shape[1]
    at = [sums.gather(2, bound[:, None].expand(-1, channels, -1)) for bound in (start, end)]
    return ((at[1] - at[0]) / (end - start)[:, None]).transpose(1, 2).to(x.dtype)


def statistics(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation[B, 2 C] of x[B, C, T] over each row's first lengths[B] steps."""
    mask = (torch.arange(x.shape[-1], device=x.device) < lengths[:, None])[:, None]
    mean = (x * mask).sum(-1) / lengths[:, None]
    variance = (((x - mean[..., None]) ** 2) * mask).sum(-1) / lengths[:, None]
    return torch.cat([mean, (variance + 1e-6).sqrt()], -1)


def mean_change(x: torch.Tensor, lengths: torch.Tensor, step: int) -> torch.Tensor:
    """Mean absolute difference[B, C] between steps of x[B, C, T] that are `step` apart; 0 for a row too short for
    it."""
    pairs = (lengths - step).clamp(min=0)
    mask = (torch.arange(max(x.shape[-1] - step, 0), device=x.device) < pairs[:, None])[:, None]
    change = (x[:, :, step:] - x[:, :, : max(x.shape[-1] - step, 0)]).abs()
    return (change * mask).sum(-1) / pairs.clamp(min=1)[:, None]


class ConvAudio(nn.Module):
    """Log-mel features to tokens[B, num_tokens, width].

    Two paths are added up. One describes the whole utterance: mean, spread and rate of change of every mel band, which
    carry level, brightness, pitch range and liveliness, and which a few hundred clips are enough to learn from. The
    other follows its course: three strided convolutions, then the mean of each of num_tokens equal parts. The second
    starts from zero, so that it has to earn its say; on small sets convolutions alone learn the speakers (see LOG.md).
    """

    def __init__(self, width: int, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens, self.width = num_tokens, width
        channels = [LogMel.NUM_MELS, width, width, width]
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 5, stride=2, padding=2) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels[1:])
        self.part = nn.Linear(width, width)
        nn.init.zeros_(self.part.weight)
        self.dropout = nn.Dropout(0.5)
        num_statistics = 4 * LogMel.NUM_MELS
        self.whole = nn.Linear(num_statistics, width)
        self.register_buffer("mean", torch.zeros(num_statistics))
        self.register_buffer("scale", torch.ones(num_statistics))

    def _statistics(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        x, lengths = batch["audio_features"], batch["audio_lengths"]
        changes = [mean_change(x, lengths, step) for step in (1, 8)]  # 10 and 80 ms: within and between phones
        return torch.cat([statistics(x, lengths), *changes], -1)

    def calibrate(self, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Sets the mean and scale by which the statistics are standardised, from the training clips."""
        values = torch.cat([self._statistics(batch) for batch in batches])
        self.mean.copy_(values.mean(0))
        self.scale.copy_(values.std(0).clamp(min=1e-3) if len(values) > 1 else torch.ones_like(self.scale))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        whole = self.whole(self.dropout((self._statistics(batch) - self.mean) / self.scale))
        x, lengths = batch["audio_features"], batch["audio_lengths"]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x).transpose(1, 2)).transpose(1, 2))
            lengths = (lengths + 1) // 2
            # Behind a clip's end a convolution would otherwise see the bias of the layer before, not silence.
            x = x * (torch.arange(x.shape[-1], device=x.device) < lengths[:, None])[:, None]
        return self.part(self.dropout(segment_means(x, lengths, self.num_tokens))) + whole[:, None]


class ConvVision(nn.Module):
    """Frames to tokens[B, num_tokens, width]: four strided convolutions a frame, then the mean of each of num_tokens
    equal parts of the clip beside the mean and spread over all frames, which carry expression and movement."""

    def __init__(self, width: int, num_tokens: int, frame_size: int) -> None:
        super().__init__()
        self.num_tokens, self.width = num_tokens, width
        channels = [3, width // 4, width // 2, width, width]
        layers: list[nn.Module] = []
        for a, b in pairwise(channels):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(1, b), nn.GELU()]
        side = 4  # of the last map: fine enough to tell mouth from brows
        self.frame = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(width * side * side, width), nn.GELU()
        )
        self.whole = nn.Linear(2 * width, width)
        self.part = nn.Linear(width, width)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        frames = batch["frames"]
        num_clips, num_frames = frames.shape[:2]
        pixels = frames.flatten(0, 1).to(self.part.weight.dtype) / 127.5 - 1
        x = self.frame(pixels).view(num_clips, num_frames, -1).transpose(1, 2)
        lengths = torch.full((num_clips,), num_frames, device=x.device)
        return self.part(segment_means(x, lengths, self.num_tokens)) + self.whole(statistics(x, lengths))[:, None]


def _unused(encoder: nn.Module, features: torch.Tensor) -> set[str]:
    return {f"encoder.{name}" for name in reach.unused(encoder, lambda copy: copy(features).last_hidden_state)}


class PretrainedAudio(nn.Module):
    """A pretrained speech encoder's last hidden states, averaged over num_tokens equal parts of the clip."""

    def __init__(self, name: str, num_tokens: int, **load: Any) -> None:
        super().__init__()
        with refusals("model.audio", name, AUDIO_WANTED):
            whole = weights(AutoModel, "model.audio", name, **load)
        self.encoder = whole.encoder if whole.config.is_encoder_decoder else whole
        self.num_tokens, self.width = num_tokens, whole.config.hidden_size

    def unused(self) -> set[str]:
        """Names of the parameters that the states do not depend on, as the stand-in for masked sound."""
        config = self.encoder.config
        mel = getattr(config, "num_mel_bins", None)
        shape = (1, SAMPLING_RATE) if mel is None else (1, mel, 2 * config.max_source_positions)
        return _unused(self.encoder, torch.empty(shape, dtype=torch.bfloat16, device="meta"))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if STATES["audio"] in batch:
            return batch[STATES["audio"]]
        features, lengths = batch["audio_features"].to(self.encoder.dtype), batch["audio_lengths"]
        if features.ndim == 3:
            states = self.encoder(features).last_hidden_state
            longest = features.shape[-1]
            lengths = (lengths * states.shape[1] + longest - 1) // longest  # rounded up
            return segment_means(states.transpose(1, 2), lengths, self.num_tokens)
        # One clip at a time: these encoders normalise and attend over all that they are given, padding included.
        tokens = []
        for clip, length in zip(features, lengths.tolist(), strict=True):
            states = self.encoder(clip[None, :length]).last_hidden_state.transpose(1, 2)
            tokens.append(segment_means(states, lengths.new_tensor([states.shape[-1]]), self.num_tokens))
        return torch.cat(tokens)


class PretrainedVision(nn.Module):
    """A pretrained image encoder's patches, averaged a frame, then over num_tokens equal parts of the clip."""

    def __init__(self, name: str, num_tokens: int, **load: Any) -> None:
        super().__init__()
        with refusals("model.vision", name, VISION_WANTED):
            whole = weights(AutoModel, "model.vision", name, **load)
        self.encoder = getattr(whole, "vision_model", whole)
        self.num_tokens, self.width = num_tokens, self.encoder.config.hidden_size

    def unused(self) -> set[str]:
        """Names of the parameters that the states of the patches do not depend on: pooling, and what follows it."""
        size = getattr(self.encoder.config, "image_size", 224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return _unused(self.encoder, torch.empty(1, 3, height, width, dtype=torch.bfloat16, device="meta"))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if STATES["video"] in batch:
            return batch[STATES["video"]]
        frames = batch["frames"]
        states = self.encoder(pixel_values=frames.flatten(0, 1).to(self.encoder.dtype)).last_hidden_state
        x = states.mean(1).view(*frames.shape[:2], -1).transpose(1, 2)
        lengths = torch.full((len(x),), x.shape[-1], device=x.device)
        return segment_means(x, lengths, self.num_tokens)


class QFormer(nn.Module):
    """steps[B, S, width] to tokens[B, num_tokens, width]: learned queries that look at each other and at the steps, in
    the manner of BLIP-2 (Li et al. 2023, arXiv 2301.12597). The order of the steps is a sine and cosine of their place,
    so that it is there before anything has been learnt."""

    def __init__(self, width: int, num_tokens: int, layers: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_tokens, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        steps = steps.to(self.queries.dtype)
        memory = self.norm(steps) + _places(steps.shape[1], steps.shape[2], steps)
        queries = self.queries.expand(len(steps), -1, -1)
        for layer in self.layers:
            queries = layer(queries, memory)
        return queries


def _places(count: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines [count, width] of the places 0 … count - 1, at wavelengths from 2π to 10,000 · 2π."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=like.device) / width)
    angles = torch.arange(count, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width].to(like.dtype)


class Projector(nn.Module):
    """Tokens to the language model's embedding space, at the size its own embeddings have, so that an untrained soft
    token is neither drowned nor shouts down the words around it."""

    def __init__(self, width: int, target: int, scale: float, queries: QFormer | None = None) -> None:
        """`queries` come first, where there are any."""
        super().__init__()
        self.queries = queries
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, target), nn.GELU(), nn.Linear(target, target))
        self.norm = nn.LayerNorm(target)
        nn.init.constant_(self.norm.weight, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.norm.weight.dtype)
        return self.norm(self.layers(x if self.queries is None else self.queries(x)))
