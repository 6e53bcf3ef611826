"""What a fusion network gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Fused:
    """The outputs of a network for a batch of B clips."""

    states: Tensor
    """[B, network.width]: input of the tasks' linear output layers."""
    unimodal: Mapping[str, Tensor] = field(default_factory=dict)
    """By modality [B, network.unimodal_widths[modality]]: input of output layers for one modality alone. Empty where
    the method has none."""
    loss: Tensor | None = None
    """[B]: auxiliary loss of every clip, to be added to that of the task. None where the method has none."""
