"""Sequences of unlike length in one batch: [B, T, width], zero-padded at the end, with lengths [B] of at least 1."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from affect.config import MODALITIES


def in_order(modalities: Collection[str]) -> list[str]:
    """The modalities of a network in their usual order: text, audio, video.

    >>> in_order({"video", "text"})
    ['text', 'video']
    """
    names = list(MODALITIES.values())
    assert modalities and set(modalities) <= set(names), f"a network needs some of {names}, not {sorted(modalities)}"
    return [name for name in names if name in modalities]


def real_steps(lengths: Tensor, steps: int) -> Tensor:
    """bool[B, steps]: True where a step is of the clip, False where it is padding."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def mean_over_time(sequence: Tensor, lengths: Tensor) -> Tensor:
    """[B, width]: the mean over the clip's own steps."""
    return sequence.sum(1) / lengths[:, None].to(sequence.dtype)


def last_step(sequence: Tensor, lengths: Tensor) -> Tensor:
    """[B, width]: the clip's last own step."""
    return sequence[torch.arange(len(sequence), device=sequence.device), lengths - 1]


def last_hidden(lstm: nn.LSTM, sequence: Tensor, lengths: Tensor) -> Tensor:
    """[B, hidden]: the last layer's hidden state after the clip's last own step, of an LSTM that runs forward."""
    packed = pack_padded_sequence(sequence, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return lstm(packed)[1][0][-1]
