"""The difference between two settings on the same clips, with an interval and a p-value, for any metric.

What is estimated: the difference that is expected with other groups of clips (speakers, dialogues, videos) and, where
several seeds were trained, with other seeds. With one seed it is that of this pair of models on other groups.

How: groups are left out one at a time (jackknife; more than BLOCKS of them by random blocks), since clips of a group go
together, and the metric is computed without them. How much that moves the mean over seeds gives the variance V_G that
comes from groups, and how differently it moves the seeds the part V_E of it that both share; the seeds' own differences
give V_S, which holds V_E too. The variance is that of two crossed random factors, V = max(V_G - V_E, 0) + V_S, and V_G
alone for a single seed (Owen, The pigeonhole bootstrap, 2007; Cameron, Gelbach and Miller, Robust inference with
multiway clustering, 2011; the jackknife over clusters: MacKinnon, Nielsen and Webb, 2023). mean / sqrt(V) is held
against Student's t. Its degrees of freedom are those of the parts, weighted by share ** 1.25: with an exponent of 2
(Satterthwaite) three seeds are wrong in up to 8 % of simulations at nominal 5 %, with 1 in as few as 2.4 %.

Groups have one degree of freedom less than there are groups of equal size, sum(n)² / sum(n²) for sizes n (Kish, 1965).

With three seeds V_S has two degrees of freedom, and an interval is wide where seeds vary much: three seeds know no
better. Fewer than FEWEST_GROUPS groups or exactly two seeds are refused.

Errors in % of nominal 5 % tests in simulations, 500 experiments a case, so give or take 2 (benchmarks/significance.py,
which says what was simulated: groups × clips of each; what is refused is shown as it would be). `bootstrap` is the
percentile bootstrap of accuracy over groups and seeds.

    simulated                            bootstrap   acc   wF1   mF1   UAR  Acc7  Corr   MAE   CCC
    60 groups × 2                              6.6   6.0   5.8   4.4   5.6   4.4   4.8   5.8   5.0
    60 × 2, gain 0.8                           6.2   5.4   5.0   5.4   6.8   3.6   5.2   6.2   5.4
    12 × 10, lean 1                            9.8   6.4   5.4   5.8   5.6   6.6   5.8   4.2   4.4
    12 × 10, lean 1, gain 0.8                 11.0   5.4   5.6   5.6   4.0   7.2   6.6   4.4   6.0
    6 × 20, lean 1                            11.8   4.4   4.2   4.6   4.0   5.4   3.2   4.2   3.0
    5 × 24, lean 1                            17.8   5.2   5.4   5.2   5.0   6.2   6.2   4.0   7.0
    4 × 30, lean 1                            17.6   5.4   5.4   4.0   2.4   5.2   4.8   3.2   4.0  refused
    2 × 60, lean 1                            49.6   3.1   4.6   0.8   0.6   1.9   1.2   3.8   2.2  refused
    25 × 10, lean 0.5                          8.8   5.8   5.4   5.4   5.0   7.6   7.2   6.2   6.6
    40 unequal, lean 1                         6.2   4.2   4.6   6.2   5.4   5.6   6.2   5.8   6.6
    8 × 40 and 40 × 3, lean 1                  8.6   5.8   5.4   4.6   4.2   4.6   5.0   4.0   4.8
    8 × 40 and 40 × 3, lean 0                  9.0   5.0   5.6   3.0   3.8   6.4   4.2   5.6   4.6
    400 × 1                                    5.8   3.8   3.8   5.8   6.0   3.6   7.6   6.6   6.8
    60 × 2, 8 % of answers differ             10.6   4.4   4.2   2.4   3.0   6.4   3.4   4.2   3.6
    60 × 2, 2 seeds                            1.0   3.9   4.8   5.0   5.6   4.7   7.4   4.4   7.8  refused
    60 × 2, 3 seeds                            1.0   5.0   4.6   4.8   4.0   3.4   4.2   3.2   3.8
    60 × 2, 3 seeds, seed 0.2                  1.6   5.8   5.8   4.4   4.4   4.8   6.4   4.4   6.6
    60 × 2, 3 seeds, seed 0.5                  7.2   5.8   7.0   6.8   5.2   4.4   5.6   3.2   5.2
    12 × 10, 3 seeds, lean 1, seed 0.2         3.2   4.6   5.4   3.8   2.8   3.8   3.4   3.4   3.2
    4 × 30, 3 seeds, lean 1, seed 0.2          9.4   4.6   5.2   4.2   3.6   3.6   4.2   2.4   3.8  refused
    200 × 2, 3 seeds, seed 0.5                16.2   4.8   4.8   6.2   5.6   6.2   6.2   5.8   5.6

Four groups hold in these simulations, where groups differ as normal deviates do, and are refused since four cannot show
that they do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    """The mean over seeds of metric(gold, ours) - metric(gold, theirs), in the metric's unit."""

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


def paired(
    gold: Sequence | np.ndarray,
    ours: Sequence[Sequence | np.ndarray],
    theirs: Sequence[Sequence | np.ndarray],
    groups: Sequence | np.ndarray,
    metric: Callable[[np.ndarray, np.ndarray], float],
    *,
    units: str = "groups",
) -> Paired:
    """How `ours` differs from `theirs`: metric(gold, ours) - metric(gold, theirs), mean over seeds, with its interval.

    gold[N], and for each seed ours[N] and theirs[N], are columns of whatever `metric` takes (rows of a matrix, too);
    seed s of one side is compared with seed s of the other. groups[N] names the group of each clip, and `units` what
    the groups are, for messages. Where no interval can be had the result has a `reason`. Raises ValueError where the
    columns do not fit together.

    >>> right = lambda gold, read: float(np.mean(gold == read))
    >>> gold, theirs = np.ones(40), np.arange(40) % 2
    >>> found = paired(gold, [np.where(np.arange(40) % 8 < 4, 1, theirs)], [theirs], np.arange(40) // 2, right)
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), round(found.p, 4)
    (0.25, 0.13, 0.37, 0.0003)
    """
    gold, ours, theirs, groups = _columns(gold, ours, theirs, groups)
    names, of = np.unique(groups, return_inverse=True)
    sizes = np.bincount(of)
    counted = {"clips": len(gold), "groups": len(names), "effective": effective_groups(sizes), "seeds": len(ours)}
    by_seed = np.array([metric(gold, one) - metric(gold, other) for one, other in zip(ours, theirs, strict=True)])
    if not np.isfinite(by_seed).all():
        seed = int(np.flatnonzero(~np.isfinite(by_seed))[0])
        return Paired(
            mean=None,
            reason=f"the metric is undefined for pair {seed + 1} of {len(ours)}: look for values that are nan, or for"
            " answers that are all the same",
            **counted,
        )
    mean = float(by_seed.mean())
    differs = np.bincount(of, weights=_differ(ours, theirs), minlength=len(names)) > 0
    if reason := _too_few(sizes, differs, len(ours), units):
        return Paired(mean=mean, reason=reason, **counted)
    if not differs.any():
        return Paired(mean=mean, low=0.0, high=0.0, p=1.0, error=0.0, **counted)
    without = _left_out(gold, ours, theirs, blocks_of(of, len(names)), metric)
    if not np.isfinite(without).all():
        block = int(np.flatnonzero(~np.isfinite(without).all(axis=0))[0])
        left = f"the clips of {names[block]}" if len(names) <= BLOCKS else f"one of {BLOCKS} blocks of {units}"
        return Paired(
            mean=mean,
            reason=f"the metric is undefined without {left}, so that its spread cannot be known: choose a metric that"
            " does not hang on so few clips, or test on more",
            **counted,
        )
    return studentised(by_seed, without, counted)


def joint_freedom(*parts: tuple[float, float]) -> float:
    """The degrees of freedom of a sum of estimated variances: of each part its variance, and its degrees of freedom."""
    total = sum(variance for variance, _ in parts)
    return 1 / sum((variance / total) ** SHARE_EXPONENT / freedom for variance, freedom in parts)


def _columns(gold, ours, theirs, groups):
    gold, groups = np.asarray(gold), np.asarray(groups)
    sides = {"ours": [np.asarray(column) for column in ours], "theirs": [np.asarray(column) for column in theirs]}
    if len(sides["ours"]) != len(sides["theirs"]) or not sides["ours"]:
        raise ValueError(
            f"ours has {len(sides['ours'])} seeds and theirs {len(sides['theirs'])}: give as many, at least one, each"
            " with its partner at the same place"
        )
    if gold.ndim == 0 or not len(gold):
        raise ValueError("gold has no clips: give at least one labelled clip")
    for name, columns in (*sides.items(), ("groups", [groups])):
        for place, column in enumerate(columns):
            if column.ndim == 0 or len(column) != len(gold):
                which = name if name == "groups" else f"{name}[{place}]"
                length = "no list" if column.ndim == 0 else f"{len(column)} entries"
                raise ValueError(f"{which} has {length} and gold {len(gold)}: give one for each clip, in gold's order")
    if unknown := [place for place, group in enumerate(groups.tolist()) if group is None or group != group]:
        raise ValueError(f"groups[{unknown[0]}] is {groups[unknown[0]]}: say of every clip which group it is of")
    return gold, sides["ours"], sides["theirs"], groups


def _differ(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> np.ndarray:
    """bool[N]: clips to which the two sides have answered differently with any seed. NaN is equal to NaN."""
    apart = [(one != other) & ((one == one) | (other == other)) for one, other in zip(ours, theirs, strict=True)]
    return np.any([each.reshape(len(each), -1).any(axis=1) for each in apart], axis=0)


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


def _left_out(
    gold: np.ndarray,
    ours: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    of: np.ndarray,
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> np.ndarray:
    """float64[seeds, blocks]: the differences without the clips of each block."""
    order = np.argsort(of, kind="stable")
    ends = np.concatenate(([0], np.cumsum(np.bincount(of))))
    # A model that was not trained stands beside every seed of the other side: it is computed once.
    distinct = {id(column): column[order] for column in (*ours, *theirs)}
    gold = gold[order]
    result = np.empty((len(ours), len(ends) - 1))
    for block, (start, end) in enumerate(pairwise(ends)):
        rest = np.concatenate((gold[:start], gold[end:]))
        values = {key: metric(rest, np.concatenate((column[:start], column[end:]))) for key, column in distinct.items()}
        result[:, block] = [values[id(one)] - values[id(other)] for one, other in zip(ours, theirs, strict=True)]
    return result


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
