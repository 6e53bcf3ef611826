"""Gemma 4 (Google 2026): text, audio and video in, text out. The sizes with an audio tower are E2B and E4B.

One audio token stands for 40 ms. Before each frame the prompt says in words when it is, `00:01`; a frame is scaled to
about 70 tokens, whatever its size. The small sizes add to every layer an input that is looked up by token, which the
model makes of the ids itself. Layers with a sliding window alternate with full ones; the last ones use the keys and
values of earlier ones. In the large sizes the tokens of a frame see each other in both directions.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Gemma4ForConditionalGeneration, Gemma4Processor

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Gemma4", "Gemma4Encoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("gemma4",),
        model=Gemma4ForConditionalGeneration,
        processor=Gemma4Processor,
        towers={"a": ("audio_tower", "embed_audio"), "v": ("vision_tower", "embed_vision")},
        eager=("audio_config",),
    )
    who = f"the processor of model.checkpoint={config.checkpoint}"
    longest = processor.audio_seq_length * processor.audio_ms_per_token / 1000
    loading.check_longest(config, modalities, longest, who)
    encoder = Gemma4Encoder(processor, config, modalities)
    return Gemma4(backbone, stops=encoder.stops), encoder


def own_frames(config: NativeConfig) -> family.OwnFrames:
    """As `affect.models.loading.own_frames`. The processor takes a number of frames, 32, however long the clip is."""
    return family.own_frames(config, Gemma4Processor, fps=None)


class Gemma4Encoder(family.NativeEncoder):
    """See `affect.models.Encoder`."""

    audio_tokens_per_second = 25.0
    KEYS = (
        "input_features",
        "input_features_mask",
        "pixel_values_videos",
        "video_position_ids",
        "num_frames_per_video",
    )

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if conversation.waveform is not None:
            options["audio"] = [conversation.waveform]
        if conversation.frames is not None:
            options |= {
                "videos": [conversation.frames],
                "videos_kwargs": family.own_options(conversation, self.processor.video_processor)
                if self.own_media
                else {
                    "do_sample_frames": False,
                    "input_data_format": "channels_last",
                    "video_metadata": [family.clip_metadata(conversation)],
                },
            }
        return options


class Gemma4(family.Native):
    """See `affect.models.Model`."""

    TOWERS: ClassVar = {
        "audio": ("model.audio_tower",),
        "vision": ("model.vision_tower",),
        "projector": ("model.embed_audio", "model.embed_vision"),
    }
    ENCODERS: ClassVar = {
        "audio": ("model.audio_tower", "model.embed_audio"),
        "video": ("model.vision_tower", "model.embed_vision"),
    }

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        features = batch["input_features"], batch["input_features_mask"]
        heard = self.backbone.model.get_audio_features(*features, return_dict=True)
        return {"states": heard.pooler_output[heard.attention_mask]}

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        features = (batch[key] for key in ("pixel_values_videos", "video_position_ids", "num_frames_per_video"))
        return {"states": torch.cat(self.backbone.model.get_video_features(*features, return_dict=True).pooler_output)}

    def _embedded(self, batch: dict) -> torch.Tensor:
        return super()._embedded({"input_ids": self._text(batch)})

    def _text(self, batch: dict) -> torch.Tensor:
        """The ids with padding in the places of clips, whose own the vocabulary need not have."""
        clips = self._here(batch, "audio") | self._here(batch, "video")
        return batch["input_ids"].masked_fill(clips, self.backbone.config.text_config.pad_token_id)

    def _media(self, batch: dict) -> dict[str, Any]:
        media, language = super()._media(batch), self.backbone.model.language_model
        if language.hidden_size_per_layer_input:
            media["per_layer_inputs"] = language.get_per_layer_inputs(self._text(batch))
        if "video_states" in batch:
            # 2 is a video. The model looks at it where frames see each other in both directions.
            media["mm_token_type_ids"] = 2 * self._here(batch, "video").int()
        return media

    def _body(self) -> nn.Module:
        # Which frames see each other is the matter of the whole.
        return self.backbone.model

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.backbone.lm_head(hidden)
        cap = self.backbone.config.get_text_config().final_logit_softcapping
        return logits if cap is None else torch.tanh(logits / cap) * cap
