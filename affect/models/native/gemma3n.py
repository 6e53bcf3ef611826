"""Gemma 3n (Google 2025): text, audio and images in, text out. Frames go in as images.

A sound of up to 30 s becomes 188 tokens: one for each 160 ms of it, and the rest are all alike. An image is scaled to
one size and becomes 256 tokens, so that only a few frames can be afforded. Every layer has an input of its own that is
looked up by token; the special tokens around a clip are embedded by the projector of its tower. The vision tower is a
MobileNetV5 from the package timm.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Gemma3nForConditionalGeneration, Gemma3nProcessor

from affect.models.native.clip_tensors import one_by_one
from affect.models.native.encoder import NativeEncoder
from affect.models.native.gemma4 import Gemma4
from affect.models.native.model import NativeModel
from affect.models.native.video import images
from affect.models.protocol import Conversation


class Gemma3nEncoder(NativeEncoder):
    """See `affect.models.Encoder`."""

    KEYS = ("input_features", "input_features_mask", "audio_frames", "pixel_values")
    TOKENS: ClassVar = {"audio": "audio_token_id", "video": "image_token_id"}
    UNPADDED = "input_features"

    def arranged(self, messages: list[dict]) -> list[dict]:
        """Puts images in the place of videos."""
        kinds = {"video": {"type": "image"}}
        return [{**m, "content": [kinds.get(part["type"], part) for part in m["content"]]} for m in messages]

    @property
    def longest_sound(self) -> float:
        return 30.0  # the feature extractor cuts off what is beyond

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        if conversation.frames is None:
            return {"audio": [conversation.waveform]}
        return images(conversation)


class Gemma3n(Gemma4):
    """See `affect.models.Model`. The language model is called directly: the class around it would let the audio tower
    look at the padding of a sound in a batch, and needs both projectors whatever the batch has."""

    model_types = ("gemma3n",)
    backbone_class = Gemma3nForConditionalGeneration
    processor_class = Gemma3nProcessor
    encoder_class = Gemma3nEncoder
    EAGER = ()
    TOKENS = Gemma3nEncoder.TOKENS
    CLIPS: ClassVar = {"audio": "input_features", "video": "pixel_values"}

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        """188 states a sound. Each sound alone, since the tower's convolutions look past its end."""
        model, states = self.backbone.model, []
        for frames, mask in one_by_one(batch, "input_features", "input_features_mask"):
            encoded = model.get_audio_features(frames, ~mask, return_dict=True)
            # The last token of the vocabulary stands for silence.
            silence = model.embed_audio(input_ids=frames.new_full((1, 1), model.vocab_size - 1, dtype=torch.long))
            sound = torch.where(encoded.audio_mel_mask[..., None], silence, encoded.pooler_output)[0]
            missing = model.config.audio_soft_tokens_per_image - len(sound)
            states.append(torch.cat([sound, silence[0].expand(missing, -1)]))
        return {"states": torch.cat(states)}

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        """256 states a frame."""
        encoded = self.backbone.model.get_image_features(batch["pixel_values"], return_dict=True)
        return {"states": encoded.pooler_output.flatten(0, 1)}

    def embed(self, batch: dict) -> torch.Tensor:
        model, ids = self.backbone.model, batch["input_ids"]
        # The model takes the square root of every token's magnitude, and padding may be embedded as zeros: the gradient
        # there is NaN, which would spread to all weights.
        padding = batch["attention_mask"][..., None] == 0
        embeddings = model.get_input_embeddings()(ids).masked_fill(padding, 1.0)
        for projector in (model.embed_vision, model.embed_audio):
            if projector is not None:
                special = (ids >= projector.vocab_offset) & (ids < projector.vocab_offset + projector.vocab_size)
                embedded = projector(input_ids=ids[special]).to(embeddings.dtype)
                embeddings = embeddings.masked_scatter(special[..., None], embedded)
        return embeddings

    def body_inputs(self, batch: dict) -> dict[str, Any]:
        by_layer = self.backbone.model.language_model.get_per_layer_inputs(batch["input_ids"])
        return NativeModel.body_inputs(self, batch) | {"per_layer_inputs": by_layer}

    def body(self) -> nn.Module:
        return self.backbone.model.language_model
