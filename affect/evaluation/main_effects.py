"""Main effects of a full factorial of settings: what each level of each factor does on average over all others.

With the metric y of every combination of levels, the effect of a level is the mean of y over the combinations that have
it minus the mean over all (a two-level factor has its two effects apart by the difference of the levels). A factor
takes the share Σ effects² · combinations of a level / Σ (y - mean)² of the variation between combinations; what no
single factor takes is interaction (Montgomery, Design and Analysis of Experiments, chapter 5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from affect.evaluation.significance import LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Of one level of one factor."""

    factor: str
    level: str
    mean: float
    """Minus the mean over all combinations."""
    low: float | None
    """Ends of the interval over seeds; None with a single seed."""
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MainEffects:
    mean: float
    """Over all combinations."""
    low: float
    """The smallest and the greatest mean of a combination."""
    high: float
    between: float
    """Standard deviation between combinations."""
    within: float | None
    """Standard deviation between seeds of one combination, pooled; None with a single seed."""
    effects: list[Effect]
    shares: dict[str, float]
    """Share of the variation between combinations, by factor, and of interactions, which has the name of INTERACTIONS.
    Noise between seeds is in all of them. Empty where there is no variation."""


INTERACTIONS = "interactions"


def main_effects(settings: Sequence[Mapping[str, str]], values: Sequence[Sequence[float]]) -> MainEffects:
    """settings[C] has the level of every factor in each combination, values[C] its metric for every seed.

    Raises ValueError where combinations are missing, appear twice, or have different numbers of seeds, and where a
    value is not finite.
    """
    factors = list(settings[0]) if settings else []
    levels = {factor: list(dict.fromkeys(setting[factor] for setting in settings)) for factor in factors}
    factors = [factor for factor in factors if len(levels[factor]) > 1]
    if not factors:
        raise ValueError("all settings are the same: give a key several values")
    places = [tuple(setting[factor] for factor in factors) for setting in settings]
    if len(set(places)) < len(places):
        raise ValueError(f"two settings have the same {' and '.join(factors)}")
    if missing := [place for place in product(*(levels[factor] for factor in factors)) if place not in places]:
        named = " ".join(f"{factor}={level}" for factor, level in zip(factors, missing[0], strict=True))
        raise ValueError(
            f"{len(missing)} of {len(missing) + len(places)} combinations have no number, as {named}: effects that are"
            " means over the others need all of them"
        )
    if len({len(each) for each in values}) > 1:
        raise ValueError("the settings have different numbers of seeds")
    numbers = np.array(values, float)
    if not np.isfinite(numbers).all():
        raise ValueError("the metric is undefined in some of the runs")
    means, seeds = numbers.mean(axis=1), numbers.shape[1]
    grand, between = float(means.mean()), float(((means - means.mean()) ** 2).sum())
    within = float(np.sqrt(numbers.var(axis=1, ddof=1).mean())) if seeds > 1 else None
    effects, shares = [], {}
    for place, factor in enumerate(factors):
        squares = 0.0
        for level in levels[factor]:
            here = means[[each[place] == level for each in places]]
            effect = float(here.mean()) - grand
            squares += effect**2 * len(here)
            half = None
            if within is not None:
                # Of a mean of part of the runs minus that of all of them.
                error = within * np.sqrt((1 / len(here) - 1 / len(means)) / seeds)
                half = float(stats.t.ppf((1 + LEVEL) / 2, len(means) * (seeds - 1)) * error)
            low, high = (None, None) if half is None else (effect - half, effect + half)
            effects.append(Effect(factor=factor, level=level, mean=effect, low=low, high=high))
        shares[factor] = squares / between if between else 0.0
    if between:
        shares[INTERACTIONS] = max(0.0, 1 - sum(shares.values()))
    return MainEffects(
        mean=grand,
        low=float(means.min()),
        high=float(means.max()),
        between=float(means.std(ddof=1)),
        within=within,
        effects=effects,
        shares=shares if between else {},
    )
