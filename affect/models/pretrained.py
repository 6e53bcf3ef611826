"""Loads pretrained weights with transformers, and refuses what cannot be loaded in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from affect.config import ConfigError, ModelConfig
from affect.models import weights_cache

UNUSED = ("masked_spec_embed",)
"""Parts of the names of weights that only masked pretraining needs and published checkpoints lack (wav2vec 2.0)."""


@contextmanager
def refusals(key: str, name: str, wanted: str) -> Iterator[None]:
    """Turns what transformers raises in the block into ConfigErrors. `key` is the key of the configuration whose value
    is `name`, and `wanted` says what it should be."""
    try:
        yield
    except SafetensorError as error:
        raise ConfigError(
            f"{key}={name} has a damaged file of weights ({first_line(error)}): download it again; a file of a few"
            " hundred bytes is a git-lfs pointer, to be replaced with `git lfs pull`"
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"model.attention or {key}={name} needs a package that is not installed ({first_line(error)}): install it,"
            " or set model.attention=auto"
        ) from error
    # transformers raises KeyError for a type of model that it does not have.
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            if key.startswith("features."):
                raise ConfigError(
                    f"{key}={name} comes with its own code, which transformers does not have, and features are computed"
                    " without running such code: name another model"
                ) from error
            raise ConfigError(
                f"{key}={name} comes with its own code, which transformers does not have: read that code, and if you"
                " trust it, set model.trust_remote_code=true; otherwise name another model"
            ) from error
        raise ConfigError(
            f"{key}={name} cannot be loaded ({first_line(error)}): give {wanted} in a folder that exists and is"
            " complete, or the name of a model on the hub while the machine is online and has access to it, or has"
            " downloaded it before"
        ) from error


def weights(kind: Any, key: str, name: str, **options: Any) -> PreTrainedModel:
    """`complete_weights`, from the weights cache where an earlier job of the process has loaded the same."""
    cache_key = (kind, name, *sorted(options.items()))
    return weights_cache.part(cache_key, lambda: complete_weights(kind, key, name, **options))


def complete_weights(
    kind: Any, key: str, name: str, unneeded: tuple[str, ...] = UNUSED, **options: Any
) -> PreTrainedModel:
    """`kind.from_pretrained(name, **options)`. Raises ConfigError where the checkpoint lacks weights, which
    transformers would fill with random numbers and a warning, and what `from_pretrained` raises. `unneeded`: parts of
    the names of weights that may be lacking."""
    model, report = kind.from_pretrained(name, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    missing = sorted({*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])})
    missing = [weight for weight in missing if not set(weight.split(".")) & set(unneeded)]
    if missing:
        raise ConfigError(
            f"{key}={name} lacks {len(missing)} of the weights of a {type(model).__name__} or has them in another shape"
            f" ({', '.join(missing[:3])}), and they would stay random: download it again, or name another model"
        )
    _turn_off_layerdrop(model)
    return model


def _turn_off_layerdrop(model: nn.Module) -> None:
    """wav2vec 2.0 and similar encoders leave out layers at random during training. Of several processes that train
    together, one would wait for gradients of a layer that another has left out."""
    for module in model.modules():
        for owner in (module, getattr(module, "config", None)):
            if getattr(owner, "layerdrop", 0.0):
                owner.layerdrop = 0.0


def recompute_activations(model: PreTrainedModel, wanted: bool) -> None:
    """Turns gradient checkpointing on or off; an earlier job may have left the other."""
    if not wanted:
        model.activation_checkpointing_disable()
        return
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    # The call above also makes the output of every embedding and first convolution require a gradient, which only the
    # reentrant kind needs: the backward pass would go through frozen audio and vision towers for nothing.
    model.disable_input_require_grads()


def check_longest(config: ModelConfig, seconds: float, owner: str) -> None:
    """Raises ConfigError where clips may last longer than the `seconds` of sound that the processor of `owner`, a key
    of the configuration and its value, takes."""
    if config.max_seconds > seconds:
        raise ConfigError(
            f"model.max_seconds={config.max_seconds:g} and the processor of {owner} takes {seconds:g} s at most: set"
            f" model.max_seconds to {seconds:g} or less"
        )


def first_line(error: Exception) -> str:
    """The first line of an error's message, without the full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
