"""Base class of the native families' models: encoder outputs stand in the places of their tokens."""

from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from affect.config import NativeConfig
from affect.models.generation import Decoder, text_positions
from affect.models.native.clip_tensors import WRITTEN, by_clip
from affect.models.native.encoder import NativeEncoder


class NativeModel(Decoder):
    """See `affect.models.Model`. `backbone` is the class of transformers, with its own parameter names.

    A family says in class attributes what sets it apart, and in methods what its towers make of clips. All names of
    modules are below the backbone.

    Every call passes its positions, and the head is applied to the hidden states of the positions that are asked for:
    some classes compute the logits of 152,000 words at every position, whatever `logits_to_keep` says.
    """

    model_types: ClassVar[tuple[str, ...]]
    """What a checkpoint's configuration may have as its model_type."""
    backbone_class: ClassVar[type[PreTrainedModel]]
    processor_class: ClassVar[Any]
    encoder_class: ClassVar[type[NativeEncoder]]
    EAGER: tuple[str, ...] = ()
    """Parts of the configuration whose class has no other attention."""
    FPS: float | None = None
    """media=native: frames a second by the model card, where the checkpoint's processor names neither a rate nor a
    number of frames."""

    LANGUAGE: tuple[str, ...] = ("model.language_model", "lm_head")
    TOWERS: Mapping[str, tuple[str, ...]] = {}
    """Modules by tower, projector included. Those that were dropped do not count."""
    ENCODERS: Mapping[str, tuple[str, ...]] = {}
    """Modules by part that together turn a clip into what stands for it."""
    DROPPED: Mapping[str, tuple[str, ...]] | None = None
    """Modules by part that are dropped where the modality is off: ENCODERS, unless they are named here."""
    UNUSED: tuple[str, ...] = ()
    """Modules or parameters that the checkpoint has and no answer depends on."""
    CLIPS: Mapping[str, str] = {"audio": "input_features", "video": "pixel_values_videos"}
    """By part, a key that a batch has when its clips still have to go through the encoders."""
    TOKENS: Mapping[str, str] = NativeEncoder.TOKENS
    """By part, where the backbone's configuration has the id that stands for it."""

    new: frozenset[str] = frozenset()

    def __init__(self, backbone: Any, *, stops: frozenset[int]) -> None:
        """`stops` are the tokens that end a generated answer."""
        super().__init__()
        self.backbone, self.stops = backbone, stops
        present = {name for name, _ in backbone.named_modules()}
        towers = {
            tower: [f"backbone.{name}" for name in names if name in present]
            for tower, names in {"language": self.LANGUAGE, **self.TOWERS}.items()
        }
        self.towers = {tower: names for tower, names in towers.items() if names}

    @classmethod
    def finish(cls, backbone: Any, config: NativeConfig, modalities: str) -> None:
        """Called with the backbone as soon as its weights are loaded."""

    def unused(self, towers: Collection[str]) -> set[str]:
        """Names of the parameters that no answer depends on, by UNUSED."""
        return self._parameters_in(self.UNUSED)

    def _parameters_in(self, prefixes: Iterable[str]) -> set[str]:
        return {
            f"backbone.{name}"
            for name, _ in self.backbone.named_parameters()
            if any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)
        }

    # --- Encoders ---

    def encode_audio(self, batch: dict) -> dict[str, torch.Tensor]:
        """Of the sounds of a batch: states[audio tokens, D], and whatever else the family keeps with them."""
        raise NotImplementedError

    def encode_video(self, batch: dict) -> dict[str, torch.Tensor]:
        """Of the videos of a batch: states[video tokens, D], and whatever else the family keeps with them, such as
        deep[video tokens, layers, D], which is added after the first layers of the language model."""
        raise NotImplementedError

    def encoders(self) -> dict[str, nn.Module]:
        """By part, the modules of ENCODERS, where the model was loaded with them."""
        present = dict(self.backbone.named_modules())
        by_part = {part: [present.get(name) for name in names] for part, names in self.ENCODERS.items()}
        return {
            part: modules[0] if len(modules) == 1 else nn.ModuleList(modules)
            for part, modules in by_part.items()
            if None not in modules
        }

    def encoder_outputs(self, features: dict[str, Any]) -> list[dict[str, dict[str, torch.Tensor]]]:
        """By clip and part, what `encode_audio` or `encode_video` give, and the clip's ids where the encoder keeps
        them."""
        outputs = {}
        for part, tensors in self._encode(features).items():
            outputs[part] = by_clip(tensors, features[f"{part}_tokens"])
            for clip, written in zip(outputs[part], features.get(f"{part}_{WRITTEN}", ()), strict=False):
                clip[WRITTEN] = written
        return [dict(zip(outputs, clip, strict=True)) for clip in zip(*outputs.values(), strict=True)]

    def _encode(self, batch: dict) -> dict[str, dict[str, torch.Tensor]]:
        encode: dict[str, Callable] = {"audio": self.encode_audio, "video": self.encode_video}
        return {part: encode[part](batch) for part in encode if self.CLIPS[part] in batch}

    # --- The language model ---

    def body(self) -> nn.Module:
        """The module that turns embeddings into hidden states."""
        return self.backbone.model.language_model

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        """logits[..., V] of hidden states[..., D]."""
        return self.backbone.lm_head(hidden)

    def embed(self, batch: dict) -> torch.Tensor:
        """embeddings[B, T, D] of the ids; the places of clips may have any value."""
        return self.body().get_input_embeddings()(batch["input_ids"])

    def body_inputs(self, batch: dict) -> dict[str, Any]:
        """What the body is given beside mask and positions, for a batch whose clips have gone through the encoders."""
        embeddings = self.embed(batch)
        for part in ("audio", "video"):
            if (key := f"{part}_states") in batch:
                places, states = self.places(batch, part), batch[key].to(embeddings.dtype)
                count = int(places.sum())
                assert count == len(states), f"{count} tokens stand for {len(states)} states of the {part}"
                embeddings = embeddings.masked_scatter(places[..., None], states)
        inputs: dict[str, Any] = {"inputs_embeds": embeddings}
        if "video_deep" in batch:
            deep = batch["video_deep"].unbind(1)
            inputs |= {"visual_pos_masks": self.places(batch, "video"), "deepstack_visual_embeds": deep}
        return inputs

    def places(self, batch: dict, part: str) -> torch.Tensor:
        """bool[B, T], where a token stands for the part."""
        return batch["input_ids"] == attrgetter(self.TOKENS[part])(self.backbone.config)

    @property
    def language_config(self) -> PreTrainedConfig:
        return self.body().config

    def inputs(self, batch: dict) -> dict[str, Any]:
        clips = {
            f"{part}_{name}": tensor
            for part, outputs in self._encode(batch).items()
            for name, tensor in outputs.items()
        }
        # Where positions have several axes, the encoder has made them.
        positions = batch["positions"] if self.AXES > 1 else text_positions(batch["attention_mask"])
        inputs = {"attention_mask": batch["attention_mask"], "position_ids": positions}
        return inputs | self.body_inputs(batch | clips)

    def logits(self, inputs: dict[str, Any], keep: int) -> torch.Tensor:
        return self.project(self.body()(**inputs).last_hidden_state[:, -keep:])


def with_deep_states(features: Any) -> dict[str, torch.Tensor]:
    """states[tokens, D] of videos that a Qwen class has encoded, and deep[tokens, layers, D] where it gives them."""
    outputs = {"states": torch.cat(features.pooler_output)}
    if layers := getattr(features, "deepstack_features", None):
        outputs["deep"] = torch.stack([torch.cat(layer) for layer in layers], dim=1)
    return outputs
