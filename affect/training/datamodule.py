"""The LightningDataModule: the loaders of a run."""

from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from affect.config import Config, Mixing, ServerConfig, TrainerConfig, launch
from affect.config.logs import LOG, is_first
from affect.data import class_balance
from affect.models import precision
from affect.models.collate import Batch
from affect.models.learner import Learner
from affect.prompting.messages import Example
from affect.training import class_weights
from affect.training.mixing import draws
from affect.training.prefetch import Prefetching
from affect.training.sampler import EpochSampler, batches_by_task, filled, share_once

MOST_WORKERS = 4
"""Processes that trainer.num_workers=auto has on a GPU at the most. Where a clip is read from the cache of decoded
clips, more of them have nothing to do."""


def num_workers(trainer: TrainerConfig, on_gpu: bool) -> int:
    """What trainer.num_workers means here. A core is left to the training process."""
    if trainer.num_workers != "auto":
        return int(trainer.num_workers)
    return max(0, min(MOST_WORKERS, launch.cores() - 1)) if on_gpu else 0


class ClipData(L.LightningDataModule):
    """The loaders of a run. `by_split` has the examples of each split that is used; training begins with batch
    `batches_done` of epoch `epoch`. `weights`, by task and label, are how often training examples are drawn; without
    any, each comes once an epoch."""

    def __init__(
        self,
        by_split: dict[str, list[Example]],
        learner: Learner,
        cfg: Config,
        epoch: int = 0,
        batches_done: int = 0,
        weights: class_balance.ByClass | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.finetuning = weights, cfg.finetuning
        self.epoch, self.batches_done = epoch, batches_done
        self.by_split, self.learner = by_split, learner
        self.trainer_config, self.seed = cfg.trainer, cfg.seed
        # A server's model computes elsewhere.
        self.on_gpu = not isinstance(cfg.model, ServerConfig) and precision.device(cfg.trainer).type == "cuda"
        self.eval_batch_size, self.eval_split = cfg.evaluation.batch_size, cfg.evaluation.split
        self._step_totals: tuple[int, list[int]] | None = None
        """Epoch, and what `step_total` says of its steps."""

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _num_processes(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def _loader(self, split: str, with_targets: bool, **how: Any) -> DataLoader:
        workers = num_workers(self.trainer_config, self.on_gpu)
        return Prefetching(
            self.by_split[split],
            ahead=self.trainer_config.prefetch,
            collate_fn=self.learner.collator(with_targets),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.on_gpu,
            # Of its own: an iterator draws a number when it is made, and that must not shift the dropout of a run that
            # was taken up again.
            generator=torch.Generator().manual_seed(self.seed),
            **how,
        )

    def train_dataloader(self) -> DataLoader:
        batch_size, mixture = self.trainer_config.batch_size, self._mixture()
        self.sampler = sampler = EpochSampler(
            [self.learner.length(example) for example in self.by_split["train"]],
            self.seed,
            step_size=batch_size * self.trainer_config.accumulate * self._num_processes,
            epoch=self.epoch,
            skip=self.batches_done * batch_size,
            rank=self._rank,
            num_processes=self._num_processes,
            weights=class_weights.example_weights(self.by_split["train"], self.weights) if self.weights else None,
            mixture=None if mixture is None else list(mixture.values()),
        )
        if mixture is not None and is_first():
            drawn = ", ".join(f"{name} {count:,} (of {len(own):,})" for name, (own, count) in mixture.items())
            LOG.info(f"finetuning.mixing={self.finetuning.mixing.value}: an epoch draws {drawn}")
        if self.weights and is_first():
            drawn = class_weights.drawn_in_words(self.by_split["train"], sampler.order())
            LOG.info(f"finetuning.sampling={self.finetuning.sampling.value}: epoch {self.epoch + 1} draws {drawn}")
        return self._loader("train", True, batch_size=batch_size, sampler=sampler)

    def _mixture(self) -> dict[str, tuple[list[int], int]] | None:
        """The indices of each dataset's training examples, and how many of them an epoch draws; None where every
        example comes once."""
        if self.finetuning.mixing is Mixing.proportional:
            return None
        places: dict[str, list[int]] = {}
        for place, example in enumerate(self.by_split["train"]):
            places.setdefault(example.record.dataset, []).append(place)
        counts = draws({name: len(own) for name, own in places.items()}, self.finetuning)
        return {name: (own, counts[name]) for name, own in places.items()}

    def step_total(self, index: int) -> int:
        """What the losses of an optimiser step are divided by to be its mean: the terms (Learner.target_size) of all
        batches, of all processes, that share the step of batch `index` of the present epoch. A clip
        that can no longer be read is counted, since its own process alone knows: its step is that much smaller."""
        epoch, totals = self.sampler.epoch, self._step_totals
        if totals is None or totals[0] != epoch:
            num_processes, limit = self._num_processes, self.trainer_config.max_batches
            whole = filled(self.sampler.order(), num_processes)
            if limit is not None:
                whole = whole[: limit * self.trainer_config.batch_size * num_processes]
            size = self.sampler.step_size
            steps = [whole[at : at + size] for at in range(0, len(whole), size)]
            totals = self._step_totals = epoch, [sum(map(self._size, step)) for step in steps]
        return totals[1][index // self.trainer_config.accumulate]

    def _size(self, at: int) -> int:
        return self.learner.target_size(self.by_split["train"][at])

    def _evaluation_loader(self, split: str) -> DataLoader:
        asked = self.by_split[split]
        batches = batches_by_task(asked, self.eval_batch_size, self.learner.length)
        return self._loader(split, False, batch_sampler=share_once(batches, self._rank, self._num_processes))

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.eval_split)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)
