"""CH-SIMS and CH-SIMS v2 as MMSA and ch-sims-v2 compute them: sentiment from -1 to 1.

Gold values and answers are first clipped to [-1, 1], for the mean absolute error and the correlation too. The classes
are open on the left and closed on the right, with these edges:

    two     [-1, 0] (0, 1]                                  zero is in the negative class, other than in MMSA's MOSI
    three   [-1, -0.1] (-0.1, 0.1] (0.1, 1]
    five    [-1, -0.7] (-0.7, -0.1] (-0.1, 0.1] (0.1, 0.7] (0.7, 1]

Sources, at the commits that were read:
mmsa_sims  https://github.com/thuiar/MMSA/blob/a94e65d/src/MMSA/utils/metricsTop.py (regression)
simsv2     https://github.com/thuiar/ch-sims-v2/blob/6eb09e5/utils/metricsTop.py (regression)

Common to all functions: they take gold values and the numbers read from the answers (None where unreadable) or what
`intensity.column` makes of them; values and edges are float32 when they are compared, as there, so a label of 0.1 is in
the middle class; they raise like `intensity.mae`. Neither source meets an unreadable answer. Here it is no class:
wrong, a miss of the gold class and a false alarm of none, also where the gold value is 0 and its class the negative
one. In `mae`, `pearson` and `r2` it counts as the end of -1 to 1 that is farther from the gold value (-1 for 0). Where
no row is left the result is nan.
"""

import numpy as np

from affect.evaluation.metrics import classification
from affect.evaluation.metrics.intensity import Column, correlation, float32_columns, worst

LOW, HIGH = -1.0, 1.0

TWO = (0.0,)
THREE = (-0.1, 0.1)
FIVE = (-0.7, -0.1, 0.1, 0.7)

WEAK = 0.4
"""Gold values from -WEAK to WEAK, both included, are the weak ones of ch-sims-v2."""


def acc2(targets: Column, values: Column) -> float:
    """Share of rows whose value is in the gold value's class of two, in [0, 1]. Mult_acc_2 of both sources.

    >>> acc2([0.0, 0.2, -0.4, 1.0], [-0.9, 0.0, -3.0, 0.2])
    0.75
    """
    return _accuracy(*_clipped(targets, values), TWO)


def acc3(targets: Column, values: Column) -> float:
    """Share of rows whose value is in the gold value's class of three, in [0, 1]. Mult_acc_3 of both sources.

    >>> acc3([0.0, 0.2, -0.4, 1.0], [0.1, 0.1, -0.1, 5.0])
    0.75
    """
    return _accuracy(*_clipped(targets, values), THREE)


def acc5(targets: Column, values: Column) -> float:
    """Share of rows whose value is in the gold value's class of five, in [0, 1]. Mult_acc_5 of both sources.

    >>> acc5([0.0, 0.2, -0.4, 1.0], [0.1, 0.7, -0.7, 5.0])
    0.75
    """
    return _accuracy(*_clipped(targets, values), FIVE)


def f1(targets: Column, values: Column) -> float:
    """F1 of the two classes of `acc2`, weighted by their gold rows, in [0, 1]. A class without gold rows weighs
    nothing. F1_score of both sources.

    >>> round(f1([0.0, 0.2, -0.4, 1.0], [-0.9, 0.0, -3.0, 0.2]), 4)  # 4/5 of two rows, 2/3 of two
    0.7333
    """
    gold, read = _clipped(targets, values)
    return classification.weighted_f1(_classes(gold, TWO), _classes(read, TWO), ("negative", "positive"))


def mae(targets: Column, values: Column) -> float:
    """mean |value - gold| of the clipped values, in [0, 2]; 0 is best. The mean is one of float32, as MAE there.

    >>> mae([1.0, -0.5], [3.0, None])
    0.75
    """
    gold, read = _filled(targets, values)
    return float(np.abs(read - gold).mean())


def pearson(targets: Column, values: Column) -> float:
    """Pearson's r of the clipped values, in [-1, 1]; nan where all of either are the same. Corr of both sources.

    >>> round(pearson([-1.0, 0.0, 1.0], [-5.0, 0.0, 1.0]), 6)
    1.0
    """
    gold, read = _filled(targets, values)
    return correlation(gold.astype(np.float64), read.astype(np.float64))


def weak_acc2(targets: Column, values: Column) -> float:
    """`acc2` of the rows whose gold value is from -0.4 to 0.4, in [0, 1]. Mult_acc_2_weak of ch-sims-v2.

    >>> weak_acc2([0.4, -0.4, 0.0, 0.6], [0.1, 0.1, -0.1, -1.0])  # the last row is not weak
    0.6666666666666666
    """
    gold, read = _clipped(targets, values)
    weak = _is_weak(gold)
    return _accuracy(gold[weak], read[weak], TWO) if weak.any() else float("nan")


def r2(targets: Column, values: Column) -> float:
    """1 - sum (gold - value)² / sum (gold - mean gold)² of the clipped values, at most 1. R_squre of ch-sims-v2, which
    is scikit-learn's r2_score: where all gold values are the same, 1 if every value is right and else 0; nan of a
    single row.

    >>> r2([-1.0, 0.0, 1.0], [-1.0, 0.0, 0.5])
    0.875
    """
    gold, read = (column.astype(np.float64) for column in _filled(targets, values))
    if len(gold) < 2:
        return float("nan")
    residual, total = np.square(gold - read).sum(), np.square(gold - gold.mean()).sum()
    if gold.min() == gold.max():
        return float(residual == 0)
    return float(1 - residual / total)


def weak_rows(gold: np.ndarray) -> int:
    """The rows that `weak_acc2` counts."""
    return int(np.count_nonzero(_is_weak(gold.astype(np.float32))))


def _is_weak(gold: np.ndarray) -> np.ndarray:
    return np.abs(gold) <= np.float32(WEAK)


def _clipped(targets: Column, values: Column) -> tuple[np.ndarray, np.ndarray]:
    gold, read = float32_columns(targets, values)
    return np.clip(gold, LOW, HIGH), np.clip(read, LOW, HIGH)


def _filled(targets: Column, values: Column) -> tuple[np.ndarray, np.ndarray]:
    gold, read = _clipped(targets, values)
    return gold, np.where(np.isnan(read), worst(gold, LOW, HIGH).astype(np.float32), read)


def _classes(column: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    """The class of every value, from 0, as int64; one more than the last for NaN."""
    # side="left" puts a value that equals an edge below it: closed on the right.
    found = np.searchsorted(np.array(edges, dtype=np.float32), column, side="left")
    return np.where(np.isnan(column), len(edges) + 1, found)


def _accuracy(gold: np.ndarray, read: np.ndarray, edges: tuple[float, ...]) -> float:
    return float(np.mean(_classes(gold, edges) == _classes(read, edges)))
