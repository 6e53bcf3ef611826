"""Losses of output layers on gold labels."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from affect.baselines.targets import by_task, half_range, middle, targets
from affect.config import Kind, Task
from affect.config.baselines import IntensityLoss
from affect.models.heads import Heads, key
from affect.prompting.messages import Example


def task_losses(
    heads: Heads, states: torch.Tensor, examples: Sequence[Example], intensity_loss: IntensityLoss
) -> torch.Tensor:
    """The loss of every example [B], from states [B, width]. Examples may be of several tasks."""
    losses = states.new_zeros(len(examples))
    for task, places in by_task(examples).values():
        at = torch.tensor(places, device=states.device)
        gold = targets([examples[place] for place in places], task).to(states.device)
        losses = losses.index_put((at,), output_losses(heads.layers[key(task)](states[at]), gold, task, intensity_loss))
    return losses


def output_losses(output: torch.Tensor, gold: torch.Tensor, task: Task, intensity_loss: IntensityLoss) -> torch.Tensor:
    """Losses [N] of outputs [N, labels or 1] against `targets`. Classification: cross-entropy in nats. Multi-label:
    mean binary cross-entropy over the labels. Intensity: absolute or squared error in units of the task."""
    if task.kind is Kind.classification:
        return F.cross_entropy(output, gold, reduction="none")
    if task.kind is Kind.multi_label:
        return F.binary_cross_entropy_with_logits(output, gold, reduction="none").mean(-1)
    error = output[:, 0] * half_range(task) + middle(task) - gold
    return error.abs() if intensity_loss is IntensityLoss.l1 else error.square()
