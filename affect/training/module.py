"""The LightningModule: trains and evaluates a `Learner`, of which it knows nothing else."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from affect.config import DataError, FinetuningConfig
from affect.config.logs import LOG
from affect.data import Prediction
from affect.data.class_balance import UNTOUCHED, Classes
from affect.evaluation.metrics.summary import brief
from affect.evaluation.predict import failed
from affect.models.collate import Batch
from affect.models.learner import Learner
from affect.training import sharding
from affect.training.class_weights import example_weights
from affect.training.ranks import Sharded


class Predictions:
    """Collects the predictions of an evaluation over steps and processes."""

    def __init__(self) -> None:
        self.own: list[Prediction] = []

    def reset(self) -> None:
        self.own = []

    def update(self, predictions: list[Prediction]) -> None:
        self.own += predictions

    def gathered(self) -> list[Prediction]:
        """The predictions of all steps and processes, in the order of (dataset, task, id)."""
        everywhere = [p for part in of_all_processes(self.own) for p in part]
        return sorted(everywhere, key=lambda p: (p.dataset, p.task, p.id))


def of_all_processes(mine: Any) -> list[Any]:
    """`mine` of every process, in order of rank. All processes have to call it, inside a hook of the trainer: outside
    hooks the module's tensors are on the CPU, and a process group for GPUs cannot gather them."""
    if not distributed.is_initialized():
        return [mine]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, mine)
    return gathered


class Supervised(L.LightningModule):
    """Supervised training of a learner, validated by its predictions.

    `summarise` turns predictions into numbers; its `selection` is logged as the quantity checkpoints are chosen by.
    `classes` has the weights of examples in the loss.
    """

    def __init__(
        self,
        learner: Learner,
        finetuning: FinetuningConfig,
        summarise: Callable[[list[Prediction]], dict[str, Any]],
        classes: Classes = UNTOUCHED,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.model = learner.module  # under a name, so that Lightning moves it
        self.finetuning, self.summarise = finetuning, summarise
        self.classes, self.predictions = classes, Predictions()
        self.tested: list[Prediction] = []
        """The predictions of all processes, after a test."""
        self.lost: dict[str, str] = {}
        """Reason by record id, for clips that were readable when they were checked and later were not."""
        self.validated: dict[str, Any] | None = None
        """The numbers of the last validation, by which checkpoints are chosen."""
        self.unanswered: set[str] = set()
        """Reasons why the model gave no answer."""
        self.stand_in: Batch | None = None
        """The last batch of which clips could be read, where the model is divided."""
        # A checkpoint has the trained tensors only; the learner compares their names with its own.
        self.strict_loading = False

    def configure_model(self) -> None:
        if self.trainer.state.fn is TrainerFn.FITTING and isinstance(self.trainer.strategy, Sharded):
            mesh = self.device_mesh["data_parallel"]
            sharding.shard(self, self.model, mesh, "training_step", "gather")

    def gather(self) -> None:
        """Gathers the parameters of a model that several processes have divided, for an evaluation."""
        sharding.gather(self)

    def on_train_start(self) -> None:
        # Not at the start of an epoch, which Lightning skips when a run is resumed in the middle of one.
        self.learner.set_training_mode()

    def on_train_epoch_start(self) -> None:
        self.learner.begin_epoch(self.current_epoch + 1)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor | None:
        self._note_lost(batch)
        if batch.tensors is None and self.trainer.world_size == 1:
            return None  # from a batch of which no clip could be read
        if isinstance(self, FSDPModule):
            if batch.tensors is None:
                return self._stand_in_loss()
            self.stand_in = batch
        elif batch.tensors is None:
            return self._no_gradients()
        weights = example_weights(batch.examples, self.classes.loss) if self.classes.loss else None
        over, parts = None, self.trainer.accumulate_grad_batches * self.trainer.world_size
        if parts > 1:
            # The loss is the mean over the whole step. Lightning divides by `parts`, also where a step has fewer.
            over = self.trainer.datamodule.step_total(index) / parts
        loss = self.learner.loss(batch, weights, over)
        if not torch.isfinite(loss):
            remedy = " or ".join(f"{key} (={rate})" for key, rate in self.learner.rates().items())
            if self.global_step == 0:
                remedy += ", or, since nothing has been learnt yet, look for a number that is too large in the inputs"
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}: lower {remedy}")
        first = self.global_step == 0 and index == 0
        # The graph of a divided model has gathered parameters, which are gone by now.
        if first and not isinstance(self, FSDPModule) and (sentence := self.learner.unused_parameters(loss)):
            LOG.info(sentence)
        return loss if self.trainer.world_size == 1 else loss + self._no_gradients()

    def _no_gradients(self) -> torch.Tensor:
        """Zero gradients for all trained parameters: the other processes wait for a gradient of each, also where this
        process's batch does not use it. Layers that are divided have seen to theirs."""
        return sum(p.sum() * 0 for p in self.parameters() if p.requires_grad and not isinstance(p, DTensor))

    def _stand_in_loss(self) -> torch.Tensor:
        """Zero, from an earlier batch: the other processes wait for this one at every layer of a divided model."""
        if self.stand_in is None:
            raise DataError(
                f"no clip of the first batch of process {self.global_rank} can be read, and trainer.strategy=fsdp needs"
                " one: see log/ for the reasons, or set trainer.strategy=ddp"
            )
        return self.learner.loss(self.stand_in) * 0 + self._no_gradients()

    def _read(self, batch: Batch) -> None:
        self._note_lost(batch)
        self.predictions.update([failed(e, "error", why) for e, why in batch.failed])
        if batch.examples:  # without any where another process has one batch more
            predictions = self.learner.predict(batch)
            self._note_unanswered(predictions)
            self.predictions.update(predictions)

    def _note_lost(self, batch: Batch) -> None:
        for example, why in batch.failed:
            if example.record.id not in self.lost:
                LOG.warning(f"{example.record.id} can no longer be read and is left out: {why}")
            self.lost[example.record.id] = why

    def _note_unanswered(self, made: list[Prediction]) -> None:
        for prediction in made:
            if prediction.error is not None and prediction.error not in self.unanswered:
                self.unanswered.add(prediction.error)  # said once, since all clips may have the same
                LOG.warning(f"{prediction.id} has no answer for {prediction.task}: {prediction.error}")

    def validation_step(self, batch: Batch, _: int) -> None:
        self._read(batch)

    def test_step(self, batch: Batch, _: int) -> None:
        self._read(batch)

    def on_validation_epoch_start(self) -> None:
        self.gather()
        self.predictions.reset()
        self.learner.begin_evaluation()

    on_test_epoch_start = on_validation_epoch_start

    def on_test_epoch_end(self) -> None:
        sharding.divide(self)
        self.tested = self.predictions.gathered()
        self.lost = {key: why for lost in of_all_processes(self.lost) for key, why in lost.items()}
        self.learner.merge_findings(of_all_processes(self.learner.findings()))

    def on_validation_epoch_end(self) -> None:
        sharding.divide(self)
        summary = self.summarise(self.predictions.gathered())
        self.validated = {"epoch": self.current_epoch + 1, **brief(summary)}
        if summary["selection"] is not None:
            self.log("val/selection", summary["selection"], prog_bar=True)
        for name, value in summary.get("datasets", {}).items():
            if value is not None:
                self.log(f"val/{name}/selection", value)
        for name, numbers in summary["tasks"].items():
            if numbers["value"] is not None:
                self.log(f"val/{name}/{numbers['headline']}", numbers["value"], prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        # Fused, a step on a CPU takes a third of the time. In mixed precision Lightning cannot clip gradients for it.
        fused = self.trainer.precision == "32-true" or None
        optimizer = torch.optim.AdamW(self.learner.parameter_groups(), fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(self.finetuning.warmup * steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        sharding.divide(self)
        return {name: sharding.whole(tensor) for name, tensor in self.learner.trained_state().items()}

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        """Puts a checkpoint's tensors, which are whole, into the learner, whose module may be divided."""
        state = sharding.divided_state(self.model, checkpoint["state_dict"])
        self.learner.load({**checkpoint, "state_dict": state}, source)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        # Only what training needs of zero_grad(), whose bookkeeping takes 0.1 ms a step.
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["base"], checkpoint["lost"] = self.learner.base(), dict(self.lost)
        checkpoint["validation"] = self.validated

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.load(checkpoint, "the checkpoint")
        self.lost |= checkpoint["lost"]
