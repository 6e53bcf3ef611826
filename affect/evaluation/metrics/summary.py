"""All numbers of a run by task, and the one a checkpoint is selected by."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from affect import __version__
from affect.config import DatasetConfig, EvaluationConfig, Kind
from affect.config.tasks import dialects_of
from affect.data import Prediction
from affect.evaluation.metrics.compute import aggregate, compute, headline
from affect.evaluation.metrics.emotion import emotion_valence
from affect.evaluation.metrics.signature import signatures


def summarise(
    predictions: Sequence[Prediction],
    datasets: Mapping[str, DatasetConfig],
    evaluation: EvaluationConfig,
    expected: Mapping[str, int] | None = None,
    media: str | None = None,
    intervention: str | None = None,
    transcribed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The result of `metrics.compute` for every task of every dataset under `tasks`, as `meld.emotion`, each with its
    `headline` metric's name and `value` (of evaluation.reader; None where nothing is labelled or it is undefined), and
    the `signatures` of its numbers; under `combined` what spans two tasks, see `combined`; and `selection`: the
    aggregate of the headlines in [0, 1] that evaluation.selection names, None without any; with several datasets, under
    `datasets` the same of each by itself.

    `expected` is the number of rows in the annotations of the split by dataset, for the signatures; without it they
    name the number of predictions. `media` is how the clips were given to the model and
    `intervention` what was changed in them, for them too; so is `transcribed`, the recogniser of each dataset that has
    transcripts by one, which is also kept under that name."""
    tasks: dict[str, Any] = {}
    headlines = []
    for name, dataset in datasets.items():
        for task_name in dataset.tasks:
            task = dataset.task_definitions[task_name]
            own = [p for p in predictions if p.dataset == name and p.task == task_name]
            numbers = compute(own, task, evaluation.reader.value)
            numbers["signatures"] = signatures(
                numbers,
                expected=len(own) if expected is None else expected[name],
                used=len(own),
                version=__version__,
                media=media,
                intervention=intervention,
                transcripts=(transcribed or {}).get(name),
            )
            scored = numbers["n_scored"] > 0
            if scored:
                headlines.append((headline(numbers, task, evaluation.reader.value), task))
            value = numbers[evaluation.reader.value][task.headline] if scored else None
            tasks[f"{name}.{task_name}"] = {"headline": task.headline, "value": value, **numbers}
    return {
        "reader": evaluation.reader.value,
        "aggregate": evaluation.selection.value,
        "selection": aggregate(headlines, evaluation.selection.value) if headlines else None,
        **({"datasets": _by_dataset(tasks, datasets, evaluation)} if len(datasets) > 1 else {}),
        "combined": combined(predictions, datasets, evaluation.reader.value),
        **({"transcribed": dict(transcribed)} if transcribed else {}),
        "tasks": tasks,
    }


def _by_dataset(
    tasks: Mapping[str, Any], datasets: Mapping[str, DatasetConfig], evaluation: EvaluationConfig
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, dataset in datasets.items():
        of_name = [(tasks[f"{name}.{task}"], dataset.task_definitions[task]) for task in dataset.tasks]
        headlines = [
            (headline(numbers, task, evaluation.reader.value), task) for numbers, task in of_name if numbers["n_scored"]
        ]
        found[name] = aggregate(headlines, evaluation.selection.value) if headlines else None
    return found


def brief(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of what `summarise` gives the numbers that models are chosen by: `selection`, with several
    datasets that of each under `datasets`, and under `tasks` the `headline` and its `value`; None where there is
    none."""

    def plain(value: float | None) -> float | None:
        return None if value is None else float(value)

    return {
        "selection": plain(summary["selection"]),
        **(
            {"datasets": {name: plain(value) for name, value in summary["datasets"].items()}}
            if "datasets" in summary
            else {}
        ),
        "tasks": {
            name: {"headline": numbers["headline"], "value": plain(numbers["value"])}
            for name, numbers in summary["tasks"].items()
        },
    }


def combined(
    predictions: Sequence[Prediction], datasets: Mapping[str, DatasetConfig], reader: str
) -> dict[str, dict[str, Any]]:
    """`emotion_valence` of every dataset that has one task with the dialect mer2023 and one intensity task `valence`,
    as `mer2023.mer2023_combined`: its `value`, None where it is undefined, and `n`, the rows labelled for both."""
    found = {}
    for name, dataset in datasets.items():
        tasks = [dataset.task_definitions[task] for task in dataset.tasks]
        emotions = [task for task in tasks if task.kind is Kind.classification and "mer2023" in dialects_of(task)]
        valences = [task for task in tasks if task.kind is Kind.intensity and task.name == "valence"]
        if len(emotions) == len(valences) == 1:
            own = [
                [p for p in predictions if p.dataset == name and p.task == task.name] for task in (*emotions, *valences)
            ]
            value, count = emotion_valence(own[0], own[1], emotions[0], valences[0], reader)
            found[f"{name}.mer2023_combined"] = {"value": None if math.isnan(value) else value, "n": count}
    return found
