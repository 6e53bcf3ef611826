"""Nemotron 3 Nano Omni (NVIDIA 2026, arXiv 2604.24954): text, audio and video in, text out; a mixture of experts.

    Frame 1 sampled at 0.00 seconds and frame 2 sampled at 0.40 seconds: <img><image><image> … </img>

One audio token stands for 80 ms. Two frames together become up to 256 tokens, whatever their size, after words that say
when they are. Most layers are recurrent (Mamba-2) and a few attend, so that what is left of a prompt is states of fixed
size beside keys and values. The model answers without thinking aloud first. Tokens of a video that are like those of
the frame before are never left out, also where the checkpoint has a rate for that.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import DynamicCache, NemotronH_Omni_Reasoning_V3, NemotronH_Omni_Reasoning_V3Processor
from transformers.video_utils import VideoMetadata

from affect.config import NativeConfig
from affect.models import Conversation, native


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["NemotronHOmni", "NemotronHOmniEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `native.load` raises."""

    def finish(backbone: NemotronH_Omni_Reasoning_V3) -> None:
        if "v" not in modalities:
            backbone.vision_final_layernorm = None  # which only some checkpoints have

    backbone, processor = native.load(
        config,
        modalities,
        # The second is what the checkpoint was released under.
        types=("nemotron_h_omni", "NemotronH_Nano_Omni_Reasoning_V3"),
        model=NemotronH_Omni_Reasoning_V3,
        processor=NemotronH_Omni_Reasoning_V3Processor,
        towers={"a": ("audio_tower", "embed_audio"), "v": ("vision_model", "multi_modal_projector")},
        finish=finish,
    )
    encoder = NemotronHOmniEncoder(processor, config, modalities)
    return NemotronHOmni(backbone, stops=encoder.stops), encoder


class NemotronHOmniEncoder(native.NativeEncoder):
    """See `affect.models.Encoder`. `audio_frames[A]` is how many log-mel frames each conversation with a sound has, and
    `frame_sizes[V, 3]` number, height and width of the frames of each one with a video."""

    KEYS = ("input_features", "input_features_mask", "audio_frames", "pixel_values_videos", "frame_sizes")
    TOKENS: ClassVar = {"audio": "audio_token_id", "video": "image_token_id"}
    TEMPLATE: ClassVar = {"enable_thinking": False}
    audio_tokens_per_second = 12.5

    def __init__(self, processor: Any, config: NativeConfig, modalities: str) -> None:
        super().__init__(processor, config, modalities)
        # No token to the tokenizer, and yet the processor puts the video in its place.
        self.special = sorted({*self.special, processor.video_token})

    def _check_template(self, kind: str) -> None:
        if kind != "video":
            return super()._check_template(kind)
        count = self.render([{"role": "user", "content": [{"type": kind}]}]).count(self.processor.video_token)
        if count != 1:
            raise ValueError(f"it writes {count} placeholders for one part '{kind}'")

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if conversation.waveform is not None:
            options |= {"audio": [conversation.waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}
        if conversation.frames is not None:
            options |= {
                "videos": [conversation.frames],
                "videos_kwargs": {
                    "do_sample_frames": False,
                    "input_data_format": "channels_last",
                    "video_metadata": VideoMetadata(**native.clip_metadata(conversation)),
                },
            }
        return options

    def _prompt(self, conversation: Conversation) -> tuple[list[int], dict[str, torch.Tensor]]:
        ids, made = super()._prompt(conversation)
        if conversation.waveform is not None:
            made["audio_frames"] = torch.tensor([made["input_features"].shape[1]])
        if conversation.frames is not None:
            num_frames, _, height, width = made["pixel_values_videos"].shape
            made["frame_sizes"] = torch.tensor([[num_frames, height, width]])
        return ids, made


class NemotronHOmni(native.Native):
    """See `affect.models.Model`. Sounds and videos are encoded one at a time: the class takes the frames of a batch for
    those of one video."""

    LANGUAGE = ("language_model",)
    TOWERS: ClassVar = {
        "audio": ("audio_tower",),
        "vision": ("vision_model", "vision_final_layernorm"),
        "projector": ("embed_audio", "multi_modal_projector"),
    }

    def _media(self, batch: dict) -> dict[str, torch.Tensor | None]:
        config, ids = self.backbone.config, batch["input_ids"]
        embeddings = self.backbone.language_model.get_input_embeddings()(ids)
        media = ((config.audio_token_id, self._sounds(batch)), (config.image_token_id, self._videos(batch)))
        for token, clips in media:
            states = list(clips)
            if states:
                here = (ids == token)[..., None]
                embeddings = embeddings.masked_scatter(here, torch.cat(states).to(embeddings.dtype))
        return {"input_ids": None, "inputs_embeds": embeddings}

    def _sounds(self, batch: dict) -> Iterator[torch.Tensor]:
        for i, length in enumerate(batch["audio_frames"].tolist() if "audio_frames" in batch else []):
            heard = (batch[key][i : i + 1, :length] for key in ("input_features", "input_features_mask"))
            yield self.backbone.get_audio_features(*heard, return_dict=True).pooler_output

    def _videos(self, batch: dict) -> Iterator[torch.Tensor]:
        start = 0
        for num_frames, height, width in batch["frame_sizes"].tolist() if "frame_sizes" in batch else []:
            frames = batch["pixel_values_videos"][start : start + num_frames, :, :height, :width]
            yield self.backbone.get_video_features(frames, return_dict=True).pooler_output.flatten(0, 1)
            start += num_frames

    def _cache(self) -> DynamicCache:
        return DynamicCache(config=self.backbone.config.text_config)

    def _body(self, media: dict[str, torch.Tensor]) -> nn.Module:
        return self.backbone.language_model.model

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.backbone.language_model.lm_head(hidden)
