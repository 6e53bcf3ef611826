"""Keeps pretrained weights in memory between the jobs of a multirun.

Fine-tuning with LoRA does not change pretrained weights, so only the adapters are taken out after a job. A part whose
own weights were trained is dropped, and the next job loads it again. New towers are never kept.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

_parts: dict[Hashable, Any] = {}
_wanted: set[Hashable] | None = None
"""Keys that the current job has asked for; None outside of `keeping`, where nothing is kept."""


def part(key: Hashable, make: Callable[[], Any]) -> Any:
    """The result of `make`, or that of an earlier job under the same `key`. The random state is left as it was, so that
    the new towers of a job start from the same weights whether or not something had to be loaded."""
    if _wanted is not None and key in _parts:
        _wanted.add(key)
        return _parts[key]
    with torch.random.fork_rng(devices=[]):  # models are loaded on the CPU
        result = make()
    if _wanted is not None:
        if isinstance(result, nn.Module):
            result.requires_grad_(False)  # so that only what fine-tuning chooses requires a gradient
        _parts[key] = result
        _wanted.add(key)
    return result


@contextmanager
def keeping() -> Iterator[None]:
    """Keeps the parts that the block asks for, ready for the next job. After an error nothing is kept."""
    global _wanted
    _wanted = set()
    try:
        yield
    except BaseException:
        clear()
        raise
    finally:
        used, _wanted = _wanted, None
    for key, kept in list(_parts.items()):
        if isinstance(kept, nn.Module):
            _take_out_adapters(kept)
            kept.eval()
        # Only what this job used is kept, to save memory: the next job most likely uses the same.
        if key not in used or (isinstance(kept, nn.Module) and any(p.requires_grad for p in kept.parameters())):
            del _parts[key]


def clear() -> None:
    """Drops all parts."""
    _parts.clear()


def give_up(changed: set[nn.Module]) -> None:
    """Drops the parts that any of these modules belongs to, because their frozen weights have been changed."""
    for key, kept in list(_parts.items()):
        if isinstance(kept, nn.Module) and not changed.isdisjoint(kept.modules()):
            del _parts[key]


def _take_out_adapters(module: nn.Module) -> None:
    for name, layer in list(module.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            base.requires_grad_(False)
            module.set_submodule(name, base)
