"""Qwen2-Audio (Chu et al. 2024, arXiv 2407.10759): text and sound in, text out. It has no picture.

    <|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n … <|im_end|>\n

One `<|AUDIO|>` stands for 40 ms. The audio tower always works on 30 s, whatever a clip lasts.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor
from transformers.masking_utils import create_bidirectional_mask

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Qwen2Audio", "Qwen2AudioEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("qwen2_audio",),
        model=Qwen2AudioForConditionalGeneration,
        processor=Qwen2AudioProcessor,
        towers={"a": ("audio_tower", "multi_modal_projector")},
    )
    chunk = processor.feature_extractor.chunk_length
    loading.check_longest(config, modalities, chunk, f"the feature extractor of model.checkpoint={config.checkpoint}")
    encoder = Qwen2AudioEncoder(processor, config, modalities)
    return Qwen2Audio(backbone, stops=encoder.stops), encoder


class Qwen2AudioEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`."""

    audio_tokens_per_second = 25.0
    KEYS = ("input_features", "feature_attention_mask")
    TOKENS: ClassVar = {"audio": "audio_token_id"}
    LEAST_SAMPLES = 1_600
    """Two tokens: the model takes a single one for a placeholder that still has to be replaced."""

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        # A clip's last millisecond may be over max_seconds, since annotated times are rounded.
        waveform = conversation.waveform[: self.processor.feature_extractor.n_samples]
        return {"audio": [waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}


class Qwen2Audio(family.Native):
    """See `affect.models.Model`."""

    TOWERS: ClassVar = {"audio": ("model.audio_tower",), "projector": ("model.multi_modal_projector",)}
    ENCODERS: ClassVar = {"audio": ("model.audio_tower", "model.multi_modal_projector")}

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        """The class has this in its forward alone: there is no method to call."""
        tower = self.backbone.model.audio_tower
        steps, tokens = tower._get_feat_extract_output_lengths(batch["feature_attention_mask"].sum(-1))
        heard = batch["input_features"]
        seen = torch.arange((heard.shape[-1] - 2) // 2 + 1, device=heard.device) < steps[:, None]
        like = torch.zeros(*seen.shape, 1, dtype=tower.dtype, device=heard.device)
        mask = create_bidirectional_mask(config=tower.config, inputs_embeds=like, attention_mask=seen.long())
        states = self.backbone.model.multi_modal_projector(tower(heard, attention_mask=mask).last_hidden_state)
        return {"states": states[torch.arange(states.shape[1], device=heard.device) < tokens[:, None]]}
