"""Loads a native family's model and encoder from a checkpoint, as the attributes of its class say."""

from importlib import import_module
from operator import attrgetter
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from affect.config import MODALITIES, ConfigError, NativeConfig, is_true
from affect.models import precision, weights_cache
from affect.models.native.encoder import PARTS, NativeEncoder
from affect.models.native.model import NativeModel
from affect.models.native.video import OwnFrames, own_rate
from affect.models.pretrained import check_longest, complete_weights, recompute_activations, refusals


def load(config: NativeConfig, modalities: str) -> tuple[NativeModel, NativeEncoder]:
    """The model, on the CPU and with the towers that `modalities` needs, and its encoder.

    Raises ConfigError when the checkpoint cannot be loaded, is of another model or lacks weights, when its chat
    template cannot be used, and when it takes shorter clips than max_seconds.
    """
    family = family_of(config)
    with _refusals(config):
        _check_type(family, config)
        processor = _processor(family, config)
        settings = (precision.dtype(config), precision.attention(config), modalities)
        backbone = weights_cache.part(
            (family, config.checkpoint, config.revision, *settings), lambda: _backbone(family, config, modalities)
        )
    recompute_activations(backbone, is_true(config.gradient_checkpointing))
    encoder = family.encoder_class(processor, config, modalities, backbone.config)
    if "a" in modalities and encoder.longest_sound is not None:
        check_longest(config, encoder.longest_sound, f"model.checkpoint={config.checkpoint}")
    return family(backbone, stops=encoder.stops), encoder


def own_frames(config: NativeConfig) -> OwnFrames:
    """The frames that the checkpoint's own video processor samples. Raises ConfigError where it cannot be loaded."""
    family = family_of(config)
    with _refusals(config):
        video = _processor(family, config).video_processor
    return OwnFrames(video, own_rate(video, family.FPS))


def family_of(config: NativeConfig) -> type[NativeModel]:
    """The model class of the family: the one that its module defines."""
    module = import_module(f"affect.models.native.{config.family}")
    [family] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, NativeModel) and value.__module__ == module.__name__
    ]
    return family


def _refusals(config: NativeConfig) -> Any:
    return refusals("model.checkpoint", config.checkpoint, f"a checkpoint of family {config.family}")


def _check_type(family: type[NativeModel], config: NativeConfig) -> None:
    """Raises ConfigError for another model's folder, which transformers would read as one of random weights, with no
    more than a warning."""
    described, _ = PreTrainedConfig.get_config_dict(config.checkpoint, revision=config.revision)
    if described.get("model_type") not in family.model_types:
        kind = f"of type '{described['model_type']}'" if "model_type" in described else "without a model_type"
        raise ConfigError(
            f"model.checkpoint={config.checkpoint} is a model {kind} and family {config.family} loads"
            f" {' or '.join(family.model_types)}: name such a checkpoint, or choose another model="
        )


def _processor(family: type[NativeModel], config: NativeConfig) -> Any:
    kind = family.processor_class
    return weights_cache.part(
        (kind, config.checkpoint, config.revision),
        lambda: kind.from_pretrained(config.checkpoint, revision=config.revision),
    )


def _backbone(family: type[NativeModel], config: NativeConfig, modalities: str) -> PreTrainedModel:
    attention = precision.attention(config)
    backbone = complete_weights(
        family.backbone_class,
        "model.checkpoint",
        config.checkpoint,
        revision=config.revision,
        dtype=precision.dtype(config),
        attn_implementation={"": attention, **dict.fromkeys(family.EAGER, "eager")} if family.EAGER else attention,
    )
    for part, names in (family.ENCODERS if family.DROPPED is None else family.DROPPED).items():
        letter = PARTS[part]
        absent = [name for name in names if attrgetter(name)(backbone) is None]
        if letter in modalities and absent:
            raise ConfigError(
                f"modalities={modalities} has {MODALITIES[letter]}, but model.checkpoint={config.checkpoint} is without"
                f" {' and '.join(absent)}: leave {letter} out, also of model.modalities, or name a checkpoint that has"
                " it"
            )
        for name in names if letter not in modalities else ():
            owner, _, attribute = name.rpartition(".")
            setattr(backbone.get_submodule(owner), attribute, None)
    family.finish(backbone, config, modalities)
    return backbone
