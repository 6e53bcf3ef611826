"""Qwen2-Audio (Chu et al. 2024, arXiv 2407.10759): text and sound in, text out. It takes no video.

    <|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n … <|im_end|>\n

One `<|AUDIO|>` stands for 40 ms. The audio tower always works on 30 s, however long a clip is.
"""

from typing import Any, ClassVar

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor
from transformers.masking_utils import create_bidirectional_mask

from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel
from affect.models.protocol import Conversation


class Qwen2AudioEncoder(NativeEncoder):
    """See `affect.models.Encoder`."""

    audio_tokens_per_second = 25.0
    KEYS = ("input_features", "feature_attention_mask")
    TOKENS: ClassVar = {"audio": "audio_token_id"}
    LEAST_SAMPLES = 1_600
    """Two tokens: the model takes a single one for a placeholder that still has to be replaced."""

    @property
    def longest_sound(self) -> float:
        return self.processor.feature_extractor.chunk_length

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        # A clip's last millisecond may be over max_seconds, since annotated times are rounded.
        waveform = conversation.waveform[: self.processor.feature_extractor.n_samples]
        return {"audio": [waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}


class Qwen2Audio(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("qwen2_audio",)
    backbone_class = Qwen2AudioForConditionalGeneration
    processor_class = Qwen2AudioProcessor
    encoder_class = Qwen2AudioEncoder
    TOWERS: ClassVar = {"audio": ("model.audio_tower",), "projector": ("model.multi_modal_projector",)}
    ENCODERS: ClassVar = {"audio": ("model.audio_tower", "model.multi_modal_projector")}

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        """The class does this inside its forward, and has no method for it."""
        tower, features = self.backbone.model.audio_tower, batch["input_features"]
        steps, tokens = tower._get_feat_extract_output_lengths(batch["feature_attention_mask"].sum(-1))
        present = torch.arange((features.shape[-1] - 2) // 2 + 1, device=features.device) < steps[:, None]
        like = torch.zeros(*present.shape, 1, dtype=tower.dtype, device=features.device)
        mask = create_bidirectional_mask(config=tower.config, inputs_embeds=like, attention_mask=present.long())
        states = self.backbone.model.multi_modal_projector(tower(features, attention_mask=mask).last_hidden_state)
        return {"states": states[torch.arange(states.shape[1], device=features.device) < tokens[:, None]]}
