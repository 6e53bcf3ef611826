"""Qwen3-Omni (Xu et al. 2025, arXiv 2509.17765), thinker only: text, audio and video in, text out. The language model
is a mixture of experts: of 30 billion weights 3 billion are used for a token.

    <|im_start|>user\n … <|audio_start|><|audio_pad|><|audio_end|> … <|vision_start|><|video_pad|><|vision_end|> …

Other than in Qwen2.5-Omni, a second of sound is 13 tokens; a video token is 32 x 32 pixels of two frames; what the
vision tower sees reaches the first layers of the language model too; and a clip is padded no further than it lasts.

The experts of a layer are one tensor, not linear modules, so LoRA reaches the attention and not the experts.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from transformers import Qwen3OmniMoeProcessor, Qwen3OmniMoeThinkerForConditionalGeneration

from affect.config import Media, NativeConfig
from affect.models.native import family, loading
from affect.models.native.qwen_omni import FPS, PARTS, QwenOmni, QwenOmniEncoder

MODEL_TYPES = ("qwen3_omni_moe", "qwen3_omni_moe_thinker")


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Qwen3Omni", "Qwen3OmniEncoder"]:
    """As `affect.models.load`."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=MODEL_TYPES,
        model=Qwen3OmniMoeThinkerForConditionalGeneration,
        processor=Qwen3OmniMoeProcessor,
        towers=PARTS,
        whole="thinker",
    )
    chunk = processor.feature_extractor.chunk_length
    loading.check_longest(config, modalities, chunk, f"the feature extractor of model.checkpoint={config.checkpoint}")
    encoder = Qwen3OmniEncoder(
        processor,
        modalities=modalities,
        frame_size=config.frame_size,
        positions_per_second=backbone.config.position_id_per_seconds,
        own_media=config.media is Media.native,
    )
    return Qwen3Omni(backbone, stops=encoder.stops), encoder


def own_frames(config: NativeConfig) -> family.OwnFrames:
    """As `affect.models.loading.own_frames`. The model card's code is that of Qwen2.5-Omni."""
    return family.own_frames(config, Qwen3OmniMoeProcessor, fps=FPS)


def num_audio_tokens(frames: int, n_window: int) -> int:
    """Tokens that `frames` log-mel frames (10 ms each) become: every piece of 2 n_window frames alone is halved three
    times, to 13."""
    whole, rest = divmod(frames, 2 * n_window)
    for _ in range(3):
        rest = (rest + 1) // 2
    return whole * 13 + rest


class Qwen3OmniEncoder(QwenOmniEncoder):
    """See `affect.models.Encoder`."""

    audio_tokens_per_second = 13.0
    POSITION = np.float32
    PAIRED = False

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
        return family.joined(features), family.joined(masks)

    def num_audio_tokens(self, frames: int) -> int:
        return num_audio_tokens(frames, self.processor.n_window)


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

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        """The audio tower pads the pieces of a second that it cuts clips into, and its second convolution sees more
        than zeros there: a clip of less than a second would depend on whether a longer one is in its batch, so it goes
        through the tower alone."""
        features, mask = batch["input_features"], batch["feature_attention_mask"]
        model, lengths = self.backbone.model, mask.sum(-1).tolist()
        short = [i for i, length in enumerate(lengths) if length < 2 * model.audio_tower.n_window]
        groups = [[i] for i in short] + [[i for i in range(len(lengths)) if i not in short]]
        outputs: dict[int, torch.Tensor] = {}
        for rows in filter(None, groups):
            taken = model.get_audio_features(features[rows], feature_attention_mask=mask[rows], return_dict=True)
            tokens = [num_audio_tokens(lengths[i], model.audio_tower.n_window) for i in rows]
            outputs |= dict(zip(rows, taken.last_hidden_state.split(tokens), strict=True))
        return {"states": torch.cat([outputs[i] for i in range(len(lengths))])}
