"""Loads pretrained parts with transformers; what cannot be loaded is one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from affect.config import ConfigError
from affect.models import weights_cache

UNUSED = ("masked_spec_embed",)
"""Last parts of weights that published checkpoints lack and that only masked pretraining needs (wav2vec 2.0)."""


@contextmanager
def refusals(key: str, name: str, wanted: str) -> Iterator[None]:
    """Makes ConfigErrors of what transformers raises in the block; `key` is where the configuration names `name`,
    `wanted` is what it should be."""
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
    # KeyError is how transformers says that it does not know a kind of model.
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"{key}={name} has its code with it, which transformers does not know: read that code, and if you trust"
                " it, set model.trust_remote_code=true; otherwise name another model"
            ) from error
        raise ConfigError(
            f"{key}={name} cannot be loaded ({first_line(error)}): give {wanted} in a"
            " folder that exists and is complete, or a model hub's name that can be reached from here"
        ) from error


def weights(kind: Any, key: str, name: str, **how: Any) -> PreTrainedModel:
    """`kind.from_pretrained(name)`, all of whose weights come from there: what a checkpoint lacks transformers fills
    with random numbers and no more than a warning. Raises ConfigError then, and what `from_pretrained` raises."""
    return weights_cache.part((kind, name, *sorted(how.items())), lambda: _load(kind, key, name, **how))


def _load(kind: Any, key: str, name: str, **how: Any) -> PreTrainedModel:
    model, found = kind.from_pretrained(name, output_loading_info=True, ignore_mismatched_sizes=True, **how)
    lost = sorted({*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])})
    lost = [weight for weight in lost if weight.rsplit(".", 1)[-1] not in UNUSED]
    if lost:
        raise ConfigError(
            f"{key}={name} lacks {len(lost)} of the weights of a {type(model).__name__} or has them in another shape"
            f" ({', '.join(lost[:3])}), and they would stay random: download it again, or name another model"
        )
    keep_all_layers(model)
    return model


def keep_all_layers(model: nn.Module) -> None:
    """Turns off layerdrop, by which wav2vec 2.0 and its like leave out layers at random while they are trained: of
    processes that train together, one would wait for gradients of a layer that the other has left out."""
    for part in model.modules():
        for owner in (part, getattr(part, "config", None)):
            if getattr(owner, "layerdrop", 0.0):
                owner.layerdrop = 0.0


def first_line(error: Exception) -> str:
    """Of what an error says, without the full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
