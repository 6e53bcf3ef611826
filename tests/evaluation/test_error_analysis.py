"""Slices, calibration, causes and changes, against hand-computed cases and scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from affect.config import Kind, Task
from affect.data import Prediction
from affect.evaluation.error_analysis import clips, slices
from affect.evaluation.error_analysis.unreadable import cause
from affect.evaluation.metrics import calibration
from affect.evaluation.significance import contrast, mcnemar


def accuracy(gold: np.ndarray, read: np.ndarray) -> float:
    return float(np.mean(gold == read))


def answers(dice: np.random.Generator, count: int, share: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    gold = dice.integers(0, 3, count)
    return gold, np.where(dice.random(count) < share, gold, (gold + 1) % 3)


# ---------------------------------------------------------------- contrast


def test_the_difference_is_that_of_the_two_parts_and_its_interval_that_of_welch() -> None:
    """Every clip its own group: the jackknife of a mean has the textbook variance of each part, s² / (n - 1) here."""
    dice = np.random.default_rng(0)
    error = dice.normal(0, 1, 60)
    inside = np.arange(60) < 25
    result = contrast(np.zeros(60), [error], inside, np.arange(60), lambda gold, read: float(np.mean(read)))
    parts = [error[inside], error[~inside]]
    assert result.mean == pytest.approx(parts[0].mean() - parts[1].mean())
    welch = np.sqrt(sum(part.var() / (len(part) - 1) for part in parts) * 59 / 60)
    pooled = np.sqrt(error.var() / 59 * 59 / 60 * (60 / 25 + 60 / 35) * 60 / 60)
    assert result.error == pytest.approx(max(welch, pooled), rel=0.02)
    assert (result.clips, result.groups, result.seeds) == (25, 25, 1)


def test_groups_widen_the_interval() -> None:
    dice = np.random.default_rng(1)
    of = np.repeat(np.arange(30), 10)
    shift = dice.normal(0, 1, 30)[of]
    inside = of < 15
    mean = lambda gold, read: float(np.mean(read))  # noqa: E731
    grouped, alone = (
        contrast(np.zeros(300), [shift + dice.normal(0, 0.1, 300)], inside, groups, mean)
        for groups in (of, np.arange(300))
    )
    assert grouped.error > 2 * alone.error


def test_a_part_of_few_clips_that_are_all_wrong_is_not_certain_to_be_worse() -> None:
    """Six clips wrong where half are: by the exact binomial test p is 0.03, and a variance of zero would give 0."""
    gold, read = np.zeros(106), np.concatenate([np.ones(6), np.arange(100) % 2])
    result = contrast(gold, [read], np.arange(106) < 6, np.arange(106), accuracy)
    assert result.mean == -0.5 and result.p is not None and 0.01 < result.p < 0.2
    sure = contrast(
        np.zeros(160),
        [np.concatenate([np.ones(60), np.arange(100) % 2])],
        np.arange(160) < 60,
        np.arange(160),
        accuracy,
    )
    assert sure.p is not None and sure.p < 1e-6


def test_what_cannot_carry_an_interval_gets_none() -> None:
    gold, read = np.zeros(40), np.arange(40) % 2
    few = contrast(gold, [read], np.arange(40) < 12, np.arange(40) // 4, accuracy)
    assert few.mean is not None and few.p is None and few.reason.startswith("these clips are of 3 groups")
    unequal = contrast(gold, [read], np.arange(40) < 20, np.where(np.arange(40) < 16, 0, np.arange(40)), accuracy)
    assert "of such unequal size" in unequal.reason
    with pytest.raises(ValueError, match="a part has no clip"):
        contrast(gold, [read], np.ones(40, dtype=bool), np.arange(40), accuracy)


# ---------------------------------------------------------------- slices


def many_slices(dice: np.random.Generator, planted: bool) -> list[slices.Slice]:
    speakers = dice.integers(0, 30, 900)
    gold, read = answers(dice, 900, np.where(speakers == 7, 0.2, 0.7) if planted else 0.7)
    parts = slices.by_value("speaker", [f"s{speaker}" for speaker in speakers])
    parts += slices.by_thirds("duration", dice.random(900).tolist(), "s")
    groups = [f"d{group}" for group in dice.integers(0, 200, 900)]
    return slices.measured(parts, gold, [read], groups, accuracy, higher_is_better=True)


def test_a_planted_slice_is_found_and_no_other() -> None:
    found = many_slices(np.random.default_rng(2), planted=True)
    assert len(found) == 33
    [worst] = slices.worst(found, higher_is_better=True)
    assert (worst.by, worst.value, worst.verdict) == ("speaker", "s7", "worse")
    assert worst.holm is not None and worst.p is not None and worst.p < worst.bh <= worst.holm < 0.05
    assert worst.difference == pytest.approx(worst.metric - worst.rest)


def test_without_a_planted_slice_few_tables_have_one() -> None:
    """At 5 % of tables, 3 or more of 12 are wrong with a probability of 2 %; measured are 0 to 3 %."""
    wrong = [
        any(each.holm is not None and each.holm < 0.05 for each in many_slices(np.random.default_rng(seed), False))
        for seed in range(10, 22)
    ]
    assert sum(wrong) <= 2


def test_two_parts_are_one_look() -> None:
    dice = np.random.default_rng(3)
    gold, read = answers(dice, 200, 0.6)
    parts = slices.by_value("sex", ["f" if n % 3 else "m" for n in range(200)])
    first, second = slices.measured(parts, gold, [read], [str(n) for n in range(200)], accuracy, higher_is_better=True)
    assert first.holm == first.p == second.holm == pytest.approx(second.p)
    assert first.difference == pytest.approx(-second.difference)


def test_lower_errors_are_better() -> None:
    dice = np.random.default_rng(4)
    read = np.where(np.arange(200) < 60, 2.0, 0.5) + dice.random(200) / 10
    parts = slices.by_value("speaker", ["a"] * 60 + ["b"] * 80 + ["c"] * 60)
    mae = lambda gold, read: float(np.mean(np.abs(gold - read)))  # noqa: E731
    found = slices.measured(parts, np.zeros(200), [read], [str(n) for n in range(200)], mae, higher_is_better=False)
    assert {each.value: each.verdict for each in found}["a"] == "worse"
    assert [each.value for each in slices.worst(found, higher_is_better=False)] == ["a"]


def test_clips_without_a_value_are_in_no_part_and_in_no_rest() -> None:
    parts = slices.by_thirds("loudness", [1.0, None, 2.0, 3.0, float("nan")], "dB")
    assert [int(part.inside.sum()) for part in parts] == [1, 1, 1]
    assert all(part.known.tolist() == [True, False, True, True, False] for part in parts)
    assert slices.by_thirds("loudness", [None, None], "dB") == []
    [same] = slices.by_thirds("faces", [0.0] * 5, "")
    assert same.inside.all()


# ---------------------------------------------------------------- single clips


def test_what_counts_as_right() -> None:
    level = Task(kind=Kind.intensity, low=-3, high=3)
    assert clips.right(np.array([1.0, 1.0, 1.0, 0.0]), np.array([1.5, 1.6, np.nan, -0.5]), level).tolist() == [
        True, False, False, True,
    ]  # fmt: skip
    several = Task(kind=Kind.multi_label, labels=["a", "b"])
    gold = np.array([[1, 0], [1, 1], [0, 0]])
    assert clips.right(gold, np.array([[1, 0], [1, 0], [-1, -1]]), several).tolist() == [True, False, False]


def test_hardest_and_most_confident() -> None:
    is_right = np.array([[False, True, False, False], [False, False, False, True]])
    assert clips.hardest(is_right, np.array([0.2, 0.9, 0.8, 0.7])).tolist() == [2, 0]
    confidence = np.array([[0.5, 0.99, 0.9, 0.6], [0.7, 0.65, 0.9, np.nan]])
    assert clips.most_confident(is_right, confidence).tolist() == [2, 1, 0, 3]
    assert clips.most_confident(is_right, np.full((2, 4), np.nan)).tolist() == []


def test_what_is_fixed_and_broken() -> None:
    dice = np.random.default_rng(5)
    ours, theirs = ([dice.random(50) < 0.6 for _ in range(3)] for _ in range(2))
    found = clips.changes(ours, theirs)
    assert found.fixed.sum() - found.broken.sum() == sum(map(np.sum, ours)) - sum(map(np.sum, theirs))
    gold = np.ones(50, dtype=bool)
    assert found.p == [mcnemar(gold, one, other) for one, other in zip(ours, theirs, strict=True)]


# ---------------------------------------------------------------- calibration


@pytest.mark.parametrize("bins", [4, 10, 15])
def test_the_reliability_curve_is_scikit_learns(bins: int) -> None:
    dice = np.random.default_rng(bins)
    probability = dice.dirichlet(np.ones(4), 300)
    probability[:40] = [0.7, 0.1, 0.1, 0.1]  # ties stay in one bin
    gold = dice.integers(0, 4, 300)
    curve = calibration.reliability(probability, gold, bins)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == gold
    accuracy_of, confidence_of = calibration_curve(right, confidence, n_bins=bins, strategy="quantile")
    assert [each.accuracy for each in curve] == pytest.approx(accuracy_of)
    assert [each.confidence for each in curve] == pytest.approx(confidence_of)
    assert sum(each.rows for each in curve) == 300
    rows = np.array([each.rows for each in curve])
    assert calibration.ece_of(curve) == pytest.approx(np.average(abs(accuracy_of - confidence_of), weights=rows))


# ---------------------------------------------------------------- unreadable answers

EMOTION = Task(name="emotion", labels=["joy", "anger"], words={"zh": {"joy": "高兴", "anger": "愤怒"}})
LEVEL = Task(name="level", kind=Kind.intensity, low=-3, high=3, step=0.1)


def answered(answer: str | None, outcome: str, **more) -> Prediction:
    unread = {"exact": None, "lenient": None} | more
    return Prediction(
        id="x", dataset="d", split="test", task="t", group="g", target=None, answer=answer, outcome=outcome,
        readout="generate", **unread,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "prediction", "expected"),
    [
        (EMOTION, answered("joy", "valid", exact="joy", lenient="joy"), None),
        (EMOTION, answered("It is joy.", "valid", lenient="joy"), "more than the bare answer"),
        (EMOTION, answered("not joy", "no_label"), "a label is named, but denied"),
        (EMOTION, answered("她不高兴", "no_label"), "a label is named, but denied"),
        (EMOTION, answered("sad", "no_label"), "no label is named"),
        (EMOTION, answered("joy or anger", "several_labels"), "several labels"),
        (EMOTION, answered("I cannot answer", "refusal"), "refusal"),
        (EMOTION, answered("<think>joy", "no_label", error="thoughts not closed"), "thoughts not closed"),
        (EMOTION, answered(None, "error", error="timeout"), "no answer: timeout"),
        (LEVEL, answered("good", "no_label"), "no number"),
        (LEVEL, answered("not negative: 1.5", "no_label"), "a number whose words leave its sign undecided"),
        (LEVEL, answered("80%", "no_label"), "a number of a form that is not read"),
    ],
)
def test_why_an_answer_is_not_read(task: Task, prediction: Prediction, expected: str | None) -> None:
    found = cause(prediction, task, "zh" if "她" in (prediction.answer or "") else "en", "exact")
    assert found is None if expected is None else found is not None and found.startswith(expected)
