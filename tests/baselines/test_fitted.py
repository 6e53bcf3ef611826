"""Priors, TF-IDF and linear models, held against scikit-learn."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_features import EMOTION, MOODS, SENTIMENT, FakeFeatures, example, planted
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affect.baselines.linear import fit_linear
from affect.baselines.prior import Prior
from affect.baselines.targets import targets
from affect.baselines.tfidf import Tfidf
from affect.baselines.vectors import Vectors, averaged, pooled
from affect.config import ConfigError, DataError, PriorConfig, Task, TfidfConfig, VectorsConfig
from affect.config.baselines import Fusion, Pooling
from affect.models.learner import Learner

ONE = torch.ones


def in_batches(learner: Learner, examples, size: int = 7):
    collate = learner.collator(True)
    return [collate(examples[at : at + size]) for at in range(0, len(examples), size)]


def restored(learner: Learner, new: Learner) -> Learner:
    """`new` with what a checkpoint keeps of `learner`."""
    new.load({"state_dict": learner.trained_state(), "base": learner.base()}, "best.ckpt")
    return new


def predictions(learner: Learner, examples, size: int = 7):
    return [p for batch in in_batches(learner, examples, size) for p in learner.predict(batch)]


def labels_of(count: int, seed: int = 1) -> list[str]:
    return [EMOTION.labels[i] for i in np.random.default_rng(seed).choice(3, count, p=[0.6, 0.3, 0.1])]


@pytest.mark.parametrize("labels", [["neutral", "joy", "anger"], ["yes", "no"]])
def test_logistic_regression_gives_scikit_learns_probabilities(labels):
    task = Task(name="emotion", labels=labels)
    random = np.random.default_rng(0)
    x, y = 3 + 5 * random.standard_normal((60, 4)), [labels[i] for i in random.integers(0, len(labels), 60)]
    weights = torch.from_numpy(random.uniform(0.5, 2, 60))
    gold = targets([example(str(i), task, value) for i, value in enumerate(y)], task)
    ours = fit_linear(x, gold, task, 0.5, weights, standardised=True)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000))
    theirs.fit(x, y, logisticregression__sample_weight=weights.numpy())
    logits = torch.from_numpy(x).float() @ ours["weight"].T + ours["bias"]
    torch.testing.assert_close(
        logits.softmax(-1).double(), torch.from_numpy(theirs.predict_proba(x)), atol=1e-5, rtol=0
    )


def test_a_label_without_training_examples_is_never_predicted_and_has_finite_scores():
    examples = [example(str(i), EMOTION, value) for i, value in enumerate(["joy", "neutral"] * 5)]
    fitted = fit_linear(np.eye(10), targets(examples, EMOTION), EMOTION, 1.0, ONE(10), standardised=False)
    logits = torch.eye(10) @ fitted["weight"].T + fitted["bias"]
    assert logits.isfinite().all() and logits.softmax(-1)[:, 0].max() < 1e-6  # anger, the first of the alphabet


def test_several_labels_are_a_logistic_regression_each():
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 3))
    gold = [tuple(label for label, there in zip(MOODS.labels, row > 0, strict=True) if there) for row in x[:, :2]]
    examples = [example(str(i), MOODS, value) for i, value in enumerate(gold)]
    fitted = fit_linear(x, targets(examples, MOODS), MOODS, 1.0, ONE(50), standardised=False)
    for row, label in enumerate(sorted(MOODS.labels)):
        theirs = LogisticRegression(C=1.0, max_iter=2000).fit(x, [label in chosen for chosen in gold])
        np.testing.assert_allclose(fitted["weight"][row], theirs.coef_[0], atol=1e-4)


def test_ridge_regression_is_in_units_of_the_task():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((40, 5)), random.uniform(-3, 1, 40)
    examples = [example(str(i), SENTIMENT, float(value)) for i, value in enumerate(y)]
    fitted = fit_linear(x, targets(examples, SENTIMENT), SENTIMENT, 0.1, ONE(40), standardised=True)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=10)).fit(x, y)
    output = torch.from_numpy(x).float() @ fitted["weight"].T + fitted["bias"]
    np.testing.assert_allclose(-1 + 2 * output[:, 0], theirs.predict(x), atol=1e-5)


def test_tfidf_gives_scikit_learns_answers_also_from_a_checkpoint():
    words = {"neutral": "well so then", "joy": "great lovely wow", "anger": "stop never leave"}
    random = np.random.default_rng(0)
    gold = labels_of(80)
    texts = [" ".join(random.choice([*words[label].split(), "the", "and"], 4)) for label in gold]
    examples = [example(f"toy/{i}", EMOTION, *pair) for i, pair in enumerate(zip(gold, texts, strict=True))]
    learner = Tfidf(TfidfConfig(name="tfidf", modalities="t"))
    learner.fit(in_batches(learner, examples[:60]), {})
    theirs = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=2000))
    theirs.fit(texts[:60], gold[:60])
    expected = theirs.predict_proba(texts[60:])
    again = restored(learner, Tfidf(TfidfConfig(name="tfidf", modalities="t")))
    answers = predictions(again, examples[60:])
    order = list(theirs.classes_)
    for row, answer in zip(expected, answers, strict=True):
        assert answer.lenient == order[int(row.argmax())] and answer.readout == "head"
        for label, score in answer.scores.items():
            assert np.exp(score) == pytest.approx(row[order.index(label)], abs=1e-4)


def test_datasets_with_one_task_are_fitted_together():
    words = {"neutral": "well so then", "joy": "great lovely wow", "anger": "stop never leave"}
    together = [example(f"toy/{i}", EMOTION, label, words[label]) for i, label in enumerate(labels_of(40))]
    of_two = [
        replace(e, record=replace(e.record, dataset="toy" if i % 3 else "other"), task=replace(EMOTION))
        for i, e in enumerate(together)
    ]
    one, two = (Tfidf(TfidfConfig(name="tfidf", modalities="t")) for _ in "12")
    one.fit(in_batches(one, together), {"toy.emotion": {"joy": 2.0}})
    two.fit(in_batches(two, of_two), {"toy.emotion": {"joy": 2.0}, "other.emotion": {"joy": 2.0}})
    assert [p.scores for p in predictions(two, together)] == [p.scores for p in predictions(one, together)]
    two.fit(in_batches(two, of_two), {"toy.emotion": {"joy": 2.0}})
    assert [p.scores for p in predictions(two, together)] != [p.scores for p in predictions(one, together)]


def test_tfidf_refuses_transcripts_without_words():
    learner = Tfidf(TfidfConfig(name="tfidf", modalities="t"))
    with pytest.raises(
        DataError, match="finds no word in the transcripts of the 2 training examples of task 'emotion'"
    ):
        learner.fit(
            in_batches(learner, [example(str(i), EMOTION, label, "…") for i, label in enumerate(["joy", "anger"])]),
            {},
        )


@pytest.mark.parametrize("fusion", list(Fusion))
@pytest.mark.parametrize(
    ("task", "values"),
    [
        (EMOTION, ["neutral", "joy", "anger"] * 20),
        (MOODS, [(), ("tense",), ("bright",), ("tense", "bright")] * 15),
        (SENTIMENT, np.linspace(-3, 1, 60).round(1).tolist()),
    ],
)
def test_vectors_learn_what_features_show_also_from_a_checkpoint(task, values, fusion):
    examples, source = planted(task, values, {"audio": 5, "text": 4})
    config = VectorsConfig(name="vectors", modalities="ta", fusion=fusion)
    learner = Vectors(config, source, ("text", "audio"))
    learner.fit(in_batches(learner, examples), {})
    answers = predictions(restored(learner, Vectors(config, source, ("text", "audio"))), examples)
    assert answers == predictions(learner, examples)
    for alone, answer in zip(predictions(learner, examples, size=1), answers, strict=True):
        expected = pytest.approx(answer.lenient, abs=1e-4) if task is SENTIMENT else answer.lenient
        assert alone.lenient == expected, "the rest of a batch has no say"
    if task is SENTIMENT:
        assert np.abs([p.lenient - p.target for p in answers]).mean() < 0.25
    else:
        same = [p.lenient == (tuple(sorted(p.target)) if task is MOODS else p.target) for p in answers]
        assert np.mean(same) > 0.9


def test_pooling_leaves_padding_out():
    clips = [torch.randn(steps, 3) for steps in (1, 4)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    vectors = pooled(padded, torch.tensor([1, 4]), Pooling.mean_std)
    for vector, clip in zip(vectors, clips, strict=True):
        expected = torch.cat([clip.mean(0), clip.std(0, unbiased=False)])
        torch.testing.assert_close(vector, expected)
    torch.testing.assert_close(pooled(padded, torch.tensor([1, 4]), Pooling.mean), vectors[:, :3])


def test_late_fusion_averages_probabilities_and_numbers():
    one, other = torch.randn(4, 3), torch.randn(4, 3)
    probabilities = averaged([one, other], EMOTION).softmax(-1)
    torch.testing.assert_close(probabilities, (one.softmax(-1) + other.softmax(-1)) / 2)
    several = averaged([one[:, :2], other[:, :2]], MOODS).sigmoid()
    torch.testing.assert_close(several, (one[:, :2].sigmoid() + other[:, :2].sigmoid()) / 2)
    assert averaged([torch.tensor([[0.5]]), torch.tensor([[3.0]])], SENTIMENT).tolist() == [[0.75]], "3 is clamped to 1"


def test_the_majority_is_predicted_with_the_shares_as_scores():
    gold = labels_of(50)
    examples = [example(f"toy/{i}", EMOTION, value) for i, value in enumerate(gold)]
    learner = Prior(PriorConfig(name="majority", modalities="tav"), seed=1)
    learner.fit(in_batches(learner, examples), {})
    [answer, *_] = predictions(learner, examples)
    shares = Counter(gold)
    assert answer.lenient == shares.most_common(1)[0][0]
    assert {k: np.exp(v) for k, v in answer.scores.items()} == pytest.approx({k: n / 50 for k, n in shares.items()})
    numbers = [example(f"toy/{i}", SENTIMENT, value) for i, value in enumerate([-3.0, 0.4, 0.6])]
    learner.fit(in_batches(learner, numbers), {})
    assert predictions(learner, numbers)[0].lenient == pytest.approx(0.4), "the median"


def test_drawn_labels_have_the_shares_of_the_training_and_depend_on_seed_and_clip_alone():
    gold = labels_of(200)
    train = [example(f"toy/{i}", EMOTION, value) for i, value in enumerate(gold)]
    test = [example(f"toy/test/{i}", EMOTION, "joy", split="test") for i in range(2000)]
    config = PriorConfig(name="prior", modalities="tav", draw=True)
    learner, other = Prior(config, seed=1), Prior(config, seed=2)
    for each in (learner, other):
        each.fit(in_batches(each, train), {})
    drawn = [p.lenient for p in predictions(learner, test, size=500)]
    for label, count in Counter(gold).items():
        assert drawn.count(label) / 2000 == pytest.approx(count / 200, abs=0.04)
    assert drawn[:50] == [p.lenient for p in predictions(restored(learner, Prior(config, seed=1)), test[:50], size=3)]
    assert drawn[:50] != [p.lenient for p in predictions(other, test[:50])]
    assert predictions(learner, test[:1])[0].scores is None


def test_a_checkpoint_is_refused_with_other_features_modalities_or_tasks():
    examples, source = planted(EMOTION, ["neutral", "joy", "anger"] * 4, {"text": 4, "audio": 4})
    config = VectorsConfig(name="vectors", modalities="ta")
    learner = Vectors(config, source, ("text", "audio"))
    learner.fit(in_batches(learner, examples), {})
    with pytest.raises(
        ConfigError, match=r"best\.ckpt was trained on the modalities text, audio, and is now given text"
    ):
        restored(learner, Vectors(config, source, ("text",)))
    wider = FakeFeatures(
        {name: {m: torch.cat([x, x], 1) for m, x in of.items()} for name, of in source.sequences.items()}
    )
    with pytest.raises(ConfigError, match=r"best\.ckpt was trained on other features than it is now given"):
        restored(learner, Vectors(config, wider, ("text", "audio")))
    [strange] = in_batches(learner, [example("toy/0", MOODS, ())])
    with pytest.raises(ConfigError, match="the model was not trained on task 'moods'"):
        learner.predict(strange)
