"""Classification and regression heads on the state of the prompt's last position. They form the tower `head`, which is
always trained whole."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from affect.config import ConfigError, Kind, Task
from affect.models.protocol import Model
from affect.models.towers import HEAD, tower_of
from affect.prompting.messages import Example


class Heads(nn.Module):
    """Linear layers by `key`: of a classification and a multi-label task to a logit for each label, in alphabetical
    order; of an intensity to a number that is -1 at the low end of its range and 1 at the high one.

    They begin at zero, where all labels are alike and a number is in the middle.
    """

    def __init__(self, width: int, tasks: Iterable[Task]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for task in tasks:
            layer = nn.Linear(width, max(1, len(task.labels)))
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            self.layers[key(task)] = layer


def key(task: Task) -> str:
    """The name of a task's layer: the same for tasks of several datasets that have name, kind and labels (or range) in
    common, so that a head can be put to another dataset.

    >>> key(Task(name="emotion", labels=["joy", "anger"])) == key(Task(name="emotion", labels=["anger", "joy"]))
    True
    """
    meaning = json.dumps([task.kind.value, sorted(task.labels), task.low, task.high], ensure_ascii=False)
    return f"{task.name.replace('.', '_')}_{hashlib.sha256(meaning.encode()).hexdigest()[:8]}"


def attach(model: Any, tasks: Iterable[Task]) -> None:
    """Gives `model` heads for these tasks, as one more tower; before fine-tuning is applied to it."""
    output = output_embedding(model)
    model.heads = Heads(output.weight.shape[1], tasks).to(output.weight.device)
    model.towers = {**model.towers, HEAD: ["heads"]}


def check(model: Any, tasks: Iterable[Task], run: str) -> None:
    """Raises ConfigError where a task has no head in the model of `run`."""
    for task in tasks:
        if key(task) not in model.heads.layers:
            asked = ", ".join(task.labels) or f"{task.low:g} to {task.high:g}"
            raise ConfigError(
                f"run={run} was trained with finetuning.target=head, and has no head for task '{task.name}'"
                f" ({asked}): evaluate it on a task of the same name and labels, or train on answers, which can be put"
                " to any task"
            )


def output_embedding(model: Any) -> nn.Module:
    """The module that turns the language model's states into logits."""
    places = {module: name for name, module in model.named_modules()}
    for module in list(places):
        output = module.get_output_embeddings() if isinstance(module, PreTrainedModel) else None
        # A speech encoder may have been trained with an output of its own.
        if output is not None and tower_of(places[output], model.towers) == "language":
            return output
    raise AssertionError("the language model has no output embedding")


def last_states(model: Model, tensors: dict[str, Any]) -> torch.Tensor:
    """states[B, width] float32 of the last prompt position, after the last norm: what the output embedding is given,
    whatever the family. The prompts stand alone in `tensors`, without answers."""
    assert tensors["answer_length"] == 0, "a head reads the end of the prompt, which an answer would follow"
    seen: list[torch.Tensor] = []
    hook = output_embedding(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(tensors, keep=1)
    finally:
        hook.remove()
    return seen[-1][:, -1].float()


def _in_float32(states: torch.Tensor) -> torch.autocast:
    """In bfloat16 neighbouring numbers are 0.8 % apart, and labels would come out even."""
    return torch.autocast(states.device.type, enabled=False)


def outputs(model: Any, tensors: dict[str, Any], task: Task) -> torch.Tensor:
    """The head's outputs [B, labels in the task's order], or [B, 1] of an intensity, for a batch of one task."""
    states = last_states(model, tensors)
    with _in_float32(states):
        found = model.heads.layers[key(task)](states)
    order = sorted(task.labels)
    return found[:, [order.index(label) for label in task.labels]] if task.labels else found


def number(output: torch.Tensor, task: Task) -> torch.Tensor:
    """What an intensity's output stands for, kept inside of the range."""
    assert task.low is not None and task.high is not None
    return (task.low + task.high) / 2 + (task.high - task.low) / 2 * output.clamp(-1, 1)


def loss(
    model: Any,
    tensors: dict[str, Any],
    examples: Sequence[Example],
    weights: Sequence[float] | None = None,
    over: float | None = None,
) -> torch.Tensor:
    """Mean over the examples (their sum divided by `over`, where it is given), which may be of several tasks: of
    cross-entropy in nats for a classification, of the mean binary cross-entropy over the labels for a multi-label task,
    and of the absolute error, in halves of the range, for an intensity. With `weights`, one an example, every loss is
    multiplied by its own."""
    states = last_states(model, tensors)
    with _in_float32(states):
        losses = torch.stack(
            [_loss(model.heads.layers[key(e.task)](state), e) for e, state in zip(examples, states, strict=True)]
        )
    if weights is not None:
        losses = losses * torch.tensor(weights, device=losses.device)
    # A head that no example of this batch has takes part with nothing: several processes wait for its gradient.
    return losses.sum() / (len(examples) if over is None else over) + sum(p.sum() * 0 for p in model.heads.parameters())


def _loss(output: torch.Tensor, example: Example) -> torch.Tensor:
    task, gold = example.task, example.record.labels[example.task.name]
    order = sorted(task.labels)
    if task.kind is Kind.classification:
        return F.cross_entropy(output, torch.tensor(order.index(str(gold)), device=output.device))
    if task.kind is Kind.multi_label:
        assert isinstance(gold, tuple | list), f"{gold!r} is not a collection of labels"
        wanted = torch.tensor([float(label in gold) for label in order], device=output.device)
        return F.binary_cross_entropy_with_logits(output, wanted)
    assert task.low is not None and task.high is not None
    half = (task.high - task.low) / 2
    return ((output[0] * half + (task.low + task.high) / 2 - float(gold)) / half).abs()
