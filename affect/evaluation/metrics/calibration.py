"""Whether a classifier's probabilities mean what they say, where every label was scored.

Probabilities are the softmax over the labels' log-likelihoods, so they are relative to the closed set: the probability
that the model says something else is left out.
"""

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
