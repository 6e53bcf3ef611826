"""Whether a classifier's probabilities mean what they say, where every label was scored.

Probabilities are the softmax over the labels' log-likelihoods, so they are relative to the closed set: the probability
that the model says something else is left out.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599)."""


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax along the last axis of log-likelihoods in nats, float64[N, K].

    >>> probabilities(np.log(np.array([[1.0, 3.0]]))).tolist()
    [[0.25, 0.75]]
    """
    # The largest is taken off first: a likelihood of -1000 nats is 0 in float64.
    likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
    return likelihoods / likelihoods.sum(axis=1, keepdims=True)


def ece(probability: np.ndarray, gold: np.ndarray) -> float:
    """Expected calibration error, in [0, 1], 0 is best: |accuracy - mean confidence| of the rows whose confidence lies
    in a bin, averaged over 15 bins of equal width with their rows as weights. Confidence is the greatest probability of
    a row; the first label has it where several do. Bins are open on the left and closed on the right; empty ones weigh
    nothing. Guo et al., ICML 2017.

    `probability` float[N, K], `gold` int[N] in 0..K-1. Raises ValueError where there are no rows or not equally many.

    >>> round(ece(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])), 6)  # half are right, at a confidence of 0.9
    0.4
    """
    _check(probability, gold)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == gold
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    # The share of rows cancels against the mean, so the sums of a bin are all that is needed.
    gaps = np.bincount(bins, weights=right, minlength=BINS) - np.bincount(bins, weights=confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(gold))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Rows of like confidence."""

    rows: int
    confidence: float
    """Mean of the rows."""
    accuracy: float


def reliability(probability: np.ndarray, gold: np.ndarray, bins: int = BINS) -> list[Bin]:
    """The reliability curve: accuracy by confidence, in bins of about as many rows each (quantiles; rows of equal
    confidence stay together, so there may be fewer bins). Equal to scikit-learn's calibration_curve of
    strategy="quantile", with the numbers of rows. Shapes and errors as for `ece`.

    >>> reliability(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), bins=2)
    [Bin(rows=1, confidence=0.6, accuracy=0.0), Bin(rows=1, confidence=0.9, accuracy=1.0)]
    """
    _check(probability, gold)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == gold
    places = np.searchsorted(np.quantile(confidence, np.arange(1, bins) / bins), confidence)
    return [
        Bin(rows=int(own.sum()), confidence=float(confidence[own].mean()), accuracy=float(right[own].mean()))
        for own in (places == place for place in np.unique(places))
    ]


def ece_of(curve: list[Bin]) -> float:
    """Expected calibration error of a reliability curve: |accuracy - mean confidence|, averaged over its bins with
    their rows as weights. With bins of equal mass the estimate is less biased than with bins of equal width, most of
    which hold few rows (Nguyen and O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015; Roelofs et
    al., Mitigating bias in calibration error estimation, AISTATS 2022)."""
    rows = sum(each.rows for each in curve)
    return sum(each.rows * abs(each.accuracy - each.confidence) for each in curve) / rows


def brier(probability: np.ndarray, gold: np.ndarray) -> float:
    """Brier score in its original form, in [0, 2], 0 is best: the mean over rows of the sum over labels of (probability
    - 1 where it is the gold label)². With two labels that is twice what some libraries report. Brier, Monthly Weather
    Review 78, 1950. Shapes and errors as for `ece`.

    >>> round(brier(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1])), 6)  # 0.08 and 0.5
    0.29
    """
    _check(probability, gold)
    wanted = np.zeros_like(probability)
    wanted[np.arange(len(gold)), gold] = 1.0
    return float(np.square(probability - wanted).sum(axis=1).mean())


def _check(probability: np.ndarray, gold: np.ndarray) -> None:
    if probability.ndim != 2 or len(probability) != len(gold) or len(gold) == 0:
        raise ValueError(
            f"probabilities of shape {probability.shape} do not fit {len(gold)} gold labels: give one row for each, and"
            " at least one"
        )
