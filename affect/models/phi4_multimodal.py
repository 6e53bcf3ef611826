"""Phi-4-multimodal (Microsoft 2025, arXiv 2503.01743): text, audio and images in, text out. Frames go in as images.

    <|user|><|audio|><|image|><|image|> … <|end|><|assistant|>

One audio token stands for 80 ms. An image of up to 448 x 448 pixels is scaled to that and becomes up to 545 tokens,
whatever its own size, so that a few frames are all that can be afforded; beyond 4,096 tokens the model uses other
positions. Sound is projected in one way where there are images and in another where there are none.

The checkpoint has LoRA adapters of its own beside its weights, one for sound alone and one for everything with images.
That for the modalities the model is loaded with is merged into the weights.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import Phi4MultimodalForCausalLM, Phi4MultimodalProcessor
from transformers.utils import cached_file

from affect.config import NativeConfig
from affect.models import Conversation, loading, native

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


class Phi4MultimodalEncoder(native.NativeEncoder):
    """See `affect.models.Encoder`. `image_counts[V]` is how many images each conversation with a video has, and
    `audio_frames[A]` how many log-mel frames each one with a sound."""

    KEYS = (
        "audio_input_features",
        "audio_embed_sizes",
        "audio_frames",
        "image_pixel_values",
        "image_sizes",
        "image_attention_mask",
        "image_counts",
    )
    TOKENS: ClassVar = {"audio": "audio_token_id", "video": "image_token_id"}
    audio_tokens_per_second = 12.5
    TEXT_CONTENT = True

    def arranged(self, messages: list[dict], num_frames: int) -> list[dict]:
        """With one string a message, and in it an image for every frame."""
        written = {"audio": self.processor.audio_token, "video": self.processor.image_token * num_frames}
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

    def _prompt(self, conversation: Conversation) -> tuple[list[int], dict[str, torch.Tensor]]:
        ids, made = super()._prompt(conversation)
        if conversation.waveform is not None:
            made["audio_frames"] = torch.tensor([made["audio_input_features"].shape[1]])
        if conversation.frames is not None:
            made["image_counts"] = torch.tensor([len(conversation.frames)])
        return ids, made


class Phi4Multimodal(native.Native):
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

    def _media(self, batch: dict) -> dict[str, Any]:
        """The embeddings of a batch, made a conversation at a time: the class would project the sound of all of them
        in the way that images anywhere in the batch ask for, and its audio tower looks at what a sound is padded
        with."""
        if "audio_frames" not in batch and "image_counts" not in batch:
            return {}
        model, ids = self.backbone.model, batch["input_ids"]
        sounds, pictures = self._sounds(batch), self._pictures(batch)
        rows = []
        for row in ids:
            media: dict[str, torch.Tensor] = {}
            if (row == model.embed_tokens_extend.audio_token_id).any():
                media |= next(sounds)
            if (row == model.embed_tokens_extend.image_token_id).any():
                media |= next(pictures)
            rows.append(model.embed_tokens_extend(row[None], model.embed_tokens(row[None]), **media))
        return {"input_ids": None, "inputs_embeds": torch.cat(rows)}

    @staticmethod
    def _sounds(batch: dict) -> Any:
        for i, length in enumerate(batch["audio_frames"].tolist() if "audio_frames" in batch else []):
            yield {
                "audio_input_features": batch["audio_input_features"][i : i + 1, :length],
                "audio_embed_sizes": batch["audio_embed_sizes"][i : i + 1],
            }

    def _pictures(self, batch: dict) -> Any:
        start = 0
        for count in batch["image_counts"].tolist() if "image_counts" in batch else []:
            at = slice(start, start + count)
            sizes = batch["image_sizes"][at]
            # The whole and its parts; what another conversation has more is padding here.
            parts = int((sizes // self.backbone.config.vision_config.crop_size).prod(-1).max()) + 1
            yield {
                "image_pixel_values": batch["image_pixel_values"][at, :parts],
                "image_sizes": sizes,
                "image_attention_mask": batch["image_attention_mask"][at, :parts],
            }
            start += count
