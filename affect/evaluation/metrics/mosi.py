"""CMU-MOSI and CMU-MOSEI as published code computes them: sentiment from -3 to 3, zero is neutral.

"Acc-2" has three meanings, so it is never reported by that name alone:

                        rows           positive is   function
    MMSA Has0           all            value >= 0    has0_acc2
    MMSA Non0           gold not 0     value > 0     non0_acc2
    KAN-MCP             gold not 0     value >= 0    mai_acc2

Sources, at the commits that were read:
MMSA     https://github.com/thuiar/MMSA/blob/a94e65d/src/MMSA/utils/metricsTop.py (regression)
KAN-MCP  https://github.com/LuoMSen/KAN-MCP/blob/22e1faa71f274f3f10a9d676ce835f4dd3bc3f2e/train_mosi.py
MERBench https://github.com/zeroQiaoba/MERTools/blob/fb8dda0ebd52281f69affcbec3cc34dfd281f1ba/MERBench/toolkit/dataloader/cmudata.py
CMU-SDK  https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK/blob/3e27d3781fe38b660432c7edfa7912bd0d256ee1/mmsdk/mmdatasdk/dataset/standard_datasets/CMU_MOSEI/README.md

Common to all functions: they take gold values and the numbers read from the answers (None where unreadable) or what
`intensity.column` makes of them; both are rounded to float32 before anything is compared, as there; they raise like
`intensity.mae`. None of the sources meets an unreadable answer. Here it is no class: wrong, a miss of the gold class
and a false alarm of none. In `mae` and `pearson` it counts as the end of -3 to 3 that is farther from the gold value
(-3 for 0). Where no row is left the result is nan.
"""

import numpy as np

from affect.evaluation.metrics import classification
from affect.evaluation.metrics.intensity import Column, correlation, float32_columns, worst

LOW, HIGH = -3.0, 3.0

POLARITY = ("negative", "positive")


def has0_acc2(targets: Column, values: Column) -> float:
    """Share of all rows with (value >= 0) = (gold >= 0), in [0, 1]: negative against not negative. Zero, and the
    negative zero of -0.0 or of a number too small for float32, is not negative. MMSA's Has0_acc_2, and the older of
    the two of CMU-SDK.

    >>> has0_acc2([-1.0, 0.0, 0.0, 2.0], [-0.1, 0.0, -0.1, None])
    0.5
    """
    return _accuracy(*_from_zero(*float32_columns(targets, values)))


def has0_f1(targets: Column, values: Column) -> float:
    """F1 of the two classes of `has0_acc2`, weighted by their gold rows, in [0, 1]. A class without gold rows weighs
    nothing. MMSA's Has0_F1_score.

    >>> round(has0_f1([-1.0, 0.0, 0.0, 2.0], [-0.1, 0.0, -0.1, 1.0]), 4)  # 2/3 of one row, 4/5 of three
    0.7667
    """
    return _weighted_f1(*_from_zero(*float32_columns(targets, values)))


def non0_acc2(targets: Column, values: Column) -> float:
    """Share of the rows whose gold value is not 0 with (value > 0) = (gold > 0), in [0, 1]. A value of exactly 0 counts
    as negative. MMSA's Non0_acc_2, the newer of the two of CMU-SDK, and what MERBench reports.

    >>> round(non0_acc2([-1.0, 0.0, 1.0, 2.0], [0.0, 3.0, 0.0, 0.1]), 4)
    0.6667
    """
    return _accuracy(*_above_zero(*_without_zero(*float32_columns(targets, values))))


def non0_f1(targets: Column, values: Column) -> float:
    """F1 of the two classes of `non0_acc2` on its rows, weighted by their gold rows, in [0, 1]. MMSA's Non0_F1_score.

    >>> round(non0_f1([-1.0, 0.0, 1.0, 2.0], [0.0, 3.0, 0.0, 0.1]), 4)  # 2/3 of one row, 2/3 of two
    0.6667
    """
    return _weighted_f1(*_above_zero(*_without_zero(*float32_columns(targets, values))))


def mai_acc2(targets: Column, values: Column) -> float:
    """Share of the rows whose gold value is not 0 with (value >= 0) = (gold >= 0), in [0, 1]: as `non0_acc2`, but a
    value of exactly 0 counts as positive. KAN-MCP's acc2.

    >>> round(mai_acc2([-1.0, 0.0, 1.0, 2.0], [0.0, 3.0, 0.0, 0.1]), 4)
    0.6667
    >>> mai_acc2([1.0], [0.0]), non0_acc2([1.0], [0.0])
    (1.0, 0.0)
    """
    return _accuracy(*_from_zero(*_without_zero(*float32_columns(targets, values))))


def mai_f1(targets: Column, values: Column) -> float:
    """F1 of the two classes of `mai_acc2` on its rows, weighted by their gold rows, in [0, 1]. KAN-MCP's f1.

    >>> round(mai_f1([-1.0, 0.0, 1.0, 2.0], [0.0, 3.0, 0.0, 0.1]), 4)  # 0 of one row, 4/5 of two
    0.5333
    """
    return _weighted_f1(*_from_zero(*_without_zero(*float32_columns(targets, values))))


def acc7(targets: Column, values: Column) -> float:
    """Share of rows with round(clip(value, -3, 3)) = round(clip(gold, -3, 3)), in [0, 1]. Halves are rounded to the
    even neighbour: 0.5 and -0.5 to 0, 1.5 and 2.5 to 2. MMSA's Mult_acc_7, and that of KAN-MCP.

    >>> acc7([0.0, 2.0, 3.0, 1.0], [-0.5, 2.5, 9.0, 0.5])
    0.75
    """
    return _rounded(*float32_columns(targets, values), 3.0)


def acc5(targets: Column, values: Column) -> float:
    """As `acc7`, but clipped to -2 and 2. MMSA's Mult_acc_5.

    >>> acc5([0.0, 2.0, 3.0, 1.0], [-0.5, 2.5, 1.5, 0.5])
    0.75
    """
    return _rounded(*float32_columns(targets, values), 2.0)


def cmu_acc7(targets: Column, values: Column) -> float:
    """Share of rows whose value and gold value are in the same of the seven classes of CMU-SDK, in [0, 1]: away from
    zero and not to the nearest, below -2, [-2, -1), [-1, 0), 0, (0, 1], (1, 2], above 2. So 0.1 is class 1.

    >>> cmu_acc7([0.1, 0.0, -1.0, 2.1], [1.0, 0.1, -0.2, 7.0])
    0.75
    """
    gold, read = float32_columns(targets, values)
    return float(np.mean(_away_from_zero(gold) == _away_from_zero(read)))


def mae(targets: Column, values: Column) -> float:
    """mean |value - gold| in the unit of the labels; 0 is best. Not clipped. The mean is one of float32, as MMSA's MAE.

    >>> mae([1.0, -2.0, 0.5], [2.0, None, 0.5])
    2.0
    """
    gold, read = _filled(targets, values)
    return float(np.abs(read - gold).mean())


def pearson(targets: Column, values: Column) -> float:
    """Pearson's r, in [-1, 1], of the float32 values, not clipped; nan where all of either are the same. MMSA's Corr.

    >>> round(pearson([-1.0, 0.0, 1.0], [-4.0, 0.0, 4.0]), 6)
    1.0
    """
    gold, read = _filled(targets, values)
    return correlation(gold.astype(np.float64), read.astype(np.float64))


def rows_without_zero(gold: np.ndarray) -> int:
    """The rows that `non0_acc2` and `mai_acc2` count."""
    return int(np.count_nonzero(gold.astype(np.float32)))


def _without_zero(gold: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return gold[gold != 0], read[gold != 0]


def _from_zero(gold: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of POLARITY, zero positive."""
    return (gold >= 0).astype(np.int64), _with_unreadable((read >= 0).astype(np.int64), read)


def _above_zero(gold: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of POLARITY, zero negative."""
    return (gold > 0).astype(np.int64), _with_unreadable((read > 0).astype(np.int64), read)


def _with_unreadable(code: np.ndarray, read: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(read), len(POLARITY), code)


def _accuracy(gold: np.ndarray, read: np.ndarray) -> float:
    return classification.accuracy(gold, read, POLARITY) if len(gold) else float("nan")


def _weighted_f1(gold: np.ndarray, read: np.ndarray) -> float:
    return classification.weighted_f1(gold, read, POLARITY) if len(gold) else float("nan")


def _rounded(gold: np.ndarray, read: np.ndarray, end: float) -> float:
    # An unreadable value is NaN, which equals nothing.
    return float(np.mean(np.round(np.clip(read, -end, end)) == np.round(np.clip(gold, -end, end))))


def _away_from_zero(column: np.ndarray) -> np.ndarray:
    return np.clip(np.copysign(np.ceil(np.abs(column)), column), LOW, HIGH)


def _filled(targets: Column, values: Column) -> tuple[np.ndarray, np.ndarray]:
    gold, read = float32_columns(targets, values)
    return gold, np.where(np.isnan(read), worst(gold, LOW, HIGH).astype(np.float32), read)
