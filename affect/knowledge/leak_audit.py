"""Leak audit: how often descriptions name a label, and how well they predict it alone.

A description that names the right label turns the question into reading, so that a gain may be the generator's and not
the model's. The audit therefore counts which descriptions name labels (naming.py, controls.vocabulary), predicts the
label from the description alone, breaks those predictions down by what is named, and predicts once more with
everything that names a label masked.

The predictor is a bag of words: TF-IDF of single words (characters and pairs of characters in Chinese) and a linear
model, logistic regression for labels and ridge regression for an intensity. Folds keep groups (video, dialogue,
speaker) together, so that a speaker's or scene's own wording is not learnt. The result is a lower bound of what a
language model can read off.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect.config import Config, Kind, Task
from affect.data import Record
from affect.evaluation.metrics import classification, intensity, multi_label
from affect.knowledge import controls
from affect.knowledge.naming import Naming, masked, namings
from affect.prompting import fewshot, messages

if TYPE_CHECKING:
    from affect.data.part import Part

FOLDS = 5

MAX_CLIPS = 2000
"""Clips of a dataset that are audited; whole groups are drawn from larger ones. A share then has a standard error of
1.1 percentage points at most, and the audit of a task takes seconds."""

MAX_TERMS = 1000
"""The most frequent terms are features. Generated descriptions have few others."""

INVERSE_PENALTY = 10.0
"""scikit-learn's C. Rows of features have length 1, so a stronger penalty would keep the weights near 0."""

Folds = list[tuple[np.ndarray, np.ndarray]]
"""Row numbers of the training and the test clips of each fold."""


def audit(parts: "Sequence[Part]", cfg: Config) -> dict[str, Any]:
    """The audit of every task, by `dataset.task`, over all splits of `parts`; see `audit_task`. Empty where the prompts
    show no description.

    Descriptions are audited as they stand in the prompts: after the control, and cut to
    prompting.max_description_words.
    """
    if not messages.descriptions_shown(cfg.prompting, cfg.modalities):
        return {}
    audits = {}
    for name, dataset in cfg.datasets.items():
        records = [record for part in parts if part.dataset == name for record in part.records]
        texts = {
            record.id: {
                kind: text for kind, (text, _) in messages.descriptions(record, cfg.prompting, cfg.modalities).items()
            }
            for record in records
        }
        for task_name in dataset.tasks:
            labelled = [record for record in records if task_name in record.labels]
            audits[f"{name}.{task_name}"] = audit_task(labelled, texts, dataset.task_definitions[task_name])
    return audits


def audit_task(records: Sequence[Record], texts: dict[str, dict[str, str]], task: Task) -> dict[str, Any]:
    """The audit of one task of one dataset.

    records: labelled for the task. texts: descriptions by record id and by what they describe, the same kinds for every
    record. Returns

    clips, of_clips, groups    audited clips (at most MAX_CLIPS), labelled clips, and groups of the audited ones
    folds                      number of folds; None where there are fewer than two groups
    descriptions               by audio, video, …, and `all` for a clip's descriptions together where it has several:
      named                    share of descriptions that name only the gold label, only others, both, or none;
                               label_word is the share that has the label's own word rather than a synonym
      predicted                accuracy and uar, accuracy and macro_f1, or mae and pearson, by a bag of words
      by_named                 accuracy or mae of the descriptions that name the gold label, …, and their number
      masked                   `predicted` with everything that names a label masked
    baseline                   the measures of a constant: the commonest answer, or the mean, of the training clips.
                               Its pearson is None

    predicted, by_named, masked and baseline are None where there are fewer than two groups.
    """
    drawn = _draw(records)
    kinds = list(dict.fromkeys(kind for record in drawn for kind in texts[record.id]))
    columns = {kind: [texts[record.id][kind] for record in drawn] for kind in kinds}
    if len(kinds) > 1:
        columns["all"] = ["\n".join(texts[record.id].values()) for record in drawn]
    groups = [record.group for record in drawn]
    folds = _folds(groups)
    return {
        "clips": len(drawn),
        "of_clips": len(records),
        "groups": len(set(groups)),
        "folds": len(folds) or None,
        "baseline": _baseline(drawn, task, folds) if folds else None,
        "descriptions": {kind: _audit_texts(drawn, column, task, folds) for kind, column in columns.items()},
    }


NAMED = ("gold", "both", "other", "none")


def _audit_texts(records: list[Record], texts: list[str], task: Task, folds: Folds) -> dict[str, Any]:
    vocabulary = controls.vocabulary(task)
    namings_by_text = [namings(text, vocabulary) for text in texts]
    named = [
        which_named(of_text, gold_labels(record, task))
        for record, of_text in zip(records, namings_by_text, strict=True)
    ]
    shares = {which: _share(one == which for one in named) for which in NAMED}
    shares["label_word"] = _share(any(naming.own for naming in of_text) for of_text in namings_by_text)
    if not folds:
        return {"named": shares, "predicted": None, "by_named": None, "masked": None}
    predictions = masked_predictions = _predict(records, texts, task, folds)
    if any(namings_by_text):
        masked_texts = [masked(text, [vocabulary], controls.MASK)[0] for text in texts]
        masked_predictions = _predict(records, masked_texts, task, folds)
    by_named = {}
    for which in NAMED:
        rows = [row for row, one in enumerate(named) if one == which]
        value = _right([records[row] for row in rows], [predictions[row] for row in rows], task) if rows else None
        by_named[which] = {"clips": len(rows), "mae" if task.kind is Kind.intensity else "accuracy": value}
    return {
        "named": shares,
        "predicted": _measure(records, predictions, task),
        "by_named": by_named,
        "masked": _measure(records, masked_predictions, task),
    }


def _share(flags: Iterable[bool]) -> float:
    return float(np.mean(list(flags)))


def gold_labels(record: Record, task: Task) -> set[str]:
    """The label or labels of a record; the polarity of an intensity."""
    value = record.labels[task.name]
    if task.kind is Kind.multi_label:
        assert isinstance(value, tuple)
        return set(value)
    if task.kind is Kind.classification:
        return {str(value)}
    assert task.low is not None and task.high is not None
    distance = float(value) - (task.low + task.high) / 2  # type: ignore[arg-type]
    return {controls.POLARITIES[1 + int(np.sign(distance))]}


def which_named(of_text: Sequence[Naming], gold: set[str]) -> str:
    """Which of NAMED a description with these namings is, of a clip with the labels `gold`."""
    labels = {label for naming in of_text for label in naming.labels}
    if not labels:
        return "none"
    if not labels & gold:
        return "other"
    return "gold" if labels <= gold else "both"


def _draw(records: Sequence[Record]) -> list[Record]:
    """All records, or whole groups up to MAX_CLIPS, in a random order that depends on the groups' names alone."""
    groups = defaultdict(list)
    for record in records:
        groups[record.group].append(record)
    drawn: list[Record] = []
    for group in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if drawn and len(drawn) + len(groups[group]) > MAX_CLIPS:
            break
        drawn += groups[group]
    return drawn


def _folds(groups: list[str]) -> Folds:
    """Folds of about equal size that keep groups together; none where there are fewer than two groups."""
    # scikit-learn takes a second to import, and only runs with descriptions need it.
    from sklearn.model_selection import GroupKFold

    num_groups = len(set(groups))
    return list(GroupKFold(min(FOLDS, num_groups)).split(groups, groups=groups)) if num_groups > 1 else []


def _predict(records: list[Record], texts: list[str], task: Task, folds: Folds) -> list[Any]:
    """A value of the task for every clip, by a model fitted to the clips of the other folds."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    try:
        counts = CountVectorizer(analyzer=fewshot.terms, min_df=2, max_features=MAX_TERMS).fit_transform(texts)
    except ValueError:  # no term is in two texts: the intercept predicts alone
        counts = csr_matrix((len(texts), 1))
    values = [record.labels[task.name] for record in records]

    def answers(train: np.ndarray, test: np.ndarray) -> list[Any]:
        weights = TfidfTransformer().fit(counts[train])
        features, others = weights.transform(counts[train]), weights.transform(counts[test])
        return _fit_and_predict(task, features, [values[row] for row in train], others)

    return _cross_predict(folds, len(records), answers)


def _cross_predict(folds: Folds, num_clips: int, answers: Callable[[np.ndarray, np.ndarray], list[Any]]) -> list[Any]:
    """For every clip, what `answers(train, test)` gives for it in the fold in which it is tested."""
    predictions: list[Any] = [None] * num_clips
    for train, test in folds:
        for row, value in zip(test, answers(train, test), strict=True):
            predictions[row] = value
    return predictions


def _fit_and_predict(task: Task, features: Any, values: list[Any], others: Any) -> list[Any]:
    """Answers for the rows `others` by a linear model fitted to `values` of the rows `features`."""
    if task.kind is Kind.intensity:
        from sklearn.linear_model import Ridge

        # A tolerance at which the error of the iterative solver is below 1e-6 of a value.
        return np.clip(Ridge(tol=1e-8).fit(features, values).predict(others), task.low, task.high).tolist()
    if task.kind is Kind.classification:
        return _classify(features, values, others)
    columns = [_classify(features, [label in value for value in values], others) for label in task.labels]
    return [
        tuple(sorted(label for label, applies in zip(task.labels, row, strict=True) if applies))
        for row in zip(*columns, strict=True)
    ]


def _classify(features: Any, values: list[Any], others: Any) -> list[Any]:
    from sklearn.linear_model import LogisticRegression

    if len(set(values)) == 1:
        return [values[0]] * others.shape[0]
    return LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(features, values).predict(others).tolist()


def _baseline(records: list[Record], task: Task, folds: Folds) -> dict[str, float | None]:
    """The measures of the commonest answer, or the mean, of the training clips."""
    values = [record.labels[task.name] for record in records]

    def answers(train: np.ndarray, test: np.ndarray) -> list[Any]:
        if task.kind is Kind.intensity:
            return [float(np.mean([values[row] for row in train]))] * len(test)  # type: ignore[arg-type]
        return [Counter(values[row] for row in train).most_common(1)[0][0]] * len(test)

    measures = _measure(records, _cross_predict(folds, len(records), answers), task)
    # The mean of the training clips is low where the test clips are high: folds alone make that correlation.
    return measures | ({"pearson": None} if task.kind is Kind.intensity else {})


def _measure(records: list[Record], predictions: list[Any], task: Task) -> dict[str, float | None]:
    gold: list[Any] = [record.labels[task.name] for record in records]
    right = _right(records, predictions, task)
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        pearson = intensity.pearson(gold, predictions, task.low, task.high)
        return {"mae": right, "pearson": None if math.isnan(pearson) else pearson}  # nan: of a constant
    if task.kind is Kind.multi_label:
        return {"accuracy": right, "macro_f1": multi_label.macro_f1(gold, predictions, task.labels)}
    return {"accuracy": right, "uar": classification.uar(gold, predictions, task.labels)}


def _right(records: list[Record], predictions: list[Any], task: Task) -> float:
    """Mean absolute error of an intensity; otherwise the share of right answers, all labels of a clip at once."""
    gold: list[Any] = [record.labels[task.name] for record in records]
    if task.kind is Kind.intensity:
        return float(np.mean([abs(float(g) - p) for g, p in zip(gold, predictions, strict=True)]))
    return _share(g == p for g, p in zip(gold, predictions, strict=True))


def in_words(audits: dict[str, Any]) -> list[str]:
    """A sentence for each task and kind of description."""
    sentences = []
    for name, of_task in audits.items():
        for kind, results in of_task["descriptions"].items():
            named = results["named"]
            sentence = (
                f"{name}, {'all descriptions together' if kind == 'all' else f'{kind} descriptions'}:"
                f" {1 - named['none']:.1%} name a label or a synonym ({named['gold']:.1%} only the right one,"
                f" {named['other']:.1%} only wrong ones)"
            )
            if results["predicted"] is None:
                sentences.append(f"{sentence}; all clips are of one group, so no label is predicted from them")
                continue
            measure = next(m for m in ("uar", "macro_f1", "mae") if m in results["predicted"])
            sentences.append(
                f"{sentence}; a bag of words of them alone reaches {measure} {results['predicted'][measure]:.3f}, with"
                f" label words masked {results['masked'][measure]:.3f}, a constant answer"
                f" {of_task['baseline'][measure]:.3f}"
            )
    return sentences
