"""Three-axis positions (time, height, width) of the Qwen families.

transformers computes them from a batch's tensors, in some hundred small operations a prompt. Here numpy computes them
from the ids.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class VideoTokens:
    """The tokens of a video, or of one step of it, that stand in a prompt without text between them."""

    times: np.ndarray
    """[steps], positions after the first."""
    height: int
    width: int
    """Tokens of a step, vertically and horizontally."""
    num_audio: int = 0
    """Tokens of sound between those of the video, the first of which stands before them all."""


def three_axes(
    batch: Mapping[str, torch.Tensor],
    video: int,
    videos: Iterable[VideoTokens],
    dtype: type[np.number] = np.int64,
    *,
    paired: bool = False,
) -> torch.Tensor:
    """positions[3, B, T] of a batch's input_ids[B, T], left-padded by its attention_mask.

    Tokens are counted one by one on all axes. Those of `videos`, each a run of tokens `video`, are at their time, row
    and column, counted from where the video begins; what follows goes on after the largest position so far. Padding is
    at 0.

    Sound within a video is counted from where the video begins too. With `paired`, the two tokens that open video and
    sound together are at one position, and so are the two that close them.
    """
    videos = iter(videos)
    ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy().astype(bool)
    positions = np.zeros((3, *ids.shape), dtype)
    for i, (row, real) in enumerate(zip(ids, mask, strict=True)):
        positions[:, i, real] = _of_row(row[real], video, videos, dtype, paired)
    assert next(videos, None) is None, "there are more videos than places for them"
    return torch.from_numpy(positions)


def _of_row(
    ids: np.ndarray, video: int, videos: Iterator[VideoTokens], dtype: type[np.number], paired: bool
) -> np.ndarray:
    positions = np.empty((3, len(ids)), dtype)
    positions[:] = np.arange(len(ids))
    places = np.flatnonzero(ids == video)
    while len(places):
        begin, tokens = places[0], next(videos)
        steps, size = len(tokens.times), tokens.height * tokens.width
        end = begin + steps * size + tokens.num_audio
        seen, places = places[: steps * size], places[steps * size :]
        assert seen[-1] < end, "the tokens of a video do not stand one after the other"
        counted = first = positions[0, begin]
        if tokens.num_audio and paired:
            positions[:, begin - 1] -= 1
            first = first - dtype(1)
        positions[:, begin:end] = first
        positions[0, seen] += np.repeat(tokens.times, size).astype(dtype)
        positions[1, seen] += np.tile(np.repeat(np.arange(tokens.height), tokens.width), steps).astype(dtype)
        positions[2, seen] += np.tile(np.arange(tokens.width), steps * tokens.height).astype(dtype)
        positions[:, np.setdiff1d(np.arange(begin, end), seen)] += np.arange(tokens.num_audio).astype(dtype)
        # What follows was counted as if the video were text.
        positions[:, end:] += positions[:, begin:end].max() - dtype(end - 1 - begin) - counted
        if tokens.num_audio and paired:
            positions[:, end + 1 :] -= dtype(1)
    return positions
