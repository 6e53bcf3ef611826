"""Trains a learner, by gradients or all at once."""

from pathlib import Path

import lightning as L

from affect.models.checkpoint import BEST
from affect.training.datamodule import ClipData
from affect.training.module import Supervised


def fit(trainer: L.Trainer, module: Supervised, clips: ClipData, folder: Path, last: Path | None = None) -> None:
    """Trains the learner of `module` and leaves its best checkpoint in `folder`; `last` is the checkpoint from which
    training goes on.

    A learner without gradients is fitted on all training batches, in each process, and validated once.
    """
    if module.learner.by_gradients:
        trainer.fit(module, clips, ckpt_path=last, weights_only=True)
        return
    device = trainer.strategy.root_device
    module.learner.module.to(device).eval()
    module.learner.fit((batch.to(device) for batch in clips.train_dataloader()), module.classes.loss)
    trainer.validate(module, clips, verbose=False)
    trainer.save_checkpoint(folder / BEST)
