"""Qwen3-VL (Bai et al. 2025, arXiv 2511.21631): text and video in, text out. It has no sound.

Two frames are one step in time, and before each step the prompt says in words when it is: `<0.4 seconds>`. A token is
32 x 32 pixels of a step. Positions have three axes (time, height, width), as in Qwen2.5-Omni, but every step counts
alone, since its time stands in the text.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from affect.config import NativeConfig
from affect.models.native import family, loading, positions
from affect.models.protocol import Conversation


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Qwen3VL", "Qwen3VLEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("qwen3_vl",),
        model=Qwen3VLForConditionalGeneration,
        processor=Qwen3VLProcessor,
        towers={"v": ("visual",)},
    )
    encoder = Qwen3VLEncoder(processor, config, modalities)
    return Qwen3VL(backbone, stops=encoder.stops), encoder


def own_frames(config: NativeConfig) -> family.OwnFrames:
    """As `affect.models.loading.own_frames`. The checkpoint's own rate is 2 frames a second."""
    return family.own_frames(config, Qwen3VLProcessor, fps=2.0)


class Qwen3VLEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("pixel_values_videos", "video_grid_thw")
    TOKENS: ClassVar = {"video": "video_token_id"}

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        processor = self.processor.video_processor
        if self.own_media:
            options = family.own_options(conversation, processor)
            metadata = options["video_metadata"][0]
        else:
            metadata = family.clip_metadata(conversation)
        frames = conversation.frames
        if len(frames) == 1:  # which the processor refuses, although it fills up odd numbers
            frames, metadata["frames_indices"] = np.concatenate([frames, frames]), metadata["frames_indices"] * 2
        if self.own_media:
            return {"videos": [frames], "videos_kwargs": options}
        side = processor.patch_size * processor.merge_size
        # Sides are rounded to whole tokens, and the bounds are of the whole video. The processor's own lower bound
        # would enlarge small frames, which adds tokens and no detail; the upper one is what frame_size comes to.
        largest = (-(-self.frame_size // side) * side) ** 2
        options = {
            "size": {"shortest_edge": side**2, "longest_edge": (len(frames) + 1) * largest},
            "cap_pixels_per_frame": False,
            "do_sample_frames": False,
            "input_data_format": "channels_last",
            "video_metadata": [metadata],
        }
        return {"videos": [frames], "videos_kwargs": options}

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """As every native family's, and positions[3, B, T]."""
        batch = super().encode(conversations)
        merge = self.processor.video_processor.merge_size
        # Every step stands alone, after its time in words.
        shown = [
            positions.Shown(np.zeros(1), height // merge, width // merge)
            for steps, height, width in batch.get("video_grid_thw", torch.empty(0, 3)).tolist()
            for _ in range(steps)
        ]
        rows = [ids[mask.bool()] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
        return batch | {"positions": positions.three_axes(rows, self.media_ids["video"], shown)}


class Qwen3VL(family.Native):
    """See `affect.models.Model`."""

    TOWERS: ClassVar = {
        "vision": ("model.visual",),
        "projector": ("model.visual.merger", "model.visual.deepstack_merger_list"),
    }
    ENCODERS: ClassVar = {"video": ("model.visual",)}
    AXES = 3

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        """With grid_thw[V, 3], of which the positions are made."""
        pixels, grid = (batch[key] for key in Qwen3VLEncoder.KEYS)
        seen = self.backbone.model.get_video_features(pixels, grid, return_dict=True)
        return family.on_all_layers(seen) | {"grid_thw": grid}
