"""VideoLLaMA 3 (Zhang et al. 2025, arXiv 2501.13106): text and video in, text out. It takes no sound.

Before each frame the prompt says its time in words: `Time 0.4s:`. A token is 28 x 28 pixels of a frame. Patches that
hardly differ from the frame before are left out of the prompt, so the number of tokens depends on the movement.
"""

from typing import Any, ClassVar

import torch
from transformers import VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel
from affect.models.native.video import own_options, uniform_options
from affect.models.protocol import Conversation


class VideoLlama3Encoder(NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("pixel_values_videos", "video_grid_thw", "video_merge_sizes", "video_compression_mask")
    TOKENS: ClassVar = {"video": "video_token_id"}

    def video_options(self, conversation: Conversation) -> dict[str, Any]:
        if self.own_media:
            return own_options(conversation, self.processor.video_processor)
        # The lower bound is of a frame, the upper one of all frames together.
        return uniform_options(conversation, size=self.frame_bounds(len(conversation.frames)))


class VideoLlama3(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("video_llama_3",)
    backbone_class = VideoLlama3ForConditionalGeneration
    processor_class = VideoLlama3Processor
    encoder_class = VideoLlama3Encoder
    FPS = 1.0
    TOWERS: ClassVar = {"vision": ("model.vision_model",), "projector": ("model.projector",)}
    ENCODERS: ClassVar = {"video": ("model.vision_model", "model.projector")}

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        *features, kept_patches = (batch[key] for key in VideoLlama3Encoder.KEYS)
        states = self.backbone.model.get_video_features(*features, return_dict=True).pooler_output
        return {"states": torch.cat(states)[kept_patches]}
