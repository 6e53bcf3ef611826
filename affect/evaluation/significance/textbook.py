"""Tests that papers report, for comparison with them. They are scipy's; `paired` assumes less."""

from collections.abc import Sequence

import numpy as np


def mcnemar(gold: Sequence, ours: Sequence, theirs: Sequence) -> float:
    """The p-value of the exact test of McNemar, 1947: of the clips that one side alone has right, each side has half.

    Assumes that clips are independent, so it is wrong where a speaker or dialogue has several; that there is one pair
    of models, and nothing is said of other seeds; and that the metric is accuracy. All of gold[N], ours[N], theirs[N].
    Raises ValueError where they are empty or not equally long.

    >>> mcnemar([1] * 6, [1] * 6, [0] * 6)
    0.03125
    """
    from scipy.stats import binomtest

    _same_length(gold, ours, theirs)
    right, wrong = (np.asarray(gold) == np.asarray(side) for side in (ours, theirs))
    only_ours, only_theirs = int((right & ~wrong).sum()), int((wrong & ~right).sum())
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue) if only_ours + only_theirs else 1.0


def paired_t(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean difference, ends of its 95 % interval and p-value of Student's t test for pairs.

    Assumes that the pairs are independent and their differences about normal: one number a speaker, or one a seed, not
    one a clip where clips go together. Over seeds nothing is said of other clips; over speakers nothing of other seeds.
    Folds of a cross-validation share training clips and are not independent. Raises ValueError where there are fewer
    than two pairs, or not as many on both sides.

    >>> [round(number, 4) for number in paired_t([0.5, 0.6, 0.7], [0.4, 0.55, 0.6])]
    [0.0833, 0.0116, 0.155, 0.0377]
    """
    from scipy.stats import ttest_rel

    _same_length(ours, theirs)
    if len(ours) < 2:
        raise ValueError("a single pair has no spread: give at least two")
    found = ttest_rel(ours, theirs)
    low, high = found.confidence_interval(0.95)
    return float(np.mean(np.asarray(ours) - np.asarray(theirs))), float(low), float(high), float(found.pvalue)


def _same_length(*columns: Sequence) -> None:
    lengths = [len(column) for column in columns]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"the lists have {' and '.join(map(str, lengths))} entries: give as many each, at least one")
