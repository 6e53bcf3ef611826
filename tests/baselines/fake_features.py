"""Examples and features for the tests of baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from affect.config import Kind, Task, Value
from affect.data.record import Record
from affect.prompting.messages import Example

EMOTION = Task(name="emotion", kind=Kind.classification, labels=["neutral", "joy", "anger"])
MOODS = Task(name="moods", kind=Kind.multi_label, labels=["tense", "bright"])
SENTIMENT = Task(name="sentiment", kind=Kind.intensity, low=-3, high=1, step=0.1)


def example(name: str, task: Task, value: Value | None, text: str = "", split: str = "train") -> Example:
    labels = {} if value is None else {task.name: value}
    record = Record(id=name, dataset="toy", split=split, text=text, labels=labels, group=name)
    return Example(record=record, task=task, language="en", messages=[], answer=None)


@dataclass
class FakeFeatures:
    """A FeatureSource of given tensors [steps, width], by record id and modality."""

    sequences: Mapping[str, Mapping[str, torch.Tensor]]

    @property
    def widths(self) -> dict[str, int]:
        return {modality: x.shape[1] for modality, x in next(iter(self.sequences.values())).items()}

    def of(self, record: Record) -> dict[str, torch.Tensor]:
        return dict(self.sequences[record.id])

    def identity(self) -> dict[str, Any]:
        return {"kind": "fake", **self.widths}


def planted(
    task: Task, values: Sequence[Value], modalities: Mapping[str, int], seed: int = 0
) -> tuple[list[Example], FakeFeatures]:
    """Examples with these gold values, and features of random lengths in whose every step the value shows: the first
    numbers of a step are shifted by it."""
    random = torch.Generator().manual_seed(seed)
    examples = [example(f"toy/{i}", task, value) for i, value in enumerate(values)]
    sequences = {}
    for each, value in zip(examples, values, strict=True):
        if task.kind is Kind.classification:
            shift = torch.tensor([float(value == label) for label in task.labels])
        elif task.kind is Kind.multi_label:
            shift = torch.tensor([float(label in value) for label in task.labels])
        else:
            shift = torch.tensor([float(value)])
        sequences[each.record.id] = {}
        for modality, width in modalities.items():
            steps = int(torch.randint(1, 7, (1,), generator=random))
            x = 0.5 * torch.randn(steps, width, generator=random)
            x[:, : len(shift)] += 2 * shift
            sequences[each.record.id][modality] = x
    return examples, FakeFeatures(sequences)
