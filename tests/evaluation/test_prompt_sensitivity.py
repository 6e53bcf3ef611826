"""Spread, ranks and preferences over prompts, against scipy and cases that are known."""

import numpy as np
import pytest
from scipy.stats import chisquare, friedmanchisquare, kendalltau

from affect.evaluation.prompt_sensitivity import position_test, preference, spread, stability


def test_spread() -> None:
    values = [0.3, 0.9, 0.6, 0.9]
    found = spread(values)
    assert (found.prompts, found.best, found.worst) == (4, 1, 0)
    assert (found.mean, found.sd, found.range) == pytest.approx((np.mean(values), np.std(values, ddof=1), 0.6))
    of_errors = spread(values, lower_is_better=True)
    assert (of_errors.best, of_errors.worst, of_errors.range) == (0, 1, found.range)
    assert spread([0.5]).sd is None
    with pytest.raises(ValueError, match="undefined"):
        spread([0.5, float("nan")])


def test_ranks_agree_with_scipy() -> None:
    random = np.random.default_rng(0)
    for decimals in (8, 1):  # without and with ties
        scores = (random.random((5, 1)) + 0.5 * random.random((5, 7))).round(decimals)
        found = stability(scores)
        friedman = friedmanchisquare(*scores)
        assert found.w == pytest.approx(friedman.statistic / (7 * (5 - 1)))
        assert found.p == pytest.approx(friedman.pvalue)
        pairs = [kendalltau(scores[:, i], scores[:, j]).statistic for i in range(7) for j in range(i)]
        assert found.tau == pytest.approx(np.mean(pairs))


def test_ranks_that_are_known() -> None:
    same = stability(np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    assert (same.tau, same.w, same.p) == (1.0, 1.0, None)
    opposite = stability(np.array([[0.1, 0.5], [0.4, 0.2]]))
    assert (opposite.tau, opposite.w) == (-1.0, 0.0)
    equal = stability(np.full((3, 2), 0.5))
    assert (equal.tau, equal.w, equal.p) == (None, None, None)
    for scores in (np.zeros((1, 3)), np.zeros((3, 1)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError):
            stability(scores)


def test_one_shuffled_prompt_is_pearsons_test() -> None:
    answered = np.random.default_rng(1).choice(4, 200, p=[0.4, 0.2, 0.2, 0.2])
    found = position_test(answered[None], 4)
    expected = chisquare(np.bincount(answered, minlength=4))
    assert (found.statistic, found.freedom, found.p) == pytest.approx((expected.statistic, 3, expected.pvalue))
    # What could not be read is not counted.
    assert position_test(np.append(answered, [-1] * 50)[None], 4) == found
    assert position_test(np.full((2, 5), -1), 4) is None


def test_the_same_answer_to_other_wordings_is_no_further_evidence() -> None:
    answered = np.random.default_rng(1).choice(4, 200, p=[0.4, 0.2, 0.2, 0.2])
    once, thrice = position_test(answered[None], 4), position_test(np.stack([answered] * 3), 4)
    assert thrice.statistic == pytest.approx(once.statistic)


def test_the_position_test_holds_its_level_and_has_power() -> None:
    """400 studies of 60 clips with three wordings, whose answers are by the label and often the same."""
    random = np.random.default_rng(2)

    def p(pull: float) -> float:
        order = np.argsort(random.random((60, 5)), axis=1)  # place of each label
        favourite = random.choice(5, 60, p=[0.6, 0.1, 0.1, 0.1, 0.1])
        labels = np.where(random.random((3, 60)) < 0.7, favourite, random.integers(0, 5, (3, 60)))
        places = order[np.arange(60), labels]
        return position_test(np.where(random.random((3, 60)) < pull, 0, places), 5).p

    assert 0.03 <= np.mean([p(0.0) < 0.05 for _ in range(400)]) <= 0.075
    assert np.mean([p(0.3) < 0.05 for _ in range(100)]) > 0.9


def test_preferences() -> None:
    gold = np.tile([0, 1, 2, 0], 20)
    answered = np.stack([np.zeros(80, dtype=int), np.where(gold == 2, -1, gold)])
    first, second, third = preference(["a", "b", "c"], gold, answered, [f"g{i // 4}" for i in range(80)])
    assert (first.option, first.answered, first.gold, first.difference) == ("a", 0.75, 0.5, 0.25)
    assert (second.answered, second.gold) == (0.125, 0.25)
    assert (third.answered, third.difference) == (0.0, -0.25)
    assert first.reason  # every group is the same, so that nothing is known of others
    random = np.random.default_rng(0)
    read = np.where(random.random((1, 80)) < 0.4, 0, gold)
    [first, *_] = preference(["a", "b", "c"], gold, read, [f"g{i // 4}" for i in range(80)])
    assert 0 < first.low < first.difference < first.high
    [few, *_] = preference(["a", "b", "c"], gold, read, ["g"] * 80)
    assert few.low is None and "cannot carry an interval" in few.reason
