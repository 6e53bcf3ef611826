"""What every extractor of features has."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Extractor(Protocol):
    """Makes a sequence of numbers of each clip, or of each transcript."""

    width: int
    """Numbers a step."""
    identity: dict[str, Any]
    """Everything that a feature depends on beside the clip, as JSON can write it: two extractors with the same identity
    give the same numbers, up to rounding."""
    threads: bool
    """Whether threads may call `of` at once."""

    def of(self, clips: Sequence[Any]) -> list[Tensor]:
        """float32[steps, width] of each of `clips`, which are `affect.data.media.Clip`s, or transcripts for text. There
        is at least one step, and no more than the extractor was made for."""
        ...
