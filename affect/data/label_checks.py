"""Checks of labels against the tasks of their dataset."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from affect.config import ConfigError, DataError, DatasetConfig, Kind, Task, Value
from affect.config.tasks import problems as task_problems
from affect.data import labels
from affect.data.problems import did_you_mean
from affect.data.record import Record


def undeclared_tasks(config: DatasetConfig) -> list[Task]:
    """The chosen tasks that need labels and declare none: they get those of the training rows."""
    tasks = [config.task_definitions[name] for name in config.tasks if name in config.task_definitions]
    return [task for task in tasks if task.kind is not Kind.intensity and not task.labels]


def infer_labels(records: Sequence[Record], task: Task) -> list[str]:
    """The sorted distinct labels of `task` in the training records, for a task that declares none. Spellings of one
    number, like 1 and 1.0, are one label (see labels.closed_set).

    Raises DataError where they cannot be a closed set, e.g. one label only, or two that differ in case alone.
    """
    values = [record.labels[task.name] for record in records if task.name in record.labels]
    inferred = labels.closed_set(
        {str(label) for value in values for label in (value if isinstance(value, tuple) else (value,))}
    )
    wrong = list(task_problems(replace(task, labels=inferred)))
    if not inferred:
        wrong = [f"task '{task.name}' declares no labels and no record has one"]
    if wrong:
        raise DataError(
            f"the labels cannot be taken from the {len(records):,} training records: {'; '.join(wrong)}. Correct the"
            f" rows, or declare the set under task_definitions.{task.name}.labels"
        )
    return inferred


def check_labels(given: Mapping[str, Value], dataset: str, config: DatasetConfig) -> tuple[dict[str, Value], list[str]]:
    """The labels of a record of `dataset` as their tasks have them: a string out of `Task.labels` (any string where
    those are empty), a finite float from low to high, or the sorted tuple of all labels that apply; and a sentence for
    each label that its task cannot have.

    Raises ConfigError where a task is not defined.
    """
    checked: dict[str, Value] = {}
    wrong: list[str] = []
    for name, label in given.items():
        tasks = config.task_definitions
        if name not in tasks:
            raise ConfigError(
                f"dataset '{dataset}' has labels for the task '{name}'{did_you_mean(name, tasks)}, which is not under"
                f" its task_definitions ({', '.join(tasks)}): define it, or take its column out of the options"
            )
        task = tasks[name]
        try:
            value = _number(label, task) if task.kind is Kind.intensity else _classes(label, task, config.language)
        except _WrongLabel as error:
            wrong.append(f"the label '{error.label}' of task '{name}' is {error}")
            continue
        if value is not None:
            checked[name] = value
    return checked, wrong


class _WrongLabel(Exception):
    """A label that its task cannot have; the message follows "is"."""

    def __init__(self, label: Value, message: str) -> None:
        super().__init__(message)
        self.label = label


def _classes(label: Value, task: Task, language: str) -> str | tuple[str, ...] | None:
    """The label or labels in the spelling of the task; None where a multi-label cell is empty."""
    if task.kind is Kind.classification and label in task.labels:
        return label
    multiple = task.kind is Kind.multi_label
    applying = labels.several(label, task, language) if multiple and isinstance(label, str) else label
    if applying is None:
        return None
    spelled = []
    for given in applying if isinstance(applying, tuple) else (str(applying),):
        # Undeclared labels are any string, but not what a program writes for a missing value.
        one = labels.in_spelling_of(given, task.labels) if task.labels else given
        if one is None or (not task.labels and labels.is_missing(given)):
            if labels.is_missing(given):
                remedy = labels.without_label(given, task)
                raise _WrongLabel(given, f"what pandas and spreadsheets write for an empty cell: {remedy}")
            raise _WrongLabel(
                given,
                f"not one of {', '.join(task.labels)}{did_you_mean(given, task.labels)}: correct it, or declare it"
                f" under task_definitions.{task.name}.labels",
            )
        spelled.append(str(one))
    return tuple(sorted(set(spelled))) if multiple else spelled[0]


def _number(label: Value, task: Task) -> float:
    assert task.low is not None and task.high is not None, f"task '{task.name}' has no range"
    try:
        value = math.nan if isinstance(label, tuple) else float(label)
    except ValueError:
        value = math.nan
    if task.low <= value <= task.high:  # false of NaN
        return value
    remedy = f"correct it, or the range under task_definitions.{task.name}"
    if isinstance(label, str) and labels.is_missing(label):
        remedy = labels.without_label(label, task)
    elif isinstance(label, str) and re.fullmatch(r"[+-]?\d*,\d+", label.strip()):
        remedy = f"write it with a decimal point, {label.strip().replace(',', '.')}"
    raise _WrongLabel(label, f"not a number from {task.low:g} to {task.high:g}: {remedy}")
