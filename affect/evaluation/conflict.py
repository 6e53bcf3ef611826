"""Clips on which the modalities disagree."""

from collections.abc import Sequence

import numpy as np

from affect.config import Kind, Task


def disagree(answers: Sequence[np.ndarray], task: Task) -> np.ndarray:
    """bool[N]: the clips to which not all of `answers` (encoded columns[N], one of each modality) say the same.

    Labels, and sets of labels, are the same or not. Of intensities the side counts: whether they are above, below or
    at the middle of the range. An answer that cannot be read is one of its own.
    """
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        middle = (task.low + task.high) / 2
        # nan, an answer that cannot be read, is a side too
        answers = [np.nan_to_num(np.sign(column - middle), nan=2.0) for column in answers]
    first, *others = answers
    return np.any([(first != each).reshape(len(first), -1).any(axis=1) for each in others], axis=0)
