"""Audio Flamingo 3 (Goel et al. 2025, arXiv 2507.08128; NVIDIA's licence allows research only): text and sound in, text
out. It takes no video.

One `<sound>` stands for 40 ms. A sound is cut into windows of 30 s, each of which the audio tower takes whole; it takes
at most twenty of them.
"""

from typing import ClassVar

import torch
from transformers import AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor

from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel


class AudioFlamingo3Encoder(NativeEncoder):
    """See `affect.models.Encoder`. A window is a row of a batch's features, and a clip has one or several."""

    audio_tokens_per_second = 25.0
    KEYS = ("input_features", "input_features_mask")
    TOKENS: ClassVar = {"audio": "audio_token_id"}

    @property
    def longest_sound(self) -> float:
        return self.processor.max_audio_len


class AudioFlamingo3(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("audioflamingo3",)
    backbone_class = AudioFlamingo3ForConditionalGeneration
    processor_class = AudioFlamingo3Processor
    encoder_class = AudioFlamingo3Encoder
    TOWERS: ClassVar = {"audio": ("model.audio_tower",), "projector": ("model.multi_modal_projector",)}
    ENCODERS: ClassVar = {"audio": ("model.audio_tower", "model.multi_modal_projector")}

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        features = (batch[key] for key in AudioFlamingo3Encoder.KEYS)
        return {"states": self.backbone.model.get_audio_features(*features, return_dict=True).pooler_output}
