"""Order and length-grouped batches of clips, reproducible from seed and epoch."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import torch
from torch.utils.data import Sampler

from affect.prompting.messages import Example

WINDOW = 16
"""Optimiser steps within which clips of like length are put together, at the most: enough that little is padded, few
enough that the order stays random."""

WINDOWS = 4
"""Windows of an epoch, at the least. With a single one, every epoch would have the same clips together."""


class EpochSampler(Sampler[int]):
    """This process's share of an order that depends on nothing but seed and epoch, so that a run can be taken up again:
    the first `skip` clips of the share are left out in epoch `epoch`, because they have been seen.

    `lengths` are those of the prompts. A random permutation is cut into windows, each is sorted by length and cut into
    what an optimiser step sees, `step_size` clips over all batches and processes, and the steps of a window are put in
    random order. So the clips of a step do not depend on how it is cut into batches. With `weights`, one a clip, the
    epoch is as long, but drawn with replacement, with probabilities proportional to them.
    """

    def __init__(
        self,
        lengths: Sequence[float],
        seed: int,
        *,
        step_size: int,
        epoch: int = 0,
        skip: int = 0,
        rank: int = 0,
        num_processes: int = 1,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.lengths, self.seed, self.epoch = lengths, seed, epoch
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.skip, self.skip_epoch = skip, epoch
        self.rank, self.num_processes = rank, num_processes
        self.step_size = step_size

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Of a whole epoch's share: that is what steps and learning rates are counted by."""
        return -(-len(self.lengths) // self.num_processes)

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        skip = self.skip if self.epoch == self.skip_epoch else 0
        return iter(share(order, self.rank, self.num_processes)[skip:])

    def order(self) -> list[int]:
        """The clips of the present epoch, of all processes together."""
        generator, count = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch), len(self.lengths)
        if self.weights is None:
            shuffled = torch.randperm(count, generator=generator).tolist()
        else:
            shuffled = torch.multinomial(self.weights, count, replacement=True, generator=generator).tolist()
        order: list[int] = []
        size = max(1, min(WINDOW, count // self.step_size // WINDOWS)) * self.step_size
        for at in range(0, count, size):
            window = sorted(shuffled[at : at + size], key=lambda i: self.lengths[i])
            whole = len(window) // self.step_size
            for step in torch.randperm(whole, generator=generator).tolist():
                order += window[step * self.step_size : (step + 1) * self.step_size]
            order += window[whole * self.step_size :]  # the epoch's last step, where it is a smaller one
        return order


def filled(whole: list[Any], num_processes: int) -> list[Any]:
    """`whole`, and its beginning again as far as it takes for all processes to get as many."""
    return [*islice(cycle(whole), len(whole) + -len(whole) % num_processes)]


def share(whole: list[Any], rank: int, num_processes: int) -> list[Any]:
    """One process's part of the clips of an epoch or the batches of an evaluation. All get as many, since every step
    waits for all processes; so some come twice, in an evaluation too, where Predictions counts them once."""
    return filled(whole, num_processes)[rank::num_processes]


def batches_by_task(asked: list[Example], batch_size: int, length: Callable[[Example], float]) -> list[list[int]]:
    """Batches of indices for evaluation: one task and language each, since they are read alike, and like lengths
    together, longest first, so that little is padded and too large a batch is met at once."""
    order = sorted(
        range(len(asked)),
        key=lambda i: (asked[i].record.dataset, asked[i].task.name, asked[i].language, -length(asked[i]), i),
    )
    batches: list[list[int]] = []
    for i in order:
        last = asked[batches[-1][-1]] if batches else None
        same = last is not None and last.task is asked[i].task and last.language == asked[i].language
        if same and len(batches[-1]) < batch_size:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
