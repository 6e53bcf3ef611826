"""Loads the checkpoint of a native family."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel

from affect.config import MODALITIES, ConfigError, ModelConfig, NativeConfig, is_true
from affect.models import precision, weights_cache
from affect.models.pretrained import first_line, keep_all_layers


def load(
    config: NativeConfig,
    modalities: str,
    *,
    types: tuple[str, ...],
    model: type[PreTrainedModel],
    processor: Any,
    towers: Mapping[str, tuple[str, ...]],
    whole: str = "model",
    eager: tuple[str, ...] = (),
    finish: Callable[[Any], None] = lambda backbone: None,
) -> tuple[Any, Any]:
    """The model of transformers' class, on the CPU, and its processor.

    types: the model_type a checkpoint may have. towers: by modality, the attributes of `model.model` that nothing else
    needs; they are dropped where `modalities` lacks the letter. whole: what the checkpoint is called whose weights have
    to be complete. eager: parts of the configuration whose class has no other attention. finish: what is done to the
    model once it is loaded.

    Raises ConfigError when the checkpoint cannot be had, is of another model, or lacks weights.
    """
    key = (config.checkpoint, config.revision)
    with refusals(config):
        described, _ = PreTrainedConfig.get_config_dict(config.checkpoint, revision=config.revision)
        # Another model's folder would be read as one of random weights, with no more than a warning.
        if "model_type" not in described or described["model_type"] not in types:
            kind = f"of type '{described['model_type']}'" if "model_type" in described else "without a model_type"
            raise ConfigError(
                f"model.checkpoint={config.checkpoint} is a model {kind} and family {config.family} loads"
                f" {' or '.join(types)}: name such a checkpoint, or choose another model="
            )
        made = _processor(config, processor)
        how = (precision.dtype(config), precision.attention(config), config.gradient_checkpointing, modalities)

        def loaded() -> PreTrainedModel:
            backbone = _weights(config, modalities, model, towers, whole, eager)
            finish(backbone)
            return backbone

        backbone = weights_cache.part((model, *key, *how), loaded)
    return backbone, made


def processor(config: NativeConfig, kind: Any) -> Any:
    """The checkpoint's processor, of transformers' class `kind`. Raises ConfigError where it cannot be had."""
    with refusals(config):
        return _processor(config, kind)


def _processor(config: NativeConfig, kind: Any) -> Any:
    return weights_cache.part(
        (kind, config.checkpoint, config.revision),
        lambda: kind.from_pretrained(config.checkpoint, revision=config.revision),
    )


@contextmanager
def refusals(config: NativeConfig) -> Iterator[None]:
    """Makes ConfigErrors of what transformers raises while a checkpoint is loaded in the block."""
    checkpoint = config.checkpoint
    try:
        yield
    except SafetensorError as error:
        raise ConfigError(
            f"model.checkpoint={checkpoint} has a damaged file of weights ({first_line(error)}): download it again; a"
            " file of a few hundred bytes is a git-lfs pointer, to be replaced with `git lfs pull`"
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"model.attention={config.attention.value} or the processor of model.checkpoint={checkpoint} needs a"
            f" package that is not installed ({first_line(error)}): install it, or set model.attention=auto"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"model.checkpoint={checkpoint} could not be loaded ({first_line(error)}): give a folder that exists and"
            " is complete, or the name of a hub's model while the machine is online and has access to it, or has"
            " downloaded it before"
        ) from error


def _weights(
    config: NativeConfig,
    modalities: str,
    model: Any,
    towers: Mapping[str, tuple[str, ...]],
    whole: str,
    eager: tuple[str, ...],
) -> PreTrainedModel:
    attention = precision.attention(config)
    backbone, found = model.from_pretrained(
        config.checkpoint,
        revision=config.revision,
        dtype=precision.dtype(config),
        attn_implementation={"": attention, **dict.fromkeys(eager, "eager")} if eager else attention,
        output_loading_info=True,
        # So that they are listed with those that are missing, and refused below.
        ignore_mismatched_sizes=True,
    )
    lost = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if lost:
        raise ConfigError(
            f"model.checkpoint={config.checkpoint} lacks {len(lost)} of the {whole}'s weights or has them in another"
            f" shape ({', '.join(lost[:3])}, …), which would stay random: download it again, or name another checkpoint"
        )
    body = getattr(backbone, "model", backbone)
    for letter, names in towers.items():
        absent = [name for name in names if attrgetter(name)(body) is None]
        if letter in modalities and absent:
            raise ConfigError(
                f"modalities={modalities} has {MODALITIES[letter]}, but model.checkpoint={config.checkpoint} is without"
                f" {' and '.join(absent)}: leave {letter} out, also of model.modalities, or name a checkpoint that has"
                " it"
            )
        for name in names if letter not in modalities else ():
            owner, _, attribute = name.rpartition(".")
            setattr(body.get_submodule(owner), attribute, None)
    keep_all_layers(backbone)
    if is_true(config.gradient_checkpointing):
        backbone.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        # The call above also makes the output of every embedding and first convolution require a gradient, which only
        # the reentrant kind needs: the backward pass would go through frozen audio and vision towers for nothing.
        backbone.disable_input_require_grads()
    return backbone


def check_longest(config: ModelConfig, modalities: str, seconds: float, who: str) -> None:
    """Raises ConfigError where clips may last longer than the `seconds` of sound that `who` takes."""
    if "a" in modalities and config.max_seconds > seconds:
        raise ConfigError(
            f"model.max_seconds={config.max_seconds:g} and {who} takes {seconds:g} s at most: set model.max_seconds to"
            f" {seconds:g} or less"
        )
