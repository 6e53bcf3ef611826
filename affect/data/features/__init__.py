"""Feature sequences of clips: numbers that were computed from text, sound and picture before training.

mmsa    the feature files of MMSA
store   on-disk cache of features that are computed here

Raw clips are the business of affect.data.clips, and what computes features of affect.models.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from affect.data.record import Record

if TYPE_CHECKING:
    import torch


class FeatureSource(Protocol):
    """Where models that work on features get them from. It can be handed to other processes."""

    widths: Mapping[str, int]
    """Numbers a step, by modality (text, audio, video)."""

    def of(self, record: Record) -> "dict[str, torch.Tensor]":
        """By modality: float32 [steps >= 1, width]; an empty sequence is one step of zeros. Raises DataError, naming
        the record, where there are none, and MediaError where its clip can no longer be read."""
        ...

    def identity(self) -> dict[str, Any]:
        """What tells these features from others, as JSON: encoder, layer, steps, hash of the file …"""
        ...


def pooled(sequence: "torch.Tensor", max_steps: int) -> "torch.Tensor":
    """Shortens a sequence [steps, width] to at most `max_steps` steps, each the mean of a segment; [min(steps,
    max_steps), width] of the same type. Shorter sequences are given back as they are.

    Step i of n is in segment floor(i * max_steps / n), so segments differ in length by one step at most and none
    overlap, unlike those of torch's adaptive_avg_pool1d. Means are computed in float64.
    """
    import torch

    steps = len(sequence)
    if max_steps < 1:
        raise ValueError(f"max_steps has to be at least 1, not {max_steps}")
    if steps <= max_steps:
        return sequence
    segments = torch.arange(steps, device=sequence.device) * max_steps // steps
    exact = sequence.double()
    sums = exact.new_zeros(max_steps, exact.shape[1]).index_add_(0, segments, exact)
    return (sums / torch.bincount(segments, minlength=max_steps).unsqueeze(1)).to(sequence.dtype)
