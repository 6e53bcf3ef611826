"""Order and length-grouped batches of clips, reproducible from seed and epoch."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any

import torch
from torch.utils.data import Sampler

from affect.prompting.messages import Example

WINDOW = 16
"""Most optimiser steps within which clips are grouped by length: enough to save padding, few enough to keep the order
random."""

WINDOWS = 4
"""Fewest windows of an epoch. With a single window every epoch would group the same clips."""


class EpochSampler(Sampler[int]):
    """Random order of training clips, grouped by length, reproducible from seed and epoch alone.

    A permutation is cut into windows; each window is sorted by length and cut into optimiser steps; the steps of a
    window are shuffled. Which clips a step has does not depend on how it is divided into batches and processes.

    lengths: of the prompts, one a clip. step_size: clips of an optimiser step, over all batches and processes.
    epoch, skip: a resumed run leaves out the first `skip` clips of this process's share in epoch `epoch`.
    weights: one a clip; the epoch is then drawn with replacement, with probabilities proportional to them.
    mixture: indices of each dataset's clips, with the number of them that an epoch draws; the numbers sum to that of
    all clips. None takes the datasets as one.
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
        mixture: Sequence[tuple[Sequence[int], int]] | None = None,
    ) -> None:
        assert mixture is None or sum(count for _, count in mixture) == len(lengths), "an epoch has another length"
        self.mixture = mixture
        self.lengths, self.seed, self.epoch = lengths, seed, epoch
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.skip, self.skip_epoch = skip, epoch
        self.rank, self.num_processes = rank, num_processes
        self.step_size = step_size

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Clips of a whole epoch in one process, also where some are skipped: the learning rate follows it."""
        return -(-len(self.lengths) // self.num_processes)

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        skip = self.skip if self.epoch == self.skip_epoch else 0
        return iter(share(order, self.rank, self.num_processes)[skip:])

    def order(self) -> list[int]:
        """Indices of the current epoch for all processes together."""
        generator, count = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch), len(self.lengths)
        if self.mixture is not None:
            mixed = torch.cat([self._drawn(torch.tensor(own), n, generator) for own, n in self.mixture])
            shuffled = mixed[torch.randperm(count, generator=generator)].tolist()
        elif self.weights is None:
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
            order += window[whole * self.step_size :]  # the last, smaller step of the epoch
        return order

    def _drawn(self, own: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` of a dataset's indices: every one as often as the others or once more; with `weights`, drawn with
        replacement."""
        if self.weights is not None:
            return own[torch.multinomial(self.weights[own], count, replacement=True, generator=generator)]
        rounds = [torch.randperm(len(own), generator=generator) for _ in range(-(-count // len(own)))]
        return own[torch.cat(rounds)[:count]]


def filled(whole: list[Any], num_processes: int) -> list[Any]:
    """`whole`, repeated from its start until it divides evenly among the processes."""
    return [*islice(cycle(whole), len(whole) + -len(whole) % num_processes)]


def share(whole: list[Any], rank: int, num_processes: int) -> list[Any]:
    """One process's part of an epoch's clips. All parts have the same length, because every step waits for all
    processes; so some clips come twice."""
    return filled(whole, num_processes)[rank::num_processes]


def share_once(batches: list[list[int]], rank: int, num_processes: int) -> list[list[int]]:
    """One process's part of an evaluation's batches. Each batch is in one part. All parts have the same length, because
    the processes agree after every batch whether to stop; the shorter parts end with an empty batch."""
    return [*batches, *([] for _ in range(-len(batches) % num_processes))][rank::num_processes]


def batches_by_task(asked: list[Example], batch_size: int, length: Callable[[Example], float]) -> list[list[int]]:
    """Batches of indices for evaluation. A batch has one task and one language; it is sorted by length, longest first,
    which saves padding and shows a lack of memory at once."""
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
