"""All numbers of a run, by task, and the one a checkpoint is chosen by."""

from collections.abc import Mapping, Sequence
from typing import Any

from affect.config import DatasetConfig, EvaluationConfig
from affect.metrics import aggregate, compute, headline
from affect.record import Prediction


def summarise(
    predictions: Sequence[Prediction], datasets: Mapping[str, DatasetConfig], evaluation: EvaluationConfig
) -> dict[str, Any]:
    """The result of `metrics.compute` for every task of every dataset under `tasks`, as `meld.emotion`, each with its
    `headline` metric's name and `value` (of evaluation.reader; None where nothing is labelled or it is undefined), and
    `selection`: the aggregate of the headlines in [0, 1] that evaluation.selection names, None without any."""
    tasks: dict[str, Any] = {}
    headlines = []
    for name, dataset in datasets.items():
        for task_name in dataset.tasks:
            task = dataset.task_definitions[task_name]
            numbers = compute([p for p in predictions if p.dataset == name and p.task == task_name], task)
            scored = numbers["n_scored"] > 0
            if scored:
                headlines.append((headline(numbers, task, evaluation.reader.value), task))
            value = numbers[evaluation.reader.value][task.headline] if scored else None
            tasks[f"{name}.{task_name}"] = {"headline": task.headline, "value": value, **numbers}
    return {
        "reader": evaluation.reader.value,
        "aggregate": evaluation.selection.value,
        "selection": aggregate(headlines, evaluation.selection.value) if headlines else None,
        "tasks": tasks,
    }
