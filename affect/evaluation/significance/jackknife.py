"""Intervals of any statistic of clips, by leaving out groups: paired.py says how, and how often they are wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95

FEWEST_GROUPS = 5
"""Of equal size."""

FEWEST_SEEDS = 3
"""But for a single one, whose interval says nothing of others."""

BLOCKS = 100
"""The most that are left out, one at a time: more tell little and take longer."""

SHARE_EXPONENT = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A difference, or another statistic of clips that is 0 where nothing differs: its mean over seeds, in the unit of
    the metric."""

    mean: float | None
    """None where the metric is undefined for a seed."""
    low: float | None = None
    """Ends of the interval; None where `reason` says why there is none."""
    high: float | None = None
    p: float | None = None
    """Two-sided, of no difference; below 1 - LEVEL exactly where the interval leaves 0 out."""
    reason: str = ""
    """Why there is no interval, with the remedy."""
    error: float | None = None
    """Standard error of the mean."""
    freedom: float | None = None
    """Degrees of freedom of Student's t."""
    effect: float | None = None
    """Cohen's d of groups: the mean over the standard deviation of the difference between groups of average size."""
    clips: int
    groups: int
    effective: float
    """As how many groups of equal size they count."""
    seeds: int
    of_groups: float | None = None
    """Part of the variance of the mean that shrinks with more groups alone, of_groups / groups; so for seeds, and for
    pairs of both, of_pairs / (groups × seeds)."""
    of_seeds: float | None = None
    of_pairs: float | None = None


def jackknifed(
    statistics: Callable[[np.ndarray], np.ndarray],
    groups: np.ndarray,
    telling: np.ndarray,
    *,
    units: str = "groups",
) -> list[Paired]:
    """The mean over seeds of each of K statistics of N clips, with its interval.

    statistics(rows) gives float64[seeds, K] of the clips at the places `rows`; groups[N] names the group of each clip,
    and `units` what the groups are, for messages. telling[K, N] says which clips can move a statistic off 0: a
    statistic without any is 0 whatever the groups. Where no interval can be had the result has a `reason`.
    """
    names, of = np.unique(groups, return_inverse=True)
    whole = statistics(np.arange(len(of)))
    sizes, blocks = np.bincount(of), blocks_of(of, len(names))
    counted = {"clips": len(of), "groups": len(names), "effective": effective_groups(sizes), "seeds": len(whole)}
    without: np.ndarray | None = None
    results = []
    for place, by_seed in enumerate(whole.T):
        mean = float(by_seed.mean()) if np.isfinite(by_seed).all() else None
        differs = np.bincount(of, weights=telling[place], minlength=len(names)) > 0
        if mean is None:
            reason = (
                f"the metric is undefined for seed {int(np.flatnonzero(~np.isfinite(by_seed))[0]) + 1} of"
                f" {len(by_seed)}: look for values that are nan, or for answers that are all the same"
            )
        else:
            reason = _too_few(sizes, differs, len(by_seed), units)
        if not reason and not differs.any():
            results.append(Paired(mean=0.0, low=0.0, high=0.0, p=1.0, error=0.0, **counted))
            continue
        if not reason:
            if without is None:
                without = _left_out(statistics, blocks)
            undefined = np.flatnonzero(~np.isfinite(without[:, place]).all(axis=0))
            if len(undefined):
                few = len(names) <= BLOCKS
                left = f"the clips of {names[undefined[0]]}" if few else f"one of {BLOCKS} blocks of {units}"
                reason = (
                    f"the metric is undefined without {left}, so that its spread cannot be known: choose a metric that"
                    " does not hang on so few clips, or test on more"
                )
        if reason:
            results.append(Paired(mean=mean, reason=reason, **counted))
        else:
            results.append(studentised(by_seed, without[:, place], counted))  # type: ignore[index]
    return results


def _left_out(statistics: Callable[[np.ndarray], np.ndarray], block: np.ndarray) -> np.ndarray:
    """float64[seeds, K, blocks]: the statistics without the clips of each block."""
    return np.stack([statistics(np.flatnonzero(block != each)) for each in range(block.max() + 1)], axis=-1)


def joint_freedom(*parts: tuple[float, float]) -> float:
    """The degrees of freedom of a sum of estimated variances: of each part its variance, and its degrees of freedom."""
    total = sum(variance for variance, _ in parts)
    return 1 / sum((variance / total) ** SHARE_EXPONENT / freedom for variance, freedom in parts)


def effective_groups(sizes: np.ndarray) -> float:
    """As how many groups of equal size these count."""
    return float(sizes.sum() ** 2 / np.square(sizes.astype(np.float64)).sum())


def _too_few(sizes: np.ndarray, differs: np.ndarray, seeds: int, units: str) -> str:
    if len(sizes) < FEWEST_GROUPS:
        counted = f"{len(sizes)} {units}" if len(sizes) > 1 else f"a single one of the {units}"
        return (
            f"{counted} cannot carry an interval: fewer than {FEWEST_GROUPS} do not show how much others"
            " would differ; test on clips of more of them"
        )
    if (effective := effective_groups(sizes)) < FEWEST_GROUPS:
        return (
            f"{len(sizes)} {units} of such unequal size count as {effective:.1f} of equal size, which cannot carry an"
            f" interval: at least {FEWEST_GROUPS} are needed; test on clips of more of them"
        )
    if 0 < (telling := np.count_nonzero(differs)) < FEWEST_GROUPS:
        return (
            f"the answers differ in {telling} of {len(sizes)} {units}, which cannot carry an interval: at least"
            f" {FEWEST_GROUPS} have to tell the two apart; test on more clips"
        )
    if 1 < seeds < FEWEST_SEEDS:
        return (
            f"{seeds} seeds cannot carry an interval over seeds: at least {FEWEST_SEEDS} are needed; train another, or"
            " compare a single pair"
        )
    return ""


def blocks_of(of: np.ndarray, groups: int) -> np.ndarray:
    """The block of each clip: its group, or one of BLOCKS random blocks of groups."""
    if groups <= BLOCKS:
        return of
    block = np.empty(groups, dtype=np.int64)
    block[np.random.default_rng(0).permutation(groups)] = np.arange(groups) % BLOCKS
    return block[of]


def studentised(by_seed: np.ndarray, without: np.ndarray, counted: dict[str, Any]) -> Paired:
    """The interval from the differences[seeds] and those without each block, float64[seeds, blocks]; `counted` are the
    clips, groups and seeds, and as how many groups of equal size the groups count."""
    seeds, blocks = without.shape
    free = min(counted["effective"], blocks) - 1
    mean = float(by_seed.mean())
    moved = without - by_seed[:, None]
    scale = (blocks - 1) / blocks
    of_groups = scale * float(np.square(moved.mean(axis=0)).sum())
    if seeds == 1:
        shared = of_seeds = 0.0
        variance, freedom = of_groups, free
    else:
        shared = scale * float(np.square(moved - moved.mean(axis=0)).sum()) / (seeds - 1) / seeds
        of_seeds = float(by_seed.var(ddof=1)) / seeds
        alone = max(of_groups - shared, 0.0)
        variance = alone + of_seeds
        freedom = joint_freedom((alone, free), (of_seeds, seeds - 1)) if variance else free
    error = float(np.sqrt(variance))
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Paired(
            mean=mean,
            reason="the difference is the same without any of the groups, so that its spread cannot be known: test on"
            " more clips",
            **counted,
        )
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Paired(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=float(2 * stdtr(freedom, -abs(mean) / error)),
        error=error,
        freedom=freedom,
        effect=mean / float(np.sqrt(of_groups * counted["groups"])) if of_groups else None,
        of_groups=max(of_groups - shared, 0.0) * counted["groups"],
        of_seeds=max(of_seeds - shared, 0.0) * seeds,
        of_pairs=shared * counted["groups"] * seeds,
        **counted,
    )
