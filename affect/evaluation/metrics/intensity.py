"""Metrics of a continuous intensity, from two lists: the gold values and the numbers that were read from the answers.

"Strict": an unreadable answer is None and counts as the worst value of the range for its row, the end of [low, high]
farther from the gold value (`low` where both are equally far). So no model gains by not answering. Numbers outside the
range are used as they are, not clipped, as MMSA does (Mao et al., M-SENA, ACL 2022 demo): a mistake of scale shows.

Instead of lists every function takes what `column` makes of them, so that a list is looked through only once.
"""

from collections.abc import Sequence

import numpy as np

Column = Sequence[float] | Sequence[float | None] | np.ndarray

LARGEST = 1e30
"""An answer may be a number of any number of digits. In float32 the sum over ten million of this size is still finite.
"""


def mae(targets: Column, values: Column, low: float, high: float) -> float:
    """Mean absolute error, mean |value - target|, in the unit of the labels; 0 is best, and there is no upper bound.

    Reported for CMU-MOSI and CMU-MOSEI (Zadeh et al., ACL 2018). Raises ValueError where the lists are empty or not
    equally long, where a target or a value is not a finite number (a value may be None), and where `low` is
    not below `high`.

    >>> mae([1.0, -2.0, 0.5], [2.0, None, 0.5], low=-3, high=3)
    2.0
    """
    gold, read = _filled(targets, values, low, high)
    # Divided before it is summed, since an answer may be a number so large that the sum would overflow.
    return float((np.abs(read - gold) / len(gold)).sum())


def pearson(targets: Column, values: Column, low: float, high: float) -> float:
    """Pearson's correlation r = cov(targets, values) / (sd(targets) sd(values)), in [-1, 1].

    nan where all targets or all values are the same, since r is undefined then; this includes a single row. Reported
    for CMU-MOSI and CMU-MOSEI (Zadeh et al., ACL 2018). Raises like `mae`.

    >>> round(pearson([-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], low=-3, high=3), 6)
    1.0
    >>> pearson([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0], low=-3, high=3)
    nan
    """
    return correlation(*_filled(targets, values, low, high))


def ccc(targets: Column, values: Column, low: float, high: float) -> float:
    """Lin's concordance correlation coefficient, 2 cov(targets, values) / (var targets + var values + (mean targets -
    mean values)²) with variances over N, in [-1, 1]: unlike `pearson` it falls where values are shifted or of another
    scale than the targets.

    Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 45, 1989; the measure of valence
    and arousal (AVEC 2016, MuSe). 0 where one side alone is constant; nan where both are, at one value. Raises like
    `mae`.

    >>> ccc([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], low=-3, high=3)
    1.0
    >>> round(ccc([-1.0, 0.0, 1.0], [0.0, 1.0, 2.0], low=-3, high=3), 4)  # pearson is 1
    0.5714
    """
    gold, read = _filled(targets, values, low, high)
    # The coefficient does not depend on a common scale, and the square of a large number would overflow.
    scale = max(np.abs(gold).max(), np.abs(read).max()) or 1.0
    gold, read = gold / scale, read / scale
    apart = gold.mean() - read.mean()
    gold, read = gold - gold.mean(), read - read.mean()
    total = gold @ gold + read @ read + len(gold) * apart**2
    return float(2 * (gold @ read) / total) if total else float("nan")


def correlation(gold: np.ndarray, read: np.ndarray) -> float:
    """Pearson's r of two float64[N] without NaN; nan where all of either are the same."""
    if gold.min() == gold.max() or read.min() == read.max():
        return float("nan")
    gold, read = _direction(gold), _direction(read)
    # Rounding can leave the product of two unit vectors a little above 1.
    return float(np.clip(gold @ read, -1.0, 1.0))


def column(values: Sequence[float | None], name: str = "values") -> np.ndarray:
    """float64[N], NaN for None. Raises ValueError, saying `name` and the row, where a value is not a finite number."""
    unreadable = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
    read = _finite([0.0 if value is None else value for value in values] if unreadable.any() else values, name)
    read[unreadable] = np.nan
    return read


def columns(targets: Column, values: Column) -> tuple[np.ndarray, np.ndarray]:
    """Both as `column` makes them, and of equal length, which is not 0; the targets without NaN."""
    if len(targets) != len(values):
        raise ValueError(f"there are {len(targets)} targets but {len(values)} values: give one value for each target")
    if len(targets) == 0:
        raise ValueError("there are no targets: a metric needs at least one labelled prediction")
    gold = targets if isinstance(targets, np.ndarray) else _finite(targets, "targets")
    return gold, values if isinstance(values, np.ndarray) else column(values)


def float32_columns(targets: Column, values: Column) -> tuple[np.ndarray, np.ndarray]:
    """As `columns`, but float32, in which MMSA and the code after it compare: 0.1 is not above float32(0.1), and
    0.33333334 is a third. Values beyond LARGEST are brought to it."""
    gold, read = columns(targets, values)
    return gold.astype(np.float32), np.clip(read, -LARGEST, LARGEST).astype(np.float32)


def worst(gold: np.ndarray, low: float, high: float) -> np.ndarray:
    """For every gold value the end of the range that is farther from it, `low` where both are equally far."""
    return np.where(gold - low >= high - gold, low, high)


def _filled(targets: Column, values: Column, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Both float64[N], unreadable values replaced by the worst of the range."""
    gold, read = columns(targets, values)
    if not low < high:
        raise ValueError(f"the range has low={low} and high={high}: low has to be the smaller")
    return gold, np.where(np.isnan(read), worst(gold, low, high), read)


def _finite(column: Sequence[float | None], name: str) -> np.ndarray:
    for row, value in enumerate(column):
        if not isinstance(value, int | float):
            raise ValueError(f"{name}[{row}] is {value!r}, which is not a number: give a float, and None if unreadable")
    array = np.array(column, dtype=np.float64)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}[{row}] is {column[row]!r}, which is not finite: give a number, and None if unreadable"
        )
    return array


def _direction(column: np.ndarray) -> np.ndarray:
    """`column`, centred and of length 1. Scaled first, for the square of a large number would overflow."""
    column = column / np.abs(column).max()
    column = column - column.mean()
    return column / np.linalg.norm(column)
