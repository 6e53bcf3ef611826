"""Audio and vision encoders of composed models: features of clips in, a fixed number of states a clip out.

Small convolutional encoders that are trained from scratch and pretrained ones that transformers loads have one
interface. Nothing in them mixes clips or looks at padding, so the states of a clip do not depend on its batch.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, PreTrainedModel

from affect.config import ComposedConfig
from affect.config.model import layer_numbers
from affect.models import precision, reach, weights_cache
from affect.models.composed import layers
from affect.models.composed.features import AUDIO_WANTED, SAMPLING_RATE, VISION_WANTED, LogMel
from affect.models.pretrained import complete_weights, refusals, weights

STATES = {"audio": "audio_states", "video": "video_states"}
"""Key of a batch with the states of its clips, [B, num_states, width], where they come from the encoder cache; with
model.audio_layer=weighted, the audio has them of all layers, [B, layers + 1, num_states, width]."""


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

    Two paths are added. One describes the whole utterance: mean, spread and rate of change of every mel band, which
    carry level, brightness, pitch range and liveliness; a few hundred clips are enough to learn from them. The other
    follows the utterance over time: three strided convolutions, then the mean of each of num_tokens equal parts. It
    starts from zero, because convolutions alone learn the speakers of small datasets (see LOG.md).
    """

    def __init__(self, config: ComposedConfig, num_tokens: int) -> None:
        super().__init__()
        width = config.encoder_width
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
            # Without this a convolution would see the bias of the layer before past the end of a clip, not silence.
            x = x * (torch.arange(x.shape[-1], device=x.device) < lengths[:, None])[:, None]
        return self.part(self.dropout(segment_means(x, lengths, self.num_tokens))) + whole[:, None]


class ConvVision(nn.Module):
    """Frames to tokens[B, num_tokens, width]: four strided convolutions a frame, then the mean of each of num_tokens
    equal parts of the clip beside the mean and spread over all frames, which carry expression and movement."""

    def __init__(self, config: ComposedConfig, num_tokens: int) -> None:
        super().__init__()
        width = config.encoder_width
        self.num_tokens, self.width = num_tokens, width
        channels = [3, width // 4, width // 2, width, width]
        layers: list[nn.Module] = []
        for a, b in pairwise(channels):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(1, b), nn.GELU()]
        side = 4  # of the last feature map: fine enough to tell mouth from brows
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


def tower(part: str, config: ComposedConfig, num_tokens: int) -> nn.Module:
    """The encoder of a part, audio or video, that the configuration names."""
    kinds = {
        "audio": (config.audio, ConvAudio, PretrainedAudio),
        "video": (config.vision, ConvVision, PretrainedVision),
    }
    name, new, pretrained = kinds[part]
    return (new if name == "conv" else pretrained)(config, num_tokens)


def load_options(config: ComposedConfig) -> dict[str, Any]:
    """Arguments of `from_pretrained` for every pretrained part."""
    return {
        "dtype": precision.dtype(config),
        "attn_implementation": precision.attention(config),
        # Passed although it may be false: without it transformers asks on the terminal, and waits.
        "trust_remote_code": config.trust_remote_code,
    }


def _speech_encoder(config: ComposedConfig) -> PreTrainedModel:
    """The encoder that model.audio names, up to the layer that is wanted."""
    chosen, options = layer_numbers(config.audio_layer), load_options(config)

    def encoder(load: Any) -> PreTrainedModel:
        model = load(AutoModel, "model.audio", config.audio, **options)
        return model.encoder if model.config.is_encoder_decoder else model

    if not chosen:
        return encoder(weights)
    # Kept for the next job without the blocks that are cut off, and not in the place of the whole.
    key = (AutoModel, config.audio, chosen[-1], *sorted(options.items()))
    return weights_cache.part(key, lambda: layers.cut(encoder(complete_weights), chosen[-1], config.audio))


class PretrainedAudio(nn.Module):
    """A pretrained speech encoder's hidden states, averaged over num_tokens equal parts of the clip.

    They are [B, num_tokens, width] of one layer, the last unless model.audio_layer names another, or of several side by
    side, whose channels follow each other; or, with model.audio_layer=weighted, [B, layers + 1, num_tokens, width] of
    all. The projector weights and adds those up: a sum of means is the mean of the sum, so that what depends on the
    weights comes after what is worth keeping.
    """

    def __init__(self, config: ComposedConfig, num_tokens: int) -> None:
        super().__init__()
        with refusals("model.audio", config.audio, AUDIO_WANTED):
            self.encoder = _speech_encoder(config)
        self.chosen = layer_numbers(config.audio_layer)
        self.num_tokens, self.width = num_tokens, self.encoder.config.hidden_size * max(len(self.chosen), 1)
        self.weighted = config.audio_layer == layers.WEIGHTED
        self.num_layers = layers.blocks(self.encoder, config.audio).count + 1 if self.weighted else None
        """How many hidden states of a clip the projector adds up; None where there is one."""

    def unused(self) -> set[str]:
        """Names of the parameters that the states do not depend on, such as the embedding of masked frames."""
        config = self.encoder.config
        mel = getattr(config, "num_mel_bins", None)
        shape = (1, SAMPLING_RATE) if mel is None else (1, mel, 2 * config.max_source_positions)
        features = torch.empty(shape, dtype=torch.bfloat16, device="meta")
        names = reach.unused(self.encoder, lambda copy: self._hidden(copy, features))
        return {f"encoder.{name}" for name in names}

    def _hidden(self, encoder: PreTrainedModel, features: torch.Tensor) -> torch.Tensor:
        """[layers, B, T, width]; a single one unless layers are weighted."""
        if self.weighted:
            return layers.every(encoder, features)
        states = (
            layers.side_by_side(encoder, features, self.chosen) if self.chosen else layers.output(encoder, features)
        )
        return states[None]

    def _pooled(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        means = [segment_means(layer.transpose(1, 2), lengths, self.num_tokens) for layer in states]
        return torch.stack(means, 1) if self.weighted else means[0]

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if STATES["audio"] in batch:
            return batch[STATES["audio"]]
        features, lengths = batch["audio_features"].to(self.encoder.dtype), batch["audio_lengths"]
        if features.ndim == 3:
            states = self._hidden(self.encoder, features)
            longest = features.shape[-1]
            lengths = (lengths * states.shape[2] + longest - 1) // longest  # rounded up
            return self._pooled(states, lengths)
        # One clip at a time: these encoders normalise and attend over all that they are given, padding included.
        tokens = []
        for clip, length in zip(features, lengths.tolist(), strict=True):
            states = self._hidden(self.encoder, clip[None, :length])
            tokens.append(self._pooled(states, lengths.new_tensor([states.shape[2]])))
        return torch.cat(tokens)


class PretrainedVision(nn.Module):
    """A pretrained image encoder's patches, averaged over each frame, then over num_tokens equal parts of the clip."""

    def __init__(self, config: ComposedConfig, num_tokens: int) -> None:
        super().__init__()
        with refusals("model.vision", config.vision, VISION_WANTED):
            model = weights(AutoModel, "model.vision", config.vision, **load_options(config))
        self.encoder = getattr(model, "vision_model", model)
        self.num_tokens, self.width = num_tokens, self.encoder.config.hidden_size

    def unused(self) -> set[str]:
        """Names of the parameters that the states of the patches do not depend on: the pooling and what follows it."""
        size = getattr(self.encoder.config, "image_size", 224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        features = torch.empty(1, 3, height, width, dtype=torch.bfloat16, device="meta")
        names = reach.unused(self.encoder, lambda copy: copy(features).last_hidden_state)
        return {f"encoder.{name}" for name in names}

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if STATES["video"] in batch:
            return batch[STATES["video"]]
        frames = batch["frames"]
        states = self.encoder(pixel_values=frames.flatten(0, 1).to(self.encoder.dtype)).last_hidden_state
        x = states.mean(1).view(*frames.shape[:2], -1).transpose(1, 2)
        lengths = torch.full((len(x),), x.shape[-1], device=x.device)
        return segment_means(x, lengths, self.num_tokens)
