"""Qwen3-VL (Bai et al. 2025, arXiv 2511.21631): text and video in, text out. It takes no sound.

Two frames are one step in time, and before each step the prompt says its time in words: `<0.4 seconds>`. A token is
32 x 32 pixels of a step. Positions have three axes (time, height, width), as in Qwen2.5-Omni, but every step counts
alone, since its time stands in the text.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from affect.models.native import positions
from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel, with_deep_states
from affect.models.native.video import own_options, uniform_options
from affect.models.protocol import Conversation


class Qwen3VLEncoder(NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("pixel_values_videos", "video_grid_thw")
    TOKENS: ClassVar = {"video": "video_token_id"}

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        if self.own_media:
            options = own_options(conversation, self.processor.video_processor)
        else:
            num_frames = max(2, len(conversation.frames))
            # The bounds are of the whole video.
            bounds = {"size": self.frame_bounds(num_frames + 1), "cap_pixels_per_frame": False}
            options = uniform_options(conversation, **bounds)
        frames, [metadata] = conversation.frames, options["video_metadata"]
        if len(frames) == 1:  # which the processor refuses, although it repeats the last frame of odd numbers
            frames, metadata["frames_indices"] = np.concatenate([frames, frames]), metadata["frames_indices"] * 2
        return {"videos": [frames], "videos_kwargs": options}

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """As that of every native family, and positions[3, B, T]."""
        batch = super().encode(conversations)
        merge = self.processor.video_processor.merge_size
        # Every step stands alone, after its time in words.
        steps = [
            positions.VideoTokens(np.zeros(1), height // merge, width // merge)
            for num_steps, height, width in batch.get("video_grid_thw", torch.empty(0, 3)).tolist()
            for _ in range(num_steps)
        ]
        return batch | {"positions": positions.three_axes(batch, self.media_ids["video"], steps)}


class Qwen3VL(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("qwen3_vl",)
    backbone_class = Qwen3VLForConditionalGeneration
    processor_class = Qwen3VLProcessor
    encoder_class = Qwen3VLEncoder
    FPS = 2.0
    TOWERS: ClassVar = {
        "vision": ("model.visual",),
        "projector": ("model.visual.merger", "model.visual.deepstack_merger_list"),
    }
    ENCODERS: ClassVar = {"video": ("model.visual",)}
    AXES = 3

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        """With grid_thw[V, 3], from which the positions are computed."""
        pixels, grid = (batch[key] for key in Qwen3VLEncoder.KEYS)
        features = self.backbone.model.get_video_features(pixels, grid, return_dict=True)
        return with_deep_states(features) | {"grid_thw": grid}
