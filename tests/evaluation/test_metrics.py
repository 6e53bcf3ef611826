"""Metrics against numbers worked out by hand and against scikit-learn and scipy."""

import doctest
import json
import math
import random
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as sklearn_metrics

from affect.config import Kind, Task
from affect.data import Prediction
from affect.evaluation.metrics import aggregate, classification, compute, headline, headline_metric, intensity
from affect.evaluation.metrics.registry import METRICS
from affect.evaluation.parsing import OUTCOMES

LABELS = ["a", "b", "c", "d"]
EMOTION = Task(name="emotion", labels=["joy", "anger", "fear"])
SENTIMENT = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=1, headline="mae")


def prediction(number, target, lenient, task=EMOTION, **changes):
    fields = {
        "id": f"set/test/{number}",
        "dataset": "set",
        "split": "test",
        "task": task.name,
        "group": "g",
        "target": target,
        "answer": None,
        "exact": lenient,
        "lenient": lenient,
        "outcome": "no_label" if lenient is None else "valid",
        "readout": "generate",
    }
    return Prediction(**(fields | changes))


@pytest.mark.parametrize("module", [sys.modules["affect.evaluation.metrics.compute"], classification, intensity])
def test_examples_in_the_docstrings_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted >= 1 and result.failed == 0


# Worked out by hand. Gold: 4 a, 2 b, 1 c, no d.
#            a  b  c  d  unreadable      recall  F1
#   gold a   2  1  0  0  1               2/4     2*2/(4+3) = 4/7
#   gold b   1  1  0  0  0               1/2     2*1/(2+2) = 1/2
#   gold c   0  0  0  1  0               0       0
#   gold d   0  0  0  0  0               none    0/(0+1)   = 0
TARGETS = ["a", "a", "a", "a", "b", "b", "c"]
VALUES = ["a", "a", "b", None, "a", "b", "d"]


def test_confusion_by_hand():
    counts = classification.confusion(TARGETS, VALUES, LABELS)
    assert counts.tolist() == [[2, 1, 0, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_metrics_by_hand():
    assert classification.accuracy(TARGETS, VALUES, LABELS) == pytest.approx(3 / 7)
    assert classification.weighted_f1(TARGETS, VALUES, LABELS) == pytest.approx((4 * 4 / 7 + 2 * 1 / 2) / 7)
    assert classification.macro_f1(TARGETS, VALUES, LABELS) == pytest.approx((4 / 7 + 1 / 2 + 0 + 0) / 4)
    assert classification.uar(TARGETS, VALUES, LABELS) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    recall = classification.recall_per_class(TARGETS, VALUES, LABELS)
    assert (recall["a"], recall["b"], recall["c"]) == (0.5, 0.5, 0.0) and math.isnan(recall["d"])
    assert classification.f1_per_class(TARGETS, VALUES, LABELS) == pytest.approx({"a": 4 / 7, "b": 0.5, "c": 0, "d": 0})


def test_intensity_by_hand():
    # The second answer is unreadable: -3 is farther from 1 than 3 is. The third is out of the range and stays there.
    targets, values = [0.0, 1.0, 2.0], [1.0, None, 5.0]
    assert intensity.mae(targets, values, -3, 3) == pytest.approx((1 + 4 + 3) / 3)
    # r of (0, 1, 2) and (1, -3, 5): means 1 and 1, sum of products 4, sums of squares 2 and 32.
    assert intensity.pearson(targets, values, -3, 3) == pytest.approx(4 / math.sqrt(2 * 32))
    assert intensity.ccc(targets, values, -3, 3) == pytest.approx(2 * 4 / (2 + 32))


def test_unreadable_is_the_low_end_where_both_are_equally_far():
    assert intensity.mae([0.0, 1.5], [None, None], -3, 3) == pytest.approx((3 + 4.5) / 2)
    assert intensity.pearson([0.0, -1.0], [None, 0.0], -3, 3) == pytest.approx(-1.0)


def test_every_answer_unreadable_is_zero_and_not_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("accuracy", "weighted_f1", "macro_f1", "uar"):
            assert getattr(classification, name)(["a", "b"], [None, None], LABELS) == 0.0


@pytest.mark.parametrize("seed", range(40))
def test_classification_equals_scikit_learn(seed):
    generator = random.Random(seed)
    size = generator.choice([1, 2, 7, 60])
    # Small alphabets leave classes out of the gold labels, the answers or both.
    targets = generator.choices(LABELS[: generator.randrange(1, 5)], k=size)
    values = generator.choices([*LABELS[generator.randrange(3) :], None], k=size)
    named = ["unreadable" if value is None else value for value in values]

    def f1(average, labels):
        return sklearn_metrics.f1_score(targets, named, labels=labels, average=average, zero_division=0)

    occurring = [label for label in LABELS if label in targets or label in values]
    with warnings.catch_warnings():
        # scikit-learn warns that there are answers ("unreadable") which are no gold label; that is the point.
        warnings.simplefilter("ignore")
        assert classification.accuracy(targets, values, LABELS) == pytest.approx(
            sklearn_metrics.accuracy_score(targets, named)
        )
        assert classification.weighted_f1(targets, values, LABELS) == pytest.approx(f1("weighted", LABELS))
        assert classification.macro_f1(targets, values, LABELS) == pytest.approx(f1("macro", occurring))
        assert classification.uar(targets, values, LABELS) == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(targets, named)
        )
        per_class = classification.f1_per_class(targets, values, LABELS)
        assert [per_class[label] for label in occurring] == pytest.approx(list(f1(None, occurring)))
        assert all(math.isnan(per_class[label]) for label in set(LABELS) - set(occurring))
    matrix = sklearn_metrics.confusion_matrix(targets, named, labels=[*LABELS, "unreadable"])
    assert np.array_equal(classification.confusion(targets, values, LABELS), matrix[:-1])


@pytest.mark.parametrize("seed", range(20))
def test_intensity_equals_scipy(seed):
    generator = random.Random(seed)
    # Steps of one half make ties.
    targets = [generator.randrange(-6, 7) / 2 for _ in range(30)]
    values = [generator.choice([None, generator.randrange(-8, 9) / 2, target]) for target in targets]
    filled = [
        value if value is not None else max((-3, 3), key=lambda end, target=target: abs(end - target))
        for target, value in zip(targets, values, strict=True)
    ]
    assert intensity.mae(targets, values, -3, 3) == pytest.approx(sklearn_metrics.mean_absolute_error(targets, filled))
    r = pearsonr(targets, filled).statistic
    assert intensity.pearson(targets, values, -3, 3) == pytest.approx(r)
    # Lin's r times the bias correction, of the ratio of the scales and the shift in standard deviations.
    scale, shift = np.std(filled) / np.std(targets), np.mean(np.subtract(filled, targets))
    bias = 2 / (scale + 1 / scale + shift**2 / (np.std(filled) * np.std(targets)))
    assert intensity.ccc(targets, values, -3, 3) == pytest.approx(r * bias)


def test_pearson_of_constants_is_undefined_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(intensity.pearson([0.1, 0.2, 0.3], [0.1, 0.1, 0.1], -3, 3))
        assert math.isnan(intensity.pearson([1.0, 1.0], [0.0, 2.0], -3, 3))
        assert math.isnan(intensity.pearson([1.0], [2.0], -3, 3))
        # An answer can be any number a float can hold.
        assert intensity.pearson([0.0, 1.0, 2.0], [-1e308, 0.0, 1e308], -3, 3) == pytest.approx(1.0)
        assert math.isfinite(intensity.mae([0.0, 1.0], [1e308, 1e308], -3, 3))


@pytest.mark.parametrize("function", [classification.accuracy, classification.uar, classification.f1_per_class])
def test_classification_refuses_what_it_cannot_count(function):
    with pytest.raises(ValueError, match="2 targets but 1 values: give one value for each"):
        function(["a", "b"], ["a"], LABELS)
    with pytest.raises(ValueError, match="there are no targets"):
        function([], [], LABELS)
    with pytest.raises(ValueError, match=r"targets\[1\] is 'x', which is not one of the labels a, b, c, d: correct it"):
        function(["a", "x"], ["a", "a"], LABELS)
    with pytest.raises(ValueError, match=r"targets\[0\] is None"):
        function([None], ["a"], LABELS)
    with pytest.raises(ValueError, match=r"values\[0\] is 'A'"):
        function(["a"], ["A"], LABELS)
    with pytest.raises(ValueError, match=r"values\[0\] is \['a'\]"):
        function(["a"], [["a"]], LABELS)
    with pytest.raises(ValueError, match="a label is named twice"):
        function(["a"], ["a"], ["a", "a"])


def test_concordance_of_constants_and_of_large_numbers():
    assert intensity.ccc([1.0, 1.0], [0.0, 2.0], -3, 3) == 0.0
    assert intensity.ccc([1.0, 1.0], [2.0, 2.0], -3, 3) == 0.0
    assert math.isnan(intensity.ccc([1.0, 1.0], [1.0, 1.0], -3, 3))
    assert intensity.ccc([0.0, 1.0, 2.0], [-1e308, 0.0, 1e308], -3, 3) == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize("function", [intensity.mae, intensity.pearson, intensity.ccc])
def test_intensity_refuses_what_it_cannot_count(function):
    with pytest.raises(ValueError, match="1 targets but 2 values"):
        function([1.0], [1.0, 2.0], -3, 3)
    with pytest.raises(ValueError, match="there are no targets"):
        function([], [], -3, 3)
    with pytest.raises(ValueError, match=r"targets\[1\] is nan, which is not finite"):
        function([1.0, math.nan], [1.0, 2.0], -3, 3)
    with pytest.raises(ValueError, match=r"values\[0\] is inf, which is not finite"):
        function([1.0], [math.inf], -3, 3)
    with pytest.raises(ValueError, match=r"values\[0\] is '1', which is not a number"):
        function([1.0], ["1"], -3, 3)
    with pytest.raises(ValueError, match=r"targets\[0\] is None, which is not a number"):
        function([None], [1.0], -3, 3)
    with pytest.raises(ValueError, match="low=3 and high=-3"):
        function([1.0], [1.0], 3, -3)


def test_compute_of_a_classification_by_hand():
    result = compute(
        [
            prediction(0, "joy", "joy"),
            prediction(1, "joy", "anger", exact=None),
            prediction(2, "anger", None, outcome="refusal"),
            prediction(3, None, "fear"),
            prediction(4, "joy", None, outcome="error", error="the clip has no frames"),
        ],
        EMOTION,
    )
    assert (result["n_scored"], result["n_unlabelled"]) == (4, 1)
    assert (result["n_readable_exact"], result["n_readable_lenient"]) == (1, 2)
    assert result["outcomes"] == dict.fromkeys(OUTCOMES, 0) | {"valid": 2, "refusal": 1, "error": 1}
    # joy: 1 right of 3 gold, 1 named: F1 2/4. anger: 0 of 1 gold. Lenient names anger once, wrongly.
    assert result["lenient"] == pytest.approx(
        {"accuracy": 1 / 4, "weighted_f1": 3 / 8, "macro_f1": 1 / 4, "uar": 1 / 6}
    )
    assert result["exact"] == result["lenient"]
    # Always joy: F1 of joy is 2*3/(3+4), recall 1 and 0.
    assert result["majority_answer"] == "joy"
    assert result["majority"] == pytest.approx(
        {"accuracy": 3 / 4, "weighted_f1": 9 / 14, "macro_f1": 3 / 7, "uar": 1 / 2}
    )
    assert result["labels"] == ["joy", "anger", "fear"]
    assert result["confusion"] == [[1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert result["recall_per_class"] == {"joy": 1 / 3, "anger": 0.0, "fear": None}
    assert result["f1_per_class"] == {"joy": 0.5, "anger": 0.0, "fear": None}
    assert result["n_per_class"] == {"joy": 3, "anger": 1, "fear": 0}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_compute_of_an_intensity_by_hand():
    result = compute(
        [
            prediction(0, -1, -1.0, SENTIMENT),
            prediction(1, 0.0, 4.0, SENTIMENT, exact=None, outcome="out_of_range"),
            prediction(2, 2.0, None, SENTIMENT),
        ],
        SENTIMENT,
    )
    assert result["lenient"]["mae"] == pytest.approx((0 + 4 + 5) / 3)
    assert result["exact"]["mae"] == pytest.approx((0 + 3 + 5) / 3)
    assert result["majority_answer"] == 0.0
    assert result["majority"] == {"mae": 1.0, "pearson": None, "ccc": 0.0}
    assert result["outcomes"]["out_of_range"] == 1
    assert "confusion" not in result
    json.dumps(result, allow_nan=False)


def test_the_majority_of_equals_is_the_first_label():
    assert compute([prediction(0, "fear", "joy"), prediction(1, "anger", "joy")], EMOTION)["majority_answer"] == "anger"


@pytest.mark.parametrize("task", [EMOTION, SENTIMENT])
def test_without_labelled_predictions_the_numbers_are_none(task):
    value = "joy" if task is EMOTION else 1.0
    labelled, unlabelled = (compute([prediction(0, target, value, task)], task) for target in (value, None))
    assert unlabelled.keys() == labelled.keys()
    assert (unlabelled["n_scored"], unlabelled["n_unlabelled"]) == (0, 1)
    assert unlabelled["lenient"].keys() == labelled["lenient"].keys()
    assert set(unlabelled["lenient"].values()) == set(unlabelled["majority"].values()) == {None}
    assert sum(unlabelled["outcomes"].values()) == 0
    json.dumps(unlabelled, allow_nan=False)
    with pytest.raises(
        ValueError, match="none of its 1 predictions has a gold label: evaluate a split that is labelled"
    ):
        headline(unlabelled, task)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (prediction(0, "joy", "joy"), "there are 2 predictions of task 'emotion' with the id 'set/test/0'"),
        (prediction(1, "joy", "joy", task=SENTIMENT), "'set/test/1' is of task 'sentiment', not of 'emotion'"),
        (prediction(1, "joy", "joy", outcome="fine"), "'set/test/1' has the outcome 'fine': it has to be one of valid"),
        (prediction(1, "Joy", "joy"), "the target of prediction 'set/test/1' is 'Joy', which is not a label of task"),
        (prediction(1, "joy", "joy", exact="x"), "the exact value of prediction 'set/test/1' is 'x'"),
        (prediction(1, None, "x", exact=None), "the lenient value of prediction 'set/test/1' is 'x'"),
    ],
)
def test_compute_names_the_prediction_it_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        compute([prediction(0, "joy", "joy"), wrong], EMOTION)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1"])
def test_compute_refuses_an_intensity_that_is_no_finite_number(value):
    with pytest.raises(ValueError, match=r"the target of prediction 'set/test/0' is .* which is not a finite number"):
        compute([prediction(0, value, 1.0, SENTIMENT)], SENTIMENT)
    with pytest.raises(ValueError, match="the lenient value of prediction 'set/test/0' is"):
        compute([prediction(0, 1.0, value, SENTIMENT, exact=None)], SENTIMENT)


def test_a_hundred_thousand_predictions_take_about_a_second():
    generator = random.Random(0)
    options = [*EMOTION.labels, None]
    predictions = [
        prediction(number, generator.choice(EMOTION.labels), generator.choice(options)) for number in range(100_000)
    ]
    start = time.perf_counter()
    assert compute(predictions, EMOTION)["n_scored"] == 100_000
    # Half a second on an idle core; the rest is for busy ones.
    assert time.perf_counter() - start < 3.0


def test_headline_is_the_raw_metric_of_the_reader_asked_for():
    computed = compute([prediction(0, "joy", "joy", exact=None), prediction(1, "joy", "anger")], EMOTION)
    assert headline(computed, EMOTION) == computed["lenient"]["weighted_f1"] == pytest.approx(2 / 3)
    assert headline(computed, EMOTION, "exact") == 0.0
    with pytest.raises(ValueError, match="there is no reader 'strict': choose one of exact, lenient"):
        headline(computed, EMOTION, "strict")
    correlated = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=1, headline="pearson")
    assert math.isnan(headline(compute([prediction(0, 1.0, 1.0, correlated)], correlated), correlated))


def test_a_headline_of_the_other_kind_is_refused():
    forgotten = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, step=1)
    with pytest.raises(
        ValueError, match=r"headline of task 'sentiment' is 'weighted_f1'.*intensity: set it to one of mae,"
    ):
        headline_metric(forgotten)
    with pytest.raises(ValueError, match="set it to one of accuracy, weighted_f1, macro_f1, uar"):
        headline_metric(Task(name="emotion", labels=LABELS, headline="f1"))


def test_units_are_between_0_and_1_and_higher_is_better():
    for kind, found in METRICS.items():
        task = SENTIMENT if kind is Kind.intensity else EMOTION
        for name, metric in found.items():
            best, worst = (1.0, 0.0) if metric.higher_is_better else (0.0, 6.0)
            assert metric.unit(best, task) == 1.0, name
            assert metric.unit(worst, task) == 0.0, name
            assert metric.unit(0.5, task) > metric.unit(worst, task), name
    found = METRICS[Kind.intensity]
    assert found["mae"].unit(99.0, SENTIMENT) == 0.0
    assert found["pearson"].unit(-0.4, SENTIMENT) == 0.0
    assert found["pearson"].unit(math.nan, SENTIMENT) == 0.0


def test_aggregate_by_hand():
    headlines = [(0.4, EMOTION), (1.5, SENTIMENT)]
    assert aggregate(headlines, "mean_headline") == pytest.approx((0.4 + 0.75) / 2)
    assert aggregate(headlines, "min_headline") == 0.4
    assert aggregate([(1.5, SENTIMENT)], "mean_headline") == 0.75
    with pytest.raises(ValueError, match="there is no aggregate 'max': choose one of mean_headline, min_headline"):
        aggregate(headlines, "max")
    with pytest.raises(ValueError, match="no headlines to aggregate"):
        aggregate([], "mean_headline")
    for task in (EMOTION, SENTIMENT):
        with pytest.raises(ValueError, match=f"the headline of task '{task.name}' is nan"):
            aggregate([(math.nan, task), (0.1, task)], "min_headline")


def test_answers_and_metrics_do_not_import_torch():
    code = "import affect.evaluation.parsing, affect.evaluation.metrics, sys;"
    code += " assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
