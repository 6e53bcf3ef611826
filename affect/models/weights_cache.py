"""Pretrained weights kept in memory between the jobs of a multirun.

Fine-tuning with LoRA leaves pretrained weights alone, so what a job has to give back is its adapters. A part that was
trained whole is not given back: the next job that wants it loads it again. New towers are never kept.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from affect.config import Config
from affect.models import loading, precision, protocol

_parts: dict[Hashable, Any] = {}
_wanted: set[Hashable] | None = None
"""Keys that the present job has asked for; None outside of `borrowed`, where nothing is kept."""


def part(key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` gives, or gave to an earlier job under the same `key`. The random state is left as it was, so that
    the new towers of a job begin with the same weights whether or not something had to be loaded for it."""
    if _wanted is not None and key in _parts:
        _wanted.add(key)
        return _parts[key]
    with torch.random.fork_rng(devices=[]):  # loading is done on the CPU
        made = make()
    if _wanted is not None:
        if isinstance(made, nn.Module):
            made.requires_grad_(False)  # so that what requires a gradient later is what fine-tuning chose
        _parts[key] = made
        _wanted.add(key)
    return made


@contextmanager
def borrowed(cfg: Config, modalities: str | None = None) -> Iterator[tuple[protocol.Model, protocol.Encoder]]:
    """The model and encoder of `models.load` for the block; afterwards their pretrained parts are ready for the next
    job. `modalities` are those of the run unless given. After an error nothing is kept."""
    global _wanted
    _wanted = set()
    try:
        yield loading.load(
            precision.settled(cfg.model, cfg.trainer),
            modalities=cfg.modalities if modalities is None else modalities,
            cache_root=Path(cfg.cache_root).expanduser(),
        )
    except BaseException:
        _parts.clear()
        raise
    finally:
        used, _wanted = _wanted, None
    for key, kept in list(_parts.items()):
        if isinstance(kept, nn.Module):
            _take_out_adapters(kept)
            kept.eval()
        # Only what this job used is kept: the next one most likely wants the same, and memory is not without end.
        if key not in used or (isinstance(kept, nn.Module) and any(p.requires_grad for p in kept.parameters())):
            del _parts[key]


def give_up(changed: set[nn.Module]) -> None:
    """Does not keep the parts that any of these modules belongs to, since their frozen weights are not what was
    loaded."""
    for key, kept in list(_parts.items()):
        if isinstance(kept, nn.Module) and not changed.isdisjoint(kept.modules()):
            del _parts[key]


def _take_out_adapters(module: nn.Module) -> None:
    for name, layer in list(module.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            base.requires_grad_(False)
            module.set_submodule(name, base)
