"""VideoLLaMA 3 (Zhang et al. 2025, arXiv 2501.13106): text and video in, text out. It has no sound.

Before each frame the prompt says in words when it is: `Time 0.4s:`. A token is 28 x 28 pixels of a frame. What hardly
differs from the frame before is left out of the prompt, so the number of tokens depends on how much moves.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["VideoLlama3", "VideoLlama3Encoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("video_llama_3",),
        model=VideoLlama3ForConditionalGeneration,
        processor=VideoLlama3Processor,
        towers={"v": ("vision_model", "projector")},
    )
    encoder = VideoLlama3Encoder(processor, config, modalities)
    return VideoLlama3(backbone, stops=encoder.stops), encoder


def own_frames(config: NativeConfig) -> family.OwnFrames:
    """As `affect.models.loading.own_frames`. The model card asks for 1 frame a second."""
    return family.own_frames(config, VideoLlama3Processor, fps=1.0)


class VideoLlama3Encoder(family.NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("pixel_values_videos", "video_grid_thw", "video_merge_sizes", "video_compression_mask")
    TOKENS: ClassVar = {"video": "video_token_id"}

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        processor = self.processor.video_processor
        if self.own_media:
            return {"videos": [conversation.frames], "videos_kwargs": family.own_options(conversation, processor)}
        side = processor.patch_size * processor.merge_size
        # Sides are rounded to whole tokens. The lower bound is of a frame, the upper one of all together; the
        # processor's own lower one would enlarge small frames, which adds tokens and no detail.
        largest = (-(-self.frame_size // side) * side) ** 2
        options = {
            "size": {"shortest_edge": side**2, "longest_edge": len(conversation.frames) * largest},
            "do_sample_frames": False,
            "input_data_format": "channels_last",
            "video_metadata": [family.clip_metadata(conversation)],
        }
        return {"videos": [conversation.frames], "videos_kwargs": options}


class VideoLlama3(family.Native):
    """See `affect.models.Model`."""

    TOWERS: ClassVar = {"vision": ("model.vision_model",), "projector": ("model.projector",)}
    ENCODERS: ClassVar = {"video": ("model.vision_model", "model.projector")}

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        *features, moves = (batch[key] for key in VideoLlama3Encoder.KEYS)
        seen = self.backbone.model.get_video_features(*features, return_dict=True)
        return {"states": torch.cat(seen.pooler_output)[moves]}
