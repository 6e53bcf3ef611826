"""The Lightning Trainer of a run."""

import csv
import logging
import math
import os
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.profilers import PassThroughProfiler

from affect.config import Accelerator, Config, ConfigError, ServerConfig, Strategy, WriteError, launch
from affect.config.logs import is_first
from affect.models import precision
from affect.models.checkpoint import BEST
from affect.runs import search
from affect.runs.lifecycle import Stop
from affect.training.checkpointing import AtomicCheckpoints, SaveState
from affect.training.compile import CompiledLayers
from affect.training.progress import Progress
from affect.training.pruning import ReportToSearch
from affect.training.ranks import Joined, Ranks, Sharded
from affect.training.zero import Zero


class LogSteps(L.Callback):
    """Logs `train/loss`, the mean over all that an optimiser step sees, and the learning rate of each group of
    parameters in it, at the first step and at every `every`th. Lightning would log the loss only when all callbacks are
    through, and a run that was killed after saving would lack the row."""

    WRITE_EVERY = 1.0
    """Seconds between two writes, each of which opens the file, 0.3 ms. SaveState writes before it saves."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.loss: torch.Tensor | None = None
        self.rates: dict[str, float] = {}
        self.written_at = -math.inf

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, index: int) -> None:
        [optimizer] = trainer.optimizers
        groups, name = optimizer.param_groups, f"lr-{type(optimizer).__name__}"
        several = len(groups) > 1
        # Before the step, since the scheduler's is behind it.
        self.rates = {f"{name}/pg{i}" if several else name: group["lr"] for i, group in enumerate(groups, 1)}

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if outputs:  # a batch of which no clip could be read has none
            # Already divided by what the losses of the whole step are divided by.
            self.loss = outputs["loss"] if self.loss is None else self.loss + outputs["loss"]
        if (index + 1) % trainer.accumulate_grad_batches and index + 1 < trainer.num_training_batches:
            return
        if self.loss is None:
            return
        if trainer.progress_bar_callback is not None:
            module.log("train/loss", self.loss, prog_bar=True, logger=False, batch_size=1)
        if trainer.global_step == 1 or trainer.global_step % self.every == 0:
            # What this process has is its part of the step.
            loss = trainer.strategy.reduce(self.loss, reduce_op="mean") if trainer.world_size > 1 else self.loss
            values = {"train/loss": float(loss), **self.rates, "epoch": trainer.current_epoch}
            write = time.monotonic() - self.written_at >= self.WRITE_EVERY
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step - 1)
                if write:
                    logger.save()
            if write:
                self.written_at = time.monotonic()
        self.loss = None


class Log(CSVLogger):
    """log/metrics.csv. Raises WriteError where it cannot be written."""

    def save(self) -> None:
        try:
            super().save()
        except OSError as error:
            raise WriteError(
                f"{Path(self.log_dir) / 'metrics.csv'} could not be written ({error.strerror or error}): make room and"
                f" continue with python train.py resume={self.save_dir}",
                error,
            ) from error


class Unprofiled(PassThroughProfiler):
    """Lightning asks for a context seventy times a step, and those of its own profiler that does nothing are made by a
    generator each: 0.1 ms a step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> nullcontext:
        return self.nothing


def check_devices(cfg: Config) -> None:
    """Raises ConfigError for devices that this machine does not have."""
    if cfg.trainer.accelerator is Accelerator.cuda and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=cuda, but torch finds no CUDA device: trainer.accelerator=cpu (or auto)")
    given, count = launch.given(), torch.cuda.device_count()
    here = cfg.trainer.devices if given is None else given.local_size
    # A task of srun may see its own device alone.
    sees_its_own = given is not None and given.started_by == "srun" and count == 1
    if _on_gpu(cfg) and here > count and not sees_its_own:
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices}, {here} of them on this machine, but torch finds {count} CUDA"
            " devices: give as many or fewer"
        )


def _on_gpu(cfg: Config) -> bool:
    # A server of the same machine may want all of the GPU, and nothing is computed here.
    return not isinstance(cfg.model, ServerConfig) and precision.device(cfg.trainer).type == "cuda"


def build(cfg: Config, folder: Path, stop: Stop, tracker: Logger | None = None, step: int = 0) -> L.Trainer:
    """The Trainer that fits and evaluates the run of `folder`, from optimiser step `step` on, and logs to `tracker`
    beside log/metrics.csv."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # not every run needs to be told which devices there are not
    # With workers at 0, clips are decoded in the training process: on few cores that is a choice, not an oversight.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")  # Lightning's own use of torch
    # The module says itself which clips it lost, and a step is left out only where all of its clips were.
    warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
    # The run's log is beside what the logger writes, and what it has written before is put back below.
    warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")
    # The order of the clips is data.EpochSampler's affair.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    # Which processes there are is Ranks' affair.
    warnings.filterwarnings("ignore", message=".*The `srun` command is available on your system but is not used.*")
    # Every process has gathered all predictions before it logs what came of them.
    warnings.filterwarnings("ignore", message=".*It is recommended to use `self.log.*sync_dist=True.*")
    if not torch.cuda.is_available():
        # Lightning has torch look for NVIDIA's library, and an optimiser does so at every step, for 0.3 ms.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    place, on_gpu = launch.place(), _on_gpu(cfg)
    mixed = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", torch.float32: "32-true"}
    callbacks: list[Any] = [
        ModelCheckpoint(
            dirpath=folder / BEST.parent,
            filename=BEST.stem,
            monitor="val/selection",
            mode="max",
            # At the end of the validation, so that last.ckpt, which is written at the end of the epoch, knows of it.
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        ),
        LogSteps(cfg.trainer.log_every),  # before what saves, so that a saved step is a logged one
        SaveState(folder, cfg.trainer, stop),
        Progress(stop),
    ]
    if (trial := search.of_this_job()) is not None and is_first():
        callbacks.append(ReportToSearch(trial))
    if cfg.trainer.compile:
        callbacks.append(CompiledLayers())
    if cfg.trainer.progress and is_first():
        callbacks.append(RichProgressBar())
    return L.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[precision.device(cfg.trainer).index] if on_gpu else 1,
        num_nodes=place.size,
        strategy=_strategy(cfg, place.size),
        # Otherwise Lightning takes one by the environment's variables: under SLURM one that starts no processes, and
        # that saves and queues the job again on signals of its own.
        plugins=[AtomicCheckpoints(), Ranks()],
        # Under SLURM Lightning loads any hpc_ckpt_*.ckpt that lies there, in the place of the weights. By default it
        # is the working directory.
        default_root_dir=folder / "log",
        precision="32-true"
        if isinstance(cfg.model, ServerConfig)
        else mixed[precision.dtype(precision.settled(cfg.model, cfg.trainer))],
        max_epochs=cfg.trainer.max_epochs,
        limit_train_batches=cfg.trainer.max_batches,
        limit_val_batches=cfg.trainer.max_batches,
        limit_test_batches=cfg.trainer.max_batches,
        accumulate_grad_batches=cfg.trainer.accumulate,
        gradient_clip_val=cfg.trainer.max_grad_norm,
        log_every_n_steps=cfg.trainer.log_every,
        logger=[_csv_logger(folder, step), *([] if tracker is None else [tracker])],
        callbacks=callbacks,
        profiler=Unprofiled(),
        enable_progress_bar=cfg.trainer.progress and is_first(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # What is gathered to validate is trained with afterwards.
        inference_mode=cfg.trainer.strategy is not Strategy.fsdp,
    )


def _strategy(cfg: Config, num_processes: int) -> Any:
    if num_processes == 1:
        return "auto"
    if cfg.trainer.strategy is Strategy.deepspeed:
        return Zero(cfg.trainer.max_grad_norm)
    return Sharded() if cfg.trainer.strategy is Strategy.fsdp else Joined()


def _csv_logger(folder: Path, step: int) -> Log:
    """The logger of log/metrics.csv, which keeps the rows before optimiser step `step` of a run that is taken up."""
    logger = Log(save_dir=folder, name="log", version="")
    path = folder / "log" / "metrics.csv"
    if not is_first() or not path.is_file():
        return logger
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]
    # It deletes the file when it is first asked for its writer.
    logger.experiment.metrics = [{key: value for key, value in row.items() if value} for row in rows]
    logger.save()
    return logger
