"""A linear model on one vector a clip and modality, with early or late fusion."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from affect.baselines.collate import FeatureCollate, lengths_of
from affect.baselines.fitted import FittedLearner
from affect.baselines.linear import fit_linear
from affect.baselines.targets import targets
from affect.config import Kind, Task, VectorsConfig
from affect.config.baselines import Fusion, Pooling
from affect.data.features import FeatureSource
from affect.models.collate import Batch
from affect.models.heads import in_task_order
from affect.prompting.messages import Example


class Vectors(FittedLearner):
    """See VectorsConfig."""

    def __init__(
        self,
        config: VectorsConfig,
        source: FeatureSource,
        modalities: tuple[str, ...],
    ) -> None:
        super().__init__(modalities, source)
        self.config = config

    def collator(self, with_targets: bool) -> Callable[[list[Example]], Batch]:
        return FeatureCollate(self.source, self.modalities)

    def inputs_of(self, batch: Batch) -> dict[str, torch.Tensor]:
        assert batch.tensors is not None
        return {
            modality: pooled(batch.tensors[modality], batch.tensors[lengths_of(modality)], self.config.pooling).cpu()
            for modality in self.modalities
        }

    def _blocks(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What each linear model reads."""
        if self.config.fusion is Fusion.late:
            return inputs
        return {"all": torch.cat([inputs[modality] for modality in self.modalities], -1)}

    def fit_task(
        self, task: Task, examples: Sequence[Example], inputs: Any, weights: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        gold = targets(examples, task)
        return {
            f"{block}_{part}": tensor
            for block, x in self._blocks(inputs).items()
            for part, tensor in fit_linear(
                x.double().numpy(), gold, task, self.config.strength, weights, standardised=True
            ).items()
        }

    def outputs(self, task: Task, examples: Sequence[Example], inputs: Any) -> torch.Tensor:
        outputs = [
            torch.nn.functional.linear(x, self.fitted(task, f"{block}_weight"), self.fitted(task, f"{block}_bias"))
            for block, x in self._blocks(inputs).items()
        ]
        return in_task_order(averaged(outputs, task), task)


def pooled(sequences: torch.Tensor, lengths: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """[B, D], or [B, 2 D] of mean and standard deviation, over the first lengths[B] steps of sequences[B, T, D]."""
    mask = (torch.arange(sequences.shape[1], device=sequences.device) < lengths[:, None])[..., None]
    mean = (sequences * mask).sum(1) / lengths[:, None]
    if pooling is Pooling.mean:
        return mean
    variance = ((sequences - mean[:, None]).square() * mask).sum(1) / lengths[:, None]
    return torch.cat([mean, variance.sqrt()], -1)


def averaged(outputs: Sequence[torch.Tensor], task: Task) -> torch.Tensor:
    """Outputs of several models [B, labels or 1] as those of one: the logits of the mean probability, or the mean
    number."""
    if len(outputs) == 1:
        return outputs[0]
    stacked = torch.stack(list(outputs)).double()
    if task.kind is Kind.classification:
        mean = stacked.softmax(-1).mean(0).clamp(min=torch.finfo(torch.float64).tiny).log()
    elif task.kind is Kind.multi_label:
        mean = stacked.sigmoid().mean(0).logit(eps=1e-12)
    else:
        mean = stacked.clamp(-1, 1).mean(0)
    return mean.float()
