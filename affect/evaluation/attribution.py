"""What each modality contributes: Shapley values of a metric over the subsets of the modalities.

v(S) is the metric of the answers that are given with the modalities S, and v of the empty set that of an answer that
knows nothing of the clip. The value of a modality is its gain v(S + m) - v(S), averaged over all orders in which the
modalities can be added (Shapley, A value for n-person games, 1953). The values add up to v(all) - v(none) exactly, a
modality that never changes the metric has 0, and two that can be exchanged have the same.

Subsets are named by their letters, t, a and v, in this order: "tav", "ta", …, "".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np

from affect.evaluation.significance.jackknife import Paired, jackknifed
from affect.evaluation.significance.paired import columns, differ

Metric = Callable[[np.ndarray, np.ndarray], float]


def subsets(modalities: str) -> list[str]:
    """All subsets, the smaller first.

    >>> subsets("tav")
    ['', 't', 'a', 'v', 'ta', 'tv', 'av', 'tav']
    """
    return ["".join(some) for size in range(len(modalities) + 1) for some in combinations(modalities, size)]


def weights(modalities: str) -> np.ndarray:
    """int64[M, 2 ** M]: the Shapley value of each of M modalities is this times the values of `subsets(modalities)`,
    divided by M! (whole numbers, so that what cancels out is 0 to the last bit).

    >>> weights("tav")[0].tolist()  # of text; subsets with it count for it, those without against it
    [-2, 2, -1, -1, 1, 1, -2, 2]
    """
    count = len(modalities)

    def weight(modality: str, subset: str) -> int:
        others = len(subset) - (modality in subset)
        orders = factorial(others) * factorial(count - others - 1)
        return orders if modality in subset else -orders

    return np.array([[weight(modality, subset) for subset in subsets(modalities)] for modality in modalities])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    values: dict[str, list[float]]
    """v by subset, of each seed; nan where the metric is undefined."""
    modalities: dict[str, Paired]
    """The Shapley value of each modality, in the unit of the metric."""
    total: Paired
    """v(all) - v(none), which the Shapley values add up to."""
    differences: dict[tuple[str, str], Paired]
    """The value of the first modality minus that of the second."""


def attribution(
    modalities: str,
    gold: Sequence | np.ndarray,
    answers: Mapping[str, Sequence[Sequence | np.ndarray]],
    groups: Sequence | np.ndarray,
    metric: Metric,
) -> Attribution:
    """The Shapley values of `metric` with their intervals, over groups of clips and seeds as
    `affect.evaluation.significance.paired` has them.

    gold[N]; answers[subset][seeds][N] for every subset of `modalities`, seed s of one beside seed s of the others;
    groups[N] names the group of each clip. Where `answers` has no empty set, its value
    is 0. Raises ValueError where a subset is missing and where the columns do not fit together.

    >>> right = lambda gold, read: float(np.mean(gold == read))
    >>> gold, half = np.ones(40), np.arange(40) % 2
    >>> found = attribution("ta", gold, {"t": [half], "a": [0 * half], "ta": [gold]}, np.arange(40) // 4, right)
    >>> [value.mean for value in found.modalities.values()], found.total.mean
    ([0.75, 0.25], 1.0)
    """
    named = subsets(modalities)
    if missing := [subset for subset in named if subset and subset not in answers]:
        raise ValueError(
            f"there are no answers with {', '.join(missing)}: Shapley values need those of every subset of {modalities}"
        )
    seeds = len(answers[modalities])
    if unequal := [subset for subset in named if subset in answers and len(answers[subset]) != seeds]:
        raise ValueError(
            f"{unequal[0] or 'the empty set'} has {len(answers[unequal[0]])} seeds and {modalities} {seeds}: give as"
            " many of every subset, each at the same place"
        )
    gold, read, groups = columns(gold, {name: answers[name] for name in named if name in answers}, groups)

    def values(rows: np.ndarray) -> np.ndarray:
        """float64[seeds, 2 ** M]."""
        distinct = {id(column): column for side in read.values() for column in side}
        known = {key: metric(gold[rows], column[rows]) for key, column in distinct.items()}
        return np.array(
            [[known[id(read[name][seed])] if name in read else 0.0 for name in named] for seed in range(seeds)]
        )

    def with_(subset: str, modality: str) -> str:
        return "".join(letter for letter in modalities if letter in subset + modality)

    of_modalities = weights(modalities)
    places = list(combinations(range(len(modalities)), 2))
    wanted = [*of_modalities, *(of_modalities[i] - of_modalities[j] for i, j in places), of_modalities.sum(axis=0)]
    moved = [
        *([(rest, with_(rest, one)) for rest in named if one not in rest] for one in modalities),
        *(
            [(with_(rest, one), with_(rest, other)) for rest in named if not {one, other} & set(rest)]
            for one, other in combinations(modalities, 2)
        ),
        [("", modalities)],
    ]
    telling = np.array([_telling(pairs, read, len(gold)) for pairs in moved])
    *found, total = jackknifed(
        lambda rows: values(rows) @ np.array(wanted).T / factorial(len(modalities)), groups, telling
    )
    return Attribution(
        values=dict(zip(named, values(np.arange(len(gold))).T.tolist(), strict=True)),
        modalities=dict(zip(modalities, found, strict=False)),
        total=total,
        differences=dict(zip(combinations(modalities, 2), found[len(modalities) :], strict=True)),
    )


def _telling(pairs: Sequence[tuple[str, str]], read: Mapping[str, list[np.ndarray]], clips: int) -> np.ndarray:
    """bool[N]: clips that have another answer with one subset than with the other, for any pair of them."""
    apart = [
        differ(read[one], read[other]) if {one, other} <= read.keys() else np.ones(clips, bool) for one, other in pairs
    ]
    return np.any(apart, axis=0)


def per_clip(
    modalities: str,
    gold: np.ndarray,
    answers: Mapping[str, Sequence[np.ndarray]],
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """float64[M, N]: the Shapley values of score(gold, answers)[N] of every clip by itself, mean over seeds. Those of a
    score whose mean is a metric have that metric's Shapley values as their mean. `answers` as in `attribution`."""
    named = subsets(modalities)
    known = np.array(
        [
            np.mean([score(gold, read) for read in answers[name]], axis=0) if name in answers else np.zeros(len(gold))
            for name in named
        ]
    )
    return weights(modalities) @ known / factorial(len(modalities))
