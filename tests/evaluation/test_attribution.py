"""Shapley values, probes and conflicts, against their definitions."""

import doctest
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from affect.config import Kind, Task
from affect.data import Prediction
from affect.data.demo_corpus.generate import Settings, best_possible, lines, posterior
from affect.data.demo_corpus.states import EMOTION_OF
from affect.evaluation import attribution as attributions
from affect.evaluation.attribution import attribution, per_clip, subsets, weights
from affect.evaluation.conflict import disagree
from affect.evaluation.probe import probe
from affect.evaluation.significance import paired

EMOTION = Task(name="emotion", labels=["joy", "anger", "fear"])
SENTIMENT = Task(name="sentiment", kind=Kind.intensity, low=-3, high=3, headline="mae")


def accuracy(gold: np.ndarray, read: np.ndarray) -> float:
    return float(np.mean(gold == read))


def answers_of(modalities: str, seeds: int, clips: int = 120) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """Gold labels, and answers that are right the more often the more modalities they are given."""
    dice = np.random.default_rng(len(modalities) + seeds)
    gold = dice.integers(0, 3, clips)

    def read(share: float) -> np.ndarray:
        return np.where(dice.random(clips) < share, gold, dice.integers(0, 3, clips))

    return gold, {subset: [read(0.2 + 0.2 * len(subset)) for _ in range(seeds)] for subset in subsets(modalities)}


def by_permutations(modalities: str, value: Callable[[str], float]) -> list[float]:
    """Shapley values by their definition: the mean gain over all orders in which the modalities come."""
    gains = dict.fromkeys(modalities, 0.0)
    orders = list(permutations(modalities))
    for order in orders:
        for place, modality in enumerate(order):
            before, after = ("".join(each for each in modalities if each in order[:end]) for end in (place, place + 1))
            gains[modality] += (value(after) - value(before)) / len(orders)
    return list(gains.values())


GROUPS = np.arange(120) // 10


def test_the_doctests_hold():
    assert doctest.testmod(attributions).attempted > 4


def test_a_hand_computed_example():
    # 12 clips, so many of them right: none 2, text 6, audio 4, video 2, ta 8, tv 6, av 6, all 11.
    right = {"": 2, "t": 6, "a": 4, "v": 2, "ta": 8, "tv": 6, "av": 6, "tav": 11}
    gold = np.zeros(12, dtype=int)
    answers = {subset: [np.where(np.arange(12) < count, 0, 1)] for subset, count in right.items()}
    found = attribution("tav", gold, answers, np.arange(12), accuracy)
    # text: (2 (6 - 2) + (8 - 4) + (6 - 2) + 2 (11 - 6)) / 6 = 26 / 6; audio: (2 (4 - 2) + (8 - 6) + (6 - 2)
    # + 2 (11 - 6)) / 6 = 20 / 6; video: (0 + (6 - 6) + (6 - 4) + 2 (11 - 8)) / 6 = 8 / 6; together 9 = 11 - 2
    assert [one.mean for one in found.modalities.values()] == pytest.approx([26 / 72, 20 / 72, 8 / 72])
    assert found.total.mean == pytest.approx(9 / 12)
    assert found.differences["t", "v"].mean == pytest.approx(18 / 72)
    assert {subset: values for subset, values in found.values.items()} == {
        subset: [pytest.approx(count / 12)] for subset, count in right.items()
    }


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("modalities", ["ta", "av", "tav"])
def test_values_are_those_of_the_definition_and_add_up(modalities, seeds):
    gold, answers = answers_of(modalities, seeds)
    found = attribution(modalities, gold, answers, GROUPS, accuracy)
    means = {subset: np.mean(values) for subset, values in found.values.items()}
    values = [one.mean for one in found.modalities.values()]
    assert values == pytest.approx(by_permutations(modalities, means.__getitem__), abs=1e-12)
    assert sum(values) == pytest.approx(found.total.mean, abs=1e-12)
    assert found.total.mean == pytest.approx(means[modalities] - means[""], abs=1e-12)
    assert all(one.low < one.mean < one.high for one in (*found.modalities.values(), found.total))
    for (one, other), difference in found.differences.items():
        assert difference.mean == pytest.approx(found.modalities[one].mean - found.modalities[other].mean, abs=1e-12)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_total_has_the_interval_of_the_paired_comparison(seeds):
    gold, answers = answers_of("tav", seeds)
    found = attribution("tav", gold, answers, GROUPS, accuracy).total
    expected = paired(gold, answers["tav"], answers[""], GROUPS, accuracy)
    assert (found.low, found.high, found.p) == pytest.approx((expected.low, expected.high, expected.p))


def test_modalities_that_can_be_exchanged_have_the_same_value():
    gold, answers = answers_of("tav", 1)
    answers["a"], answers["av"] = answers["t"], answers["tv"]
    found = attribution("tav", gold, answers, GROUPS, accuracy)
    assert found.modalities["t"].mean == pytest.approx(found.modalities["a"].mean, abs=1e-15)
    assert (found.differences["t", "a"].mean, found.differences["t", "a"].p) == (0, 1)
    assert found.differences["t", "v"].mean == pytest.approx(found.differences["a", "v"].mean)


def test_a_modality_that_changes_no_answer_has_exactly_nothing():
    gold, answers = answers_of("tav", 3)
    for subset in ("", "t", "a", "ta"):
        answers["".join(letter for letter in "tav" if letter in subset + "v")] = answers[subset]
    found = attribution("tav", gold, answers, GROUPS, accuracy).modalities["v"]
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_order_of_the_modalities_changes_nothing():
    gold, answers = answers_of("tav", 1)
    again = {"".join(letter for letter in "vat" if letter in subset): read for subset, read in answers.items()}
    one, other = (
        attribution(order, gold, given, GROUPS, accuracy) for order, given in (("tav", answers), ("vat", again))
    )
    for letter in "tav":
        assert one.modalities[letter].mean == pytest.approx(other.modalities[letter].mean, abs=1e-15)
        assert one.modalities[letter].high == pytest.approx(other.modalities[letter].high)


def test_values_of_clips_have_those_of_the_accuracy_as_their_mean_and_those_of_classes_too():
    gold, answers = answers_of("tav", 3)
    whole = attribution("tav", gold, answers, GROUPS, accuracy)
    expected = [one.mean for one in whole.modalities.values()]
    clips = per_clip("tav", gold, answers, lambda gold, read: (gold == read).astype(float))
    assert clips.shape == (3, 120) and clips.mean(axis=1) == pytest.approx(expected, abs=1e-12)
    first = {subset: np.mean([read[0] == gold[0] for read in of_seeds]) for subset, of_seeds in answers.items()}
    assert clips[:, 0] == pytest.approx(by_permutations("tav", first.__getitem__))
    by_class = np.zeros(3)
    for label in range(3):
        own = gold == label
        given = {subset: [read[own] for read in of_seeds] for subset, of_seeds in answers.items()}
        found = attribution("tav", gold[own], given, GROUPS[own], accuracy)
        by_class += own.mean() * np.array([one.mean for one in found.modalities.values()])
    assert by_class == pytest.approx(expected, abs=1e-12)


def test_the_planted_order_of_the_demo_corpus_is_recovered():
    """Text reveals the state most often, then audio, then video: so do the best possible answers to 1,200 clips."""
    settings = Settings(num_train=1, num_val=1, num_test=1200)
    corpus = [line for line in lines(settings) if line.split == "test"]
    shown = {letter: np.array([line.shown[letter] for line in corpus]) for letter in "tav"}
    hidden = np.array([line.hidden for line in corpus])
    gold = EMOTION_OF[hidden]

    def best(subset: str) -> np.ndarray:
        belief = posterior({letter: shown[letter] for letter in subset}, settings)
        return np.stack([belief[:, of == EMOTION_OF].sum(axis=1) for of in range(EMOTION_OF.max() + 1)]).argmax(axis=0)

    answers = {subset: [best(subset)] for subset in subsets("tav") if subset} | {"": [np.zeros(1200, dtype=int)]}
    found = attribution("tav", gold, answers, [line.speaker for line in corpus], accuracy)
    scores = best_possible(hidden, shown, settings)["emotion"]["accuracy"]
    assert {subset: values for subset, [values] in found.values.items()} == pytest.approx(scores)
    text, audio, video = found.modalities.values()
    assert text.mean > audio.mean > video.mean > video.low > 0
    assert all(difference.low > 0 for difference in found.differences.values())
    assert found.total.mean == pytest.approx(scores["tav"] - scores[""])
    assert text.mean + audio.mean + video.mean == pytest.approx(found.total.mean, abs=1e-12)


def test_without_an_empty_set_its_value_is_nothing():
    gold, answers = answers_of("ta", 1)
    del answers[""]
    found = attribution("ta", gold, answers, GROUPS, accuracy)
    assert found.values[""] == [0] and found.total.mean == pytest.approx(accuracy(gold, answers["ta"][0]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda answers: answers.pop("av"), "there are no answers with av: Shapley values need those of every subset"),
        (lambda answers: answers["t"].pop(), "t has 1 seeds and tav 2: give as many of every subset"),
        (lambda answers: answers.update({"": answers[""][:1]}), "the empty set has 1 seeds and tav 2"),
        (lambda answers: answers["a"].__setitem__(1, answers["a"][1][:-1]), r"a\[1\] has 119 entries and gold 120"),
    ],
)
def test_answers_that_do_not_fit_together_are_refused(change, says):
    gold, answers = answers_of("tav", 2)
    change(answers)
    with pytest.raises(ValueError, match=says):
        attribution("tav", gold, answers, GROUPS, accuracy)


def test_the_weights_of_a_modality_count_every_order_once():
    assert np.abs(weights("tav")).sum(axis=1).tolist() == [12, 12, 12]  # 3! orders, with and without it
    assert weights("tav").sum(axis=1).tolist() == [0, 0, 0]


# ---------------------------------------------------------------- probes


def predictions(
    scores: list[list[float]] | None = None, values: list | None = None, task: Task = EMOTION
) -> list[Prediction]:
    """One a clip, of which the gold label is the first one, or the number 0; each clip is a group."""
    made = []
    for place, given in enumerate(scores if scores is not None else values or []):
        value = task.labels[int(np.argmax(given))] if scores is not None else given
        made.append(
            Prediction(
                id=str(place),
                dataset="x",
                split="test",
                task=task.name,
                group=f"g{place}",
                target=task.labels[0] if task.kind is Kind.classification else 0.0,
                answer=None,
                exact=value,
                lenient=value,
                outcome="valid",
                readout="score",
                scores=None if scores is None else dict(zip(task.labels, given, strict=True)),
            )
        )
    return made


def test_a_probe_measures_the_shift_of_the_gold_label():
    # Scores of two labels as log-likelihoods: softmax of (log 3, 0, -inf) would not be finite, so the third is far off.
    odds = [[np.log(3.0), 0.0, -50.0]] * 6
    even = [[0.0, 0.0, -50.0]] * 6
    found = probe([predictions(odds)], [predictions(even)], EMOTION)
    gain = np.log(0.75) - np.log(0.5)
    assert (found.clips, found.seeds, found.unit, found.moved, found.changed) == (6, 1, "nats", 1.0, 0.0)
    assert found.median == pytest.approx(gain) and found.gain.mean == pytest.approx(gain)
    assert found.by_clip == [pytest.approx(gain)] * 6
    # A constant added to all labels is no shift: the labels' shares are the same.
    shifted = [[score + 2 for score in row] for row in odds]
    assert probe([predictions(odds)], [predictions(shifted)], EMOTION).moved == 0


def test_a_probe_counts_clips_seeds_and_other_answers():
    base = [[1.0, 0.0, 0.0]] * 8
    some = [[0.0, 1.0, 0.0]] * 2 + [[0.9, 0.0, 0.0]] * 2 + base[4:]
    found = probe([predictions(base)] * 2, [predictions(some), predictions(base)], EMOTION)
    assert (found.seeds, found.moved, found.changed) == (2, 4 / 16, 2 / 16)
    assert found.gain.mean > 0 and found.gain.low is None and "cannot carry an interval" in found.gain.reason
    same = probe([predictions(base)], [predictions(base)], EMOTION)
    assert (same.moved, same.changed, same.median, same.gain.mean, same.gain.low) == (0, 0, 0, 0, 0)


def test_a_probe_of_numbers_and_of_text():
    near, far = [0.5] * 6, [-1.5] * 5 + [0.5]
    numbers = [predictions(values=each, task=SENTIMENT) for each in (near, far)]
    found = probe([numbers[0]], [numbers[1]], SENTIMENT)
    assert (found.moved, found.median, found.unit) == (5 / 6, 2.0, "of -3 to 3")
    assert found.by_clip == [1.0] * 5 + [0.0] and found.gain.mean == pytest.approx(5 / 6)
    text = [predictions(values=[label] * 6) for label in ("joy", "fear")]
    told = probe([text[0]], [text[1]], EMOTION)
    assert (told.moved, told.changed, told.median, told.gain, told.by_clip) == (1, 1, None, None, [None] * 6)
    wordy = [replace(prediction, answer="joy!") for prediction in text[0]]
    assert probe([text[0]], [wordy], EMOTION).moved == 1, "another text with the same label"
    failed = [replace(numbers[1][0], lenient=None, outcome="error"), *numbers[1][1:]]
    assert probe([numbers[0]], [failed], SENTIMENT).by_clip == [None, 1.0, 1.0, 1.0, 1.0, 0.0]


# ---------------------------------------------------------------- conflicts


def test_labels_disagree_where_they_differ_and_numbers_where_their_sides_do():
    labels = [np.array([0, 1, 3, 3]), np.array([0, 2, 3, 1])]  # 3 is an answer that cannot be read
    assert disagree(labels, EMOTION).tolist() == [False, True, False, True]
    numbers = [np.array([1.0, 0.1, 0.0, np.nan, np.nan]), np.array([2.0, -0.1, 0.1, np.nan, 1.0])]
    assert disagree(numbers, SENTIMENT).tolist() == [False, True, True, False, True]
    several = [np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]])]
    assert disagree(several, replace(EMOTION, kind=Kind.multi_label)).tolist() == [False, True]
