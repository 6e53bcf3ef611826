"""Classification and regression heads on the hidden state of the prompt's last position. They are the tower `head`."""

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
    """Linear layers by `key`: a logit for each label in alphabetical order for a classification or multi-label task; a
    number from -1 (low end of the range) to 1 (high end) for an intensity.

    Initialised at zero, where all labels are equally likely and a number is in the middle of its range; without `zero`
    as torch does it, which networks that are trained from random weights need.
    """

    def __init__(self, width: int, tasks: Iterable[Task], zero: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for task in tasks:
            layer = nn.Linear(width, max(1, len(task.labels)))
            if zero:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
            self.layers[key(task)] = layer


def key(task: Task) -> str:
    """The name of a task's layer. Tasks of different datasets with the same name, kind and labels (or range) share it,
    so a head can be applied to another dataset.

    >>> key(Task(name="emotion", labels=["joy", "anger"])) == key(Task(name="emotion", labels=["anger", "joy"]))
    True
    """
    meaning = json.dumps([task.kind.value, sorted(task.labels), task.low, task.high], ensure_ascii=False)
    return f"{task.name.replace('.', '_')}_{hashlib.sha256(meaning.encode()).hexdigest()[:8]}"


def attach(model: Any, tasks: Iterable[Task]) -> None:
    """Adds heads for these tasks to `model` as another tower. To be called before `adapters.apply`."""
    output = output_embedding(model)
    model.heads = Heads(output.weight.shape[1], tasks).to(output.weight.device)
    model.towers = {**model.towers, HEAD: ["heads"]}


def check(model: Any, tasks: Iterable[Task], run: str) -> None:
    """Raises ConfigError where a task has no head in the model of `run`."""
    for task in tasks:
        if key(task) not in model.heads.layers:
            meaning = ", ".join(task.labels) or f"{task.low:g} to {task.high:g}"
            raise ConfigError(
                f"run={run} was trained with finetuning.target=head, and has no head for task '{task.name}'"
                f" ({meaning}): evaluate it on a task of the same name and labels, or train with"
                " finetuning.target=answer, which any task can be evaluated with"
            )


def output_embedding(model: Any) -> nn.Module:
    """The module that turns the language model's hidden states into logits."""
    names = {module: name for name, module in model.named_modules()}
    for module in list(names):
        output = module.get_output_embeddings() if isinstance(module, PreTrainedModel) else None
        # A speech encoder may have an output embedding too.
        if output is not None and tower_of(names[output], model.towers) == "language":
            return output
    raise AssertionError("the language model has no output embedding")


def last_states(model: Model, tensors: dict[str, Any]) -> torch.Tensor:
    """states[B, width] float32 of the last prompt position, after the last norm: the input of the output embedding, in
    every family. `tensors` has prompts without answers."""
    assert tensors["answer_length"] == 0, "a head reads the end of the prompt, which an answer would follow"
    captured: list[torch.Tensor] = []
    hook = output_embedding(model).register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    try:
        model(tensors, keep=1)
    finally:
        hook.remove()
    return captured[-1][:, -1].float()


def _in_float32(states: torch.Tensor) -> torch.autocast:
    """Turns autocast off: neighbouring bfloat16 numbers are 0.8 % apart, and labels would tie."""
    return torch.autocast(states.device.type, enabled=False)


def outputs(model: Any, tensors: dict[str, Any], task: Task) -> torch.Tensor:
    """The head's outputs [B, labels in the task's order], or [B, 1] of an intensity, for a batch of one task."""
    states = last_states(model, tensors)
    with _in_float32(states):
        return in_task_order(model.heads.layers[key(task)](states), task)


def in_task_order(values: torch.Tensor, task: Task) -> torch.Tensor:
    """A layer's outputs [B, labels] with the labels in the task's order instead of the alphabet's."""
    order = sorted(task.labels)
    return values[:, [order.index(label) for label in task.labels]] if task.labels else values


def number(output: torch.Tensor, task: Task) -> torch.Tensor:
    """The intensity that a head's output means, clamped to the task's range."""
    assert task.low is not None and task.high is not None
    return (task.low + task.high) / 2 + (task.high - task.low) / 2 * output.clamp(-1, 1)


def loss(
    model: Any,
    tensors: dict[str, Any],
    examples: Sequence[Example],
    weights: Sequence[float] | None = None,
    over: float | None = None,
) -> torch.Tensor:
    """Mean loss over the examples, which may be of several tasks; with `over`, their sum divided by it.

    Classification: cross-entropy in nats. Multi-label: mean binary cross-entropy over the labels. Intensity: absolute
    error in halves of the range. `weights`, one for each example, multiply the losses.
    """
    states = last_states(model, tensors)
    with _in_float32(states):
        losses = torch.stack(
            [_loss(model.heads.layers[key(e.task)](state), e) for e, state in zip(examples, states, strict=True)]
        )
    if weights is not None:
        losses = losses * torch.tensor(weights, device=losses.device)
    # A head without examples in this batch gets a zero gradient, which the other processes wait for.
    return losses.sum() / (len(examples) if over is None else over) + sum(p.sum() * 0 for p in model.heads.parameters())


def _loss(output: torch.Tensor, example: Example) -> torch.Tensor:
    task, gold = example.task, example.record.labels[example.task.name]
    order = sorted(task.labels)
    if task.kind is Kind.classification:
        return F.cross_entropy(output, torch.tensor(order.index(str(gold)), device=output.device))
    if task.kind is Kind.multi_label:
        assert isinstance(gold, tuple | list), f"{gold!r} is not a collection of labels"
        target = torch.tensor([float(label in gold) for label in order], device=output.device)
        return F.binary_cross_entropy_with_logits(output, target)
    assert task.low is not None and task.high is not None
    half = (task.high - task.low) / 2
    return ((output[0] * half + (task.low + task.high) / 2 - float(gold)) / half).abs()
