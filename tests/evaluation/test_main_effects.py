"""Main effects against scikit-learn's regression on coded factors, scipy's t-test and a grid worked by hand."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import ttest_ind
from sklearn.linear_model import LinearRegression

from affect.evaluation.main_effects import INTERACTIONS, main_effects

GRID = [dict(rate=rate, rank=rank) for rate, rank in product(["1e-4", "1e-3", "1e-2"], ["4", "16"])]


def test_a_grid_by_hand() -> None:
    grid = [dict(a=a, b=b) for a, b in product("xy", "pq")]
    found = main_effects(grid, [[0.0], [2.0], [4.0], [10.0]])
    assert (found.mean, found.low, found.high, found.within) == (4.0, 0.0, 10.0, None)
    assert [(each.factor, each.level, each.mean, each.low) for each in found.effects] == [
        ("a", "x", -3.0, None), ("a", "y", 3.0, None), ("b", "p", -2.0, None), ("b", "q", 2.0, None),
    ]  # fmt: skip
    # Σ (y - 4)² = 16 + 4 + 0 + 36 = 56; 4 · 3² and 4 · 2² of it are main effects.
    assert found.shares == pytest.approx({"a": 36 / 56, "b": 16 / 56, INTERACTIONS: 4 / 56})


def test_effects_are_those_of_an_additive_regression() -> None:
    values = np.random.default_rng(2).normal(size=(len(GRID), 3))
    found = main_effects(GRID, values)
    # Effect coding: the last level of a factor is -1 in all of its columns.
    codes = {"1e-4": [1, 0], "1e-3": [0, 1], "1e-2": [-1, -1], "4": [1], "16": [-1]}
    design = np.array([[*codes[setting["rate"]], *codes[setting["rank"]]] for setting in GRID], float)
    model = LinearRegression().fit(design, values.mean(axis=1))
    expected = [model.coef_[0], model.coef_[1], -model.coef_[0] - model.coef_[1], model.coef_[2], -model.coef_[2]]
    assert [each.mean for each in found.effects] == pytest.approx(expected) and found.mean == pytest.approx(
        model.intercept_
    )
    explained = model.score(design, values.mean(axis=1))
    assert found.shares["rate"] + found.shares["rank"] == pytest.approx(explained)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_the_interval_of_two_settings_is_half_that_of_the_t_test() -> None:
    values = np.random.default_rng(3).normal(size=(2, 5))
    first, _ = main_effects([{"a": "x"}, {"a": "y"}], values).effects
    low, high = ttest_ind(*values).confidence_interval(0.95)
    assert (first.low, first.high) == pytest.approx((low / 2, high / 2))


@pytest.mark.parametrize(
    ("settings", "values", "why"),
    [
        (GRID[:-1], np.zeros((5, 1)), "1 of 6 combinations have no number, as rate=1e-2 rank=16"),
        (GRID, [[0.1]] * 5 + [[0.1, 0.2]], "different numbers of seeds"),
        (GRID, [[0.1]] * 5 + [[float("nan")]], "undefined in some of the runs"),
        ([*GRID, GRID[0]], np.zeros((7, 1)), "two settings have the same rate and rank"),
        ([{"a": "x"}], [[0.1]], "all settings are the same"),
        ([], [], "all settings are the same"),
    ],
)
def test_what_has_no_main_effects_is_refused(settings: list, values: list, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        main_effects(settings, values)
