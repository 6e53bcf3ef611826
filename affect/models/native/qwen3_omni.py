"""Qwen3-Omni (Xu et al. 2025, arXiv 2509.17765), thinker only: text, audio and video in, text out. The language model
is a mixture of experts: of 30 billion weights 3 billion are used for a token.

    <|im_start|>user\n … <|audio_start|><|audio_pad|><|audio_end|> … <|vision_start|><|video_pad|><|vision_end|> …

Unlike in Qwen2.5-Omni, a second of sound is 13 tokens; a video token is 32 x 32 pixels of two frames; outputs of the
vision tower are also added after the first layers of the language model; and a clip is not padded.

The experts of a layer are one tensor, not linear modules, so LoRA reaches the attention and not the experts.
"""

from typing import ClassVar

import numpy as np
import torch
from transformers import Qwen3OmniMoeProcessor, Qwen3OmniMoeThinkerForConditionalGeneration

from affect.models.native.qwen_omni import QwenOmni, QwenOmniEncoder


def num_audio_tokens(frames: int, n_window: int) -> int:
    """Tokens that `frames` log-mel frames (10 ms each) become: every piece of 2 n_window frames is halved three times,
    to 13."""
    pieces, rest = divmod(frames, 2 * n_window)
    for _ in range(3):
        rest = (rest + 1) // 2
    return pieces * 13 + rest


class Qwen3OmniEncoder(QwenOmniEncoder):
    """See `affect.models.Encoder`."""

    audio_tokens_per_second = 13.0
    POSITION = np.float32
    PAIRED = False

    def log_mel(self, waveform: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """As the stock processor extracts the clip alone. In a batch it would mirror a clip's end where the longest
        clip ends and put zeros after the others, so that features depended on the batch."""
        extracted = self.processor.feature_extractor(
            waveform,
            sampling_rate=self.sampling_rate,
            padding=True,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return extracted["input_features"], extracted["attention_mask"]

    def num_audio_tokens(self, frames: int) -> int:
        return num_audio_tokens(frames, self.processor.n_window)


class Qwen3Omni(QwenOmni):
    """See `affect.models.Model`."""

    model_types = ("qwen3_omni_moe", "qwen3_omni_moe_thinker")
    backbone_class = Qwen3OmniMoeThinkerForConditionalGeneration
    processor_class = Qwen3OmniMoeProcessor
    encoder_class = Qwen3OmniEncoder
    TOWERS: ClassVar = {
        "audio": ("model.audio_tower",),
        "vision": ("model.visual",),
        "projector": (
            "model.audio_tower.proj1",
            "model.audio_tower.proj2",
            "model.visual.merger",
            "model.visual.merger_list",
        ),
    }

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        """Clips shorter than a second go through the tower alone. It pads the pieces of a second that it cuts clips
        into, and its second convolution sees more than zeros there, so that a short clip would depend on whether a
        longer one is in its batch."""
        features, mask = batch["input_features"], batch["feature_attention_mask"]
        model, lengths = self.backbone.model, mask.sum(-1).tolist()
        short = [i for i, length in enumerate(lengths) if length < 2 * model.audio_tower.n_window]
        groups = [[i] for i in short] + [[i for i in range(len(lengths)) if i not in short]]
        outputs: dict[int, torch.Tensor] = {}
        for rows in filter(None, groups):
            encoded = model.get_audio_features(features[rows], feature_attention_mask=mask[rows], return_dict=True)
            tokens = [num_audio_tokens(lengths[i], model.audio_tower.n_window) for i in rows]
            outputs |= dict(zip(rows, encoded.last_hidden_state.split(tokens), strict=True))
        return {"states": torch.cat([outputs[i] for i in range(len(lengths))])}
