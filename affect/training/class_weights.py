"""Weights of training examples by class."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from affect.config import Kind
from affect.data.class_balance import ByClass

if TYPE_CHECKING:
    from affect.prompting.messages import Example


def example_weights(examples: Sequence["Example"], weights: ByClass) -> list[float]:
    """The weight of each example: that of its class, and 1 if its task has no classes."""

    def weight(example: "Example") -> float:
        by_label = weights.get(_task(example))
        return 1.0 if by_label is None else by_label[_label(example)]

    return [weight(example) for example in examples]


def drawn_in_words(examples: Sequence["Example"], order: Sequence[int]) -> str:
    """How often each class is drawn in an epoch, of how many examples. `order`: the epoch's indices into `examples`."""
    classes = [(_task(e), _label(e)) if e.task.kind is Kind.classification else None for e in examples]
    drawn, totals = Counter(classes[i] for i in order), Counter(classes)
    tasks: dict[str, list[str]] = {}
    for task, label in sorted(totals.keys() - {None}):
        tasks.setdefault(task, []).append(f"{label} {drawn[task, label]:,} (of {totals[task, label]:,})")
    return "; ".join(f"{task}: {', '.join(labels)}" for task, labels in tasks.items())


def _task(example: "Example") -> str:
    """As counts and weights name it: `meld.emotion`."""
    return f"{example.record.dataset}.{example.task.name}"


def _label(example: "Example") -> str:
    return str(example.record.labels[example.task.name])
