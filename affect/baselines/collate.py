"""Batches of features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from affect.config import MODALITIES
from affect.data.features import FeatureSource
from affect.data.media import MediaError
from affect.models.collate import Batch
from affect.prompting.messages import Example


def examples_alone(examples: list[Example]) -> Batch:
    """The batch of a method that reads nothing but transcripts and labels."""
    return Batch(examples=examples, tensors={}, failed=[])


@dataclass(frozen=True, slots=True)
class FeatureCollate:
    """Examples to a Batch. Its tensors are, for each modality `m`: `m` [B, T, width], zero after the end of a clip,
    and `m_lengths` [B], the number of steps of each clip."""

    source: FeatureSource
    modalities: tuple[str, ...]

    def __call__(self, examples: list[Example]) -> Batch:
        kept, sequences, failed = [], [], []
        for example in examples:
            try:
                sequences.append(self.source.of(example.record))
                kept.append(example)
            except MediaError as error:
                failed.append((example, str(error)))
        return Batch(examples=kept, tensors=padded(sequences, self.modalities) if kept else None, failed=failed)


def padded(sequences: Sequence[dict[str, torch.Tensor]], modalities: Sequence[str]) -> dict[str, torch.Tensor]:
    """The tensors of a batch (see FeatureCollate) of clips with features [steps, width] by modality."""
    tensors = {}
    for modality in modalities:
        of_clips = [clip[modality] for clip in sequences]
        tensors[modality] = pad_sequence(of_clips, batch_first=True)
        tensors[lengths_of(modality)] = torch.tensor([len(clip) for clip in of_clips])
    return tensors


def lengths_of(modality: str) -> str:
    """The key of a batch with the lengths of a modality's sequences."""
    return f"{modality}_lengths"


def in_words(letters: str) -> tuple[str, ...]:
    """The names of the modalities of "tav", in that order.

    >>> in_words("vt")
    ('text', 'video')
    """
    return tuple(name for letter, name in MODALITIES.items() if letter in letters)
