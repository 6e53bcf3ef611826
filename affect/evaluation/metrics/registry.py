"""Every metric by its name: those reported for all tasks of a kind, and the dialects of published code."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affect.config import Kind, Task, tasks
from affect.evaluation.metrics import classification, intensity, mosi, multi_label, sims


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    function: Callable[[Any, Any, Task], float]
    """(targets[N], values[N], task) to the number, N at least 1; nan where it is undefined. Lists, a value None where
    the answer could not be read, or what `policies.encode` makes of them."""
    higher_is_better: bool
    unit: Callable[[float, Task], float]
    """Maps the number to [0, 1], higher is better, so that those of several tasks can be averaged."""
    rows: Callable[[np.ndarray], int] = len
    """How many of the encoded targets it counts; all of them, but for those that leave the zeros out."""


def _unit_share(value: float, task: Task) -> float:
    return value


def _unit_share_of_some(value: float, task: Task) -> float:
    # Undefined where no row counts (every gold value is 0, no label is gold or named): nothing was shown to be right.
    return 0.0 if math.isnan(value) else value


def _unit_mae(value: float, task: Task) -> float:
    low, high = span(task)
    # Numbers out of the range can put the error beyond it; there is nothing left to lose then. Not max(), which would
    # turn a nan into 0.
    return 0.0 if value > high - low else 1.0 - value / (high - low)


def _unit_correlation(value: float, task: Task) -> float:
    # Not (r + 1) / 2: it would give constant answers half of the best mark, and halve the weight of every gain. An
    # undefined correlation is that of constant answers, which say nothing about the clips: as good as none.
    return 0.0 if math.isnan(value) else max(0.0, value)


def span(task: Task) -> tuple[float, float]:
    """The range of an intensity task."""
    assert task.low is not None and task.high is not None
    return task.low, task.high


def _of_labels(
    function: Callable[[Any, Any, Sequence[str]], float], unit: Callable[[float, Task], float] = _unit_share
) -> Metric:
    return Metric(
        function=lambda targets, values, task: function(targets, values, task.labels), higher_is_better=True, unit=unit
    )


def _of_numbers(
    function: Callable[[Any, Any], float],
    unit: Callable[[float, Task], float] = _unit_share_of_some,
    rows: Callable[[np.ndarray], int] = len,
) -> Metric:
    return Metric(
        function=lambda targets, values, task: function(targets, values),
        higher_is_better=unit is not _unit_mae,
        unit=unit,
        rows=rows,
    )


METRICS: dict[Kind, dict[str, Metric]] = {
    Kind.classification: {
        "accuracy": _of_labels(classification.accuracy),
        "weighted_f1": _of_labels(classification.weighted_f1),
        "macro_f1": _of_labels(classification.macro_f1),
        "uar": _of_labels(classification.uar),
    },
    Kind.intensity: {
        "mae": Metric(
            function=lambda targets, values, task: intensity.mae(targets, values, *span(task)),
            higher_is_better=False,
            unit=_unit_mae,
        ),
        "pearson": Metric(
            function=lambda targets, values, task: intensity.pearson(targets, values, *span(task)),
            higher_is_better=True,
            unit=_unit_correlation,
        ),
        "ccc": Metric(
            function=lambda targets, values, task: intensity.ccc(targets, values, *span(task)),
            higher_is_better=True,
            unit=_unit_correlation,
        ),
    },
    Kind.multi_label: {
        "micro_f1": _of_labels(multi_label.micro_f1, _unit_share_of_some),
        "macro_f1": _of_labels(multi_label.macro_f1, _unit_share_of_some),
        "weighted_f1": _of_labels(multi_label.weighted_f1, _unit_share_of_some),
        "subset_accuracy": _of_labels(multi_label.subset_accuracy),
    },
}

_MOSI = {
    "has0_acc2": _of_numbers(mosi.has0_acc2),
    "has0_f1": _of_numbers(mosi.has0_f1),
    "non0_acc2": _of_numbers(mosi.non0_acc2, rows=mosi.rows_without_zero),
    "non0_f1": _of_numbers(mosi.non0_f1, rows=mosi.rows_without_zero),
    "acc5": _of_numbers(mosi.acc5),
    "acc7": _of_numbers(mosi.acc7),
    "mae": _of_numbers(mosi.mae, _unit_mae),
    "pearson": _of_numbers(mosi.pearson, _unit_correlation),
}
_MAI = {
    "acc2": _of_numbers(mosi.mai_acc2, rows=mosi.rows_without_zero),
    "f1": _of_numbers(mosi.mai_f1, rows=mosi.rows_without_zero),
}
_SIMS = {
    "acc2": _of_numbers(sims.acc2),
    "acc3": _of_numbers(sims.acc3),
    "acc5": _of_numbers(sims.acc5),
    "f1": _of_numbers(sims.f1),
    "mae": _of_numbers(sims.mae, _unit_mae),
    "pearson": _of_numbers(sims.pearson, _unit_correlation),
    "weak_acc2": _of_numbers(sims.weak_acc2, rows=sims.weak_rows),
    # At most 1 and without a lower end; below 0 is worse than the mean of the gold values.
    "r2": _of_numbers(sims.r2, _unit_correlation),
}
_CLASSES = METRICS[Kind.classification]

_FUNCTIONS: dict[str, Mapping[str, Metric]] = {
    "mmsa_mosi": _MOSI,
    "mai_mosi": _MOSI | _MAI,
    "cmu_mosei": _MOSI | {"acc7": _of_numbers(mosi.cmu_acc7)},
    "mmsa_sims": _SIMS,
    "simsv2": _SIMS,
    "merbench": _MOSI,
    "meld": _CLASSES,
    "binary": _CLASSES,
    "iemocap": _CLASSES | {"wa": _CLASSES["accuracy"], "ua": _CLASSES["uar"]},
    "mer2023": _CLASSES,
}
"""What a dialect may compute, by name."""

DIALECTS: dict[str, dict[str, Metric]] = {
    name: {metric: _FUNCTIONS[name][metric] for metric in dialect.metrics} for name, dialect in tasks.DIALECTS.items()
}
"""What each dialect of affect.config.tasks computes, by name."""


def lower_is_better(name: str) -> bool:
    """Whether a metric is an error, by its name in tables (`mae`, or `mmsa_mosi.mae` of a dialect)."""
    plain = name.rpartition(".")[2]
    known = [metrics[plain] for metrics in (*METRICS.values(), *DIALECTS.values()) if plain in metrics]
    return any(not metric.higher_is_better for metric in known)
