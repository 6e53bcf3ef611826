"""Learners that are fitted at once, without gradients: what they have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from affect.baselines.collate import examples_alone
from affect.baselines.provenance import check, provenance
from affect.baselines.targets import by_layer, of_examples
from affect.config import ConfigError, Task
from affect.data import Prediction
from affect.data.class_balance import ByClass
from affect.data.features import FeatureSource
from affect.models.collate import Batch
from affect.models.heads import key
from affect.models.learner import Learner
from affect.models.predictions import of_output
from affect.prompting.messages import Example


class State(nn.Module):
    """Tensors by name, of sizes that are known when they have been fitted or read from a checkpoint."""

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "_"), tensor)

    def take(self, name: str) -> torch.Tensor | None:
        return getattr(self, name.replace(".", "_"), None)


class FittedLearner(Learner):
    """A learner whose `fit_task` gives tensors for each task, from which `outputs` makes those of an output layer.

    modalities: what it reads. source: the features, where it reads any. It computes on the CPU.
    """

    by_gradients = False

    def __init__(self, modalities: tuple[str, ...], source: FeatureSource | None = None) -> None:
        self.module = State()
        self.modalities, self.source = modalities, source

    def fit_task(
        self, task: Task, examples: Sequence[Example], inputs: Any, weights: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The tensors of a task, fitted on its training examples. inputs: of `inputs_of`, for these examples. weights:
        [N], of the examples."""
        raise NotImplementedError

    def outputs(self, task: Task, examples: Sequence[Example], inputs: Any) -> torch.Tensor:
        """[B, labels in the task's order, or 1], in the units of affect.models.heads.Heads."""
        raise NotImplementedError

    def inputs_of(self, batch: Batch) -> Any:
        """What `fit_task` and `outputs` are given of a batch: a tensor with a row an example, or a dict of them."""
        return torch.empty(len(batch.examples), 0)

    def collator(self, with_targets: bool) -> Callable[[list[Example]], Batch]:
        return examples_alone

    def fit(self, batches: Iterable[Batch], weights: ByClass) -> None:
        usable = [batch for batch in batches if batch.examples]
        examples = [example for batch in usable for example in batch.examples]
        inputs = joined([self.inputs_of(batch) for batch in usable])
        for layer, (task, places) in by_layer(examples).items():
            chosen = [examples[place] for place in places]
            tensors = self.fit_task(task, chosen, rows(inputs, places), of_examples(chosen, weights))
            self.module.put({f"{layer}_{part}": tensor for part, tensor in tensors.items()})

    def fitted(self, task: Task, part: str) -> torch.Tensor:
        """A tensor of `fit_task`. Raises ConfigError where the task was not in the training."""
        tensor = self.module.take(f"{key(task)}_{part}")
        if tensor is None:
            raise ConfigError(
                f"the model was not trained on task '{task.name}' with these labels or this range: evaluate it on a"
                " task of its training, or train on this one"
            )
        return tensor.cpu()

    def base(self) -> str:
        return provenance(self.source, self.modalities)

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        check(checkpoint, self.base(), source)
        self.module.put(checkpoint["state_dict"])

    def predict(self, batch: Batch) -> list[Prediction]:
        outputs = self.outputs(batch.examples[0].task, batch.examples, self.inputs_of(batch))
        return [of_output(example, output) for example, output in zip(batch.examples, outputs, strict=True)]


def joined(inputs: Sequence[Any]) -> Any:
    """Inputs of several batches as those of one."""
    if isinstance(inputs[0], Mapping):
        return {name: torch.cat([each[name] for each in inputs]) for name in inputs[0]}
    return torch.cat(list(inputs))


def rows(inputs: Any, places: Sequence[int]) -> Any:
    """The rows of some examples."""
    if isinstance(inputs, Mapping):
        return {name: each[list(places)] for name, each in inputs.items()}
    return inputs[list(places)]
