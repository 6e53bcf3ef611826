"""How small a difference a test set can show, and how large one has to be for a given difference."""

import math
from dataclasses import dataclass

from scipy.special import nctdtrinc, stdtrit

from affect.evaluation.significance.jackknife import BLOCKS, FEWEST_GROUPS, FEWEST_SEEDS, LEVEL, Paired, joint_freedom

MOST_GROUPS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    groups: int
    clips: int
    """If groups are as large as those that were measured, on average."""
    seeds: int


def detectable(found: Paired, power: float = 0.8) -> float:
    """The smallest difference that a test like `found` shows with probability `power`, in the metric's unit: that whose
    noncentral t exceeds the critical value so often. Raises ValueError where `found` has no interval."""
    error, freedom = _known(found, power)
    return _noncentrality(freedom, power) * error


def needed(found: Paired, difference: float, power: float = 0.8, seeds: int | None = None) -> Needed | None:
    """How many groups (and clips) of the kind that `found` was measured on show `difference` with probability `power`,
    with as many seeds as there were, or `seeds`. None where no number of groups does, since seeds vary too much: try
    more seeds. It scales the variances that were estimated, and is as uncertain as they are.

    Raises ValueError where the difference is 0, where `found` has no interval, and where it has one seed and `seeds` is
    another number, since nothing is known of how seeds vary.
    """
    _known(found, power)
    if not difference:
        raise ValueError("no number of clips shows a difference of 0: give the smallest that matters")
    count = found.seeds if seeds is None else seeds
    if count != found.seeds and found.seeds == 1:
        raise ValueError("a single seed says nothing of how seeds vary: measure with several, or leave seeds out")
    if 1 < count < FEWEST_SEEDS:
        raise ValueError(f"{count} seeds cannot carry an interval over seeds: give at least {FEWEST_SEEDS}")
    assert found.of_groups is not None and found.of_seeds is not None and found.of_pairs is not None
    # Groups of other sizes count as fewer of equal size, by as much as those that were measured.
    equal = found.effective / found.groups

    def shows(groups: int) -> bool:
        alone, pairs = found.of_groups / groups, found.of_pairs / (groups * count)
        # One pair of models is compared as it is.
        between = found.of_seeds / count if count > 1 else 0.0
        freedom = max(min(groups * equal, BLOCKS) - 1, 1.0)
        if count > 1:
            freedom = joint_freedom((alone, freedom), (between + pairs, count - 1))
        return _noncentrality(freedom, power) * math.sqrt(alone + pairs + between) <= abs(difference)

    low, high = FEWEST_GROUPS, FEWEST_GROUPS
    while not shows(high):
        low, high = high, 2 * high
        if high > MOST_GROUPS:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle + 1, high)
    return Needed(groups=high, clips=math.ceil(high * found.clips / found.groups), seeds=count)


def _known(found: Paired, power: float) -> tuple[float, float]:
    if not 0.5 <= power < 1:
        raise ValueError(f"power is {power}: give a probability from 0.5 to below 1")
    if found.error is None or found.freedom is None:
        raise ValueError(f"there is no power without an interval: {found.reason or 'the sides do not differ at all'}")
    return found.error, found.freedom


def _noncentrality(freedom: float, power: float) -> float:
    """The difference in standard errors that a two-sided t test at 1 - LEVEL finds with probability `power`."""
    # The other tail has less than a thousandth from a power of a half on.
    return float(nctdtrinc(freedom, 1 - power, stdtrit(freedom, (1 + LEVEL) / 2)))
