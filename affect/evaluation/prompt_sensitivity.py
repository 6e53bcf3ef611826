"""How much numbers depend on the wording of prompts. Pure.

A grid of prompts asks the same of the same clips in other words. What is looked at: how far the metric of a model moves
(`spread`), whether models keep their ranks (`stability`), and whether answers go by the place at which a question lists
a label, or by the label itself (`preference`, `position_test`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import chi2, friedmanchisquare, kendalltau, rankdata

from affect.evaluation.significance import paired


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The metric of one model over prompts, in the metric's unit."""

    prompts: int
    mean: float
    sd: float | None
    """Sample standard deviation (n - 1) between prompts; None for a single one."""
    best: int
    """Place of the best prompt; of equals the first."""
    worst: int
    range: float
    """Greatest minus smallest value."""


def spread(values: Sequence[float], *, lower_is_better: bool = False) -> Spread:
    """The spread of a metric over at least one prompt. Raises ValueError where one is not finite.

    >>> found = spread([0.4, 0.6, 0.5])
    >>> round(found.mean, 3), round(found.sd, 3), found.best, found.worst, round(found.range, 3)
    (0.5, 0.1, 1, 0, 0.2)
    """
    column = np.asarray(values, dtype=np.float64)
    if not np.isfinite(column).all():
        raise ValueError("the metric is undefined for one of the prompts")
    ends = (int(column.argmax()), int(column.argmin()))
    best, worst = ends[::-1] if lower_is_better else ends
    return Spread(
        prompts=len(column),
        mean=float(column.mean()),
        sd=float(column.std(ddof=1)) if len(column) > 1 else None,
        best=best,
        worst=worst,
        range=float(np.ptp(column)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How alike prompts rank models."""

    tau: float | None
    """Mean of Kendall's tau-b over all pairs of prompts: 1 where all rank alike. None where a prompt has all models
    equal."""
    w: float | None
    """Kendall's coefficient of concordance: 1 where all prompts rank alike, 0 where they have nothing in common. None
    where every prompt has all models equal."""
    p: float | None
    """Of no agreement between prompts (Friedman's test); None with fewer than three models."""


def stability(scores: np.ndarray) -> Stability:
    """How alike the columns of scores[models, prompts] rank its rows; both have to be at least two.

    W with correction for ties (Kendall and Gibbons, Rank Correlation Methods, 1990, chapter 6). Friedman's test takes
    prompts for independent, and they share their clips: p says that ranks agree, not that they would on other clips.
    """
    models, prompts = scores.shape
    if models < 2 or prompts < 2:
        raise ValueError(f"{models} models and {prompts} prompts have no ranks that could differ: at least two of each")
    if not np.isfinite(scores).all():
        raise ValueError("the metric is undefined for one of the prompts")
    taus = [float(kendalltau(scores[:, i], scores[:, j]).statistic) for i, j in combinations(range(prompts), 2)]
    ranks = rankdata(scores, axis=0)
    _, counts = zip(*(np.unique(column, return_counts=True) for column in scores.T), strict=True)
    ties = sum(float((count**3 - count).sum()) for count in counts)
    deviations = float(np.square(ranks.sum(axis=1) - prompts * (models + 1) / 2).sum())
    most = prompts**2 * (models**3 - models) - prompts * ties
    all_equal = most == 0
    return Stability(
        tau=float(np.mean(taus)) if np.isfinite(taus).all() else None,
        w=None if all_equal else 12 * deviations / most,
        p=None if models < 3 or all_equal else float(friedmanchisquare(*scores).pvalue),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """How often an option is answered, and how often it is right: of a label, or of a place in the list of labels."""

    option: str
    answered: float
    """Share of answers; answers that cannot be read count as none of the options."""
    gold: float
    difference: float
    """Answered minus gold."""
    low: float | None
    """Ends of the 95 % interval of the difference, over groups of clips."""
    high: float | None
    reason: str
    """Why there is no interval."""


def preference(
    options: Sequence[str], gold: np.ndarray, answered: np.ndarray, groups: Sequence[str]
) -> list[Preference]:
    """How often each of K options is answered and right.

    gold: int[N] or int[prompts, N], the place of the right one among `options`; answered: int[prompts, N], -1 where an
    answer could not be read. groups[N]: clips of a group are not independent.
    """
    gold = np.broadcast_to(gold, answered.shape)
    found = []
    for place, option in enumerate(options):
        ours, theirs = (np.mean(column == place, axis=0) for column in (answered, gold))
        compared = paired(theirs, [ours], [theirs], groups, lambda _, values: float(values.mean()))
        assert compared.mean is not None
        found.append(
            Preference(
                option=option,
                answered=float(ours.mean()),
                gold=float(theirs.mean()),
                difference=compared.mean,
                low=compared.low,
                high=compared.high,
                reason=compared.reason,
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionTest:
    """Whether answers depend on the place at which their label is listed."""

    statistic: float
    freedom: int
    p: float


def position_test(answered: np.ndarray, num_options: int) -> PositionTest | None:
    """Chi-square test of shuffled lists: if the order made no difference, the answered label would be anywhere.

    answered: int[prompts, N], the place at which the answered label is listed, -1 where it could not be read. All
    prompts list the labels of a clip in the same order, drawn for that clip; they count as one observation of it: for
    n_l of the n readable answers to a clip naming label l, the variance of their share at a place is that of a random
    permutation. With one prompt this is Pearson's test against equal shares. None without a readable answer.

    >>> found = position_test(np.array([[0] * 30 + [1] * 10]), 2)
    >>> found.statistic, found.freedom, round(found.p, 4)
    (10.0, 1, 0.0016)
    """
    readable = (answered >= 0).sum(axis=0)
    answered, readable = answered[:, readable > 0], readable[readable > 0]
    if not len(readable):
        return None
    # Labels of a clip are as many as their places are.
    shares = np.stack([(answered == place).sum(axis=0) for place in range(num_options)]) / readable
    concentration = np.square(shares).sum(axis=0)
    variance = float(((concentration * num_options - 1) / (num_options * (num_options - 1))).sum())
    if variance <= 0:
        return None
    excess = shares.sum(axis=1) - len(readable) / num_options
    statistic = float(np.square(excess).sum()) / variance
    return PositionTest(statistic=statistic, freedom=num_options - 1, p=float(chi2.sf(statistic, num_options - 1)))
