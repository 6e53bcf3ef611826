"""Audio Flamingo 3 (Goel et al. 2025, arXiv 2507.08128; NVIDIA's licence allows research only): text and sound in, text
out. It has no picture.

One `<sound>` stands for 40 ms. A sound is cut into windows of 30 s, each of which the audio tower takes whole; twenty
of them are the most.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation


def load(
    config: NativeConfig, *, modalities: str, cache_root: Path
) -> tuple["AudioFlamingo3", "AudioFlamingo3Encoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("audioflamingo3",),
        model=AudioFlamingo3ForConditionalGeneration,
        processor=AudioFlamingo3Processor,
        towers={"a": ("audio_tower", "multi_modal_projector")},
    )
    longest = processor.max_audio_len
    loading.check_longest(config, modalities, longest, f"the processor of model.checkpoint={config.checkpoint}")
    encoder = AudioFlamingo3Encoder(processor, config, modalities)
    return AudioFlamingo3(backbone, stops=encoder.stops), encoder


class AudioFlamingo3Encoder(family.NativeEncoder):
    """See `affect.models.Encoder`. A window of a batch is a row of its features, and a clip has one or several."""

    audio_tokens_per_second = 25.0
    KEYS = ("input_features", "input_features_mask")
    TOKENS: ClassVar = {"audio": "audio_token_id"}

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        return {"audio": [conversation.waveform]}


class AudioFlamingo3(family.Native):
    """See `affect.models.Model`."""

    TOWERS: ClassVar = {"audio": ("model.audio_tower",), "projector": ("model.multi_modal_projector",)}
    ENCODERS: ClassVar = {"audio": ("model.audio_tower", "model.multi_modal_projector")}

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        features = (batch[key] for key in AudioFlamingo3Encoder.KEYS)
        return {"states": self.backbone.model.get_audio_features(*features, return_dict=True).pooler_output}
