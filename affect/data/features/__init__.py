"""Feature sequences of clips: where methods other than language models get text, audio and video from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from affect.data.record import Record


class FeatureSource(Protocol):
    """Feature sequences by record."""

    widths: Mapping[str, int]
    """Numbers a step, by modality."""

    def of(self, record: "Record") -> "dict[str, torch.Tensor]":
        """float32 [steps, width] by modality, at least one step of each. Raises MediaError where the clip can no longer
        be read."""

    def identity(self) -> dict[str, Any]:
        """What tells these features from others (encoder, layer, steps, hash of the file), as JSON takes it."""
