"""How a metric of some of the clips differs from that of the others, for the same predictions: slices of a test set.

What is estimated is the difference that these models would have on other groups of clips (speakers, dialogues,
videos); over several seeds it is the mean of their differences, and nothing is said of other seeds.

Two variances. That of the parts: groups are left out one at a time (jackknife, as in `paired`), from both parts at
once, since a group may have clips in both. And that which the difference would have if both parts were drawn from all
clips: the variance of the clips' influence on the metric of all, and the covariance of clips of one group. The first is
zero for a part whose few clips are all wrong, which would then differ from the rest without doubt.

The interval has the larger of the two. So has the p-value, unless the metric is a share (accuracy): where two shares
are equal their variances are, so that the second is right (a score test), and the first, which is large for a bad part
of a good whole and small for a good one, would hide the worst slices. So the interval of a share may hold 0 though p is
just below 5 %. Shares of few clips near 0 or 1 are skewed, so that p is at least that of Fisher's exact test, which
takes clips for independent.

Both are held against Student's t with the degrees of freedom of the two parts.

Errors in % of nominal 5 % tests in simulations where the parts do not differ, 200 experiments a case, so give or take
3, and (last column) tables of 40 parts with any p-value of accuracy (Holm) below 5 %, of 40, so give or take 7
(benchmarks/slices.py, which says what was simulated: groups × clips of each, the share of the clips in the part):

    simulated                              accuracy    mae  recall   any (Holm)
    60 groups × 5, half of the clips           6.0    5.5     4.0          2.5
    60 × 5, 10 % of the clips                  6.5    3.0     5.5          0.0
    60 × 5, 10 % of the clips, easy 2.5        4.5    0.0     0.5          0.0
    12 × 20, half, lean 1                      3.5    2.0     2.0          0.0
    12 × 20, 10 %, lean 1                      3.5    0.5     0.5          0.0
    200 × 3, 4 %                               5.5    1.5     4.5          2.5
    200 × 3, 4 %, easy 2.5                     1.5    0.0     0.5          7.5
    60 × 5, 8 whole groups, lean 1             1.5    0.5     2.0          0.0
    60 × 5, 30 whole groups, lean 1            1.5    2.0     1.0          0.0
    60 × 5, 3 seeds, 20 %, lean 1              0.5    6.0     3.5          0.0

Of 120 tables of each of the cases with `easy`, where 93 % of the answers are right, 2.5 % have such a p-value.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from affect.evaluation.significance.jackknife import (
    FEWEST_GROUPS,
    LEVEL,
    Paired,
    blocks_of,
    effective_groups,
    joint_freedom,
)

Metric = Callable[[np.ndarray, np.ndarray], float]


def influence(gold: np.ndarray, reads: Sequence[np.ndarray], metric: Metric) -> np.ndarray:
    """float64[N]: by how much each clip moves the metric of all clips, mean over seeds, times N. Of a mean it is the
    value of the clip minus the mean. Clips are left out one at a time.

    >>> influence(np.zeros(3), [np.array([1.0, 2.0, 6.0])], lambda gold, read: float(read.mean())).round(9).tolist()
    [-2.0, -1.0, 3.0]
    """
    count = len(gold)
    kept = np.ones(count, dtype=bool)
    without = np.empty(count)
    for clip in range(count):
        kept[clip] = False
        without[clip] = np.mean([metric(gold[kept], read[kept]) for read in reads])
        kept[clip] = True
    return (count - 1) * (without.mean() - without)


def contrast(
    gold: np.ndarray,
    reads: Sequence[np.ndarray],
    inside: np.ndarray,
    groups: Sequence | np.ndarray,
    metric: Metric,
    *,
    influences: np.ndarray | None = None,
) -> Paired:
    """metric of the clips in the part minus metric of the others, mean over seeds, with its interval and p-value.

    gold[N], reads[seeds][N] and bool inside[N]; the rest is as in `paired`. influences[N] are those of `influence`,
    where they are known. clips, groups and effective of the result are those of the smaller part. Where no interval can
    be had the result has a `reason`. Raises ValueError where a part has no clip.

    >>> right = lambda gold, read: float(np.mean(gold == read))
    >>> clip = np.arange(40)
    >>> found = contrast(np.ones(40), [(clip % 4 > 0) | (clip < 20)], clip < 20, clip // 2, right)
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), round(found.p, 3)
    (0.25, 0.016, 0.484, 0.047)
    """
    inside = np.asarray(inside, dtype=bool)
    names, of = np.unique(np.asarray(groups), return_inverse=True)
    parts = (inside, ~inside)
    if not all(part.any() for part in parts):
        raise ValueError("a part has no clip: give one that has some of the clips, and not all")
    sizes = [np.bincount(of[part], minlength=len(names)) for part in parts]
    effective = [effective_groups(size[size > 0]) for size in sizes]
    smaller = int(sizes[1].sum() < sizes[0].sum())
    counted = {
        "clips": int(sizes[smaller].sum()),
        "groups": int(np.count_nonzero(sizes[smaller])),
        "effective": effective[smaller],
        "seeds": len(reads),
    }

    def mean(part: np.ndarray) -> float:
        return float(np.mean([metric(gold[part], read[part]) for read in reads]))

    values = [mean(part) for part in parts]
    difference = values[0] - values[1]
    if not np.isfinite(difference):
        return Paired(mean=None, reason="the metric is undefined for a part", **counted)
    if min(effective) < FEWEST_GROUPS:
        return Paired(mean=difference, reason=_too_few(sizes, effective), **counted)
    blocks = blocks_of(of, len(names))
    left_out = [blocks != block for block in range(blocks.max() + 1)]
    moved = [
        np.array([mean(part & kept) for kept in left_out]) - value for part, value in zip(parts, values, strict=True)
    ]
    own = influence(gold, reads, metric) if influences is None else influences
    tested = _if_drawn_from_all(own, inside, of)
    whole = mean(np.ones_like(inside))
    if not (np.isfinite(moved).all() and np.isfinite(tested)):
        return Paired(
            mean=difference,
            reason="the metric of a part is undefined without some of the groups, so that its spread cannot be known",
            **counted,
        )
    if tested <= 1e-18:
        return Paired(
            mean=difference,
            reason="all clips count alike in the metric, so that the spread of the difference cannot be known",
            **counted,
        )
    scale = (len(left_out) - 1) / len(left_out)
    together = max(scale * float(np.square(moved[0] - moved[1]).sum()), tested)
    is_share = _is_share(own, whole, len(reads))
    if not is_share:
        tested = together
    free = [min(count, len(np.unique(blocks[part]))) - 1 for count, part in zip(effective, parts, strict=True)]
    # The share of each part in the variance is about the inverse of its size.
    freedom = joint_freedom(*((1 / size.sum(), number) for size, number in zip(sizes, free, strict=True)))
    p = float(2 * stdtr(freedom, -abs(difference) / np.sqrt(tested)))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(together))
    return Paired(
        mean=difference,
        low=difference - half,
        high=difference + half,
        p=max(p, _fisher(own + whole, inside)) if is_share else p,
        error=float(np.sqrt(tested)),
        freedom=freedom,
        **counted,
    )


def _if_drawn_from_all(influences: np.ndarray, inside: np.ndarray, of: np.ndarray) -> float:
    """The variance of the difference if both parts were drawn from all clips, of which those of a group are alike."""
    weights = np.where(inside, 1 / inside.sum(), -1 / (~inside).sum())
    apart = influences - influences.mean()
    squares, sizes = np.square(apart).sum(), np.bincount(of)
    variance = squares / (len(of) - 1)
    pairs = np.square(sizes).sum() - len(of)
    # Below 0 it is chance: clips of a group are not less alike than others.
    covariance = max((np.square(np.bincount(of, weights=apart)).sum() - squares) / pairs, 0.0) if pairs else 0.0
    alone = np.square(weights).sum()
    return float(variance * alone + covariance * (np.square(np.bincount(of, weights=weights)).sum() - alone))


def _is_share(influences: np.ndarray, value: float, seeds: int) -> bool:
    """Whether a metric of this value is the mean of a 0 or 1 for each clip and seed."""
    counts = (influences + value) * seeds
    return bool((np.abs(counts - np.round(counts)) < 1e-6).all() and counts.min() > -0.5 and counts.max() < seeds + 0.5)


def _fisher(shares: np.ndarray, inside: np.ndarray) -> float:
    """p-value of Fisher's exact test, 1922, of the numbers of right answers in both parts, mean over seeds."""
    from scipy.stats import fisher_exact

    counts = [(round(float(shares[part].sum())), int(part.sum())) for part in (inside, ~inside)]
    return float(fisher_exact([[right, count - right] for right, count in counts]).pvalue)


def _too_few(sizes: Sequence[np.ndarray], effective: Sequence[float]) -> str:
    place = int(np.argmin(effective))
    count = int(np.count_nonzero(sizes[place]))
    which = "these clips are" if place == 0 else "the other clips are"
    if count < FEWEST_GROUPS:
        counted = "1 group" if count == 1 else f"{count} groups"
        return f"{which} of {counted}, and fewer than {FEWEST_GROUPS} do not show how much others would differ"
    return (
        f"{which} of {count} groups of such unequal size that they count as {effective[place]:.1f}, and fewer than"
        f" {FEWEST_GROUPS} do not show how much others would differ"
    )
