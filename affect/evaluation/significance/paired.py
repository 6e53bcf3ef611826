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

Errors in % of nominal 5 % tests in simulations, 4,000 experiments a case, so give or take 0.7
(benchmarks/significance.py --experiments 4000, which says what was simulated: groups × clips of each; what is refused
is shown as it would be). `bootstrap` is the percentile bootstrap of accuracy over groups and seeds. All that is not
refused errs in 3.5 to 6.0 %, but where both sides answer nearly all clips alike: there macro F1, UAR and the
correlations err more rarely.

    simulated                            bootstrap   acc   wF1   mF1   UAR  Acc7  Corr   MAE   CCC
    60 groups × 2                              5.9   4.9   4.6   4.5   4.5   5.1   4.8   5.1   5.1
    60 × 2, gain 0.8                           7.1   6.0   5.5   5.1   5.2   5.5   5.5   5.2   5.4
    12 × 10, lean 1                            9.6   5.4   4.9   4.8   4.9   5.5   5.1   4.5   4.9
    12 × 10, lean 1, gain 0.8                  9.8   4.9   4.9   4.9   5.3   5.7   5.1   4.7   5.3
    6 × 20, lean 1                            14.1   4.8   4.7   4.8   4.2   5.2   4.9   4.6   5.0
    5 × 24, lean 1                            18.2   5.6   4.9   4.9   4.5   4.8   4.9   4.3   5.3
    4 × 30, lean 1                            20.3   5.0   5.1   4.5   3.8   5.2   5.0   4.2   4.9  refused
    2 × 60, lean 1                            48.8   2.8   3.8   1.1   1.1   1.5   1.9   4.0   2.9  refused
    25 × 10, lean 0.5                          7.8   5.4   5.2   4.5   4.9   5.5   5.6   4.8   5.5
    40 unequal, lean 1                         7.5   4.3   4.3   4.6   4.7   4.7   4.7   4.4   4.9
    8 × 40 and 40 × 3, lean 1                  7.9   4.6   4.7   4.3   4.4   5.1   4.8   4.7   4.9
    8 × 40 and 40 × 3, lean 0                  7.0   4.0   4.0   3.8   4.0   4.7   4.2   4.6   4.7
    400 × 1                                    5.6   4.7   4.5   4.7   5.0   5.5   5.0   4.9   5.1
    60 × 2, 8 % of answers differ              9.4   4.6   4.4   2.1   1.5   4.7   2.5   4.3   2.6
    60 × 2, 2 seeds                            1.1   4.2   6.0   5.1   4.9   4.7   5.2   6.6   5.5  refused
    60 × 2, 3 seeds                            0.7   4.8   5.1   4.2   3.8   5.0   4.2   4.4   4.3
    60 × 2, 3 seeds, seed 0.2                  1.3   5.2   4.9   3.7   3.5   5.2   4.6   5.2   4.5
    60 × 2, 3 seeds, seed 0.5                  7.5   5.6   5.7   4.7   3.8   5.5   4.8   5.3   4.8
    12 × 10, 3 seeds, lean 1, seed 0.2         4.0   4.0   4.1   4.4   3.9   4.0   4.3   3.8   3.9
    4 × 30, 3 seeds, lean 1, seed 0.2         10.7   3.7   3.8   3.9   3.6   3.1   4.2   2.4   3.9  refused
    200 × 2, 3 seeds, seed 0.5                15.2   5.5   5.5   6.0   6.0   5.5   5.8   5.3   5.5
    30 × 4, 5 seeds, lean 0.5, seed 0.3        2.1   4.5   4.4   4.2   4.0   3.8   3.6   4.1   3.8

Four groups hold in these simulations, where groups differ as normal deviates do, and are refused since four cannot show
that they do.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from affect.evaluation.significance.jackknife import Paired, jackknifed


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
    if len(ours) != len(theirs) or not len(ours):
        raise ValueError(
            f"ours has {len(ours)} seeds and theirs {len(theirs)}: give as many, at least one, each with its partner at"
            " the same place"
        )
    gold, sides, groups = columns(gold, {"ours": ours, "theirs": theirs}, groups)

    def differences(rows: np.ndarray) -> np.ndarray:
        # A model that was not trained stands beside every seed of the other side: it is computed once.
        distinct = {id(column): column for side in sides.values() for column in side}
        values = {key: metric(gold[rows], column[rows]) for key, column in distinct.items()}
        return np.array([[values[id(one)] - values[id(other)]] for one, other in zip(*sides.values(), strict=True)])

    [found] = jackknifed(differences, groups, differ(*sides.values())[None], units=units)
    return found


def columns(
    gold: Sequence | np.ndarray, sides: Mapping[str, Sequence[Sequence | np.ndarray]], groups: Sequence | np.ndarray
) -> tuple[np.ndarray, dict[str, list[np.ndarray]], np.ndarray]:
    """As arrays: gold[N], by name the columns[N] of every side, and groups[N]. Raises ValueError where they do not fit
    together."""
    gold, groups = np.asarray(gold), np.asarray(groups)
    known: dict[int, np.ndarray] = {}  # what is one column stays one
    arrays = {name: [known.setdefault(id(one), np.asarray(one)) for one in side] for name, side in sides.items()}
    if gold.ndim == 0 or not len(gold):
        raise ValueError("gold has no clips: give at least one labelled clip")
    for name, side in (*arrays.items(), ("groups", [groups])):
        for place, column in enumerate(side):
            if column.ndim == 0 or len(column) != len(gold):
                which = name if name == "groups" else f"{name}[{place}]"
                length = "no list" if column.ndim == 0 else f"{len(column)} entries"
                raise ValueError(f"{which} has {length} and gold {len(gold)}: give one for each clip, in gold's order")
    if unknown := [place for place, group in enumerate(groups.tolist()) if group is None or group != group]:
        raise ValueError(f"groups[{unknown[0]}] is {groups[unknown[0]]}: say of every clip which group it is of")
    return gold, arrays, groups


def differ(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> np.ndarray:
    """bool[N]: clips to which the two sides have answered differently with any seed. NaN is equal to NaN."""
    apart = [(one != other) & ((one == one) | (other == other)) for one, other in zip(ours, theirs, strict=True)]
    return np.any([each.reshape(len(each), -1).any(axis=1) for each in apart], axis=0)
