"""The learner of networks on feature sequences, which are trained by gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from affect.baselines.collate import FeatureCollate, lengths_of
from affect.baselines.losses import task_losses
from affect.baselines.provenance import check, provenance
from affect.config import ConfigError, NetworkConfig, Task
from affect.data import Prediction
from affect.data.features import FeatureSource
from affect.data.media import MediaError
from affect.models.collate import Batch
from affect.models.heads import Heads, in_task_order, key
from affect.models.learner import Learner
from affect.models.predictions import of_output
from affect.prompting.messages import Example


class Fused(Protocol):
    """What a network makes of a batch."""

    states: torch.Tensor
    """[B, network.width]: what the output layers read."""
    loss: torch.Tensor | None
    """[B]: what is added to the loss of each clip; None where the network has nothing of that kind."""


class Standardise(nn.Module):
    """Mean 0 and variance 1 of every number of a step over the training clips. Padding stays 0."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(widths)
        for modality, width in widths.items():
            self.register_buffer(f"{modality}_mean", torch.zeros(width))
            self.register_buffer(f"{modality}_scale", torch.ones(width))

    @torch.no_grad()
    def measure(self, clips: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Sets mean and scale from features [steps, width] by modality."""
        sums = {
            m: [torch.zeros(len(self.get_buffer(f"{m}_mean")), dtype=torch.float64) for _ in "12"]
            for m in self.modalities
        }
        steps = dict.fromkeys(self.modalities, 0)
        for clip in clips:
            for modality in self.modalities:
                values = clip[modality].double()
                sums[modality][0] += values.sum(0)
                sums[modality][1] += values.square().sum(0)
                steps[modality] += len(values)
        for modality in self.modalities:
            if steps[modality]:
                mean = sums[modality][0] / steps[modality]
                deviation = (sums[modality][1] / steps[modality] - mean.square()).clamp(min=0).sqrt()
                self.get_buffer(f"{modality}_mean").copy_(mean)
                # A number that is the same in every step says nothing, and is not blown up.
                self.get_buffer(f"{modality}_scale").copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        scaled = dict(batch)
        for modality in self.modalities:
            values, lengths = batch[modality], batch[lengths_of(modality)]
            inside = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
            values = (values - self.get_buffer(f"{modality}_mean")) / self.get_buffer(f"{modality}_scale")
            scaled[modality] = values * inside[..., None]
        return scaled


class FeatureModel(nn.Module):
    """Standardisation, a network, and an output layer for each task."""

    def __init__(self, network: nn.Module, widths: Mapping[str, int], tasks: Iterable[Task]) -> None:
        super().__init__()
        self.standardise = Standardise(widths)
        self.network = network
        self.heads = Heads(network.width, tasks, zero=False)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> Fused:
        return self.network(self.standardise(batch))


class NetworkLearner(Learner):
    """A network that is trained on the features of `source`, with an output layer for each task.

    build: makes the network from the widths of the features, by modality.
    """

    def __init__(
        self,
        build: Callable[[Mapping[str, int]], nn.Module],
        config: NetworkConfig,
        source: FeatureSource,
        modalities: tuple[str, ...],
        tasks: Iterable[Task],
    ) -> None:
        self.config, self.source, self.modalities = config, source, modalities
        widths = {modality: source.widths[modality] for modality in modalities}
        self.module = FeatureModel(build(widths), widths, tasks)

    def measure(self, train: Sequence[Example]) -> None:
        """Sets the standardisation from the training examples. Clips that can no longer be read fail in their batch."""
        self.module.standardise.measure(self._readable(train))

    def begin_training(self, train: Sequence[Example]) -> None:
        """Called before training, also where it is taken up again, with all training examples."""

    def _readable(self, examples: Sequence[Example]) -> Iterable[Mapping[str, torch.Tensor]]:
        for record in {example.record.id: example.record for example in examples}.values():
            try:
                yield self.source.of(record)
            except MediaError:
                continue

    def collator(self, with_targets: bool) -> Callable[[list[Example]], Batch]:
        return FeatureCollate(self.source, self.modalities)

    def parameter_groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": self.config.learning_rate, "weight_decay": self.config.weight_decay}]

    def rates(self) -> dict[str, float]:
        return {"model.learning_rate": self.config.learning_rate}

    def loss(self, batch: Batch, weights: Sequence[float] | None = None, over: float | None = None) -> torch.Tensor:
        fused = self.module(batch.tensors)
        losses = self.losses(fused, batch.examples)
        if weights is not None:
            losses = losses * torch.tensor(weights, device=losses.device)
        # An output layer without examples in this batch gets a zero gradient, which the other processes wait for.
        waiting = sum(parameter.sum() * 0 for parameter in self.module.heads.parameters())
        return losses.sum() / (len(batch.examples) if over is None else over) + waiting

    def losses(self, fused: Any, examples: Sequence[Example]) -> torch.Tensor:
        """The loss of every example [B]."""
        losses = task_losses(self.module.heads, fused.states, examples, self.config.intensity_loss)
        return losses if fused.loss is None else losses + fused.loss

    def base(self) -> str:
        """What a checkpoint has to share with the learner that reads it: the features and the modalities."""
        return provenance(self.source, self.modalities)

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        check(checkpoint, self.base(), source)
        try:
            self.module.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise ConfigError(
                f"{source} does not fit this network and its tasks ({' '.join(str(error).split())}): use the model, the"
                " tasks and the settings that it was trained with"
            ) from error

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        task = batch.examples[0].task
        states = self.module(batch.tensors).states
        outputs = in_task_order(self.module.heads.layers[key(task)](states), task).cpu()
        return [of_output(example, output) for example, output in zip(batch.examples, outputs, strict=True)]
