"""How a metric of some of the clips differs from that of the others, for the same predictions: slices of a test set.

What is estimated is the difference that these models would have on other groups of clips (speakers, dialogues,
videos); over several seeds it is the mean of their differences, and nothing is said of other seeds.

How: groups are left out one at a time (jackknife, as in `paired`), from both parts at once, since a group may have
clips in both. The variance is at least what it would be if both parts were drawn from all clips (a score test): a part
whose few clips are all wrong does not vary, and would otherwise differ from the rest without doubt. The difference over
its error is held against Student's t with the degrees of freedom of the two parts. Where groups differ much and have
clips in both parts, the test is careful.

Errors in % of nominal 5 % tests in simulations where the parts do not differ, and (last column) tables of 40 parts with
any p-value (Holm) of at most 5 % (benchmarks/slices.py):

{TABLE}
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


def contrast(
    gold: np.ndarray,
    reads: Sequence[np.ndarray],
    inside: np.ndarray,
    groups: Sequence | np.ndarray,
    metric: Callable[[np.ndarray, np.ndarray], float],
    *,
    units: str = "groups",
) -> Paired:
    """metric of the clips in the part minus metric of the others, mean over seeds, with its interval and p-value.

    gold[N], reads[seeds][N] and bool inside[N]; the rest is as in `paired`. clips, groups and effective of the result
    are those of the smaller part. Where no interval can be had the result has a `reason`. Raises ValueError where a
    part has no clip.

    >>> right = lambda gold, read: float(np.mean(gold == read))
    >>> clip = np.arange(40)
    >>> found = contrast(np.ones(40), [(clip % 4 > 0) | (clip < 20)], clip < 20, clip // 2, right)
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), round(found.p, 3)
    (0.25, 0.01, 0.49, 0.043)
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
        return Paired(mean=difference, reason=_too_few(sizes, effective, units), **counted)
    blocks = blocks_of(of, len(names))
    left_out = [blocks != block for block in range(blocks.max() + 1)]
    moved = [
        np.array([mean(part & kept) for kept in left_out]) - value for part, value in zip(parts, values, strict=True)
    ]
    if not np.isfinite(moved).all():
        return Paired(
            mean=difference,
            reason=f"the metric of a part is undefined without some of the {units}, so that its spread cannot be known",
            **counted,
        )
    scale = (len(left_out) - 1) / len(left_out)
    apart = [scale * float(np.square(one).sum()) for one in moved]
    together = scale * float(np.square(moved[0] - moved[1]).sum())
    variance = max(together, _if_drawn_from_all(mean, inside))
    if variance <= 0:
        return Paired(
            mean=difference,
            reason=f"the metric is the same without any of the {units}, so that its spread cannot be known",
            **counted,
        )
    free = [min(count, len(np.unique(blocks[part]))) - 1 for count, part in zip(effective, parts, strict=True)]
    # A part that does not vary takes no share of them, though it may be the smaller one.
    freedom = joint_freedom(*zip(apart, free, strict=True)) if min(apart) > 0 else min(free)
    error = float(np.sqrt(variance))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Paired(
        mean=difference,
        low=difference - half,
        high=difference + half,
        p=float(2 * stdtr(freedom, -abs(difference) / error)),
        error=error,
        freedom=freedom,
        **counted,
    )


def _if_drawn_from_all(mean: Callable[[np.ndarray], float], inside: np.ndarray) -> float:
    """The variance of the difference if both parts were drawn from all clips, by the jackknife over clips."""
    count = len(inside)
    blocks = blocks_of(np.arange(count), count)
    without = np.array([mean(blocks != block) for block in range(blocks.max() + 1)])
    of_all = (len(without) - 1) / len(without) * float(np.square(without - mean(np.ones(count, dtype=bool))).sum())
    return of_all * (count / inside.sum() + count / (count - inside.sum()))


def _too_few(sizes: Sequence[np.ndarray], effective: Sequence[float], units: str) -> str:
    place = int(np.argmin(effective))
    count = int(np.count_nonzero(sizes[place]))
    which = "these clips are" if place == 0 else "the other clips are"
    if count < FEWEST_GROUPS:
        return f"{which} of {count} {units}, and fewer than {FEWEST_GROUPS} do not show how much others would differ"
    return (
        f"{which} of {count} {units} of such unequal size that they count as {effective[place]:.1f}, and fewer than"
        f" {FEWEST_GROUPS} do not show how much others would differ"
    )
