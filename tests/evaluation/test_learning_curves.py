"""Learning curves against scipy's least squares, and the clips that are saved against curves whose answer is known."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from affect.evaluation.learning_curves import Curve, Fitted, fit, saved

SIZES = np.repeat([50.0, 100, 200, 400, 600, 800, 1000], 3)
SLOW = Curve(full=0.60, scale=0.15, exponent=0.35, most=1000.0)
FAST = Curve(full=0.64, scale=0.15, exponent=0.30, most=1000.0)
NAMES = ("plain", "cues")


def noisy(curve: Curve, sd: float, seed: int) -> np.ndarray:
    return curve.at(SIZES) + np.random.default_rng(seed).normal(0, sd, len(SIZES))


def fitted(curve: Curve, sd: float = 0.005, seed: int = 1) -> Fitted:
    return fit(SIZES, noisy(curve, sd, seed), seed)


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_that_of_least_squares(seed: int) -> None:
    values = noisy(SLOW, 0.01, seed)
    curve = fit(SIZES, values).curve
    assert curve is not None, "as many seeds of each size: the curve through the means is that through all"

    def law(share: np.ndarray, full: float, scale: float, exponent: float) -> np.ndarray:
        return full - scale * (share**-exponent - 1)

    best, _ = curve_fit(law, SIZES / 1000, values, p0=[0.6, 0.1, 0.3], bounds=([-1, 0, 0.02], [2, 9, 4]))
    assert np.sum((curve.at(SIZES) - values) ** 2) == pytest.approx(
        np.sum((law(SIZES / 1000, *best) - values) ** 2), rel=1e-3
    )
    assert curve.at(300) == pytest.approx(law(0.3, *best), abs=1e-4)


def test_a_curve_without_noise_is_found_and_its_interval_has_no_width() -> None:
    found = fit(SIZES, SLOW.at(SIZES))
    low, high = found.band([50, 300, 1000])
    assert found.curve is not None and found.rises == pytest.approx(0, abs=1e-12)
    truth = pytest.approx(SLOW.at(np.array([50, 300, 1000])), abs=1e-3)
    assert low == truth and high == truth


def test_the_number_of_clips_is_the_inverse_of_the_curve() -> None:
    assert SLOW.clips_for(float(SLOW.at(123.0))) == pytest.approx(123.0) and SLOW.clips_for(0.6) == pytest.approx(1000)


def test_the_clips_saved_are_those_between_the_curves() -> None:
    truth = 1000 - FAST.clips_for(0.60)
    found = saved(fitted(SLOW), fitted(FAST, seed=2), 50, NAMES)
    assert found.low < truth < found.high and found.saved == pytest.approx(truth, rel=0.1) and found.reason == ""
    assert found.clips[0] == pytest.approx(1000, rel=1e-6) and found.level == pytest.approx(0.60, abs=0.01)
    turned = saved(fitted(FAST, seed=2), fitted(SLOW), 50, NAMES)
    assert (turned.saved, turned.low, turned.high) == pytest.approx((-found.saved, -found.high, -found.low))


def test_equal_curves_save_nothing() -> None:
    found = saved(fitted(SLOW, 0.02), fitted(SLOW, 0.02, seed=3), 50, NAMES)
    assert found.low < 0 < found.high


def test_what_no_curve_can_tell_is_refused() -> None:
    three = fit([10, 20, 30, 30], [0.1, 0.2, 0.3, 0.3])
    assert three.reason == "3 different numbers of clips cannot carry a curve: run 5 or more" and three.curve is None
    assert fit(SIZES, [np.nan, *SLOW.at(SIZES)[1:]]).reason == "the metric is undefined in some of the runs"
    assert saved(three, fitted(FAST), 50, NAMES).reason.startswith("plain has no curve: 3 different numbers")
    flat = fit(SIZES, noisy(Curve(full=0.5, scale=0.0, exponent=1.0, most=1000.0), 0.01, seed=4))
    assert flat.rises > 0.05
    assert "the curve of cues does not rise" in saved(fitted(SLOW), flat, 50, NAMES).reason
    constant = fit(SIZES, np.full(len(SIZES), 0.5))
    assert constant.rises == 1.0 and constant.curve.at(50) == pytest.approx(0.5)
    falling = fit(SIZES, -SLOW.at(SIZES))
    assert falling.curve.scale == 0 and falling.rises == 1.0


def test_a_level_below_the_smallest_training_is_a_bound() -> None:
    found = saved(fitted(SLOW), fitted(Curve(full=0.99, scale=0.05, exponent=0.3, most=1000.0)), 50, NAMES)
    assert found.saved is None and found.reason.startswith("cues reaches 0.59")
    assert "with fewer clips than the 50 of the smallest training, which saves at least 950 of 1,000" in found.reason
