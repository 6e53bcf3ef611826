"""Reports sampling rate, frames, resolution and tokens of a clip, measured on a clip of noise."""

import numpy as np

from affect.config import Media, ModelConfig, ServerConfig
from affect.data.media import Picked
from affect.models.loading import own_frames
from affect.models.protocol import Conversation, Encoder

SECONDS = 5.0
"""Duration of the clip of noise: about that of an utterance."""
RATE, SIDES = 25.0, (270, 480)
"""Frames a second, height and width in pixels of the clip of noise with media=native, where nothing sets them."""


def in_words(encoder: Encoder, config: ModelConfig, modalities: str) -> list[str]:
    """A sentence for the sound and one for the video, where `modalities` has them; none for a model at a server, whose
    tokens are not known here."""
    if isinstance(config, ServerConfig):
        return []
    seconds = min(SECONDS, config.max_seconds)
    # Noise, since some models leave out frames that resemble the one before.
    random = np.random.default_rng(0)
    sentences = []
    if "a" in modalities:
        waveform = (0.1 * random.standard_normal(round(seconds * encoder.sampling_rate))).astype(np.float32)
        sentences.append(
            f"audio: {encoder.sampling_rate} Hz, mono; {seconds:g} s become {_tokens(encoder, waveform=waveform)}"
            f" tokens, and clips of more than {config.max_seconds:g} s are left out"
        )
    if "v" in modalities and config.media is Media.native:
        total = round(seconds * RATE)
        indices = tuple(own_frames(config).indices(total, RATE))
        frames = random.integers(0, 256, (len(indices), *SIDES, 3), dtype=np.uint8)
        picked = Picked(indices=indices, total=total, rate=RATE)
        tokens = _tokens(encoder, frames=frames, seconds=seconds, picked=picked)
        sentences.append(
            f"video: as the checkpoint's own processor takes it (model.media=native); of {seconds:g} s with"
            f" {RATE:g} frames a second of {SIDES[1]} × {SIDES[0]}, {len(indices)} frames become {tokens} tokens"
            " together"
        )
    elif "v" in modalities:
        width, height = config.frame_size, max(2, config.frame_size * 9 // 16)
        frames = random.integers(0, 256, (config.num_frames, height, width, 3), dtype=np.uint8)
        tokens = _tokens(encoder, frames=frames, seconds=seconds)
        sentences.append(
            f"video: {config.num_frames} frames a clip, the longest side at most {width} pixels; frames of"
            f" {width} × {height} become {tokens} tokens together"
        )
    return sentences


def _tokens(encoder: Encoder, **clip: object) -> int:
    part = {"type": "audio" if "waveform" in clip else "video"}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "a"}]}]
    batch = encoder.encode([Conversation(messages=messages, **clip)])
    return batch["input_ids"].shape[1] - encoder.count_text(messages)
