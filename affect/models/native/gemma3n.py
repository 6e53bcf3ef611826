"""Gemma 3n (Google 2025): text, audio and images in, text out. Frames go in as images.

A sound becomes 188 tokens whatever it lasts, 30 s at most: one for each 160 ms of it, and the rest are all alike. An
image is scaled to one size and becomes 256 tokens, so that a few frames are all that can be afforded. Every layer gets
an input that is looked up by token; the special tokens around a clip are embedded by the projector of its tower.
The vision tower is a MobileNetV5, which the package timm has.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Gemma3nForConditionalGeneration, Gemma3nProcessor

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.native.gemma4 import Gemma4
from affect.models.protocol import Conversation

LONGEST = 30.0
"""Seconds. The feature extractor cuts off what is beyond."""


def load(config: NativeConfig, *, modalities: str, cache_root: Path) -> tuple["Gemma3n", "Gemma3nEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    backbone, processor = loading.load(
        config,
        modalities,
        types=("gemma3n",),
        model=Gemma3nForConditionalGeneration,
        processor=Gemma3nProcessor,
        towers={"a": ("audio_tower", "embed_audio"), "v": ("vision_tower", "embed_vision")},
    )
    loading.check_longest(config, modalities, LONGEST, f"the processor of model.checkpoint={config.checkpoint}")
    encoder = Gemma3nEncoder(processor, config, modalities)
    return Gemma3n(backbone, stops=encoder.stops), encoder


class Gemma3nEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("input_features", "input_features_mask", "audio_frames", "pixel_values")
    TOKENS: ClassVar = {"audio": "audio_token_id", "video": "image_token_id"}
    UNPADDED = "input_features"

    def arranged(self, messages: list[dict]) -> list[dict]:
        """With images for videos."""
        kinds = {"video": {"type": "image"}}
        return [{**m, "content": [kinds.get(part["type"], part) for part in m["content"]]} for m in messages]

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if conversation.waveform is not None:
            options["audio"] = [conversation.waveform]
        if conversation.frames is not None:
            options |= {"images": list(conversation.frames), "images_kwargs": {"input_data_format": "channels_last"}}
        return options


class Gemma3n(Gemma4):
    """See `affect.models.Model`. Its language model is asked directly: the whole would let the audio tower look at what
    a sound is padded with in a batch, and needs both projectors whatever the batch has."""

    TOKENS = Gemma3nEncoder.TOKENS
    CLIPS: ClassVar = {"audio": "input_features", "video": "pixel_values"}

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        """188 states a sound. The convolutions look ahead, past the end of a sound."""
        model, states = self.backbone.model, []
        for frames, mask in family.one_by_one(batch, "input_features", "input_features_mask"):
            heard = model.get_audio_features(frames, ~mask, return_dict=True)
            # The last of the vocabulary stands for silence.
            rest = model.embed_audio(input_ids=frames.new_full((1, 1), model.vocab_size - 1, dtype=torch.long))
            own = torch.where(heard.audio_mel_mask[..., None], rest, heard.pooler_output)[0]
            missing = model.config.audio_soft_tokens_per_image - len(own)
            states.append(torch.cat([own, rest[0].expand(missing, -1)]))
        return {"states": torch.cat(states)}

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        """256 states a frame."""
        seen = self.backbone.model.get_image_features(batch["pixel_values"], return_dict=True)
        return {"states": seen.pooler_output.flatten(0, 1)}

    def _embedded(self, batch: dict) -> torch.Tensor:
        model, ids = self.backbone.model, batch["input_ids"]
        # The model takes the root of every token's magnitude, also of the padding's, which may be embedded as zeros:
        # the gradient of that is no number, and would spread to all weights.
        padding = batch["attention_mask"][..., None] == 0
        embeddings = model.get_input_embeddings()(ids).masked_fill(padding, 1.0)
        for projector in (model.embed_vision, model.embed_audio):
            if projector is not None:
                own = (ids >= projector.vocab_offset) & (ids < projector.vocab_offset + projector.vocab_size)
                embedded = projector(input_ids=ids[own]).to(embeddings.dtype)
                embeddings = embeddings.masked_scatter(own[..., None], embedded)
        return embeddings

    def _media(self, batch: dict) -> dict[str, Any]:
        by_layer = self.backbone.model.language_model.get_per_layer_inputs(batch["input_ids"])
        return family.Native._media(self, batch) | {"per_layer_inputs": by_layer}

    def _body(self) -> nn.Module:
        return self.backbone.model.language_model
