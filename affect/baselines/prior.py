"""Predictions from the training labels alone: the most frequent one, or one drawn at random."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from affect.baselines.fitted import FittedLearner
from affect.baselines.linear import IMPOSSIBLE
from affect.baselines.targets import half_range, middle, targets
from affect.config import Kind, PriorConfig, Task
from affect.data import Prediction
from affect.models.collate import Batch
from affect.models.heads import in_task_order
from affect.prompting.messages import Example


class Prior(FittedLearner):
    """See PriorConfig. Scores of labels are the logarithms of their shares of the training examples, in nats."""

    def __init__(self, config: PriorConfig, seed: int) -> None:
        super().__init__(())
        self.config, self.seed = config, seed

    def fit_task(
        self, task: Task, examples: Sequence[Example], inputs: Any, weights: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return {"gold": targets(examples, task), "weights": weights}

    def outputs(self, task: Task, examples: Sequence[Example], inputs: Any) -> torch.Tensor:
        gold, weights = self.fitted(task, "gold"), self.fitted(task, "weights").double()
        if self.config.draw:
            drawn = [self._place(example, weights) for example in examples]
            return in_task_order(_certain(gold[drawn], task), task)
        if task.kind is Kind.intensity:
            output = (gold.double().quantile(0.5) - middle(task)) / half_range(task)
            return output.float().expand(len(examples), 1)
        if task.kind is Kind.multi_label:
            share = (gold * weights[:, None]).sum(0) / weights.sum()
            output = share.logit()
        else:
            counts = torch.zeros(len(task.labels), dtype=torch.float64).index_add(0, gold, weights)
            output = (counts / counts.sum()).log()
        output = output.clamp(IMPOSSIBLE, -IMPOSSIBLE).float()
        return in_task_order(output.expand(len(examples), -1), task)

    def predict(self, batch: Batch) -> list[Prediction]:
        predictions = super().predict(batch)
        return [replace(prediction, scores=None) for prediction in predictions] if self.config.draw else predictions

    def _place(self, example: Example, weights: torch.Tensor) -> int:
        """The training example whose label a clip gets: the same in every batch and process."""
        drawn = hashlib.sha256(f"{self.seed}\0{example.record.id}\0{example.task.name}".encode()).digest()
        share = int.from_bytes(drawn[:8]) / 2**64
        return min(int((weights.cumsum(0) / weights.sum() <= share).sum()), len(weights) - 1)


def _certain(gold: torch.Tensor, task: Task) -> torch.Tensor:
    """Outputs that say `gold`."""
    if task.kind is Kind.intensity:
        return ((gold - middle(task)) / half_range(task))[:, None]
    if task.kind is Kind.classification:
        gold = torch.nn.functional.one_hot(gold, len(task.labels))
    return gold.float() * 2 - 1
