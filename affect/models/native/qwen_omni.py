"""Qwen2.5-Omni (Xu et al. 2025, arXiv 2503.20215), thinker only: text, audio and video in, text out.

    <|im_start|>user\n … <|audio_bos|><|AUDIO|><|audio_eos|> … <|vision_bos|><|VIDEO|><|vision_eos|> … <|im_end|>\n

One `<|AUDIO|>` stands for 40 ms of sound. One `<|VIDEO|>` stands for 28 x 28 pixels of two consecutive frames.
Positions have three axes (time, height, width): a video's time axis advances by 25 a second, whatever the number of its
frames, and the text after it goes on from the largest position used so far.

With media=uniform, sound and frames are two parts, one after the other, although the model can also take them
interleaved in time: one of them can then be left out without changing how the other is written. With media=native they
are interleaved, as the model card does (use_audio_in_video):

    <|vision_bos|><|audio_bos|> video of two seconds, sound of two seconds, video … <|audio_eos|><|vision_eos|>
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import (
    PreTrainedConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)

from affect.config import DataError, NativeConfig
from affect.models.native import positions
from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel, with_deep_states
from affect.models.native.video import own_rate
from affect.models.protocol import Conversation

FPS = 2.0
"""Frames a second of media=native: those of the model card's code (qwen_omni_utils), since the checkpoint's processor
names none."""


def log_mel(extractor: WhisperFeatureExtractor, waveform: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """features[1, mel, frames] and mask[1, frames] of a waveform float32[samples], as the stock extractor gives them.

    The stock extractor pads every clip to its whole chunk (300 s for Qwen2.5-Omni). Less padding gives the same under
    two conditions. The transform reflects the signal at its end, so a window's length of zeros has to stand there for
    the reflection to be of zeros. And the floor is 8 decades below the clip's loudest frame, which may be one of the
    two that are masked but still overlap the clip: those zeros keep them in. The chunk's own end stays the limit, since
    in the last window's length before it the stock extractor reflects sound too.
    """
    hop, window = extractor.hop_length, extractor.n_fft
    samples = len(waveform)
    assert samples <= extractor.n_samples, f"{samples} samples are more than the extractor's {extractor.n_samples}"
    # In whole hops, because the extractor's mask loses a frame otherwise.
    padded = min(-(-(samples + window) // hop) * hop, extractor.n_samples)
    extracted = extractor(
        waveform,
        sampling_rate=extractor.sampling_rate,
        padding="max_length",
        max_length=padded,
        return_attention_mask=True,
        return_tensors="pt",
    )
    features, mask = extracted["input_features"], extracted["attention_mask"]
    frames = int(mask.sum())
    return features[:, :, :frames].contiguous(), mask[:, :frames].contiguous()


def num_audio_tokens(frames: int) -> int:
    """Tokens that `frames` log-mel frames (10 ms each) become: one stride-2 convolution, then the mean of pairs."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


class QwenOmniEncoder(NativeEncoder):
    """See `affect.models.Encoder`. The chat template puts the checkpoint's default system message before conversations
    that have none.

    The processor as a whole is not called: it would pad every sound to its chunk, and count the time of frames from
    their rate rather than from the seconds they span.
    """

    KEYS = (
        "input_features",
        "feature_attention_mask",
        "pixel_values_videos",
        "video_grid_thw",
        "video_second_per_grid",
    )
    REPEATS = True
    LEAST_SAMPLES = 321
    """Three frames of 10 ms are the least that make one token."""
    audio_tokens_per_second = 25.0
    POSITION: type[np.number] = np.int64
    """Type of positions; times are cut off to it."""
    PAIRED = True
    """Whether the two tokens that open a video with its sound, and the two that close it, are at one position each."""

    def __init__(self, processor: Any, config: NativeConfig, modalities: str, described: PreTrainedConfig) -> None:
        super().__init__(processor, config, modalities, described)
        self.positions_per_second = described.position_id_per_seconds
        video = processor.video_processor
        # No frame that respects frame_size exceeds the upper bound, a square of that side rounded up to whole tokens.
        self.size = self.frame_bounds()
        if self.own_media:
            self.size = getattr(processor, "videos_kwargs", {}).get("size", video.size)
        self.fps = own_rate(video, FPS)

    @property
    def longest_sound(self) -> float:
        return self.processor.feature_extractor.chunk_length

    def check_sound(self, conversation: Conversation, where: str) -> None:
        super().check_sound(conversation, where)
        extractor = self.processor.feature_extractor
        if conversation.waveform is not None and len(conversation.waveform) > extractor.n_samples:
            raise DataError(
                f"{where}: its sound lasts {len(conversation.waveform) / self.sampling_rate:.2f} s and the model's"
                f" feature extractor takes {extractor.chunk_length} s at most: lower model.max_seconds, so that such"
                " clips are excluded and listed"
            )

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        features: dict[str, Any] = {}
        if conversation.waveform is not None:
            mel, mask = self.log_mel(conversation.waveform)
            count = self.num_audio_tokens(int(mask.sum()))
            features |= {"input_features": mel, "feature_attention_mask": mask}
            features["audio_written"] = torch.full((count,), self.media_ids["audio"])
        if conversation.frames is not None:
            features |= self._video(conversation)
        return features

    def log_mel(self, waveform: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """features[1, mel, frames] and mask[1, frames]."""
        return log_mel(self.processor.feature_extractor, waveform)

    def num_audio_tokens(self, frames: int) -> int:
        """Tokens that `frames` log-mel frames become."""
        return num_audio_tokens(frames)

    def _video(self, conversation: Conversation) -> dict[str, torch.Tensor]:
        processor, frames = self.processor.video_processor, conversation.frames
        assert not self.own_media or conversation.picked, "media=native has to be told which frames these are"
        video = processor(
            [frames],
            input_data_format="channels_last",
            do_sample_frames=False,
            size=self.size,
            # It would shrink long videos to a share of 115,000 tokens: max_seconds and num_frames are the limits.
            cap_pixels_per_frame=self.own_media and bool(processor.cap_pixels_per_frame),
            return_tensors="pt",
        )
        grid = video["video_grid_thw"]
        # The processor joins temporal_patch_size frames to one and repeats the last where one is missing, so a step of
        # the time axis is always that many distances between frames.
        step = processor.temporal_patch_size * conversation.seconds / len(frames)
        if self.own_media:  # the processor counts by the rate it is asked for, even where its bounds have changed that
            step = processor.temporal_patch_size / self.fps
        count = int(grid.prod()) // processor.merge_size**2
        return {
            "pixel_values_videos": video["pixel_values_videos"],
            "video_grid_thw": grid,
            "video_second_per_grid": torch.tensor([step]),
            "video_written": torch.full((count,), self.media_ids["video"]),
        }

    def settings(self, part: str) -> str:
        if part == "audio":
            return self.processor.feature_extractor.to_json_string()
        settings = [self.processor.video_processor.to_json_string(), self.size]
        return json.dumps([*settings, self.fps] if self.own_media else settings)

    def arranged(self, messages: list[dict]) -> list[dict]:
        """With media=native, leaves out the sound of a message that has a video too: it stands within the video."""
        if not self.own_media:
            return messages
        return [
            {**message, "content": [part for part in message["content"] if part["type"] != "audio"]}
            if any(part["type"] == "video" for part in message["content"])
            else message
            for message in messages
        ]

    def prompt(self, conversation: Conversation, clip: Mapping[str, torch.Tensor]) -> list[int]:
        """As that of every native family; with media=native, a video with sound has the sound in between."""
        written = self.written(conversation, clip)
        if not self.own_media or len(written) < 2:
            return super().prompt(conversation, clip)
        kept = {f"video_{name}": tensor for name, tensor in conversation.outputs.get("video", {}).items()}
        grid, step = ((kept or clip)[key] for key in ("video_grid_thw", "video_second_per_grid"))
        options = {key: getattr(self.processor, key) for key in ("position_id_per_seconds", "seconds_per_chunk")}
        video = {"video_grid_thw": grid.cpu().numpy(), "video_second_per_grid": step.tolist()}
        audio = {"num_audio_tokens": [len(written["audio"])]}
        ids = self._ids(conversation.messages, {})
        at = ids.index(self.media_ids["video"])
        ids[at : at + 1] = self.tokenize(self.processor.replace_video_with_audio_token(video, 0, audio, 0, **options))
        return ids

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch: the keys every batch has, positions[3, B, T], and where a conversation has audio or video

            input_features[A, mel, frames], feature_attention_mask[A, frames]       A conversations with audio
            pixel_values_videos[patches, values], video_grid_thw[V, 3], video_second_per_grid[V]      V with video

        With encoder outputs in the conversations, instead of features and patches

            audio_states[audio tokens, D]
            video_states[video tokens, D], video_deep[video tokens, layers, D] in Qwen3-Omni, beside grid and seconds
        """
        batch = super().encode(conversations)
        audio, video = self.media_ids["audio"], self.media_ids["video"]
        videos = []
        if "video_grid_thw" in batch:
            rows = batch["input_ids"][(batch["input_ids"] == video).any(-1)]
            within = (rows == audio).sum(-1).tolist() if self.own_media else [0] * len(rows)
            merge = self.processor.video_processor.merge_size
            grids, steps = batch["video_grid_thw"].tolist(), batch["video_second_per_grid"].numpy()
            videos = [
                positions.VideoTokens(self.times(count, step), height // merge, width // merge, num_audio)
                for (count, height, width), step, num_audio in zip(grids, steps, within, strict=True)
            ]
        return batch | {
            "positions": positions.three_axes(batch, video, videos, self.POSITION, paired=self.PAIRED),
        }

    def times(self, num_steps: int, seconds: np.float32) -> np.ndarray:
        """Positions, after the first, of the steps of a video that are `seconds` apart."""
        return np.arange(num_steps, dtype=np.float32) * seconds * np.float32(self.positions_per_second)


class QwenOmni(NativeModel):
    """See `affect.models.Model`.

    Without positions the class would remember how far the last prompt got and use that for the positions of a
    continuation that may belong to another.
    """

    model_types = ("qwen2_5_omni", "qwen2_5_omni_thinker")
    backbone_class = Qwen2_5OmniThinkerForConditionalGeneration
    processor_class = Qwen2_5OmniProcessor
    encoder_class = QwenOmniEncoder
    FPS = FPS
    TOWERS: ClassVar = {
        "audio": ("model.audio_tower",),
        "vision": ("model.visual",),
        "projector": ("model.audio_tower.proj", "model.visual.merger"),
    }
    ENCODERS: ClassVar = {"audio": ("model.audio_tower",), "video": ("model.visual",)}
    # The class embeds <|audio_bos|> and <|audio_eos|> with the words.
    UNUSED = ("model.audio_tower.audio_bos_eos_token",)
    AXES = 3

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        features, mask = batch["input_features"], batch["feature_attention_mask"]
        return {"states": self.backbone.model.get_audio_features(features, mask, return_dict=True).last_hidden_state}

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        """With grid_thw[V, 3] and second_per_grid[V], from which the positions are computed."""
        grid, seconds = batch["video_grid_thw"], batch["video_second_per_grid"]
        features = self.backbone.model.get_video_features(batch["pixel_values_videos"], grid, return_dict=True)
        return with_deep_states(features) | {"grid_thw": grid, "second_per_grid": seconds}
