"""Nemotron 3 Nano Omni (NVIDIA 2026, arXiv 2604.24954): text and sound in, text out; a mixture of experts. Its
picture is left out: in transformers 5.23 the class fails on every video, joining a tensor as if it were a list of them.

One audio token stands for 80 ms. Most layers are recurrent (Mamba-2) and a few attend, so that what is left of a prompt
is states of fixed size beside keys and values. The model answers without thinking aloud first.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import DynamicCache, NemotronH_Omni_Reasoning_V3, NemotronH_Omni_Reasoning_V3Processor

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["NemotronHOmni", "NemotronHOmniEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""

    def finish(backbone: NemotronH_Omni_Reasoning_V3) -> None:
        if "v" not in modalities:
            backbone.vision_final_layernorm = None  # which only some checkpoints have

    backbone, processor = loading.load(
        config,
        modalities,
        # The second is what the checkpoint was released under.
        types=("nemotron_h_omni", "NemotronH_Nano_Omni_Reasoning_V3"),
        model=NemotronH_Omni_Reasoning_V3,
        processor=NemotronH_Omni_Reasoning_V3Processor,
        towers={"a": ("audio_tower", "embed_audio"), "v": ("vision_model", "multi_modal_projector")},
        finish=finish,
    )
    encoder = NemotronHOmniEncoder(processor, config, modalities)
    return NemotronHOmni(backbone, stops=encoder.stops), encoder


class NemotronHOmniEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("input_features", "input_features_mask", "audio_frames")
    TOKENS: ClassVar = {"audio": "audio_token_id"}
    UNPADDED = "input_features"
    TEMPLATE: ClassVar = {"enable_thinking": False}
    audio_tokens_per_second = 12.5

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        return {"audio": [conversation.waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}


class NemotronHOmni(family.Native):
    """See `affect.models.Model`."""

    LANGUAGE = ("language_model",)
    TOWERS: ClassVar = {"audio": ("audio_tower",), "projector": ("embed_audio",)}
    ENCODERS: ClassVar = {"audio": ("audio_tower", "embed_audio")}

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        sounds = family.one_by_one(batch, "input_features", "input_features_mask")
        states = [self.backbone.get_audio_features(*heard, return_dict=True).pooler_output for heard in sounds]
        return {"states": torch.cat(states)}

    def _cache(self) -> DynamicCache:
        return DynamicCache(config=self.backbone.config.text_config)

    def _body(self) -> nn.Module:
        return self.backbone.language_model.model

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.backbone.language_model.lm_head(hidden)
