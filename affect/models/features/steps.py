"""Sequences of limited length."""

import torch

from affect.data.features import pooled


def to_steps(frames: torch.Tensor, max_steps: int, counted: torch.Tensor | None = None) -> torch.Tensor:
    """float32[steps, width] of `frames`[T >= 1, width]: as they are where T <= max_steps, otherwise the means over
    max_steps equal parts (see `affect.data.features.pooled`).

    counted: bool[T, width], which numbers mean something (pitch does where there is a voice). Means are over those
    alone, and zero where a part has none.
    """
    frames = frames.float()
    if counted is None:
        return pooled(frames, max_steps)
    sums, shares = pooled(frames.double() * counted, max_steps), pooled(counted.double(), max_steps)
    return torch.where(shares > 0, sums / shares, 0.0).float()
