"""Gemma 4 (Google 2026): text, audio and video in, text out. The sizes with an audio tower are E2B and E4B.

One audio token stands for 40 ms. Before each frame the prompt says its time, `00:01`; a frame is scaled to about 70
tokens, whatever its size. In the small sizes every layer has an input of its own that is looked up by token. Layers
with a sliding window alternate with full ones; the last ones use the keys and values of earlier ones. In the large
sizes the tokens of a frame attend to each other in both directions.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Gemma4ForConditionalGeneration, Gemma4Processor

from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel


class Gemma4Encoder(NativeEncoder):
    """See `affect.models.Encoder`."""

    audio_tokens_per_second = 25.0
    KEYS = (
        "input_features",
        "input_features_mask",
        "pixel_values_videos",
        "video_position_ids",
        "num_frames_per_video",
    )

    @property
    def longest_sound(self) -> float:
        return self.processor.audio_seq_length * self.processor.audio_ms_per_token / 1000


class Gemma4(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("gemma4",)
    backbone_class = Gemma4ForConditionalGeneration
    processor_class = Gemma4Processor
    encoder_class = Gemma4Encoder
    EAGER = ("audio_config",)
    TOWERS: ClassVar = {
        "audio": ("model.audio_tower",),
        "vision": ("model.vision_tower",),
        "projector": ("model.embed_audio", "model.embed_vision"),
    }
    ENCODERS: ClassVar = {
        "audio": ("model.audio_tower", "model.embed_audio"),
        "video": ("model.vision_tower", "model.embed_vision"),
    }

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        features = batch["input_features"], batch["input_features_mask"]
        encoded = self.backbone.model.get_audio_features(*features, return_dict=True)
        return {"states": encoded.pooler_output[encoded.attention_mask]}

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        features = (batch[key] for key in ("pixel_values_videos", "video_position_ids", "num_frames_per_video"))
        return {"states": torch.cat(self.backbone.model.get_video_features(*features, return_dict=True).pooler_output)}

    def embed(self, batch: dict) -> torch.Tensor:
        return super().embed({"input_ids": self._text(batch)})

    def _text(self, batch: dict) -> torch.Tensor:
        """The ids with padding in the places of clips, whose own ids need not be in the vocabulary."""
        clips = self.places(batch, "audio") | self.places(batch, "video")
        return batch["input_ids"].masked_fill(clips, self.backbone.config.text_config.pad_token_id)

    def body_inputs(self, batch: dict) -> dict[str, Any]:
        inputs, language = super().body_inputs(batch), self.backbone.model.language_model
        if language.hidden_size_per_layer_input:
            inputs["per_layer_inputs"] = language.get_per_layer_inputs(self._text(batch))
        if "video_states" in batch:
            # 2 is a video. The model needs it where the tokens of a frame attend in both directions.
            inputs["mm_token_type_ids"] = 2 * self.places(batch, "video").int()
        return inputs

    def body(self) -> nn.Module:
        # The model above the language model makes the masks of frames.
        return self.backbone.model

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.backbone.lm_head(hidden)
        cap = self.backbone.config.get_text_config().final_logit_softcapping
        return logits if cap is None else torch.tanh(logits / cap) * cap
