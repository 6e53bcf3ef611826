"""Metrics of tasks where any number of labels may apply, from two lists of collections of labels.

An unreadable answer is None: it misses every gold label of its row, names none, and its row is not an exact match, not
even where no label applies. Instead of lists every function takes what `membership` makes of them.

Equal to scikit-learn's f1_score and accuracy_score on indicator matrices, except where it warns and says 0: a label
that is neither gold nor named in any row is left out of the mean of `macro_f1`, as in
affect.evaluation.metrics.classification."""

from collections.abc import Collection, Sequence

import numpy as np

Column = Sequence[Collection[str]] | Sequence[Collection[str] | None] | np.ndarray


def membership(column: Sequence[Collection[str] | None], labels: Sequence[str], name: str = "values") -> np.ndarray:
    """int8[N, K], 1 where the label of the column applies to the row, else 0; -1 all along an unreadable row.

    Raises ValueError, saying `name` and the row, where something is not a collection of `labels`.

    >>> membership([("a",), (), None], ["a", "b"])
    array([[ 1,  0],
           [ 0,  0],
           [-1, -1]], dtype=int8)
    """
    index = {label: place for place, label in enumerate(labels)}
    rows = np.zeros((len(column), len(labels)), dtype=np.int8)
    for row, named in enumerate(column):
        if named is None:
            rows[row] = -1
            continue
        if isinstance(named, str) or not set(named) <= index.keys():
            raise ValueError(
                f"{name}[{row}] is {named!r}, which is not a list of the labels {', '.join(labels)}: correct it or add"
                " to the task's labels"
            )
        for label in named:
            rows[row, index[label]] = 1
    return rows


def micro_f1(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) over all cells of rows × labels, in [0, 1]; nan where no label is gold or named.

    Raises ValueError where the lists are empty or not equally long, and like `membership`.

    >>> micro_f1([("a",), ("a", "b"), ()], [("a",), ("b",), ("b",)], ["a", "b"])
    0.6666666666666666
    """
    right, sums = _counts(targets, values, labels)
    return float(2 * right.sum() / sums.sum()) if sums.any() else float("nan")


def macro_f1(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """Mean of the labels' F1, in [0, 1], over those that are gold or named in some row; nan where none is. Raises like
    `micro_f1`.

    >>> macro_f1([("a",), ("a", "b"), ()], [("a",), ("b",), ("b",)], ["a", "b", "c"])
    0.6666666666666666
    """
    right, sums = _counts(targets, values, labels)
    return float(np.mean(2 * right[sums > 0] / sums[sums > 0])) if sums.any() else float("nan")


def weighted_f1(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """Mean of the labels' F1, weighted by the number of rows whose gold they are, in [0, 1]; nan where no row has a
    gold label. Raises like `micro_f1`.

    >>> weighted_f1([("a",), ("a", "b"), ()], [("a",), ("a", "b"), ("b",)], ["a", "b"])  # 1 of two rows, 2/3 of one
    0.8888888888888888
    """
    right, sums = _counts(targets, values, labels)
    support = (_matrix(targets, labels, "targets") == 1).sum(axis=0)
    if not support.any():
        return float("nan")
    return float(2 * right[support > 0] / sums[support > 0] @ support[support > 0] / support.sum())


def subset_accuracy(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """Share of rows for which exactly the gold labels were named, in [0, 1]. Raises like `micro_f1`.

    >>> subset_accuracy([("a",), ("a", "b"), (), ()], [("a",), ("b",), (), None], ["a", "b"])
    0.5
    """
    gold, read = _matrices(targets, values, labels)
    return float((gold == read).all(axis=1).mean())


def f1_per_class(targets: Column, values: Column, labels: Sequence[str]) -> dict[str, float]:
    """F1 of every label, in [0, 1]; nan where it is neither gold nor named. Raises like `micro_f1`.

    >>> f1_per_class([("a",), ("a",)], [("a",), None], ["a", "b"])
    {'a': 0.6666666666666666, 'b': nan}
    """
    right, sums = _counts(targets, values, labels)
    return dict(zip(labels, _ratio(2 * right, sums), strict=True))


def recall_per_class(targets: Column, values: Column, labels: Sequence[str]) -> dict[str, float]:
    """Share of every label's gold rows for which it was named, in [0, 1]; nan where it has none. Raises like
    `micro_f1`.

    >>> recall_per_class([("a",), ("a",)], [("a",), None], ["a", "b"])
    {'a': 0.5, 'b': nan}
    """
    gold, read = _matrices(targets, values, labels)
    return dict(zip(labels, _ratio(((gold == 1) & (read == 1)).sum(axis=0), (gold == 1).sum(axis=0)), strict=True))


def _matrix(column: Column, labels: Sequence[str], name: str) -> np.ndarray:
    return column if isinstance(column, np.ndarray) else membership(column, labels, name)


def _matrices(targets: Column, values: Column, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(targets) != len(values):
        raise ValueError(f"there are {len(targets)} targets but {len(values)} values: give one value for each target")
    if len(targets) == 0:
        raise ValueError("there are no targets: a metric needs at least one labelled prediction")
    gold, read = _matrix(targets, labels, "targets"), _matrix(values, labels, "values")
    if (gold < 0).any():
        row = int(np.flatnonzero((gold < 0).any(axis=1))[0])
        raise ValueError(f"targets[{row}] is None: leave the rows without gold labels out")
    return gold, read


def _counts(targets: Column, values: Column, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """By label, int64[K] each: true positives, and 2 TP + FP + FN, which is gold rows plus rows that name it."""
    gold, read = _matrices(targets, values, labels)
    return ((gold == 1) & (read == 1)).sum(axis=0), (gold == 1).sum(axis=0) + (read == 1).sum(axis=0)


def _ratio(numerators: np.ndarray, denominators: np.ndarray) -> list[float]:
    result = np.full(len(denominators), np.nan)
    np.divide(numerators, denominators, out=result, where=denominators > 0)
    return result.tolist()
