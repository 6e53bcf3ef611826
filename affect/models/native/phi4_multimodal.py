"""Phi-4-multimodal (Microsoft 2025, arXiv 2503.01743): text, audio and images in, text out. Frames go in as images.

    <|user|><|audio|><|image|><|image|> … <|end|><|assistant|>

One audio token stands for 80 ms. An image of up to 448 x 448 pixels is scaled to that and becomes up to 545 tokens,
whatever its own size, so that a few frames are all that can be afforded; beyond 4,096 tokens the model uses other
positions. Sound is projected in one way where there are images and in another where there are none.

The checkpoint has LoRA adapters of its own beside its weights, one for sound alone and one for everything with images.
That for the modalities the model is loaded with is merged into the weights.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn.functional import gelu
from transformers import Phi4MultimodalForCausalLM, Phi4MultimodalProcessor
from transformers.utils import cached_file

from affect.config import NativeConfig
from affect.models.native import family, loading
from affect.models.protocol import Conversation

ADAPTERS = {"v": "vision-lora", "a": "speech-lora"}
"""Folder inside the checkpoint by modality; the first that a model has decides."""


def load(
    config: NativeConfig, *, modalities: str, cache_root: Path
) -> tuple["Phi4Multimodal", "Phi4MultimodalEncoder"]:
    """The model, on the CPU, and its encoder. Raises what `loading.load` raises."""
    extend = "embed_tokens_extend"
    backbone, processor = loading.load(
        config,
        modalities,
        types=("phi4_multimodal",),
        model=Phi4MultimodalForCausalLM,
        processor=Phi4MultimodalProcessor,
        towers={"a": (f"{extend}.audio_embed",), "v": (f"{extend}.image_embed",)},
        finish=lambda backbone: merge_own_adapter(backbone, config, modalities),
    )
    encoder = Phi4MultimodalEncoder(processor, config, modalities)
    return Phi4Multimodal(backbone, stops=encoder.stops), encoder


def merge_own_adapter(backbone: Phi4MultimodalForCausalLM, config: NativeConfig, modalities: str) -> None:
    """Adds the checkpoint's adapter for these modalities to the weights. A checkpoint without adapters stays as it
    is."""
    folder = next((folder for letter, folder in ADAPTERS.items() if letter in modalities), None)
    where = {"subfolder": folder, "revision": config.revision}
    missing = {"_raise_exceptions_for_missing_entries": False}
    if folder is None or cached_file(config.checkpoint, "adapter_config.json", **where, **missing) is None:
        return
    backbone.load_adapter(config.checkpoint, adapter_name="own", adapter_kwargs=where)
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(adapter_names=["own"])
            backbone.set_submodule(name, layer.get_base_layer())
    backbone.requires_grad_(True)  # as a model without adapters comes


class Phi4MultimodalEncoder(family.NativeEncoder):
    """See `affect.models.Encoder`. Of each conversation with a video, `image_counts[V]` is how many images it has, and
    `image_tokens[V]` how many tokens they are."""

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
        """With one string a message, and in it an image for a video."""
        written = {"audio": self.processor.audio_token, "video": self.processor.image_token}
        return [
            {
                "role": message["role"],
                "content": "".join(part.get("text") or written[part["type"]] for part in message["content"]),
            }
            for message in messages
        ]

    def of_clip(self, conversation: Conversation) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if conversation.waveform is not None:
            options |= {"audio": [conversation.waveform], "audio_kwargs": {"sampling_rate": self.sampling_rate}}
        if conversation.frames is not None:
            options |= {"images": list(conversation.frames), "images_kwargs": {"input_data_format": "channels_last"}}
        return options

    def processed(self, conversation: Conversation) -> dict[str, Any]:
        made = super().processed(conversation)
        if "video_written" in made:
            made["image_counts"] = torch.tensor([len(conversation.frames)])
            made["image_tokens"] = torch.tensor([len(made["video_written"])])
        return made


class Phi4Multimodal(family.Native):
    """See `affect.models.Model`."""

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

    # Without the two projectors of sound: which of them it goes through depends on the rest of its conversation.
    ENCODERS: ClassVar = {
        "audio": ("model.embed_tokens_extend.audio_embed.encoder",),
        "video": ("model.embed_tokens_extend.image_embed",),
    }
    CLIPS: ClassVar = {"audio": "audio_input_features", "video": "image_pixel_values"}
    TOKENS: ClassVar = {"audio": "audio_config.audio_token_id", "video": "vision_config.image_token_id"}

    def unused(self, towers: Collection[str]) -> set[str]:
        """The vision tower's layers behind the one whose states are taken, its last norm and its pooling head; and of
        the two projectors of sound, that for the other kind of conversation: in a run, all clips have the same
        modalities, those the model was loaded with."""
        embed, names = self.backbone.model.embed_tokens_extend, []
        if embed.image_embed is not None:
            tower, at = "model.embed_tokens_extend.image_embed.img_processor", embed.image_embed.layer_idx
            layers = len(embed.image_embed.img_processor.encoder.layers)
            # States 0 are those before the first layer.
            used = range(layers + 1)[at]
            names += [f"{tower}.encoder.layers.{i}" for i in range(used, layers)]
            names += [f"{tower}.post_layernorm", f"{tower}.head"]
        other = "vision_speech" if embed.image_embed is None else "speech"
        names += [f"model.embed_tokens_extend.audio_embed.{way}_proj_for_{other}" for way in ("up", "down")]
        return self._below(names)

    def heard(self, batch: dict) -> dict[str, torch.Tensor]:
        """Before the projector. Each alone: the audio tower looks at what a sound is padded with."""
        tower, states = self.backbone.model.embed_tokens_extend.audio_embed.encoder, []
        sounds = family.one_by_one(batch, "audio_input_features")
        for (sound,), tokens in zip(sounds, batch["audio_embed_sizes"].tolist(), strict=True):
            states.append(tower(sound.to(tower.dtype), None)[0, :tokens])
        return {"states": torch.cat(states)}

    def seen(self, batch: dict) -> dict[str, torch.Tensor]:
        """The images of a conversation at a time, put in the places of nothing else, since that is what the class has a
        method for."""
        embed, states, start = self.backbone.model.embed_tokens_extend.image_embed, [], 0
        token, width = self.backbone.config.vision_config.image_token_id, self.backbone.config.hidden_size
        counts, lengths = batch["image_counts"].tolist(), batch["image_tokens"].tolist()
        for count, tokens in zip(counts, lengths, strict=True):
            at = slice(start, start + count)
            start += count
            sizes, pixels = batch["image_sizes"][at], batch["image_pixel_values"]
            # The whole and its parts; what another conversation has more is padding here.
            parts = int((sizes // self.backbone.config.vision_config.crop_size).prod(-1).max()) + 1
            seen = embed(
                sizes.new_full((1, tokens), token),
                embed.global_img_feature_extensor.new_zeros(1, tokens, width),
                image_pixel_values=pixels[at, :parts],
                image_sizes=sizes,
                image_attention_mask=batch["image_attention_mask"][at, :parts],
            )
            states.append(seen[0])
        return {"states": torch.cat(states)}

    def _media(self, batch: dict) -> dict[str, Any]:
        """Sound is projected in the one way in conversations with images, and in the other in those without. The class
        would do so by whether there are images anywhere in the batch."""
        if "audio_states" in batch:
            embed, states = self.backbone.model.embed_tokens_extend.audio_embed, batch["audio_states"]
            pictures = self._here(batch, "video").any(1, keepdim=True).expand_as(batch["input_ids"])
            beside = pictures[self._here(batch, "audio")]
            projected = states.new_empty(len(states), self.backbone.config.hidden_size)
            for own, up, down in (
                (~beside, embed.up_proj_for_speech, embed.down_proj_for_speech),
                (beside, embed.up_proj_for_vision_speech, embed.down_proj_for_vision_speech),
            ):
                if own.any():
                    projected[own] = down(gelu(up(states[own]))).to(projected.dtype)
            batch = batch | {"audio_states": projected}
        return super()._media(batch)

    def _body(self) -> nn.Module:
        return self.backbone.model
