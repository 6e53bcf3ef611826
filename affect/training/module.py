"""The LightningModule. What labels mean, how prompts are worded and how metrics are computed lives elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import distributed

from affect.config import EvaluationConfig, FinetuningConfig, Target
from affect.config.logs import say
from affect.data import Prediction
from affect.data.class_balance import UNTOUCHED, Classes
from affect.evaluation import predict
from affect.evaluation.content_free import ContentFree
from affect.evaluation.metrics.summary import brief
from affect.models import Encoder, adapters, heads
from affect.models.base_sample import check_base
from affect.training import optimizer as optimizers
from affect.training.class_weights import example_weights
from affect.training.collate import Batch
from affect.training.losses import answer_loss


class Predictions:
    """Predictions of an epoch, over its steps and over processes."""

    def __init__(self) -> None:
        self.own: list[Prediction] = []

    def reset(self) -> None:
        self.own = []

    def update(self, predictions: list[Prediction]) -> None:
        self.own += predictions

    def gathered(self) -> list[Prediction]:
        """The predictions of all steps and processes, each (dataset, task, id) once, in that order."""
        # A sampler that spreads clips over processes repeats some to make the shares equal; they are counted once.
        once = {(p.dataset, p.task, p.id): p for part in of_all_processes(self.own) for p in part}
        return [once[key] for key in sorted(once)]


def of_all_processes(mine: Any) -> list[Any]:
    """`mine` of every process, in order of rank. To be called by all of them, inside of a hook of the trainer: between
    its calls the module's tensors are on the CPU, about which a process group for GPUs knows nothing."""
    if not distributed.is_initialized():
        return [mine]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, mine)
    return gathered


class Supervised(L.LightningModule):
    """Supervised fine-tuning on answers, validated by what the model answers.

    `summarise` turns predictions into numbers; its `selection` is logged as the quantity checkpoints are chosen by.
    `classes` has the weights of answers in the loss, and what the scores of labels are adjusted by.
    """

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        finetuning: FinetuningConfig,
        evaluation: EvaluationConfig,
        summarise: Callable[[list[Prediction]], dict[str, Any]],
        classes: Classes = UNTOUCHED,
    ) -> None:
        super().__init__()
        self.model, self.encoder = model, encoder
        self.finetuning, self.evaluation, self.summarise = finetuning, evaluation, summarise
        self.classes, self.predictions = classes, Predictions()
        self.tested: list[Prediction] = []
        """Of all processes, once a test is over."""
        self.content_free: ContentFree | None = None
        self.lost: dict[str, str] = {}
        """Reason by record id, for clips that could be read when they were checked and no longer could."""
        self.validated: dict[str, Any] | None = None
        """The numbers of the last validation: what a checkpoint was chosen by stands in it."""
        self.unanswered: set[str] = set()
        """Reasons why the model gave no answer."""
        # A checkpoint has the trained tensors only; load_trained_state holds them against the model's, name by name.
        self.strict_loading = False

    def on_train_start(self) -> None:
        # Not at the start of an epoch, which Lightning passes over when a run is taken up in its middle.
        adapters.set_training_mode(self.model)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor | None:
        self._note_lost(batch)
        if batch.tensors is None:
            if self.trainer.world_size == 1:
                return None
            return self._no_gradients()  # from a batch of which no clip could be read
        weights = example_weights(batch.examples, self.classes.loss) if self.classes.loss else None
        over, parts = None, self.trainer.accumulate_grad_batches * self.trainer.world_size
        if parts > 1:
            # The step is one batch, however it is cut. Lightning divides by `parts`, also where a step has fewer.
            over = self.trainer.datamodule.step_total(index) / parts
        if self.finetuning.target is Target.head:
            loss = heads.loss(self.model, batch.tensors, batch.examples, weights, over)
        else:
            loss = answer_loss(self.model, batch.tensors, weights, over)
        if not torch.isfinite(loss):
            rates = (f"{key} (={getattr(self.finetuning, key)})" for key in ("learning_rate", "new_learning_rate"))
            remedy = " or ".join(f"finetuning.{rate}" for rate in rates)
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}: lower {remedy}")
        if self.global_step == 0 and index == 0 and (sentence := adapters.without_gradient(self.model, loss)):
            say(sentence)
        return loss if self.trainer.world_size == 1 else loss + self._no_gradients()

    def _no_gradients(self) -> torch.Tensor:
        """Gradients of zero for all that is trained: the other processes wait for one of each parameter, also of those
        that this process's batch has no use for."""
        return sum(p.sum() * 0 for p in self.parameters() if p.requires_grad)

    def _read(self, batch: Batch) -> None:
        self._note_lost(batch)
        self.predictions.update([predict.failed(e, "error", why) for e, why in batch.failed])
        if batch.tensors is not None:
            how = (self.evaluation, self.classes.log_priors, self.content_free)
            made = predict.predict(self.model, self.encoder, batch.tensors, batch.examples, *how)
            self._note_unanswered(made)
            self.predictions.update(made)

    def _note_lost(self, batch: Batch) -> None:
        for example, why in batch.failed:
            if example.record.id not in self.lost:
                say(f"{example.record.id} can no longer be read and is left out: {why}")
            self.lost[example.record.id] = why

    def _note_unanswered(self, made: list[Prediction]) -> None:
        for prediction in made:
            if prediction.error is not None and prediction.error not in self.unanswered:
                self.unanswered.add(prediction.error)  # said once, since all clips may have the same
                say(f"{prediction.id} has no answer for {prediction.task}: {prediction.error}")

    def validation_step(self, batch: Batch, _: int) -> None:
        self._read(batch)

    def test_step(self, batch: Batch, _: int) -> None:
        self._read(batch)

    def on_validation_epoch_start(self) -> None:
        self.predictions.reset()
        self.content_free = ContentFree(self.trainer.datamodule.wanted)  # anew: the model may have been trained since

    on_test_epoch_start = on_validation_epoch_start

    def on_test_epoch_end(self) -> None:
        self.tested = self.predictions.gathered()
        self.lost = {key: why for lost in of_all_processes(self.lost) for key, why in lost.items()}
        assert self.content_free is not None
        for known, labels in of_all_processes((self.content_free.known, self.content_free.labels)):
            self.content_free.known |= known
            self.content_free.labels |= labels

    def on_validation_epoch_end(self) -> None:
        summary = self.summarise(self.predictions.gathered())
        self.validated = {"epoch": self.current_epoch + 1, **brief(summary)}
        if summary["selection"] is not None:
            self.log("val/selection", summary["selection"], prog_bar=True)
        for name, numbers in summary["tasks"].items():
            if numbers["value"] is not None:
                self.log(f"val/{name}/{numbers['headline']}", numbers["value"], prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = optimizers.optimizer(self.model, self.finetuning, self.trainer.precision)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(self.finetuning.warmup * steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        return adapters.trained_state(self.model)  # what a checkpoint holds

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        # What zero_grad() does, without the rest of what it does, which is 0.1 ms a step.
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["base"], checkpoint["lost"] = self.model.base_sample, dict(self.lost)
        checkpoint["validation"] = self.validated

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_base(self.model, checkpoint.get("base"), "the checkpoint")
        adapters.load_trained_state(self.model, checkpoint["state_dict"], "the checkpoint")
        self.lost |= checkpoint["lost"]
