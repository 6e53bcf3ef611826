"""Three-axis positions (time, height, width) of the Qwen families.

transformers makes them of a batch's tensors, in some hundred small operations a prompt. Here they are made of the ids,
before there are tensors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a video stands in a prompt without text between."""

    times: np.ndarray
    """[steps], positions after the first."""
    height: int
    width: int
    """Tokens of a step."""
    heard: int = 0
    """Tokens of sound that stand between those of the video, the first of which stands before them all."""


def three_axes(
    rows: Sequence[Sequence[int]],
    video: int,
    shown: Iterable[Shown],
    kind: type[np.number] = np.int64,
    *,
    paired: bool = False,
) -> torch.Tensor:
    """positions[3, B, T] of left-padded rows of ids.

    Tokens are counted one by one on all axes. Those of `shown`, for each of which as many tokens `video` stand one
    after the other, are at the time, row and column that they show, counted from where it begins; what follows goes on
    after the largest position so far. Padding is at 0.

    Sound among them is counted from where the video begins too. With `paired`, the two tokens that open video and sound
    together are at one position, and so are the two that close them.
    """
    shown = iter(shown)
    width = max(map(len, rows))
    placed = np.zeros((3, len(rows), width), kind)
    for i, row in enumerate(rows):
        placed[:, i, width - len(row) :] = _of_row(np.asarray(row), video, shown, kind, paired)
    assert next(shown, None) is None, "there are more videos than places for them"
    return torch.from_numpy(placed)


def _of_row(ids: np.ndarray, video: int, shown: Iterator[Shown], kind: type[np.number], paired: bool) -> np.ndarray:
    positions = np.empty((3, len(ids)), kind)
    positions[:] = np.arange(len(ids))
    places = np.flatnonzero(ids == video)
    while len(places):
        begin, one = places[0], next(shown)
        steps, size = len(one.times), one.height * one.width
        end = begin + steps * size + one.heard
        own, places = places[: steps * size], places[steps * size :]
        assert own[-1] < end, "the tokens of a video do not stand one after the other"
        counted = first = positions[0, begin]
        if one.heard and paired:
            positions[:, begin - 1] -= 1
            first = first - kind(1)
        positions[:, begin:end] = first
        positions[0, own] += np.repeat(one.times, size).astype(kind)
        positions[1, own] += np.tile(np.repeat(np.arange(one.height), one.width), steps).astype(kind)
        positions[2, own] += np.tile(np.arange(one.width), steps * one.height).astype(kind)
        positions[:, np.setdiff1d(np.arange(begin, end), own)] += np.arange(one.heard).astype(kind)
        # What follows was counted as if the video were text.
        positions[:, end:] += positions[:, begin:end].max() - kind(end - 1 - begin) - counted
        if one.heard and paired:
            positions[:, end + 1 :] -= kind(1)
    return positions
