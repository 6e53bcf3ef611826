"""The Lightning Trainer of a run, from its configuration; and the weights of a run that is over."""

import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from affect import adapters
from affect.config import Accelerator, Config, ConfigError
from affect.models.precision import dtype

BEST = Path("checkpoints") / "best.ckpt"


def build(cfg: Config, folder: Path) -> L.Trainer:
    """The Trainer that fits and evaluates the run of `folder`. Raises ConfigError for a device this machine does not
    have."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # not every run needs to be told which devices there are not
    # With workers at 0, clips are decoded in the training process: on few cores that is a choice, not an oversight.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")  # Lightning's own use of torch
    # The module says itself which clips it lost, and a step is left out only where all of its clips were.
    warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
    if cfg.trainer.accelerator is Accelerator.cuda and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=cuda, but torch finds no CUDA device: trainer.accelerator=cpu (or auto)")
    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator is not Accelerator.cpu
    mixed = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", torch.float32: "32-true"}
    callbacks: list[Any] = [
        ModelCheckpoint(
            dirpath=folder / BEST.parent,
            filename=BEST.stem,
            monitor="val/selection",
            mode="max",
            enable_version_counter=False,
        ),
        # Not save_last of the one above, which writes last.ckpt only in epochs that were the best so far.
        ModelCheckpoint(dirpath=folder / BEST.parent, filename="last", enable_version_counter=False),
        LearningRateMonitor(logging_interval="step"),
    ]
    if cfg.trainer.progress:
        callbacks.append(RichProgressBar())
    return L.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision=mixed[dtype(cfg.model)],
        max_epochs=cfg.trainer.max_epochs,
        limit_train_batches=cfg.trainer.max_batches,
        limit_val_batches=cfg.trainer.max_batches,
        limit_test_batches=cfg.trainer.max_batches,
        accumulate_grad_batches=cfg.trainer.accumulate,
        gradient_clip_val=cfg.trainer.max_grad_norm,
        log_every_n_steps=cfg.trainer.log_every,
        logger=CSVLogger(save_dir=folder, name="log", version=""),
        callbacks=callbacks,
        enable_progress_bar=cfg.trainer.progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def load_best(model: nn.Module, run: Path) -> None:
    """Puts the best checkpoint of a finished run into a model to which the run's fine-tuning was applied.

    Raises ConfigError where there is none, where it is damaged, and where it does not fit.
    """
    path = run / BEST
    if not path.is_file():
        raise ConfigError(f"run={run} has no {BEST}: its training did not get as far as a validation; name another run")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{path} cannot be read ({why}): it is damaged; train again or name another run") from error
    adapters.load_trained_state(model, state, str(path))
