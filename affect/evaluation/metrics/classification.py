"""Metrics of single-label classification, from two lists: the gold labels and the labels read from the answers.

An unreadable answer is None and is wrong: it is a miss (false negative) of its gold class and a false alarm (false
positive) of no class. So no model gains by not answering.

Instead of lists of labels every function takes what `codes` makes of them, so that a column is looked up only once.
"""

from collections.abc import Sequence

import numpy as np

Column = Sequence[str] | Sequence[str | None] | np.ndarray


def codes(column: Sequence[str | None], labels: Sequence[str], name: str = "values") -> np.ndarray:
    """The place of every label in `labels`, int64[N]; len(labels) for None. Raises ValueError, saying `name` and the
    row, where one is neither.

    >>> codes(["b", None, "a"], ["a", "b"])
    array([1, 2, 0])
    """
    index: dict[str | None, int] = {label: place for place, label in enumerate(labels)}
    if len(index) != len(labels):
        raise ValueError(f"a label is named twice in {list(labels)}: name each once")
    index[None] = len(labels)
    return _indices(column, index, name)


def confusion(targets: Column, values: Column, labels: Sequence[str]) -> np.ndarray:
    """Counts, int64[K, K + 1]: a row for each gold label, a column for each predicted one, in the order of `labels`.

    The last column counts unreadable answers. Raises ValueError where the lists are empty or not equally long, and
    where a target or a value is not one of `labels` (a value may be None).

    >>> confusion(["a", "a", "b"], ["a", "b", None], ["a", "b"])
    array([[1, 1, 0],
           [0, 0, 1]])
    """
    if len(targets) != len(values):
        raise ValueError(f"there are {len(targets)} targets but {len(values)} values: give one value for each target")
    if len(targets) == 0:
        raise ValueError("there are no targets: a metric needs at least one labelled prediction")
    rows = targets if isinstance(targets, np.ndarray) else codes(targets, labels, "targets")
    columns = values if isinstance(values, np.ndarray) else codes(values, labels)
    if rows.max() == len(labels):
        raise ValueError(
            f"targets[{int(rows.argmax())}] is None, which is not one of the labels {', '.join(labels)}: leave the rows"
            " without a gold label out"
        )
    width = len(labels) + 1
    return np.bincount(rows * width + columns, minlength=len(labels) * width).reshape(len(labels), width)


def accuracy(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """Correct answers / all answers, in [0, 1]. Classes that do not occur play no part. Raises like `confusion`.

    >>> accuracy(["a", "a", "b", "b"], ["a", "b", "b", None], ["a", "b"])
    0.5
    """
    counts = confusion(targets, values, labels)
    return float(np.trace(counts) / counts.sum())


def weighted_f1(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """F1 of every class, averaged with the number of gold labels as weights, in [0, 1].

    The usual headline of conversational emotion recognition (Poria et al., MELD, ACL 2019). A class without gold labels
    weighs nothing; predicting it costs the class that was missed. Equal to scikit-learn's f1_score(average="weighted")
    with `labels=labels`. Raises like `confusion`.

    >>> round(weighted_f1(["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "b"]), 4)
    0.7667
    """
    counts = confusion(targets, values, labels)
    support = counts.sum(axis=1)
    return float(_f1(counts)[support > 0] @ support[support > 0] / support.sum())


def macro_f1(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """Mean of the classes' F1 (not F1 of mean precision and recall: Opitz & Burst, arXiv 1911.03347), in [0, 1].

    The mean is over the classes that occur as a gold label or as a value. That is scikit-learn's
    f1_score(average="macro") without `labels=`, what published scripts compute. A label that this split does not have
    and no answer names would only divide the score by a constant; one that is named without ever being right counts as
    0, since naming it is a mistake. Unreadable answers are not a class. Raises like `confusion`.

    >>> round(macro_f1(["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "b", "c"]), 4)
    0.7333
    >>> round(macro_f1(["a", "a", "a", "b"], ["a", "a", "c", "b"], ["a", "b", "c"]), 4)
    0.6
    """
    return float(np.nanmean(_f1(confusion(targets, values, labels))))


def uar(targets: Column, values: Column, labels: Sequence[str]) -> float:
    """Unweighted average recall: mean of the classes' recall, in [0, 1]; chance is 1 / number of classes.

    The measure of the INTERSPEECH challenges (Schuller, Steidl & Batliner, 2009). The mean is over the classes that
    have gold labels, since recall of others is undefined; equal to scikit-learn's balanced_accuracy_score. Raises like
    `confusion`.

    >>> uar(["a", "a", "a", "a", "b"], ["a", "a", "a", "b", "b"], ["a", "b", "c"])
    0.875
    """
    return float(np.nanmean(_recall(confusion(targets, values, labels))))


def f1_per_class(targets: Column, values: Column, labels: Sequence[str]) -> dict[str, float]:
    """F1 = 2 TP / (2 TP + FP + FN) of every label, in [0, 1] (van Rijsbergen, Information Retrieval, 1979).

    nan where the label is neither a gold label nor a value of any row; scikit-learn says 0 there. Raises like
    `confusion`.

    >>> f1_per_class(["a", "a", "b"], ["a", None, "a"], ["a", "b", "c"])
    {'a': 0.5, 'b': 0.0, 'c': nan}
    """
    return dict(zip(labels, _f1(confusion(targets, values, labels)).tolist(), strict=True))


def recall_per_class(targets: Column, values: Column, labels: Sequence[str]) -> dict[str, float]:
    """Recall = TP / gold labels of every label, in [0, 1]; nan where there are none. Raises like `confusion`.

    >>> recall_per_class(["a", "a", "b"], ["a", None, "a"], ["a", "b", "c"])
    {'a': 0.5, 'b': 0.0, 'c': nan}
    """
    return dict(zip(labels, _recall(confusion(targets, values, labels)).tolist(), strict=True))


def _indices(column: Sequence[str | None], index: dict[str | None, int], name: str) -> np.ndarray:
    try:
        return np.fromiter((index[label] for label in column), dtype=np.int64, count=len(column))
    except (KeyError, TypeError):
        # TypeError: a list, say, which no dictionary can be asked for. The row is searched only now, which is slow.
        known = list(index)
        row = next(row for row, label in enumerate(column) if label not in known)
        labels = ", ".join(str(label) for label in known if label is not None)
        raise ValueError(
            f"{name}[{row}] is {column[row]!r}, which is not one of the labels {labels}:"
            " correct it or add it to the task's labels"
        ) from None


def _recall(counts: np.ndarray) -> np.ndarray:
    """float64[K], nan where a class has no gold labels."""
    return _ratio(np.diagonal(counts), counts.sum(axis=1))


def _f1(counts: np.ndarray) -> np.ndarray:
    """float64[K], nan where a class has neither gold labels nor answers."""
    # 2 TP + FP + FN is the number of gold labels of the class plus the number of answers that name it.
    return _ratio(2 * np.diagonal(counts), counts.sum(axis=1) + counts[:, :-1].sum(axis=0))


def _ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    result = np.full(len(denominators), np.nan)
    np.divide(numerators, denominators, out=result, where=denominators > 0)
    return result
