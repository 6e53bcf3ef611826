"""Loss of the answer tokens."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from affect.models import Model


def answer_loss(
    model: Model, tensors: dict[str, Any], weights: list[float] | None = None, over: float | None = None
) -> torch.Tensor:
    """Cross-entropy in nats of the answer tokens of a batch, end of turn included, divided by `over`, or by their
    number: the mean. The prompt has no part in it. With `weights`, one a row, every token's is multiplied by that of
    its row, and it is still divided by the number of tokens: divided by their weights, a batch of one class would come
    out as if it had none."""
    length = tensors["answer_length"]
    logits = model(tensors, keep=length + 1)[:, :-1].float()
    labels = tensors["labels"][:, -length:]
    if weights is None and over is None:
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
    by_row = losses.view(labels.shape).sum(1)
    if weights is not None:
        by_row = by_row * torch.tensor(weights, device=losses.device)
    return by_row.sum() / ((labels != -100).sum() if over is None else over)
