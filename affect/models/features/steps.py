"""Sequences of limited length."""

import torch

from affect.models.composed.towers import segment_means


def to_steps(frames: torch.Tensor, max_steps: int, counted: torch.Tensor | None = None) -> torch.Tensor:
    """float32[steps, width] of `frames`[T >= 1, width]: as they are where T <= max_steps, otherwise the means over
    max_steps equal parts.

    counted: bool[T, width], which numbers mean something (pitch does where there is a voice). Means are over those
    alone, and zero where a part has none.
    """
    frames = frames.float()
    if counted is not None:
        frames = frames * counted
    if len(frames) <= max_steps:
        return frames
    length = torch.tensor([len(frames)], device=frames.device)
    means = segment_means(frames.T[None], length, max_steps)[0]
    if counted is None:
        return means
    shares = segment_means(counted.float().T[None], length, max_steps)[0]
    # Sums over many frames are rounded, so a share of zero may come out as a tiny number.
    some = shares > 0.5 / len(frames)
    return torch.where(some, means / shares.clamp(min=1 / len(frames)), 0.0)
