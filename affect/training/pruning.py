"""Tells a search how far its trial has come."""

import lightning as L

from affect.runs.lifecycle import Pruned
from affect.runs.search import Trial


class ReportToSearch(L.Callback):
    """Reports `val/selection` after every epoch's validation. On one device the search may end the training then; on
    several, all processes would have to agree, and the trial is never pruned."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        number = trainer.callback_metrics.get("val/selection")
        if number is None or trainer.state.fn != "fit":
            return
        try:
            self.trial.report(trainer.current_epoch, float(number))
        except Pruned:
            if trainer.world_size == 1:
                raise
