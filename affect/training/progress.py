"""Tells the heartbeat of a run how far it is."""

import math
from typing import Any

import lightning as L

from affect.runs.lifecycle import Stop


class Progress(L.Callback):
    """Keeps `Stop.progress`, for status.json: `stage` (training, validation, test); of a training `epoch` of `epochs`,
    `step` of `steps` in optimiser steps, and the one it went on from, `first_step`; of a test `batch` of `batches`; and
    `selection`, the last validation number.

    It makes one small dictionary a batch and writes nothing: the heartbeat does, every few seconds.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.steps = self.first_step = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.steps, self.first_step = int(trainer.estimated_stepping_batches), trainer.global_step
        self._note(trainer, "training")

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self._note(trainer, "training")

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.steps:  # otherwise it is that of a method that is fitted at once
            self._note(trainer, "validation")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        selection = float(trainer.callback_metrics.get("val/selection", math.nan))
        if math.isfinite(selection):
            self.stop.progress = self.stop.progress | {"selection": selection}

    def on_test_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int, *_: Any
    ) -> None:
        [batches] = trainer.num_test_batches
        kept = {key: self.stop.progress[key] for key in ("selection",) if key in self.stop.progress}
        self.stop.progress = {"stage": "test", "batch": index + 1, "batches": int(batches), **kept}

    def _note(self, trainer: L.Trainer, stage: str) -> None:
        # A new one each time: another thread may be writing the old one.
        self.stop.progress = self.stop.progress | {
            "stage": stage,
            "epoch": trainer.current_epoch + 1,
            "epochs": trainer.max_epochs,
            "step": trainer.global_step,
            "steps": self.steps,
            "first_step": self.first_step,
        }
