"""Weights of training examples by class."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from affect.config import Kind
from affect.data.class_balance import ByClass

if TYPE_CHECKING:
    from affect.prompting.messages import Example


def example_weights(examples: Sequence["Example"], weights: ByClass) -> list[float]:
    """The weight of each training example: that of its class, and 1 where its task has none."""
    made = []
    for example in examples:
        own = task_of(example)
        made.append(weights[own][str(example.record.labels[example.task.name])] if own in weights else 1.0)
    return made


def task_of(example: "Example") -> str:
    """The name of an example's task as counts and weights have it, `meld.emotion`."""
    return f"{example.record.dataset}.{example.task.name}"


def drawn_in_words(examples: Sequence["Example"], order: Sequence[int]) -> str:
    """How often `order`, an epoch's indices into `examples`, has each class, and how many examples there are of it."""
    drawn, there = (
        Counter((task_of(e), str(e.record.labels[e.task.name])) for e in chosen if e.task.kind is Kind.classification)
        for chosen in ((examples[i] for i in order), examples)
    )
    tasks: dict[str, list[str]] = {}
    for task, label in sorted(there):
        tasks.setdefault(task, []).append(f"{label} {drawn[task, label]:,} (of {there[task, label]:,})")
    return "; ".join(f"{task}: {', '.join(labels)}" for task, labels in tasks.items())
