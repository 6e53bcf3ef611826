"""Clips on which the modalities disagree, and how well they are answered beside the others."""

from collections.abc import Callable, Sequence

import numpy as np

from affect.config import Kind, Task
from affect.evaluation.significance.jackknife import Paired, jackknifed

Metric = Callable[[np.ndarray, np.ndarray], float]


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


def against_rest(
    gold: np.ndarray,
    answers: Sequence[np.ndarray],
    chosen: Sequence[np.ndarray],
    groups: np.ndarray,
    metric: Metric,
    *,
    units: str = "groups",
) -> Paired:
    """The metric on the chosen clips minus that on the rest, mean over seeds, with its interval over groups and seeds.

    gold[N]; for each seed answers[N] and chosen[N], which is bool; groups[N]. Undefined where a seed has chosen none or
    all of the clips.
    """

    def on(rows: np.ndarray, read: np.ndarray) -> float:
        return metric(gold[rows], read[rows]) if len(rows) else np.nan

    def differences(rows: np.ndarray) -> np.ndarray:
        return np.array(
            [[on(rows[of[rows]], read) - on(rows[~of[rows]], read)] for read, of in zip(answers, chosen, strict=True)]
        )

    # Every clip is in one of the two, and moves its metric.
    [found] = jackknifed(differences, groups, np.ones((1, len(gold)), bool), units=units)
    return found
