"""Computes every number of a task from a list of predictions."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from affect.config import Kind, Task, Value
from affect.config.tasks import DIALECTS as DIALECT_NAMES
from affect.config.tasks import HEADLINES, dialects_of
from affect.data import Prediction
from affect.evaluation.metrics import calibration, classification, multi_label
from affect.evaluation.metrics.policies import POLICIES, applied, encode, fallback_answer, most_frequent
from affect.evaluation.metrics.registry import DIALECTS, METRICS, Metric
from affect.evaluation.parsing import OUTCOMES

READERS = ("exact", "lenient")


AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {"mean_headline": fmean, "min_headline": min}
"""How the headlines of several tasks become the one number that a checkpoint is chosen by."""


def compute(predictions: Sequence[Prediction], task: Task, reader: str = "lenient") -> dict[str, Any]:
    """Every number of one task, in plain Python types for strict JSON, which has no NaN: undefined numbers are None.

    n_scored            predictions with a gold label; every other number is about these alone
    n_unlabelled        predictions without one
    n_readable_exact, n_readable_lenient
    outcomes            {outcome: count}, all of answers.OUTCOMES, of the lenient reader; sums to n_scored
    errors              {reason: count} of those that give one: the outcome `error`, and thoughts that are not closed
    readout             how the answers were obtained, joined by + where there are several
    exact, lenient      {metric: value} with the metrics of METRICS for the task's kind, by reader, and the headline by
                        the name the task gives it; policy `strict`
    majority            {metric: value} of always answering `majority_answer`, a reference that knows the gold labels
    majority_answer     the most frequent gold label (the first in the task's order of equals), or the gold median
    dialects            {exact, lenient, majority: {dialect: {metric: value}}} for `tasks.dialects_of`; policy `strict`
    policies            {policy: {metric: value, "n": rows}} for policies.POLICIES, of the values of `reader`; those of
                        dialects as dialect.metric
    policy_reader       `reader`, one of READERS
    fallback_answer     what the policy `fallback` takes for an unreadable answer: the most frequent of the gold labels
                        that are scored here, or the middle of the task's range
    counted             {policy: {metric: rows}}, how many rows each of these numbers counts

    for a classification or a multi-label task, of the lenient values:

    labels              the task's labels, the order of what follows
    recall_per_class, f1_per_class, n_per_class    {label: value}; n_per_class counts gold labels

    and for a classification:

    confusion           counts[K][K + 1], gold by predicted, the last column unreadable
    calibration         {n, ece, brier} of the predictions whose labels were all scored; None where there are none

    Without labelled predictions n_scored is 0 and the numbers are None. Raises ValueError where an id occurs twice, a
    prediction is of another task, an outcome is unknown, where a target or a value is not one of the task's labels or
    not a finite number, and where the task names a dialect there is not.
    """
    _refuse_reader(reader)
    metrics = _metrics(task)
    _check(predictions, task)
    scored = [prediction for prediction in predictions if prediction.target is not None]
    targets = [prediction.target for prediction in scored]
    values = {name: [getattr(prediction, name) for prediction in scored] for name in READERS}
    outcomes = Counter(prediction.outcome for prediction in scored)
    majority_answer = _majority_answer(targets, task)
    fallback = fallback_answer(targets, task) if targets else None
    gold = encode(targets, task)
    read = {name: encode(values[name], task) for name in READERS}
    read["majority"] = encode([majority_answer], task).repeat(len(targets), axis=0) if targets else gold
    strict = {name: _numbers(gold, column, task, metrics) for name, column in read.items()}
    plain = [name for name in metrics if "." not in name or name == task.headline]
    by_policy = {policy: applied(policy, gold, read[reader], task, fallback) for policy in POLICIES}
    result: dict[str, Any] = {
        "n_scored": len(scored),
        "n_unlabelled": len(predictions) - len(scored),
        **{f"n_readable_{name}": sum(value is not None for value in values[name]) for name in READERS},
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        "errors": dict(Counter(prediction.error for prediction in scored if prediction.error is not None)),
        "readout": _readout(scored),
        **{name: {metric: numbers[metric] for metric in plain} for name, numbers in strict.items()},
        "majority_answer": _plain(majority_answer),
        "dialects": {name: _by_dialect(numbers, task) for name, numbers in strict.items()},
        "policies": {
            policy: {
                "n": len(rows),
                **(strict[reader] if policy == "strict" else _numbers(rows, column, task, metrics)),
            }
            for policy, (rows, column) in by_policy.items()
        },
        "policy_reader": reader,
        "fallback_answer": _plain(fallback),
        "counted": {
            policy: {name: metric.rows(rows) for name, metric in metrics.items()}
            for policy, (rows, _) in by_policy.items()
        },
    }
    if task.kind is Kind.intensity:
        return result
    result["labels"] = list(task.labels)
    if task.kind is Kind.classification:
        counts = Counter(targets)
        family: Any = classification
        lenient = read["lenient"]
        result["confusion"] = (
            classification.confusion(gold, lenient, task.labels).tolist()
            if scored
            else [[0] * (len(task.labels) + 1) for _ in task.labels]
        )
        result["calibration"] = _calibration(scored, task)
    else:
        counts = Counter(label for labels in targets for label in labels)
        family = multi_label
    result["n_per_class"] = {label: counts[label] for label in task.labels}
    for name in ("recall_per_class", "f1_per_class"):
        result[name] = (
            _defined(getattr(family, name)(gold, read["lenient"], task.labels))
            if scored
            else dict.fromkeys(task.labels)
        )
    return result


def headline_metric(task: Task) -> Metric:
    """The metric that `task.headline` names, plain or of a dialect. Raises ValueError where it is none for this kind of
    task."""
    if task.headline not in HEADLINES[task.kind]:
        raise ValueError(
            f"the headline of task '{task.name}' is '{task.headline}', which is no metric of a task of kind"
            f" {task.kind.value}: set it to one of {', '.join(HEADLINES[task.kind])}"
        )
    dialect, _, name = task.headline.rpartition(".")
    return DIALECTS[dialect][name] if dialect else METRICS[task.kind][name]


def headline(computed: dict[str, Any], task: Task, reader: str = "lenient") -> float:
    """The task's headline metric out of `compute`'s result, in its own unit; nan where it is undefined (a correlation
    of constants, or a metric that counts none of the rows).

    Raises ValueError where nothing was scored, the reader is not one of READERS, and like `headline_metric`.
    """
    headline_metric(task)
    _refuse_reader(reader)
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
    Pearson's r and R² to max(0, ·), and what is undefined to 0. `how` is one of AGGREGATES. Raises ValueError where it
    is not, where there are no headlines, where one that cannot be undefined is nan, and like `headline_metric`.

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


def _refuse_reader(reader: str) -> None:
    if reader not in READERS:
        raise ValueError(f"there is no reader '{reader}': choose one of {', '.join(READERS)}")


def _metrics(task: Task) -> dict[str, Metric]:
    """All metrics of a task: the plain ones, and those of its dialects as dialect.metric."""
    found = dict(METRICS[task.kind])
    for name in dialects_of(task):
        if name not in DIALECTS or DIALECT_NAMES[name].kind is not task.kind:
            fitting = ", ".join(other for other, dialect in DIALECT_NAMES.items() if dialect.kind is task.kind)
            raise ValueError(
                f"task '{task.name}' names the dialect '{name}', which is none of kind {task.kind.value}: choose from"
                f" {fitting or 'none, there are no dialects of that kind'}"
            )
        found |= {f"{name}.{metric}": function for metric, function in DIALECTS[name].items()}
        if DIALECT_NAMES[name].per_class:
            found |= {f"{name}.f1_{label}": _f1_of(place) for place, label in enumerate(task.labels)}
    return found


def _f1_of(place: int) -> Metric:
    """F1 of the label at one place of the task's labels."""

    def function(targets: Any, values: Any, task: Task) -> float:
        return classification.f1_per_class(targets, values, task.labels)[task.labels[place]]

    return Metric(function=function, higher_is_better=True, unit=lambda value, task: value)


def _by_dialect(numbers: Mapping[str, float | None], task: Task) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {name: {} for name in dialects_of(task)}
    for qualified, value in numbers.items():
        # Of a dialect's name only, for a label, and with it f1_<label>, may hold a point of its own.
        dialect, _, name = qualified.partition(".")
        if name:
            found[dialect][name] = value
    return found


def _numbers(gold: np.ndarray, read: np.ndarray, task: Task, metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    if not len(gold):
        return dict.fromkeys(metrics)
    # Dialects share functions: what is the same for the same columns is computed once.
    known: dict[int, float] = {}
    for metric in metrics.values():
        if id(metric) not in known:
            known[id(metric)] = metric.function(gold, read, task)
    return _defined({name: known[id(metric)] for name, metric in metrics.items()})


def _defined(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _plain(value: Value | None) -> str | float | list[str] | None:
    """As JSON would give it back."""
    return list(value) if isinstance(value, tuple) else value


def _readout(scored: Sequence[Prediction]) -> str:
    """A clip that could not be put to the model was not read out at all."""
    return "+".join(sorted({prediction.readout for prediction in scored if prediction.outcome != "error"})) or "none"


def _calibration(scored: Sequence[Prediction], task: Task) -> dict[str, Any]:
    # Without the likelihood of every label there are no probabilities; `n` says how many rows have them.
    known = set(task.labels)
    with_scores = [p for p in scored if p.scores is not None and known <= p.scores.keys()]
    if not with_scores:
        return {"n": 0, "ece": None, "brier": None}
    scores = np.array([[p.scores[label] for label in task.labels] for p in with_scores], dtype=np.float64)
    gold = encode([prediction.target for prediction in with_scores], task)
    probability = calibration.probabilities(scores)
    numbers = {"ece": calibration.ece(probability, gold), "brier": calibration.brier(probability, gold)}
    return {"n": len(with_scores), **_defined(numbers)}


def _majority_answer(targets: Sequence[Any], task: Task) -> Value | None:
    if not targets:
        return None
    return float(median(targets)) if task.kind is Kind.intensity else most_frequent(targets, task)


def _check(predictions: Sequence[Prediction], task: Task) -> None:
    """Refuses what cannot be counted, by id; the metrics themselves see only rows."""
    ids = Counter(prediction.id for prediction in predictions)
    if len(ids) < len(predictions):
        again = next(identifier for identifier, count in ids.items() if count > 1)
        raise ValueError(
            f"there are {ids[again]} predictions of task '{task.name}' with the id '{again}': every record is counted"
            " once, so pass the predictions of a single run"
        )
    classes, several = task.kind is Kind.classification, task.kind is Kind.multi_label
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
            if several:
                if not isinstance(value, tuple) or not set(value) <= set(task.labels):
                    raise ValueError(
                        f"the {name} of prediction '{prediction.id}' is {value!r}, which is not a list of labels of"
                        f" task '{task.name}': correct it or add to the labels {', '.join(task.labels)}"
                    )
                continue
            if not classes and not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(
                    f"the {name} of prediction '{prediction.id}' is {value!r}, which is not a finite number:"
                    f" task '{task.name}' is an intensity, so correct it or leave it out"
                )
