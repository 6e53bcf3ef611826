"""The dialects against numbers worked out by hand, and against a second, literal reading of what their sources say."""

import doctest
import json
import math
import random
import time
import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, r2_score

from affect.config import Kind, Task, tasks
from affect.config.tasks import DIALECTS, HEADLINES, dialects_of, problems
from affect.data import Prediction
from affect.evaluation.metrics import (
    calibration,
    compute,
    emotion,
    headline,
    headline_metric,
    intensity,
    mosi,
    multi_label,
    policies,
    registry,
    signature,
    sims,
)
from affect.evaluation.metrics.policies import POLICIES
from affect.evaluation.metrics.signature import signatures

QUESTION = {"en": "How?"}
MOSI = Task(
    name="sentiment", kind=Kind.intensity, low=-3, high=3, step=0.2, headline="mmsa_mosi.non0_acc2", question=QUESTION
)
SIMS = Task(name="sentiment", kind=Kind.intensity, low=-1, high=1, step=0.2, headline="mae", question=QUESTION)
EMOTIONS = Task(name="emotion", labels=["joy", "anger", "fear"], question=QUESTION)
SEVERAL = Task(name="emotions", kind=Kind.multi_label, labels=["joy", "anger", "fear"], question=QUESTION)


def predicted(task, pairs, **changes):
    return [
        Prediction(
            **{
                "id": f"set/test/{number}",
                "dataset": "set",
                "split": "test",
                "task": task.name,
                "group": "g",
                "target": target,
                "answer": None,
                "exact": value,
                "lenient": value,
                "outcome": "no_label" if value is None else "valid",
                "readout": "generate",
            }
            | changes
        )
        for number, (target, value) in enumerate(pairs)
    ]


@pytest.mark.parametrize("module", [tasks, mosi, sims, emotion, calibration, multi_label, signature])
def test_examples_in_the_docstrings_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted >= 1 and result.failed == 0


def test_every_name_of_a_metric_has_a_function():
    assert {name: tuple(functions) for name, functions in registry.DIALECTS.items()} == {
        name: dialect.metrics for name, dialect in DIALECTS.items()
    }
    assert {kind: tuple(found) for kind, found in registry.METRICS.items()} == tasks.PLAIN
    for kind, found in HEADLINES.items():
        assert len(set(found)) == len(found)
        for name in found:
            low, high = (None, None) if kind is not Kind.intensity else (-1, 1)
            assert headline_metric(Task(name="x", kind=kind, labels=["a", "b"], headline=name, low=low, high=high))


# ---------------------------------------------------------------- by hand

# row            0     1     2     3     4     5     6     7
GOLD = [-3.0, -1.0, -0.5, 0.0, 0.0, 1 / 3, 1.0, 3.0]
READ = [-4.0, 0.0, -1.0, -0.0, -0.2, 1.5, 2.5, None]
# >= 0           n n   n P   n n   P P   P n   P P   P P   P -        MMSA Has0: rows 0 2 3 5 6 right
# > 0 (y != 0)   n n   n n   n n               P P   P P   P -        MMSA Non0: rows 0 1 2 5 6 right of 6
# >= 0 (y != 0)  n n   n P   n n               P P   P P   P -        Mai: rows 0 2 5 6 right of 6
# rounded        -3-3  -1 0  0 -1   0 0   0 0   0 2   1 2   3 -       acc7: rows 0 3 4; acc5: as it is, 1 not 2
# away from 0    -3-3  -1 0  -1-1   0 0   0-1   1 2   1 3   3 -       CMU acc7: rows 0 2 3


def test_mosi_by_hand():
    assert mosi.has0_acc2(GOLD, READ) == 5 / 8
    assert mosi.non0_acc2(GOLD, READ) == 5 / 6
    assert mosi.mai_acc2(GOLD, READ) == 4 / 6
    assert mosi.acc7(GOLD, READ) == 3 / 8
    assert mosi.acc5(GOLD, READ) == 3 / 8
    assert mosi.cmu_acc7(GOLD, READ) == 3 / 8
    # F1 by class: 2 TP / (gold + named). Has0: negative 2*2/(3+3), not negative 2*3/(5+4).
    assert mosi.has0_f1(GOLD, READ) == pytest.approx((3 * 4 / 6 + 5 * 6 / 9) / 8)
    # Non0: negative 2*3/(3+3), positive 2*2/(3+2). Mai: 2*2/(3+2), 2*2/(3+3).
    assert mosi.non0_f1(GOLD, READ) == pytest.approx((3 * 1 + 3 * 4 / 5) / 6)
    assert mosi.mai_f1(GOLD, READ) == pytest.approx((3 * 4 / 5 + 3 * 4 / 6) / 6)
    # The unreadable row's gold is 3, so it counts as -3. Nothing is clipped.
    assert mosi.mae(GOLD, READ) == pytest.approx((1 + 1 + 0.5 + 0 + 0.2 + (1.5 - 1 / 3) + 1.5 + 6) / 8, abs=1e-6)


def test_halves_go_to_the_even_neighbour():
    assert mosi.acc7([0.0, 0.0, 2.0, 2.0, -2.0, -2.0], [0.5, -0.5, 1.5, 2.5, -1.5, -2.5]) == 1.0
    # 1.5 + 1e-9 is 1.5 in float32, so it is still rounded to 2, and 2.5 + 1e-9 too.
    assert mosi.acc7([2.0, 2.0], [1.5 + 1e-9, 2.5 + 1e-9]) == 1.0
    assert mosi.acc5([2.0, -2.0], [9.0, -9.0]) == 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-2.5, -3), (-2.0, -2), (-1.2, -2), (-1.0, -1), (-0.1, -1), (-0.0, 0), (0.1, 1), (1.0, 1), (2.0, 2), (9.0, 3)],
)
def test_seven_classes_of_the_sdk_are_away_from_zero(value, expected):
    assert mosi.cmu_acc7([float(expected)], [value]) == 1.0
    assert mosi.cmu_acc7([float(expected)], [-value or 1.0]) == 0.0


def test_sims_by_hand():
    gold = [-1.0, -0.7, -0.1, 0.0, 0.1, 0.2, 0.7, 0.8]
    read = [-0.9, -0.1, 0.0, 1e-6, 0.1000001, 5.0, 0.3, None]
    # two    n n   n n   n n   n p   p p   p p   p p   p -
    # three  n n   n n   n m   m m   m p   p p   p p   p -
    # five   a a   a b   b c   c c   c d   d e   d d   e -
    assert sims.acc2(gold, read) == 6 / 8
    assert sims.acc3(gold, read) == 5 / 8
    assert sims.acc5(gold, read) == 3 / 8
    assert sims.f1(gold, read) == pytest.approx((4 * 2 * 3 / (4 + 3) + 4 * 2 * 3 / (4 + 4)) / 8)
    # Rows 2 to 5 are weak; 5.0 is clipped to 1, and the unreadable row counts as -1.
    assert sims.weak_acc2(gold, read) == 3 / 4
    assert sims.mae(gold, read) == pytest.approx((0.1 + 0.6 + 0.1 + 0 + 0 + 0.8 + 0.4 + 1.8) / 8, abs=1e-6)


def test_an_edge_is_a_float32_and_belongs_to_the_class_below():
    # In float64, float32(0.1) would be above 0.1 and in the upper class.
    noisy = float(np.float32(0.1))
    assert noisy > 0.1 and sims.acc3([0.0], [noisy]) == 1.0
    assert sims.acc5([0.3, -0.3, -0.8], [0.7, -0.1, -0.7]) == 1.0
    assert sims.weak_acc2([float(np.float32(0.4)), -0.4], [1.0, -1.0]) == 1.0
    # A third as MOSEI stores it is a third, and float32 noise around zero is not zero.
    assert mosi.mae([1 / 3], [0.33333334]) == 0.0
    assert mosi.non0_acc2([1e-8, 0.0], [1e-30, 5.0]) == 1.0


def test_an_unreadable_answer_is_wrong_even_where_the_worst_value_would_be_right():
    # -1 is the worst value for a gold of 0, and in the class of 0.
    assert sims.acc2([0.0], [None]) == sims.f1([0.0], [None]) == 0.0
    assert sims.mae([0.0], [None]) == 1.0
    for function in (mosi.has0_acc2, mosi.acc7, mosi.acc5, mosi.cmu_acc7, sims.acc3, sims.acc5):
        assert function([0.0, -3.0, 3.0], [None, None, None]) == 0.0


def test_a_metric_without_rows_is_undefined():
    for function in (mosi.non0_acc2, mosi.non0_f1, mosi.mai_acc2, mosi.mai_f1):
        assert math.isnan(function([0.0, 0.0], [1.0, None]))
    assert math.isnan(sims.weak_acc2([1.0], [1.0])) and math.isnan(sims.r2([1.0], [1.0]))
    numbers = compute(predicted(MOSI, [(0.0, 1.0)]), MOSI)
    assert numbers["lenient"]["mmsa_mosi.non0_acc2"] is None and math.isnan(headline(numbers, MOSI))


# ---------------------------------------------------------------- against a literal second reading


def literal_weighted_f1(gold, read):
    return f1_score(gold, read, average="weighted")


def literal_mosi(y, p):
    """What the sources say, step by step, on float32 arrays."""
    y, p = np.float32(y), np.float32(p)
    kept, pairs = y != 0, list(zip(y, p, strict=True))
    return {
        "has0_acc2": accuracy_score(y >= 0, p >= 0),
        "has0_f1": literal_weighted_f1(y >= 0, p >= 0),
        "non0_acc2": accuracy_score(y[kept] > 0, p[kept] > 0),
        "non0_f1": literal_weighted_f1(y[kept] > 0, p[kept] > 0),
        "mai_acc2": accuracy_score(y[kept] >= 0, p[kept] >= 0),
        "mai_f1": literal_weighted_f1(y[kept] >= 0, p[kept] >= 0),
        "acc7": sum(int(np.round(min(max(a, -3), 3))) == int(np.round(min(max(b, -3), 3))) for a, b in pairs) / len(y),
        "acc5": sum(int(np.round(min(max(a, -2), 2))) == int(np.round(min(max(b, -2), 2))) for a, b in pairs) / len(y),
        "cmu_acc7": sum(literal_seven(a) == literal_seven(b) for a, b in pairs) / len(y),
        "mae": float(np.mean(np.abs(p - y))),
        "pearson": np.corrcoef(p, y)[0][1],
    }


def literal_seven(a):
    for below, code in ((-2, -3), (-1, -2), (0, -1)):
        if a < below:
            return code
    return next((code for upto, code in ((0, 0), (1, 1), (2, 2)) if a <= upto), 3)


def literal_sims(y, p):
    y, p = (np.clip(np.float32(column), np.float32(-1), np.float32(1)) for column in (y, p))

    def bins(column, edges):
        edges = [np.float32(edge) for edge in (-1.01, *edges, 1.01)]
        return [next(i for i in range(len(edges) - 1) if edges[i] < a <= edges[i + 1]) for a in column]

    def share(edges, rows=slice(None)):
        return accuracy_score(bins(y[rows], edges), bins(p[rows], edges))

    weak = (y >= np.float32(-0.4)) & (y <= np.float32(0.4))
    return {
        "acc2": share([0.0]),
        "acc3": share([-0.1, 0.1]),
        "acc5": share([-0.7, -0.1, 0.1, 0.7]),
        "f1": literal_weighted_f1(bins(y, [0.0]), bins(p, [0.0])),
        "mae": float(np.mean(np.abs(p - y))),
        "pearson": np.corrcoef(p, y)[0][1],
        "weak_acc2": share([0.0], weak),
        "r2": r2_score(y, p),
    }


def awkward(generator, targets, size):
    """Exact ties, zeros of both signs, halves, thirds in float32, values out of the range, and noise."""
    return [
        generator.choice(
            [
                target,
                0.0,
                -0.0,
                generator.randrange(-7, 8) / 2,
                float(np.float32(generator.randrange(-9, 10) / 3)),
                generator.randrange(-10, 11) / 10,
                generator.uniform(-9, 9),
                target + generator.gauss(0, 1e-8),
            ]
        )
        for target in targets
    ]


@pytest.mark.parametrize("seed", range(30))
def test_dialects_agree_with_the_literal_reading(seed):
    generator = random.Random(seed)
    size = generator.choice([5, 60, 700])
    targets = [float(np.float32(generator.randrange(-18, 19) / 6)) for _ in range(size)]
    values = awkward(generator, targets, size)
    for name, expected in literal_mosi(targets, values).items():
        assert getattr(mosi, name)(targets, values) == pytest.approx(expected, abs=1e-9), name
    targets = [0.2, *(generator.randrange(-5, 6) / 5 for _ in range(size - 1))]
    values = [value / 3 if generator.random() < 0.5 else value for value in awkward(generator, targets, size)]
    for name, expected in literal_sims(targets, values).items():
        close = 1e-5 if name == "r2" else 1e-9  # scikit-learn sums R² in float32
        assert getattr(sims, name)(targets, values) == pytest.approx(expected, abs=close), name


def test_r2_of_equal_gold_values_is_scikit_learns():
    for read in ([0.5, 0.5, 0.5], [0.5, 0.0, 0.5]):
        assert sims.r2([0.5] * 3, read) == r2_score([0.5] * 3, read)


def test_an_answer_of_any_size_is_a_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = compute(predicted(MOSI, [(1.0, 1e308), (-1.0, -1e308), (0.0, 3e38)]), MOSI)
    assert all(value is not None for value in numbers["dialects"]["lenient"]["mmsa_mosi"].values())


@pytest.mark.parametrize("seed", range(20))
def test_multi_label_equals_scikit_learn(seed):
    generator = random.Random(seed)
    labels = ["a", "b", "c", "d"]
    targets = [tuple(generator.sample(labels, generator.randrange(4))) for _ in range(25)]
    values = [generator.choice([target, tuple(generator.sample(labels, 2)), None]) for target in targets]
    gold = np.array([[label in row for label in labels] for row in targets])
    read = np.array([[label in (row or ()) for label in labels] for row in values])
    occurs = (gold | read).any(axis=0)

    def f1(average, columns=slice(None)):
        return f1_score(gold[:, columns], read[:, columns], average=average, zero_division=0)

    assert multi_label.micro_f1(targets, values, labels) == pytest.approx(f1("micro"))
    assert multi_label.weighted_f1(targets, values, labels) == pytest.approx(f1("weighted"))
    assert multi_label.macro_f1(targets, values, labels) == pytest.approx(f1("macro", occurs))
    exact = sum(v is not None and set(t) == set(v) for t, v in zip(targets, values, strict=True)) / len(targets)
    assert multi_label.subset_accuracy(targets, values, labels) == pytest.approx(exact)


def test_multi_label_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match=r"values\[0\] is 'a', which is not a list of the labels a, b: correct it"):
        multi_label.micro_f1([("a",)], ["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"targets\[1\] is \('x',\)"):
        multi_label.micro_f1([("a",), ("x",)], [("a",), ()], ["a", "b"])
    with pytest.raises(ValueError, match=r"targets\[0\] is None"):
        multi_label.subset_accuracy([None], [()], ["a", "b"])
    with pytest.raises(
        ValueError, match="the target of prediction 'set/test/0' is 'joy', which is not a list of labels"
    ):
        compute(predicted(SEVERAL, [("joy", ())]), SEVERAL)


def test_calibration_by_hand():
    # Confidences 0.8 and 0.6 in two bins: |0 - 0.8| and |1 - 0.6| weigh half each.
    probability = np.array([[0.8, 0.2], [0.4, 0.6]])
    assert calibration.ece(probability, np.array([1, 1])) == pytest.approx((0.8 + 0.4) / 2)
    assert calibration.brier(probability, np.array([1, 1])) == pytest.approx((2 * 0.64 + 2 * 0.16) / 2)
    assert calibration.ece(np.array([[1.0, 0.0]]), np.array([0])) == 0.0
    made = predicted(EMOTIONS, [("joy", "joy"), ("anger", "joy")], scores={"joy": -1.0, "anger": -1.0, "fear": -1000.0})
    assert compute(made, EMOTIONS)["calibration"] == pytest.approx({"n": 2, "ece": 0.0, "brier": 0.5})
    # Nothing can be said where a label has no score.
    for scores in (None, {"joy": -1.0}):
        made = predicted(EMOTIONS, [("joy", "joy")], scores=scores)
        assert compute(made, EMOTIONS)["calibration"] == {"n": 0, "ece": None, "brier": None}


def test_the_two_tasks_of_mer2023_by_hand():
    valence = Task(name="valence", kind=Kind.intensity, low=-5, high=5, step=0.5, headline="mae")
    emotions = predicted(EMOTIONS, [("joy", "joy"), ("anger", "joy"), ("fear", "fear")])
    # The third record has no valence, as in test3; the second answer is unreadable and counts as -5.
    valences = predicted(valence, [(1.0, 2.0), (3.0, None), (None, 1.0)])
    value, count = emotion.emotion_valence(emotions, valences, EMOTIONS, valence)
    gold, read = ["joy", "anger"], ["joy", "joy"]
    error = mean_squared_error([1.0, 3.0], [2.0, -5.0])
    assert count == 2
    assert value == pytest.approx(f1_score(gold, read, average="weighted") - 0.25 * error)
    assert math.isnan(emotion.emotion_valence(emotions, valences[2:], EMOTIONS, valence)[0])
    with pytest.raises(ValueError, match="is of a classification and an intensity, in this order"):
        emotion.emotion_valence(valences, emotions, valence, EMOTIONS)


# ---------------------------------------------------------------- what compute makes of them


def test_dialects_of_a_classification_by_hand():
    task = Task(name="emotion", labels=["joy", "anger"], dialects=["meld", "iemocap", "binary", "mer2023"])
    numbers = compute(predicted(task, [("joy", "joy"), ("joy", "anger"), ("anger", "anger"), ("joy", None)]), task)
    # joy: 1 right of 3 gold and 1 named; anger: 1 right of 1 gold and 2 named.
    weighted = (3 * 2 / 4 + 1 * 2 / 3) / 4
    assert numbers["dialects"]["lenient"] == {
        "meld": pytest.approx({"weighted_f1": weighted, "accuracy": 0.5, "f1_joy": 0.5, "f1_anger": 2 / 3}),
        "iemocap": pytest.approx({"wa": 0.5, "ua": (1 / 3 + 1) / 2, "weighted_f1": weighted}),
        "binary": pytest.approx({"accuracy": 0.5, "weighted_f1": weighted, "macro_f1": (0.5 + 2 / 3) / 2}),
        "mer2023": pytest.approx({"weighted_f1": weighted, "accuracy": 0.5}),
    }
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_the_headline_may_be_of_a_dialect():
    numbers = compute(predicted(MOSI, list(zip(GOLD, READ, strict=True))), MOSI)
    assert dialects_of(MOSI) == ["mmsa_mosi"]
    assert headline(numbers, MOSI) == numbers["lenient"]["mmsa_mosi.non0_acc2"] == pytest.approx(5 / 6)
    assert numbers["dialects"]["lenient"]["mmsa_mosi"]["acc7"] == 3 / 8
    assert set(numbers["lenient"]) == set(numbers["majority"]) == {"mae", "pearson", "ccc", "mmsa_mosi.non0_acc2"}
    with pytest.raises(
        ValueError, match=r"'mmsa_mosi\.acc9', which is no metric of a task of kind intensity: set it to"
    ):
        headline_metric(Task(name="x", kind=Kind.intensity, low=-3, high=3, step=1, headline="mmsa_mosi.acc9"))
    with pytest.raises(ValueError, match="names the dialect 'meld', which is none of kind intensity: choose from mmsa"):
        compute([], Task(name="x", kind=Kind.intensity, low=-3, high=3, headline="mae", dialects=["meld"]))


def test_policies_by_hand():
    task = Task(name="s", kind=Kind.intensity, low=-3, high=3, step=1, headline="mae", dialects=["mmsa_mosi"])
    found = compute(predicted(task, [(1.0, 1.0), (2.0, None), (0.0, -5.0), (-2.0, None)]), task)
    by_policy = found["policies"]
    assert tuple(by_policy) == POLICIES
    assert {policy: numbers["n"] for policy, numbers in by_policy.items()} == {"strict": 4, "exclude": 2, "fallback": 4}
    # The value out of the range stays as it is under every policy: -5 is 5 from 0.
    assert by_policy["strict"]["mae"] == (0 + 5 + 5 + 5) / 4 == found["lenient"]["mae"]
    assert by_policy["exclude"]["mae"] == (0 + 5) / 2
    assert found["fallback_answer"] == 0.0 and by_policy["fallback"]["mae"] == (0 + 2 + 5 + 2) / 4
    assert by_policy["strict"]["mmsa_mosi.non0_acc2"] == 1 / 3
    assert by_policy["exclude"]["mmsa_mosi.non0_acc2"] == 1.0
    assert by_policy["fallback"]["mmsa_mosi.non0_acc2"] == 2 / 3
    assert {policy: counts["mmsa_mosi.non0_acc2"] for policy, counts in found["counted"].items()} == {
        "strict": 3,
        "exclude": 1,
        "fallback": 3,
    }


def test_policies_of_labels_by_hand():
    found = compute(predicted(EMOTIONS, [("joy", "joy"), ("joy", None), ("anger", "joy"), ("fear", None)]), EMOTIONS)
    assert found["fallback_answer"] == "joy"
    assert {policy: numbers["accuracy"] for policy, numbers in found["policies"].items()} == {
        "strict": 0.25,
        "exclude": 0.5,
        "fallback": 0.5,
    }
    exact_only = predicted(EMOTIONS, [("joy", "joy")], exact=None)
    assert compute(exact_only, EMOTIONS, "exact")["policies"]["strict"]["accuracy"] == 0.0
    assert compute(exact_only, EMOTIONS, "exact")["policies"]["exclude"] == {
        "n": 0,
        **dict.fromkeys(registry.METRICS[Kind.classification]),
    }


def test_policies_of_label_sets_by_hand():
    pairs = [(("joy",), ("joy",)), (("joy",), None), (("anger", "joy"), ("anger",)), ((), None)]
    found = compute(predicted(SEVERAL, pairs), SEVERAL)
    assert found["majority_answer"] == found["fallback_answer"] == ["joy"]
    assert {policy: numbers["subset_accuracy"] for policy, numbers in found["policies"].items()} == {
        "strict": 1 / 4,
        "exclude": 1 / 2,
        "fallback": 2 / 4,
    }
    # 2 right of 4 gold and 2 named.
    assert found["lenient"]["micro_f1"] == pytest.approx(2 * 2 / 6)
    assert found["n_per_class"] == {"joy": 3, "anger": 1, "fear": 0} and found["f1_per_class"]["fear"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert compute(predicted(SEVERAL, [(None, ())]), SEVERAL)["lenient"]["micro_f1"] is None


def test_reasons_of_errors_are_counted():
    made = predicted(EMOTIONS, [("joy", None), ("joy", None)], outcome="error", error="no frames", readout="error")
    found = compute(made, EMOTIONS)
    assert found["errors"] == {"no frames": 2} and found["readout"] == "none"


def test_signatures_say_what_a_number_stands_on():
    pairs = [*zip(GOLD, READ, strict=True), (None, 1.0)]
    numbers = compute(predicted(MOSI, pairs), MOSI)
    signed = signatures(numbers, expected=12, used=9, version="0.1")
    assert signed["policies"]["strict"]["mmsa_mosi.non0_acc2"] == (
        "mmsa_mosi.non0_acc2|rows:6/12|used:9|scored:8|unreadable:1|policy:strict|readout:generate|reader:lenient|affect:0.1"
    )
    assert signed["policies"]["exclude"]["mae"].startswith("mae|rows:7/12|used:9|scored:8|unreadable:1|policy:exclude|")
    assert "|reader:exact|" in signed["exact"]["mmsa_mosi.acc7"]
    every = {name for name in numbers["policies"]["strict"] if name != "n"}
    assert {name: set(block) for name, block in signed["policies"].items()} == dict.fromkeys(POLICIES, every)
    assert len({text for block in signed["policies"].values() for text in block.values()}) == 3 * len(every)


# ---------------------------------------------------------------- what a task may say


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dialects": ["mmsa_mos"]},
            "'mmsa_mos', which is none, did you mean 'mmsa_mosi'? Dialects of kind intensity:",
        ),
        ({"dialects": ["meld"]}, "names the dialect 'meld', which is for tasks of kind classification"),
        ({"dialects": ["simsv2"]}, "is from -3 to 3, but the dialect 'simsv2' is written for -1 to 1: leave it out"),
        ({"headline": "mmsa_sims.acc2"}, "the dialect 'mmsa_sims' is written for -1 to 1"),
    ],
)
def test_a_dialect_that_does_not_fit_is_refused(changes, message):
    fields = {"name": "s", "kind": Kind.intensity, "low": -3, "high": 3, "step": 1, "headline": "mae"}
    found = list(problems(Task(question=QUESTION, **(fields | changes))))
    assert len(found) == 1 and message in found[0], found


def test_a_dialect_of_two_labels_is_for_two_labels():
    found = list(problems(Task(name="e", labels=["a", "b", "c"], dialects=["binary"], question=QUESTION)))
    assert found == ["task 'e' has 3 labels, but the dialect 'binary' is for 2: leave it out"]
    assert not list(problems(Task(name="e", labels=["a", "b"], dialects=["binary"], question=QUESTION)))
    assert not list(problems(MOSI)) and not list(problems(SIMS)) and not list(problems(SEVERAL))


def test_words_that_cannot_stand_in_a_list_are_refused():
    task = Task(name="e", kind=Kind.multi_label, labels=["joy, mild", "None"], question=QUESTION)
    comma, none = problems(task)
    assert "has a comma in the word (en) 'joy, mild', and commas part the labels of an answer: give it another" in comma
    assert "uses the word (en) 'none' for a label and for no label at all: set none.en to another" in none


def test_a_hundred_thousand_predictions_in_all_dialects_take_two_seconds():
    generator = random.Random(0)
    size = 100_000
    labels = ["neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"]
    emotions = Task(name="emotion", labels=labels, dialects=["meld", "iemocap", "mer2023"])
    every = [name for name, dialect in DIALECTS.items() if dialect.kind is Kind.intensity]
    sentiment = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, headline="mae", dialects=every)
    drawn = [generator.choice([None, generator.gauss(0, 2)]) for _ in range(size)]
    for task, pairs in (
        (emotions, [(generator.choice(labels), generator.choice([*labels, None])) for _ in range(size)]),
        (sentiment, [(number % 19 / 3 - 3, value) for number, value in enumerate(drawn)]),
    ):
        made = predicted(task, pairs)
        start = time.process_time()
        assert compute(made, task)["n_scored"] == size
        # 0.6 and 0.5 s where it was measured.
        assert time.process_time() - start < 2.0, task.name


def test_columns_are_taken_as_they_are_encoded():
    assert policies.encode(["anger", None], EMOTIONS).tolist() == [1, 3]
    encoded = intensity.column([1.0, None])
    assert mosi.mae(np.array([1.0, 1.0]), encoded) == mosi.mae([1.0, 1.0], [1.0, None]) == 2.0
    with pytest.raises(ValueError, match=r"values\[1\] is nan, which is not finite"):
        mosi.mae([1.0, 1.0], [1.0, math.nan])
    with pytest.raises(ValueError, match="2 targets but 1 values"):
        sims.acc2([1.0, 1.0], [1.0])
