"""The learner of Self-MM: every modality alone learns a label of its own beside the clip's."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from affect.baselines.losses import output_losses
from affect.baselines.network_learner import NetworkLearner
from affect.baselines.networks.self_mm import SelfMM
from affect.baselines.targets import by_task, half_range, middle, targets
from affect.baselines.unimodal_labels import UnimodalLabels
from affect.config import Kind, Task
from affect.config.fusion import SelfMmConfig
from affect.data.features import FeatureSource
from affect.models.heads import Heads, key
from affect.prompting.messages import Example

LABELS = "labels"
"""Name of the part of the module that holds the labels of training clips."""


class SelfMmLearner(NetworkLearner):
    """Self-MM. The loss of a clip is that of its gold label, plus, for each modality, that of the modality's own output
    against the modality's own label.

    Intensities: the modality's label is generated (UnimodalLabels), or, where the dataset has one for the modality (a
    label named as the task with _text, _audio or _video, as CH-SIMS has), that of people; either way its absolute error
    has the weight tanh(|y_s - y_m|). Classification and multi-label: there is no published way to generate labels, so
    each modality learns the dataset's label for it, or else the clip's own, with weight 1.
    """

    def __init__(
        self,
        build: Callable[[Mapping[str, int]], SelfMM],
        config: SelfMmConfig,
        source: FeatureSource,
        modalities: tuple[str, ...],
        tasks: Iterable[Task],
    ) -> None:
        tasks = list(tasks)
        super().__init__(build, config, source, modalities, tasks)
        self.config: SelfMmConfig = config
        widths = self.module.network.unimodal_widths
        self.module.unimodal_heads = nn.ModuleDict({m: Heads(width, tasks, zero=False) for m, width in widths.items()})
        self.module.add_module(LABELS, nn.ModuleDict())
        self.places: dict[str, dict[str, int]] = {}
        """By the task's key, the place of a training record among those of the task."""

    @property
    def labels(self) -> nn.ModuleDict:
        """The labels of single modalities by the task's key; empty where the learner does not train."""
        return self.module.get_submodule(LABELS)

    def begin_training(self, train: Sequence[Example]) -> None:
        by_key: dict[str, tuple[Task, dict[str, Example]]] = {}
        for example in train:
            if example.task.kind is Kind.intensity:
                by_key.setdefault(key(example.task), (example.task, {}))[1][example.record.id] = example
        for name, (task, examples) in by_key.items():
            self.places[name] = {record: place for place, record in enumerate(examples)}
            gold = targets(list(examples.values()), task) - middle(task)
            by_people = {
                modality: torch.tensor([_by_people(e, modality) for e in examples.values()]) - middle(task)
                for modality in self.modalities
            }
            self.labels[name] = UnimodalLabels(
                gold,
                self.module.network.representation_widths,
                half_range(task),
                by_people,
                self.config.squared_distance,
            )

    def begin_epoch(self, epoch: int) -> None:
        for labels in self.labels.values():
            labels.begin_epoch(epoch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = []
        encoders = self.module.network.encoders
        for modality, encoder in encoders.items():
            rate, decay = (getattr(self.config, f"{modality}_{what}") for what in ("learning_rate", "weight_decay"))
            groups.append(
                {
                    "params": list(encoder.parameters()),
                    "lr": self.config.learning_rate if rate is None else rate,
                    "weight_decay": self.config.weight_decay if decay is None else decay,
                }
            )
        (others,) = super().parameter_groups()
        apart = {id(parameter) for group in groups for parameter in group["params"]}
        return [{**others, "params": [p for p in others["params"] if id(p) not in apart]}, *groups]

    def rates(self) -> dict[str, float]:
        own = {f"model.{m}_learning_rate": getattr(self.config, f"{m}_learning_rate") for m in ("audio", "video")}
        return super().rates() | {name: rate for name, rate in own.items() if rate is not None}

    def losses(self, fused: Any, examples: Sequence[Example]) -> Tensor:
        losses = super().losses(fused, examples)
        for task, rows in by_task(examples).values():
            at = torch.tensor(rows, device=losses.device)
            own = [examples[row] for row in rows]
            for modality in self.modalities:
                output = self.module.unimodal_heads[modality].layers[key(task)](fused.unimodal[modality][at])
                losses = losses.index_add(0, at, self._unimodal_losses(output, own, task, modality))
            if task.kind is Kind.intensity:
                places = self._places(own, task, losses.device)
                self.labels[key(task)].update(places, {name: x[at] for name, x in fused.representations.items()})
        return losses

    def _unimodal_losses(self, output: Tensor, examples: Sequence[Example], task: Task, modality: str) -> Tensor:
        if task.kind is not Kind.intensity:
            gold = targets([_as_labelled(example, modality) for example in examples], task).to(output.device)
            return output_losses(output, gold, task, self.config.intensity_loss)
        labels, places = self.labels[key(task)], self._places(examples, task, output.device)
        gold = labels.labels(modality)[places] + middle(task)
        return labels.weights(modality, places) * output_losses(output, gold, task, self.config.intensity_loss)

    def _places(self, examples: Sequence[Example], task: Task, device: torch.device) -> Tensor:
        places = self.places[key(task)]
        return torch.tensor([places[example.record.id] for example in examples], device=device)

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        if not self.places:  # nothing is trained, so labels of training clips are of no use
            state = {name: x for name, x in checkpoint["state_dict"].items() if not name.startswith(f"{LABELS}.")}
            checkpoint = {**checkpoint, "state_dict": state}
        super().load(checkpoint, source)


def label_of(example: Example, modality: str) -> Any:
    """The dataset's own label of the task for a modality alone; None where it has none."""
    return example.record.labels.get(f"{example.task.name}_{modality}")


def _by_people(example: Example, modality: str) -> float:
    label = label_of(example, modality)
    return float(label) if isinstance(label, int | float) else math.nan


def _as_labelled(example: Example, modality: str) -> Example:
    """The example with the modality's own label, where the dataset has one of the task's labels for it."""
    label, task = label_of(example, modality), example.task
    if task.kind is not Kind.classification or label not in task.labels:
        return example
    return replace(example, record=replace(example.record, labels={task.name: label}))
