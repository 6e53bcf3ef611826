"""Gold labels as tensors, in the order and units of an output layer (affect/models/heads.py)."""

from collections.abc import Sequence

import torch

from affect.config import Kind, Task
from affect.data.class_balance import ByClass
from affect.models.heads import key
from affect.prompting.messages import Example


def targets(examples: Sequence[Example], task: Task) -> torch.Tensor:
    """Classification: [N] int64, places in the alphabetical order of the labels. Multi-label: [N, labels] of 0 and 1 in
    that order. Intensity: [N] float32 in units of the task."""
    gold, order = [example.record.labels[task.name] for example in examples], sorted(task.labels)
    if task.kind is Kind.classification:
        return torch.tensor([order.index(str(label)) for label in gold])
    if task.kind is Kind.multi_label:
        return torch.tensor([[float(label in chosen) for label in order] for chosen in gold])
    return torch.tensor([float(number) for number in gold])


def of_examples(examples: Sequence[Example], weights: ByClass) -> torch.Tensor:
    """[N] weights of examples, by task (`meld.emotion`) and label; 1 for labels that have none."""
    return torch.tensor([weights.get(_name(e), {}).get(str(e.record.labels[e.task.name]), 1.0) for e in examples])


def half_range(task: Task) -> float:
    """Half the range of an intensity: the unit of an output layer."""
    assert task.low is not None and task.high is not None
    return (task.high - task.low) / 2


def middle(task: Task) -> float:
    """The middle of the range of an intensity, where an output layer is 0."""
    assert task.low is not None and task.high is not None
    return (task.low + task.high) / 2


def by_task(examples: Sequence[Example]) -> dict[str, tuple[Task, list[int]]]:
    """The task and the places of its examples, by dataset and task name."""
    groups: dict[str, tuple[Task, list[int]]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(_name(example), (example.task, []))[1].append(place)
    return groups


def by_layer(examples: Sequence[Example]) -> dict[str, tuple[Task, list[int]]]:
    """The task and the places of its examples, by `key`: datasets that have the same task share one output layer, which
    is fitted to the examples of all of them."""
    groups: dict[str, tuple[Task, list[int]]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(key(example.task), (example.task, []))[1].append(place)
    return groups


def _name(example: Example) -> str:
    return f"{example.record.dataset}.{example.task.name}"
