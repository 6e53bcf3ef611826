"""Nemotron 3 Nano Omni (NVIDIA 2026, arXiv 2604.24954): text and sound in, text out; a mixture of experts. Video is
left out: in transformers 5.23 the class fails on every video, because it joins a tensor as if it were a list of them.

One audio token stands for 80 ms. Most layers are recurrent (Mamba-2) and a few attend, so the cache of a prompt has
states of fixed size beside keys and values. The model is asked to answer without thinking aloud first.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import DynamicCache, NemotronH_Omni_Reasoning_V3, NemotronH_Omni_Reasoning_V3Processor

from affect.models.native.clip_tensors import one_by_one
from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel
from affect.models.protocol import Conversation


class NemotronHOmniEncoder(NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("input_features", "input_features_mask", "audio_frames")
    TOKENS: ClassVar = {"audio": "audio_token_id"}
    UNPADDED = "input_features"
    TEMPLATE: ClassVar = {"enable_thinking": False}
    audio_tokens_per_second = 12.5

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        return {"audio": [conversation.waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}


class NemotronHOmni(NativeModel):
    """See `affect.models.Model`."""

    # The second is the type under which the checkpoint was released.
    model_types = ("nemotron_h_omni", "NemotronH_Nano_Omni_Reasoning_V3")
    backbone_class = NemotronH_Omni_Reasoning_V3
    processor_class = NemotronH_Omni_Reasoning_V3Processor
    encoder_class = NemotronHOmniEncoder
    LANGUAGE = ("language_model",)
    TOWERS: ClassVar = {"audio": ("audio_tower",), "projector": ("embed_audio",)}
    ENCODERS: ClassVar = {"audio": ("audio_tower", "embed_audio")}
    DROPPED: ClassVar = {**ENCODERS, "video": ("vision_model", "multi_modal_projector", "vision_final_layernorm")}

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        sounds = one_by_one(batch, "input_features", "input_features_mask")
        states = [self.backbone.get_audio_features(*sound, return_dict=True).pooler_output for sound in sounds]
        return {"states": torch.cat(states)}

    def new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.backbone.config.text_config)

    def body(self) -> nn.Module:
        return self.backbone.language_model.model

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.backbone.language_model.lm_head(hidden)
