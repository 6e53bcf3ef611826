"""Logistic and ridge regression, as the weight and bias of an output layer."""

import warnings
from typing import Any

import numpy as np
import torch

from affect.baselines.targets import half_range, middle
from affect.config import Kind, Task
from affect.config.logs import LOG

MAX_ITERATIONS = 2_000

IMPOSSIBLE = -1e3
"""Logit of a label that no training example has."""


def fit_linear(
    x: Any, gold: torch.Tensor, task: Task, strength: float, weights: torch.Tensor, standardised: bool
) -> dict[str, torch.Tensor]:
    """`weight` [labels or 1, D] and `bias` of a linear model of x [N, D] (an array, or sparse), float32, in the units
    and the order of affect.models.heads.Heads.

    gold: as `targets` gives it. strength: inverse of the L2 penalty, scikit-learn's C, and 1 / alpha of ridge
    regression. weights: [N], of the examples. standardised: give every column mean 0 and variance 1 first; weight and
    bias are those for x as it is.
    """
    mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if standardised:
        mean, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 1e-8, scale, 1.0)
        x = (x - mean) / scale
    fitted = [_logistic(x, column, strength, weights.numpy()) for column in _columns(gold, task)]
    if task.kind is Kind.intensity:
        rows = [_ridge(x, ((gold - middle(task)) / half_range(task)).numpy(), strength, weights.numpy())]
    elif task.kind is Kind.multi_label:
        rows = [two[1] for two in fitted]
    else:
        rows = _by_label(fitted[0], gold, len(task.labels))
    weight = np.stack([row for row, _ in rows]) / scale
    bias = np.array([intercept for _, intercept in rows]) - weight @ mean
    return {"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()}


Row = tuple[np.ndarray, float]
"""Weights [D] and bias of one output."""


def _columns(gold: torch.Tensor, task: Task) -> list[np.ndarray]:
    if task.kind is Kind.intensity:
        return []
    return list(gold.numpy().astype(int).T) if task.kind is Kind.multi_label else [gold.numpy()]


def _logistic(x: Any, y: np.ndarray, strength: float, weights: np.ndarray) -> dict[int, Row]:
    """Logits by class. Of two classes, the first has 0 and the second the log odds; a class that no example has is
    IMPOSSIBLE in a multi-label task."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(y)
    nothing = np.zeros(x.shape[1])
    if len(classes) == 1:
        return {**{label: (nothing, IMPOSSIBLE) for label in (0, 1)}, int(classes[0]): (nothing, -IMPOSSIBLE)}
    model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x, y, sample_weight=weights)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        LOG.warning(
            f"logistic regression has not converged after {MAX_ITERATIONS:,} iterations: lower model.strength"
            f" (={strength:g}), or check the features for outliers"
        )
    coefficients, biases = model.coef_, model.intercept_
    if len(classes) == 2:
        coefficients, biases = np.stack([nothing, coefficients[0]]), np.array([0.0, biases[0]])
    return {int(label): (coefficients[i], float(biases[i])) for i, label in enumerate(classes)}


def _by_label(by_class: dict[int, Row], gold: torch.Tensor, num_labels: int) -> list[Row]:
    seen = set(gold.tolist())
    nothing = np.zeros(len(next(iter(by_class.values()))[0]))
    return [by_class[label] if label in seen else (nothing, IMPOSSIBLE) for label in range(num_labels)]


def _ridge(x: Any, y: np.ndarray, strength: float, weights: np.ndarray) -> Row:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / strength).fit(x, y, sample_weight=weights)
    return model.coef_, float(model.intercept_)
