"""Recognises the base model that an adapter was trained on, from a few values of each pretrained parameter."""

from typing import TypedDict

import torch
from torch import nn
from torch.nn.functional import pad

from affect.config import ConfigError
from affect.models.towers import HEAD, tower_of

SAMPLED = 8
"""Values taken from each parameter."""


class BaseSample(TypedDict):
    """A few values of each pretrained parameter."""

    names: list[str]
    values: torch.Tensor
    """float32[N, SAMPLED + 2]: some values, padded with zeros; the Euclidean norm of all; and the rounding error of the
    type (`torch.finfo(…).eps`, 0 for integers). One tensor, since each tensor costs time in every checkpoint."""


def base_sample(model: nn.Module) -> BaseSample:
    """A sample that recognises the base of an adapter, also in another precision. Hashing all weights would take longer
    than the rest of an evaluation. To be taken before adapters are added."""
    sample = {}
    for name, parameter in model.named_parameters():
        tower = tower_of(name, model.towers)
        if tower != HEAD and tower not in model.new:
            flat = parameter.detach().flatten()
            values = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED].float()
            norm = _norm(flat)
            # Checkpoints in 4 or 8 bits are compared by their integers.
            eps = torch.full_like(norm, torch.finfo(flat.dtype).eps if flat.is_floating_point() else 0.0)
            sample[name] = torch.cat([pad(values, (0, SAMPLED - len(values))), torch.stack([norm, eps])]).cpu()
    rows = [*sample.values()]
    return BaseSample(names=[*sample], values=torch.stack(rows) if rows else torch.zeros(0, SAMPLED + 2))


def _norm(flat: torch.Tensor) -> torch.Tensor:
    """The norm in float32, to a millionth. Summed at once, an embedding's is 1 % off, differently by processor."""
    if flat.itemsize == 1:  # torch has no norm of these types
        flat = flat.float()
    end = len(flat) // 4096 * 4096
    rows = torch.linalg.vector_norm(flat[:end].view(-1, 4096), dim=1, dtype=torch.float32)
    rest = torch.linalg.vector_norm(flat[end:], dtype=torch.float32)
    return torch.linalg.vector_norm(torch.cat([rows, rest[None]]).double()).float()


def check_base(model: nn.Module, trained_on: BaseSample | None, source: str) -> None:
    """Raises ConfigError, naming `source`, where `model` (after `adapters.apply`) and the sample `trained_on` come from
    different bases. Towers that only one of the two was loaded with are not compared."""
    if trained_on is None:
        raise ConfigError(
            f"{source} was written by an earlier version of affect, which did not note the model it was trained on:"
            " train again, or evaluate it with that version"
        )
    then, now = (
        # The first format: a dict with a tensor for each parameter.
        dict(zip(base["names"], base["values"], strict=True)) if "names" in base else base
        for base in (trained_on, model.base_sample)
    )
    both = [name for name in then if name in now]
    other = [name for name in both if not _alike(then[name], now[name])]
    if other:
        raise ConfigError(
            f"{source} was trained on another base: {len(other)} of {len(both)} tensors of this model have other"
            f" values, for example {other[0]}: use the base checkpoint and revision it was trained on"
        )


def _alike(then: torch.Tensor, now: torch.Tensor) -> bool:
    if len(then) == SAMPLED + 2 and then[-1] == now[-1]:
        same = torch.allclose(then[:SAMPLED], now[:SAMPLED], rtol=1e-5, atol=0, equal_nan=True)
        return same and torch.allclose(then[SAMPLED], now[SAMPLED], rtol=1e-5, equal_nan=True)
    # Another type: rounding to bfloat16 moves a value by up to 0.4 %. Or a checkpoint of an earlier version, which has
    # the values only, and fewer than SAMPLED of the smallest parameters.
    shared = min(len(then), SAMPLED)
    return torch.allclose(then[:shared], now[:shared], rtol=0.01, atol=1e-6)
