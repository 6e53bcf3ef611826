"""Unreadable answers under three policies, and columns encoded once for all metrics.

strict    wrong. For a class: a miss of the gold class and a false alarm of none. For an intensity's error and
          correlation: the end of the range farther from the gold value (low where both are equally far); for the
          classes that dialects make of an intensity: no class, so that it is wrong even where the end would be right.
exclude   the row is left out, so a model that answers only what is easy looks better than it is.
fallback  as if the model had said `fallback_answer`: the most frequent gold label, or the middle of the range.

Numbers out of the range are values: no policy touches them, and a dialect clips them or not by its own definition.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from affect.config import Kind, Task, Value
from affect.evaluation.metrics import classification, intensity, multi_label
from affect.evaluation.metrics.registry import span

POLICIES = ("strict", "exclude", "fallback")


def encode(column: Sequence[Any], task: Task) -> np.ndarray:
    """The column as the metrics of the task's kind take it: int64[N] places of labels with K for None, float64[N] with
    NaN for None, or int8[N, K] with -1 for None."""
    if task.kind is Kind.classification:
        return classification.codes(column, task.labels)
    if task.kind is Kind.multi_label:
        return multi_label.membership(column, task.labels)
    return intensity.column(column)


def readable(read: np.ndarray, task: Task) -> np.ndarray:
    """bool[N] of an encoded column: which rows have a value."""
    if task.kind is Kind.classification:
        return read < len(task.labels)
    return (read >= 0).all(axis=1) if task.kind is Kind.multi_label else ~np.isnan(read)


def applied(
    policy: str, gold: np.ndarray, read: np.ndarray, task: Task, fallback: Value | None
) -> tuple[np.ndarray, np.ndarray]:
    """The encoded targets and values that the metrics get under `policy`, one of POLICIES."""
    has_value = readable(read, task)
    if policy == "exclude":
        return gold[has_value], read[has_value]
    if policy == "fallback":
        read = read.copy()
        read[~has_value] = encode([fallback], task)[0]
    else:
        assert policy == "strict", policy
    return gold, read


def most_frequent(targets: Sequence[Any], task: Task) -> Value:
    """The most frequent gold label, or set of labels; of equals the first in the task's order, or to occur."""
    counts = Counter(targets)
    if task.kind is Kind.classification:
        return max(task.labels, key=lambda label: counts[label])
    return counts.most_common(1)[0][0]


def fallback_answer(targets: Sequence[Any], task: Task) -> Value:
    """What the policy `fallback` puts in the place of an unreadable answer."""
    if task.kind is Kind.intensity:
        low, high = span(task)
        return (low + high) / 2
    return most_frequent(targets, task)
