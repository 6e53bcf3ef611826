"""Saves and resumes the state of training, so that an interrupted run ends with the same weights.

What Lightning keeps in a checkpoint is not enough for that in the middle of an epoch: the order of the clips and the
random states are missing. Both are kept here, beside the number of batches that are done. The order depends on seed and
epoch alone (data.EpochSampler), so going on means leaving out the batches that were seen.
"""

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import distributed

from affect.config import ConfigError, TrainerConfig, WriteError
from affect.config.logs import LOG
from affect.models.checkpoint import UNREADABLE
from affect.runs.lifecycle import Stop

LAST = Path("checkpoints") / "last.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a kill, or a full disk, leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())  # else a machine that loses power may have the new name without the content
            os.replace(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            # torch says of a full disk only that its writer failed; the reason is in the chain.
            if isinstance(error, (OSError, RuntimeError)):
                why = next((e for e in (error, error.__context__) if isinstance(e, OSError)), error)
                before = any(path.parent.glob("*.ckpt"))
                remains = "what was saved before is still there" if before else "nothing had been saved before"
                raise WriteError(
                    f"{path} could not be written ({why}): make room and continue with python train.py"
                    f" resume={path.parent.parent}; {remains}",
                    why,
                ) from error
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Progress of a training."""

    epoch: int
    batches: int
    """Finished batches of `epoch`."""
    step: int
    """Finished optimiser steps."""


START = Position(epoch=0, batches=0, step=0)


def position(folder: Path) -> Position:
    """Where the run in `folder` can be continued; START where nothing was saved.

    Raises ConfigError where what was saved cannot be read.
    """
    path = folder / LAST
    if not path.is_file():
        return START
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # its tensors are not read
        state = checkpoint["callbacks"][SaveState.__name__]
        return Position(epoch=state["epoch"], batches=state["batches"], step=checkpoint["global_step"])
    except UNREADABLE as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read ({why}), so run={folder} cannot go on from it: delete the file to begin that run"
            " anew in the same folder"
        ) from error


def random_states() -> dict[str, Any]:
    """The states of all random generators of training, in types that a restricted unpickler reads."""
    name, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        # As tensors: every number of a list is pickled by itself.
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "python": [version, torch.tensor(numbers), gauss],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Puts back what `random_states` gave."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))


class SaveState(L.Callback):
    """Writes last.ckpt at the end of every epoch, and at optimiser steps as often as the configuration says; and ends
    the run, saved, when it was asked to stop."""

    def __init__(self, folder: Path, config: TrainerConfig, stop: Stop) -> None:
        self.path, self.config, self.stop = folder / LAST, config, stop
        self.saved_at = time.monotonic()
        self.done: dict[str, int] = {}
        self.leaving = False
        self.states: list[dict[str, Any]] | None = None
        """Random states by process, restored at the first batch after a resume."""

    @property
    def state_key(self) -> str:
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        states = [random_states()]
        if distributed.is_initialized():
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, states[0])
            states = gathered
        return {**self.done, "random": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.states = state["random"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.saved_at = time.monotonic()
        self.stop.deferred = True
        # Lightning has put a handler of its own before ours, which would end the run in the middle of what it does.
        self.stop.take_signals()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, index: int) -> None:
        if self.leaving:
            self._leave(trainer)
        # Here and not on loading: what is set up in between may draw random numbers.
        if self.states is not None:
            set_random_states(self.states[trainer.global_rank])
            self.states = None

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        done = index + 1
        # Between optimiser steps gradients are half summed, and they are in no checkpoint. After an epoch's last batch
        # Lightning would take the epoch's validation for done: that is saved when it is.
        if done % trainer.accumulate_grad_batches or done >= trainer.num_training_batches:
            return
        # Left when the next batch begins: this one has still to be logged.
        self.leaving = self._agreed(trainer, self.stop.requested is not None)
        if self.leaving or self._agreed(trainer, self._due(trainer.global_step)):
            self._save(trainer, trainer.current_epoch, done)

    def on_validation_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        # A validation may take longer than whoever stops us will wait; it is done again.
        if self._agreed(trainer, self.stop.requested is not None):
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._save(trainer, trainer.current_epoch + 1, 0)
        if self._agreed(trainer, self.stop.requested is not None):
            self._leave(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.stop.deferred = False

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self.stop.deferred = False

    def _due(self, step: int) -> bool:
        steps, minutes = self.config.save_every_steps, self.config.save_every_minutes
        by_steps = steps is not None and step % steps == 0
        return by_steps or (minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes)

    def _agreed(self, trainer: L.Trainer, wish: bool) -> bool:
        """Whether any process wants it: all have to save together, and their clocks differ."""
        return trainer.strategy.reduce_boolean_decision(wish, all=False) if trainer.world_size > 1 else wish

    def _save(self, trainer: L.Trainer, epoch: int, batches: int) -> None:
        self.done = {"epoch": epoch, "batches": batches}
        for logger in trainer.loggers:
            logger.save()  # the log must not end before the state that is gone on from
        trainer.save_checkpoint(self.path)
        self.saved_at = time.monotonic()

    def _leave(self, trainer: L.Trainer) -> None:
        if self.path.is_file():
            LOG.info(f"Saved after {position(self.path.parent.parent).step} optimiser steps.")
        else:
            LOG.info("Nothing has been saved yet: the run can begin again in its folder.")
        self.stop.requested = self.stop.requested or signal.SIGTERM  # in a process that was not asked itself
        self.stop.check()
