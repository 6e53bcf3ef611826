"""Phi-4-multimodal (Microsoft 2025, arXiv 2503.01743): text, audio and images in, text out. Frames go in as images.

    <|user|><|audio|><|image|><|image|> … <|end|><|assistant|>

One audio token stands for 80 ms. An image of up to 448 x 448 pixels is scaled to that and becomes up to 545 tokens,
whatever its own size, so that only a few frames can be afforded; beyond 4,096 tokens the model uses other positions.
Sound has one projector for conversations with images and another for those without.

The checkpoint comes with LoRA adapters, one for sound alone and one for everything with images. The adapter for the
modalities that the model is loaded with is merged into the weights.
"""

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn.functional import gelu
from transformers import Phi4MultimodalForCausalLM, Phi4MultimodalProcessor
from transformers.utils import cached_file

from affect.config import NativeConfig
from affect.models.native.clip_tensors import one_by_one
from affect.models.native.encoder import NativeEncoder
from affect.models.native.model import NativeModel
from affect.models.native.video import images
from affect.models.protocol import Conversation


class Phi4MultimodalEncoder(NativeEncoder):
    """See `affect.models.Encoder`. `image_counts[V]` and `image_tokens[V]` are the numbers of images of each
    conversation with a video, and of their tokens."""

    KEYS = (
        "audio_input_features",
        "audio_embed_sizes",
        "audio_frames",
        "image_pixel_values",
        "image_sizes",
        "image_attention_mask",
        "image_counts",
        "image_tokens",
    )
    TOKENS: ClassVar = {"audio": "audio_token_id", "video": "image_token_id"}
    UNPADDED = "audio_input_features"
    audio_tokens_per_second = 12.5
    TEXT_CONTENT = True

    def arranged(self, messages: list[dict]) -> list[dict]:
        """Makes one string of each message, with an image in the place of a video."""
        tokens = {"audio": self.processor.audio_token, "video": self.processor.image_token}
        return [
            {
                "role": message["role"],
                "content": "".join(part.get("text") or tokens[part["type"]] for part in message["content"]),
            }
            for message in messages
        ]

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        if conversation.frames is not None:
            return images(conversation)
        return {"audio": [conversation.waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        features = super().processed(conversation)
        if "video_written" in features:
            features["image_counts"] = torch.tensor([len(conversation.frames)])
            features["image_tokens"] = torch.tensor([len(features["video_written"])])
        return features


class Phi4Multimodal(NativeModel):
    """See `affect.models.Model`."""

    model_types = ("phi4_multimodal",)
    backbone_class = Phi4MultimodalForCausalLM
    processor_class = Phi4MultimodalProcessor
    encoder_class = Phi4MultimodalEncoder
    LANGUAGE = ("model.embed_tokens", "model.layers", "model.norm", "lm_head")
    TOWERS: ClassVar = {
        "audio": ("model.embed_tokens_extend.audio_embed",),
        "vision": ("model.embed_tokens_extend.image_embed",),
        "projector": (
            "model.embed_tokens_extend.audio_embed.up_proj_for_speech",
            "model.embed_tokens_extend.audio_embed.down_proj_for_speech",
            "model.embed_tokens_extend.audio_embed.up_proj_for_vision_speech",
            "model.embed_tokens_extend.audio_embed.down_proj_for_vision_speech",
            "model.embed_tokens_extend.image_embed.img_projection_up",
            "model.embed_tokens_extend.image_embed.img_projection_down",
        ),
    }
    # Without the two projectors of sound: which one is used depends on the rest of the conversation.
    ENCODERS: ClassVar = {
        "audio": ("model.embed_tokens_extend.audio_embed.encoder",),
        "video": ("model.embed_tokens_extend.image_embed",),
    }
    DROPPED: ClassVar = {
        "audio": ("model.embed_tokens_extend.audio_embed",),
        "video": ("model.embed_tokens_extend.image_embed",),
    }
    CLIPS: ClassVar = {"audio": "audio_input_features", "video": "image_pixel_values"}
    TOKENS: ClassVar = {"audio": "audio_config.audio_token_id", "video": "vision_config.image_token_id"}

    @classmethod
    def finish(cls, backbone: Phi4MultimodalForCausalLM, config: NativeConfig, modalities: str) -> None:
        """Merges the checkpoint's adapter for these modalities. A checkpoint without adapters stays as it is."""
        folder = "vision-lora" if "v" in modalities else "speech-lora" if "a" in modalities else None
        where = {"subfolder": folder, "revision": config.revision}
        optional = {"_raise_exceptions_for_missing_entries": False}
        if folder is None or cached_file(config.checkpoint, "adapter_config.json", **where, **optional) is None:
            return
        backbone.load_adapter(config.checkpoint, adapter_name="own", adapter_kwargs=where)
        for name, layer in list(backbone.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge(adapter_names=["own"])
                backbone.set_submodule(name, layer.get_base_layer())
        backbone.requires_grad_(True)  # as a model without adapters comes

    def unused(self, towers: Collection[str]) -> set[str]:
        """The vision tower's layers after the one whose states are used, its last norm and its pooling head; and the
        projector of sound that is not used: in a run all clips have the modalities the model was loaded with."""
        embed, names = self.backbone.model.embed_tokens_extend, []
        if embed.image_embed is not None:
            tower, at = "model.embed_tokens_extend.image_embed.img_processor", embed.image_embed.layer_idx
            layers = len(embed.image_embed.img_processor.encoder.layers)
            used = range(layers + 1)[at]  # states 0 are those before the first layer
            names += [f"{tower}.encoder.layers.{i}" for i in range(used, layers)]
            names += [f"{tower}.post_layernorm", f"{tower}.head"]
        other = "vision_speech" if embed.image_embed is None else "speech"
        names += [f"model.embed_tokens_extend.audio_embed.{way}_proj_for_{other}" for way in ("up", "down")]
        return self._parameters_in(names)

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        """States before the projector. Each sound alone, since the audio tower looks at padding."""
        tower, states = self.backbone.model.embed_tokens_extend.audio_embed.encoder, []
        sounds = one_by_one(batch, "audio_input_features")
        for (sound,), tokens in zip(sounds, batch["audio_embed_sizes"].tolist(), strict=True):
            states.append(tower(sound.to(tower.dtype), None)[0, :tokens])
        return {"states": torch.cat(states)}

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        """The images of one conversation at a time, through the class's method that puts them in the places of tokens:
        it has no other."""
        embed, states, start = self.backbone.model.embed_tokens_extend.image_embed, [], 0
        token, width = self.backbone.config.vision_config.image_token_id, self.backbone.config.hidden_size
        counts, lengths = batch["image_counts"].tolist(), batch["image_tokens"].tolist()
        for count, tokens in zip(counts, lengths, strict=True):
            at = slice(start, start + count)
            start += count
            sizes, pixels = batch["image_sizes"][at], batch["image_pixel_values"]
            # An image is given as a whole and in crops; the rest is padding to the most crops in the batch.
            parts = int((sizes // self.backbone.config.vision_config.crop_size).prod(-1).max()) + 1
            encoded = embed(
                sizes.new_full((1, tokens), token),
                embed.global_img_feature_extensor.new_zeros(1, tokens, width),
                image_pixel_values=pixels[at, :parts],
                image_sizes=sizes,
                image_attention_mask=batch["image_attention_mask"][at, :parts],
            )
            states.append(encoded[0])
        return {"states": torch.cat(states)}

    def body_inputs(self, batch: dict) -> dict[str, Any]:
        """Chooses the projector of sound conversation by conversation, by whether it has images. The class would choose
        one by whether there are images anywhere in the batch."""
        if "audio_states" in batch:
            embed, states = self.backbone.model.embed_tokens_extend.audio_embed, batch["audio_states"]
            has_images = self.places(batch, "video").any(1, keepdim=True).expand_as(batch["input_ids"])
            with_images = has_images[self.places(batch, "audio")]
            projected = states.new_empty(len(states), self.backbone.config.hidden_size)
            for rows, up, down in (
                (~with_images, embed.up_proj_for_speech, embed.down_proj_for_speech),
                (with_images, embed.up_proj_for_vision_speech, embed.down_proj_for_vision_speech),
            ):
                if rows.any():
                    projected[rows] = down(gelu(up(states[rows]))).to(projected.dtype)
            batch = batch | {"audio_states": projected}
        return super().body_inputs(batch)

    def body(self) -> nn.Module:
        return self.backbone.model
