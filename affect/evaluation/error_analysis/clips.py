"""Which clips are right and wrong, how confidently, and what changes between two settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affect.config import Kind, Task
from affect.evaluation.significance import mcnemar

CLOSE = 1 / 12
"""Of an intensity's range: an answer is right that is off by at most this share. On -3 to 3 that is 0.5, as far as the
seven classes of CMU-MOSI are wide on each side."""


def right(gold: np.ndarray, read: np.ndarray, task: Task) -> np.ndarray:
    """bool[N] of encoded columns (metrics.policies.encode). An intensity is right within CLOSE; of several labels all
    have to be. Unreadable answers are wrong.

    >>> right(np.array([0, 1, 1]), np.array([0, 0, 2]), Task(labels=["a", "b"])).tolist()
    [True, False, False]
    """
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        # The last digits of a difference are rounding.
        return np.abs(gold - read) <= CLOSE * (task.high - task.low) + 1e-9
    return (gold == read).all(axis=1) if task.kind is Kind.multi_label else gold == read


def hardest(is_right: np.ndarray, badness: np.ndarray) -> np.ndarray:
    """Rows that are wrong in every run, bool[runs, N], by falling `badness`[N]; of equals the first row first."""
    rows = np.flatnonzero(~is_right.any(axis=0))
    return rows[np.argsort(-badness[rows], kind="stable")]


def most_confident(is_right: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Rows that are wrong in some run, by the falling mean confidence of their wrong answers; both [runs, N], nan where
    confidence is unknown."""
    wrong = ~is_right & np.isfinite(confidence)
    counts = wrong.sum(axis=0)
    mean = np.where(wrong, confidence, 0).sum(axis=0) / np.maximum(counts, 1)
    rows = np.flatnonzero(counts)
    return rows[np.argsort(-mean[rows], kind="stable")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one setting has right that another has wrong, over pairs of runs (one of each side)."""

    fixed: np.ndarray
    """int[N]: pairs in which the clip is right in this setting alone."""
    broken: np.ndarray
    """int[N]: right in the other setting alone."""
    pairs: int
    p: list[float]
    """McNemar's exact test of every pair, which takes clips for independent."""


def changes(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Changes:
    """Of which answers are right, bool[N], pair by pair.

    >>> found = changes([np.array([True, True, False])], [np.array([False, True, True])])
    >>> found.fixed.tolist(), found.broken.tolist(), found.p
    ([1, 0, 0], [0, 0, 1], [1.0])
    """
    pairs = list(zip(ours, theirs, strict=True))
    return Changes(
        fixed=np.sum([one & ~other for one, other in pairs], axis=0),
        broken=np.sum([other & ~one for one, other in pairs], axis=0),
        pairs=len(pairs),
        p=[mcnemar(np.ones(len(one), dtype=bool), one, other) for one, other in pairs],
    )
