"""Batches of examples, and making them: clips are decoded and encoded as they are asked for."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from affect.data.clips import ClipSource
from affect.data.media import SAMPLING_RATE, MediaError, Sampling
from affect.models import Conversation, Encoder
from affect.prompting.messages import Example

if TYPE_CHECKING:
    from affect.models.encoder_cache import Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a step gets."""

    examples: list[Example]
    tensors: dict[str, Any] | None
    """What the family's encoder made of `examples`; None where there are none."""
    failed: list[tuple[Example, str]]
    """Examples whose clip was usable when it was checked and is no longer, with the reason. They are in nothing
    else."""

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU reads by itself; a DataLoader calls it."""
        if self.tensors is None:
            return self
        return replace(self, tensors={k: _pinned(v) for k, v in self.tensors.items()})

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device."""
        if self.tensors is None or device.type == "cpu":  # where they are made
            return self
        return replace(self, tensors={k: _moved(v, device) for k, v in self.tensors.items()})


def _pinned(value: Any) -> Any:
    return value.pin_memory() if isinstance(value, torch.Tensor) else value


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value


class Collate:
    """Examples to a Batch; runs in the workers."""

    def __init__(
        self,
        encoder: Encoder,
        wanted: Sampling,
        with_answers: bool,
        source: ClipSource | None = None,
        outputs: "Outputs | None" = None,
    ) -> None:
        """Without a `source` every clip is decoded; with `outputs`, what encoders made of the clips takes their
        place."""
        assert encoder.sampling_rate == SAMPLING_RATE, f"clips are decoded at {SAMPLING_RATE} Hz"
        self.encoder, self.wanted, self.with_answers = encoder, wanted, with_answers
        self.source = ClipSource() if source is None else source
        self.outputs = outputs

    def __call__(self, asked: list[Example]) -> Batch:
        conversations, kept, failed = [], [], []
        ready = None if self.outputs is None else self.outputs.of([example.record for example in asked])
        wanted = self.wanted if ready is None else self.outputs.beside(self.wanted)
        for i, example in enumerate(asked):
            waveform, frames, seconds, picked = None, None, 0.0, None
            if wanted.audio or wanted.video:
                try:
                    clip = self.source.clip(example.record, wanted)
                except MediaError as error:
                    failed.append((example, str(error)))
                    continue
                waveform, frames, seconds, picked = clip.waveform, clip.frames, clip.seconds, clip.picked
            kept.append(example)
            conversations.append(
                Conversation(
                    messages=example.messages,
                    answer=example.target if self.with_answers else None,
                    waveform=waveform,
                    frames=frames,
                    seconds=seconds,
                    picked=picked,
                    outputs={} if ready is None else ready[i],
                )
            )
        return Batch(examples=kept, tensors=self.encoder.encode(conversations) if kept else None, failed=failed)
