"""Predictions to numbers, from a list of predictions alone. A metric is one function and one line of METRICS."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from affect.answers import OUTCOMES
from affect.metrics import classification, intensity
from affect.record import Prediction
from affect.tasks import Kind, Task

READERS = ("exact", "lenient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    function: Callable[[Sequence[Any], Sequence[Any], Task], float]
    """(targets[N], values[N], task) to the number; a value is None where the answer could not be read."""
    kind: Kind
    """The kind of task it is defined for."""
    higher_is_better: bool
    unit: Callable[[float, Task], float]
    """Maps the number to [0, 1], higher is better, so that those of several tasks can be averaged."""


def _classified(function: Callable[[Sequence[str], Sequence[str | None], Sequence[str]], float]) -> Metric:
    return Metric(
        function=lambda targets, values, task: function(targets, values, task.labels),
        kind=Kind.classification,
        higher_is_better=True,
        unit=_unit_share,
    )


def _unit_share(value: float, task: Task) -> float:
    return value


def _unit_mae(value: float, task: Task) -> float:
    low, high = _range(task)
    # Numbers out of the range can put the error beyond it; there is nothing left to lose then. Not max(), which would
    # turn a nan into 0.
    return 0.0 if value > high - low else 1.0 - value / (high - low)


def _unit_pearson(value: float, task: Task) -> float:
    # Not (r + 1) / 2: it would give constant answers half of the best mark, and halve the weight of every gain. An
    # undefined correlation is that of constant answers, which say nothing about the clips: as good as none.
    return 0.0 if math.isnan(value) else max(0.0, value)


METRICS: dict[str, Metric] = {
    "accuracy": _classified(classification.accuracy),
    "weighted_f1": _classified(classification.weighted_f1),
    "macro_f1": _classified(classification.macro_f1),
    "uar": _classified(classification.uar),
    "mae": Metric(
        function=lambda targets, values, task: intensity.mae(targets, values, *_range(task)),
        kind=Kind.intensity,
        higher_is_better=False,
        unit=_unit_mae,
    ),
    "pearson": Metric(
        function=lambda targets, values, task: intensity.pearson(targets, values, *_range(task)),
        kind=Kind.intensity,
        higher_is_better=True,
        unit=_unit_pearson,
    ),
}

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {"mean_headline": fmean, "min_headline": min}
"""How the headlines of several tasks become the one number that a checkpoint is chosen by."""


def compute(predictions: Sequence[Prediction], task: Task) -> dict[str, Any]:
    """Every number of one task, in plain Python types for strict JSON, which has no NaN: undefined numbers are None.

    n_scored            predictions with a gold label; every other number is about these alone
    n_unlabelled        predictions without one
    n_readable_exact, n_readable_lenient
    outcomes            {outcome: count}, all of answers.OUTCOMES, of the lenient reader; sums to n_scored
    exact, lenient      {metric: value} with the metrics of METRICS for the task's kind, by reader
    majority            {metric: value} of always answering `majority_answer`, a reference that knows the gold labels
    majority_answer     the most frequent gold label (the first in the task's order of equals), or the gold median

    and for a classification, of the lenient values:

    labels              the task's labels, the order of what follows
    confusion           counts[K][K + 1], gold by predicted, the last column unreadable
    recall_per_class, f1_per_class, n_per_class    {label: value}; n_per_class counts gold labels

    Without labelled predictions n_scored is 0 and the numbers are None. Raises ValueError where an id occurs twice, a
    prediction is of another task, an outcome is unknown, and where a target or a value is not one of the task's labels
    or not a finite number.
    """
    _check(predictions, task)
    scored = [prediction for prediction in predictions if prediction.target is not None]
    targets = [prediction.target for prediction in scored]
    values = {reader: [getattr(prediction, reader) for prediction in scored] for reader in READERS}
    outcomes = Counter(prediction.outcome for prediction in scored)
    majority_answer = _majority_answer(targets, task)
    result: dict[str, Any] = {
        "n_scored": len(scored),
        "n_unlabelled": len(predictions) - len(scored),
        **{f"n_readable_{reader}": sum(value is not None for value in values[reader]) for reader in READERS},
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        **{reader: _numbers(targets, values[reader], task) for reader in READERS},
        "majority": _numbers(targets, [majority_answer] * len(targets), task),
        "majority_answer": majority_answer,
    }
    if task.kind is Kind.classification:
        result["labels"] = list(task.labels)
        counts = Counter(targets)
        result["n_per_class"] = {label: counts[label] for label in task.labels}
        if scored:
            arguments = (targets, values["lenient"], task.labels)
            result["confusion"] = classification.confusion(*arguments).tolist()
            result["recall_per_class"] = _defined(classification.recall_per_class(*arguments))
            result["f1_per_class"] = _defined(classification.f1_per_class(*arguments))
        else:
            result["confusion"] = [[0] * (len(task.labels) + 1) for _ in task.labels]
            result["recall_per_class"] = dict.fromkeys(task.labels)
            result["f1_per_class"] = dict.fromkeys(task.labels)
    return result


def headline_metric(task: Task) -> Metric:
    """The metric that `task.headline` names. Raises ValueError where it is none for this kind of task."""
    names = ", ".join(name for name, metric in METRICS.items() if metric.kind is task.kind)
    if task.headline not in METRICS or METRICS[task.headline].kind is not task.kind:
        raise ValueError(
            f"the headline of task '{task.name}' is '{task.headline}', which is no metric of a task of kind"
            f" {task.kind.value}: set it to one of {names}"
        )
    return METRICS[task.headline]


def headline(computed: dict[str, Any], task: Task, reader: str = "lenient") -> float:
    """The task's headline metric out of `compute`'s result, in its own unit; nan where it is undefined (Pearson only).

    Raises ValueError where nothing was scored, the reader is not one of READERS, and like `headline_metric`.
    """
    headline_metric(task)
    if reader not in READERS:
        raise ValueError(f"there is no reader '{reader}': choose one of {', '.join(READERS)}")
    if computed["n_scored"] == 0:
        raise ValueError(
            f"task '{task.name}' has no headline, since none of its {computed['n_unlabelled']} predictions has a gold"
            " label: evaluate a split that is labelled for it, or leave the task out"
        )
    value = computed[reader][task.headline]
    return math.nan if value is None else value


def aggregate(headlines: list[tuple[float, Task]], how: str) -> float:
    """One number in [0, 1], higher is better, from the headlines of all tasks; also from that of a single task.

    Each is mapped to [0, 1] first: shares (accuracy, F1, recall) as they are, MAE to max(0, 1 - MAE / (high - low)),
    Pearson's r to max(0, r), and 0 where it is undefined. `how` is one of AGGREGATES. Raises ValueError where it is
    not, where there are no headlines, where one that cannot be undefined is nan, and like `headline_metric`.

    >>> aggregate([(0.5, Task(name="emotion")), (1.5, Task(kind=Kind.intensity, low=-3, high=3, headline="mae"))],
    ...           "mean_headline")
    0.625
    """
    if how not in AGGREGATES:
        raise ValueError(f"there is no aggregate '{how}': choose one of {', '.join(AGGREGATES)}")
    if not headlines:
        raise ValueError("there are no headlines to aggregate: name at least one task")
    units = [headline_metric(task).unit(value, task) for value, task in headlines]
    for unit, (_, task) in zip(units, headlines, strict=True):
        if math.isnan(unit):
            raise ValueError(
                f"the headline of task '{task.name}' is nan, which {task.headline} never is: compute it again"
            )
    return AGGREGATES[how](units)


def _range(task: Task) -> tuple[float, float]:
    assert task.low is not None and task.high is not None
    return task.low, task.high


def _numbers(targets: Sequence[Any], values: Sequence[Any], task: Task) -> dict[str, float | None]:
    chosen = {name: metric.function for name, metric in METRICS.items() if metric.kind is task.kind}
    if not targets:
        return dict.fromkeys(chosen)
    return _defined({name: function(targets, values, task) for name, function in chosen.items()})


def _defined(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _majority_answer(targets: Sequence[Any], task: Task) -> str | float | None:
    if not targets:
        return None
    if task.kind is Kind.intensity:
        return float(median(targets))
    counts = Counter(targets)
    return max(task.labels, key=lambda label: counts[label])


def _check(predictions: Sequence[Prediction], task: Task) -> None:
    """Refuses what cannot be counted, by id; the metrics themselves see only rows."""
    ids = Counter(prediction.id for prediction in predictions)
    if len(ids) < len(predictions):
        again = next(identifier for identifier, count in ids.items() if count > 1)
        raise ValueError(
            f"there are {ids[again]} predictions of task '{task.name}' with the id '{again}': every record is counted"
            " once, so pass the predictions of a single run"
        )
    classes = task.kind is Kind.classification
    for prediction in predictions:
        if prediction.task != task.name:
            raise ValueError(
                f"prediction '{prediction.id}' is of task '{prediction.task}', not of '{task.name}':"
                " pass the predictions of one task at a time"
            )
        if prediction.outcome not in OUTCOMES:
            raise ValueError(
                f"prediction '{prediction.id}' has the outcome '{prediction.outcome}': it has to be one of"
                f" {', '.join(OUTCOMES)}"
            )
        for name, value in (
            ("target", prediction.target),
            ("exact value", prediction.exact),
            ("lenient value", prediction.lenient),
        ):
            if value is None:
                continue
            if classes and value not in task.labels:
                raise ValueError(
                    f"the {name} of prediction '{prediction.id}' is {value!r}, which is not a label of task"
                    f" '{task.name}': correct it or add it to the labels {', '.join(task.labels)}"
                )
            if not classes and not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(
                    f"the {name} of prediction '{prediction.id}' is {value!r}, which is not a finite number:"
                    f" task '{task.name}' is an intensity, so correct it or leave it out"
                )
