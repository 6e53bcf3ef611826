"""Qwen3-Omni (Xu et al. 2025, arXiv 2509.17765), thinker only: text, audio and video in, text out. The language model
is a mixture of experts: of 30 billion weights 3 billion are used for a token.

    <|im_start|>user\n … <|audio_start|><|audio_pad|><|audio_end|> … <|vision_start|><|video_pad|><|vision_end|> …

Beside Qwen2.5-Omni: a second of sound is 13 tokens; a video token is 32 x 32 pixels of two frames; what the vision tower
sees reaches the first layers of the language model too; and the feature extractor pads a clip no further than it lasts.

The experts of a layer are one tensor, not linear modules, so LoRA reaches the attention and not the experts.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from transformers import Qwen3OmniMoeProcessor, Qwen3OmniMoeThinkerForConditionalGeneration

from affect.config import NativeConfig
from affect.models import native
from affect.models.qwen_omni import PARTS, QwenOmni, QwenOmniEncoder

MODEL_TYPES = ("qwen3_omni_moe", "qwen3_omni_moe_thinker")


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Qwen3Omni", "Qwen3OmniEncoder"]:
    """As `affect.models.qwen_omni.load`."""
    backbone, processor = native.load(
        config,
        modalities,
        types=MODEL_TYPES,
        model=Qwen3OmniMoeThinkerForConditionalGeneration,
        processor=Qwen3OmniMoeProcessor,
        towers=PARTS,
        whole="thinker",
    )
    chunk = processor.feature_extractor.chunk_length
    native.check_longest(config, modalities, chunk, f"the feature extractor of model.checkpoint={config.checkpoint}")
    encoder = Qwen3OmniEncoder(processor, modalities=modalities, frame_size=config.frame_size)
    return Qwen3Omni(backbone, stops=encoder.stops), encoder


class Qwen3OmniEncoder(QwenOmniEncoder):
    """See `affect.models.Encoder`."""

    def log_mel(self, waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """As the stock processor extracts each clip alone. In a batch it would mirror a clip's end where the longest
        clip ends and put zeros after the others, so that features depended on the batch."""
        features, masks = [], []
        for waveform in waveforms:
            extracted = self.processor.feature_extractor(
                waveform,
                sampling_rate=self.sampling_rate,
                padding=True,
                truncation=False,
                return_attention_mask=True,
                return_tensors="pt",
            )
            features.append(extracted["input_features"])
            masks.append(extracted["attention_mask"])
        return native.joined(features), native.joined(masks)

    def num_audio_tokens(self, frames: int) -> int:
        """Tokens that `frames` log-mel frames (10 ms each) become: every second of 100 alone is halved three times, to
        13."""
        whole, rest = divmod(frames, 2 * self.processor.n_window)
        for _ in range(3):
            rest = (rest + 1) // 2
        return whole * 13 + rest


class Qwen3Omni(QwenOmni):
    """See `affect.models.Model`."""

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
