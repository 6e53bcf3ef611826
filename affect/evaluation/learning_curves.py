"""Learning curves: a metric as a power law of the number of training clips, and the clips that a method saves.

    metric(n) = full - scale · ((n / N)^-exponent - 1)

with N the greatest number of clips, so that `full` is the metric there, and full + scale the limit of ever more clips.
It is the usual power law a - b · n^-c (Hestness et al., Deep Learning Scaling is Predictable, Empirically, 2017, arXiv
1712.00409), written so that its parameters are known well where clips were measured. The scale is not negative: more
clips never make a fitted curve worse. Metrics of which lower is better are to be given with the sign turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from affect.evaluation.significance import LEVEL

FEWEST_SIZES = 5
"""Different numbers of clips that a curve of three parameters needs, for its deviations to be told from noise."""

EXPONENTS = np.geomspace(0.02, 4.0, 500)
"""Exponents that are tried. At the lower end a curve is nearly a logarithm, at the upper end a step behind the smallest
number of clips."""

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    full: float
    scale: float
    exponent: float
    most: float
    """N."""

    def at(self, clips: float | np.ndarray) -> np.ndarray:
        """The fitted metric."""
        return _law(np.asarray(clips, float) / self.most, self.full, self.scale, self.exponent)

    def clips_for(self, level: float) -> float:
        """The number of clips at which the curve reaches a level not above `full`; 0 where it is flat."""
        if self.scale == 0:
            return 0.0
        return float(self.most * (1 + (self.full - level) / self.scale) ** (-1 / self.exponent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A curve with its interval. Where it cannot be fitted `reason` says why, and the rest is empty."""

    reason: str = ""
    curve: Curve | None = None
    resampled: tuple[Curve, ...] = ()
    """Curves fitted to what the curve says plus scaled residuals that are drawn with replacement."""
    rises: float | None = None
    """p-value of the F-test of the curve against a constant."""

    def band(self, clips: Sequence[float]) -> tuple[list[float], list[float]]:
        """Lower and upper ends of the interval of the curve at these numbers of clips."""
        heights = np.array([curve.at(np.array(clips, float)) for curve in self.resampled])
        low, high = np.quantile(heights, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return low.tolist(), high.tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Clips that one curve needs fewer than another one to the highest level that both reach."""

    reason: str = ""
    """Why there is no number, or no interval."""
    level: float | None = None
    clips: tuple[float, float] | None = None
    """That the reference and the other need for it."""
    saved: float | None = None
    """The first minus the second; negative where the reference needs fewer."""
    low: float | None = None
    high: float | None = None


def _law(shares: np.ndarray, full: float, scale: float, exponent: float) -> np.ndarray:
    return full - scale * (shares**-exponent - 1)


def fit(clips: Sequence[float], values: Sequence[float], seed: int = 0) -> Fitted:
    """The least-squares curve through the mean of values[N] at each number of clips[N], a value for each run.

    Runs of one size share the clips that were drawn for it, so the curve misses their mean by more than the seeds
    explain, and it is sizes that are resampled (residual bootstrap). Residuals are scaled by √(K / (K - 3)) for K sizes
    and three parameters, and by the ratio of the quantiles of Student's t and of the normal distribution, since so few
    tell little of their spread. The interval is over other seeds and other draws of the clips, not other test clips.
    """
    sizes, heights = np.asarray(clips, float), np.asarray(values, float)
    shares = np.unique(sizes)
    free = len(shares) - 3
    if len(shares) < FEWEST_SIZES:
        return Fitted(
            reason=f"{len(shares)} different numbers of clips cannot carry a curve: run {FEWEST_SIZES} or more"
        )
    if not np.isfinite(heights).all():
        return Fitted(reason="the metric is undefined in some of the runs")
    means = np.array([heights[sizes == size].mean() for size in shares])
    most = float(shares.max())
    [curve] = _fitted(shares / most, means[None], most)
    fits = curve.at(shares)
    tail = (1 + LEVEL) / 2
    scale = np.sqrt(len(shares) / free) * stats.t.ppf(tail, free) / stats.norm.ppf(tail)
    drawn = np.random.default_rng(seed).choice(means - fits, (RESAMPLES, len(shares)))
    resampled = _fitted(shares / most, fits + scale * drawn, most)
    left, constant = float(((means - fits) ** 2).sum()), float(((means - means.mean()) ** 2).sum())
    rises = 1.0
    if not np.allclose(means, means.mean()):
        # The F-test of two parameters more than a constant has.
        rises = float(stats.f.sf((constant - left) / 2 / (left / free), 2, free)) if left else 0.0
    return Fitted(curve=curve, resampled=tuple(resampled), rises=rises)


def _fitted(shares: np.ndarray, heights: np.ndarray, most: float) -> list[Curve]:
    """The curves through each row of heights[R, N]. For a given exponent a curve is linear in the other parameters; the
    exponent is searched on a grid, for all rows at once: an optimiser would take a hundred times as long."""
    steps = 1 - shares ** -EXPONENTS[:, None]
    means = steps.mean(axis=1)
    spreads = steps - means[:, None]
    scales = np.maximum(0.0, heights @ (spreads / (spreads**2).sum(axis=1, keepdims=True)).T)
    # What is left of the sum of squares, up to a constant.
    best = (-(scales**2) * (spreads**2).sum(axis=1)).argmin(axis=1)
    chosen = scales[np.arange(len(heights)), best]
    full = heights.mean(axis=1) - chosen * means[best]
    return [
        Curve(full=float(one), scale=float(scale), exponent=float(exponent), most=most)
        for one, scale, exponent in zip(full, chosen, EXPONENTS[best], strict=True)
    ]


def saved(reference: Fitted, other: Fitted, fewest: float, names: tuple[str, str]) -> Saved:
    """The clips that `other` saves against `reference`, at the highest level that both curves reach with all clips.

    One of the two needs all clips for that. The other is read off its curve, which is not extrapolated below `fewest`,
    the smallest number of clips that was measured. The interval is that of resampled curves. `names` of the two are for
    the reason that there is no number.
    """
    for name, fitted in zip(names, (reference, other), strict=True):
        if fitted.curve is None:
            return Saved(reason=f"{name} has no curve: {fitted.reason}")
        if fitted.rises is None or fitted.rises > 1 - LEVEL:
            return Saved(
                reason=f"the curve of {name} does not rise (p = {fitted.rises:.2f} against a constant), so that no"
                " number of clips stands for a level"
            )
    assert reference.curve is not None and other.curve is not None
    level, needed = _needed(reference.curve, other.curve)
    if min(needed) < fewest:
        fast = names[0] if needed[0] < needed[1] else names[1]
        return Saved(
            reason=f"{fast} reaches {level:.4f} with fewer clips than the {fewest:,.0f} of the smallest training, which"
            f" saves at least {max(needed) - fewest:,.0f} of {max(needed):,.0f}: run smaller shares",
            level=level,
        )
    differences = []
    outside = 0
    for one, two in zip(reference.resampled, other.resampled, strict=True):
        _, pair = _needed(one, two)
        outside += min(pair) < fewest
        differences.append(max(pair[0], fewest) - max(pair[1], fewest))
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    reason = ""
    if outside > (1 - LEVEL) / 2 * len(differences):
        reason = (
            f"the interval reaches beyond the smallest training, of {fewest:,.0f} clips, where it is cut off: run"
            " smaller shares, or more seeds"
        )
    return Saved(
        reason=reason, level=level, clips=needed, saved=needed[0] - needed[1], low=float(low), high=float(high)
    )


def _needed(reference: Curve, other: Curve) -> tuple[float, tuple[float, float]]:
    """The level that both reach with all clips, and the clips that each needs for it."""
    level = min(reference.full, other.full)
    return level, (reference.clips_for(level), other.clips_for(level))
