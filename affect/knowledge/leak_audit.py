"""Leak audit: how often descriptions name a label, and how well they alone predict it.

A description that names the right label turns the question into reading, and a gain may then be the generator's and not
the model's. One that names wrong ones may still help or harm. So the prediction is broken down by what is named, and
made once more with all that names a label masked. What does so (words and synonyms, numbers and words of a sentiment
lexicon for an intensity, options) is in naming.py and controls.vocabulary.

The predictor is a bag of words: TF-IDF of single words (of Chinese, characters and pairs of them) and a linear model,
multinomial logistic regression for labels and ridge regression for an intensity, fitted and tested by groups (video,
dialogue, speaker), so that no speaker's or scene's own way is learnt. It is a lower bound of what a language model can
read off.
"""

import hashlib
import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect.config import Config, Kind, Task
from affect.data import Record
from affect.evaluation.metrics import classification, intensity, multi_label
from affect.knowledge import controls
from affect.knowledge.naming import masked, namings
from affect.prompting import fewshot, messages

if TYPE_CHECKING:
    from affect.data.part import Part


FOLDS = 5
MOST_CLIPS = 2000
"""Of a dataset; whole groups are drawn above. A share is then known to within 2.2 percentage points (95 %), and the
audit of a task takes seconds."""
MOST_TERMS = 1000
"""The commonest words are told apart. Generated descriptions have few others."""
STRENGTH = 0.1
"""L2 penalty on the weights, against the summed loss: scikit-learn's C = 10. Rows have length 1, so that less would
hardly bind."""


def audit(parts: "Sequence[Part]", cfg: Config) -> dict[str, Any]:
    """The audit of the descriptions that stand in the prompts of a run, as they stand there: after the control, and cut
    to prompting.max_description_words. By `dataset.task`, as `of_task` gives it, over all splits of `parts`. Empty
    where no description is shown."""
    shown = messages.descriptions_shown(cfg.prompting, cfg.modalities)
    made = {}
    for name, config in cfg.datasets.items() if shown else ():
        records = [record for part in parts if part.dataset == name for record in part.records]
        texts = {
            record.id: {
                kind: text for kind, (text, _) in messages.descriptions(record, cfg.prompting, cfg.modalities).items()
            }
            for record in records
        }
        for task_name in config.tasks:
            task = config.task_definitions[task_name]
            made[f"{name}.{task_name}"] = of_task([r for r in records if task_name in r.labels], texts, task)
    return made


def of_task(records: Sequence[Record], texts: dict[str, dict[str, str]], task: Task) -> dict[str, Any]:
    """The audit of one task of one dataset. `records` are labelled for it; `texts` has the descriptions by record id
    and by what they are of, the same of every record.

    clips, of_clips, groups    what it stands on; at most MOST_CLIPS of of_clips are looked at
    descriptions               by audio, video, …, and `all` of a clip together where there are several:
      named                    share of descriptions that name labels (naming.py): only the gold one, only others,
                               both, none; label_word is the share that has a label's very word
      predicted                accuracy, uar, or mae and pearson, or macro_f1, from the description alone
      by_named                 the same, accuracy or mae alone, of the descriptions that name the gold label, …
      masked                   `predicted` again with all that names a label masked
    baseline                   the same measures when the commonest answer, or the mean, of the folds' training clips is
                               always given; pearson is None

    predicted, by_named, masked and baseline are None where the clips are of fewer than two groups.
    """
    drawn = _draw(records)
    told = list(dict.fromkeys(kind for record in drawn for kind in texts[record.id]))
    columns = {kind: [texts[record.id][kind] for record in drawn] for kind in told}
    if len(told) > 1:
        columns["all"] = ["\n".join(texts[record.id].values()) for record in drawn]
    folds = _folds([record.group for record in drawn])
    made = {
        "clips": len(drawn),
        "of_clips": len(records),
        "groups": len({record.group for record in drawn}),
        "folds": None if folds is None else int(folds.max()) + 1,
        "baseline": None if folds is None else _baseline(drawn, task, folds),
        "descriptions": {kind: _of_texts(drawn, column, task, folds) for kind, column in columns.items()},
    }
    return made


NAMED = ("gold", "both", "other", "none")


def _of_texts(records: list[Record], texts: list[str], task: Task, folds: np.ndarray | None) -> dict[str, Any]:
    vocabulary = controls.vocabulary(task)
    found = [namings(text, vocabulary) for text in texts]
    naming = [
        _naming({label for one in places for label in one.labels}, _gold(record, task))
        for record, places in zip(records, found, strict=True)
    ]
    made: dict[str, Any] = {
        "named": {what: _share(named == what for named in naming) for what in NAMED}
        | {"label_word": _share(any(one.own for one in places) for places in found)},
        "predicted": None,
        "by_named": None,
        "masked": None,
    }
    if folds is None:
        return made
    predictions = _predict(records, texts, task, folds)
    # Descriptions that name nothing stay as they are, and so does what they predict.
    of_masked = (
        _predict(records, [masked(text, [vocabulary], controls.MASK)[0] for text in texts], task, folds)
        if any(found)
        else predictions
    )
    made["predicted"], made["masked"] = _measure(records, predictions, task), _measure(records, of_masked, task)
    made["by_named"] = {}
    for what in NAMED:
        rows = [i for i, named in enumerate(naming) if named == what]
        value = _right([records[i] for i in rows], [predictions[i] for i in rows], task) if rows else None
        made["by_named"][what] = {"clips": len(rows), "mae" if task.kind is Kind.intensity else "accuracy": value}
    return made


def _share(flags: Any) -> float:
    return float(np.mean(list(flags)))


def _gold(record: Record, task: Task) -> set[str]:
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


def _naming(named: set[str], gold: set[str]) -> str:
    if not named:
        return "none"
    if not named & gold:
        return "other"
    return "gold" if named <= gold else "both"


def _draw(records: Sequence[Record]) -> list[Record]:
    """All records, or whole groups of them in a random order that depends on their names alone, up to MOST_CLIPS."""
    groups = defaultdict(list)
    for record in records:
        groups[record.group].append(record)
    drawn: list[Record] = []
    for group in sorted(groups, key=_hash):
        if drawn and len(drawn) + len(groups[group]) > MOST_CLIPS:
            break
        drawn += groups[group]
    return drawn


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _folds(groups: Sequence[str]) -> np.ndarray | None:
    """A fold, from 0, for every clip, those of a group in the same one and all about equally large; None where there
    are fewer than two groups."""
    sizes = Counter(groups)
    if len(sizes) < 2:
        return None
    filled = [0] * min(FOLDS, len(sizes))
    fold_of = {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], _hash(group))):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return np.array([fold_of[group] for group in groups])


def _predict(records: list[Record], texts: list[str], task: Task, folds: np.ndarray) -> list[Any]:
    """A value of the task for every clip, from a model that was fitted to the clips of the other folds."""
    counts = _counts(texts)
    values = [record.labels[task.name] for record in records]
    predictions: list[Any] = [None] * len(records)
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        of_train, of_test = _tf_idf(counts[train], counts[test])
        for row, value in zip(test, _fit(task, [values[i] for i in train])(of_train, of_test), strict=True):
            predictions[row] = value
    return predictions


def _fit(task: Task, values: list[Any]) -> Callable[[np.ndarray, np.ndarray], list[Any]]:
    """What fits to features of the training clips, whose values are given, and answers for those of others."""

    def numbers(train: np.ndarray, test: np.ndarray) -> list[Any]:
        return list(np.clip(ridge(train, np.array(values, dtype=float), test), task.low, task.high))

    def labels(train: np.ndarray, test: np.ndarray) -> list[Any]:
        known = [label for label in task.labels if label in set(values)]
        if len(known) == 1:
            return known * len(test)
        weights, bias = logistic_regression(train, np.array([known.index(v) for v in values]), len(known), STRENGTH)
        return [known[k] for k in (test @ weights + bias).argmax(1)]

    def several(train: np.ndarray, test: np.ndarray) -> list[Any]:
        claimed: list[set[str]] = [set() for _ in test]
        for label in task.labels:
            has = np.array([label in value for value in values], dtype=int)
            if has.min() == has.max():
                applies = np.full(len(test), bool(has[0]))
            else:
                weights, bias = logistic_regression(train, has, 2, STRENGTH)
                applies = (test @ weights + bias).argmax(1) == 1
            for row in np.flatnonzero(applies):
                claimed[row].add(label)
        return [tuple(sorted(these)) for these in claimed]

    return {Kind.intensity: numbers, Kind.classification: labels, Kind.multi_label: several}[task.kind]


def _baseline(records: list[Record], task: Task, folds: np.ndarray) -> dict[str, float | None]:
    """The measures of a predictor that looks at nothing."""
    values = [record.labels[task.name] for record in records]
    predictions: list[Any] = [None] * len(records)
    for fold in range(int(folds.max()) + 1):
        of_train = [value for value, of in zip(values, folds, strict=True) if of != fold]
        if task.kind is Kind.intensity:
            constant: Any = float(np.mean(of_train))  # type: ignore[arg-type]
        else:
            constant = Counter(of_train).most_common(1)[0][0]
        for row in np.flatnonzero(folds == fold):
            predictions[row] = constant
    measured = _measure(records, predictions, task)
    # The means of the folds go down where their test clips lie high: that correlation is of the folds' making.
    return measured | ({"pearson": None} if task.kind is Kind.intensity else {})


def _measure(records: list[Record], predictions: list[Any], task: Task) -> dict[str, float | None]:
    gold: list[Any] = [record.labels[task.name] for record in records]
    right = _right(records, predictions, task)
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        pearson = intensity.pearson(gold, predictions, task.low, task.high)
        # Of a constant there is none.
        return {"mae": right, "pearson": None if math.isnan(pearson) else pearson}
    if task.kind is Kind.multi_label:
        return {"accuracy": right, "macro_f1": multi_label.macro_f1(gold, predictions, task.labels)}
    return {"accuracy": right, "uar": classification.uar(gold, predictions, task.labels)}


def _right(records: list[Record], predictions: list[Any], task: Task) -> float:
    """Mean absolute error of an intensity; share of right answers, of all labels at once, otherwise."""
    gold: list[Any] = [record.labels[task.name] for record in records]
    if task.kind is Kind.intensity:
        return float(np.mean([abs(float(g) - p) for g, p in zip(gold, predictions, strict=True)]))
    return _share(g == p for g, p in zip(gold, predictions, strict=True))


def _counts(texts: list[str]) -> np.ndarray:
    """float32[len(texts), terms]: how often each of the MOST_TERMS commonest terms that more than one text has stands
    in a text. At least one column, so that texts that share nothing are predicted by the bias alone."""
    counted = [Counter(fewshot.terms(text)) for text in texts]
    in_texts = Counter(term for count in counted for term in count)
    common = [term for term, n in sorted(in_texts.items(), key=lambda item: (-item[1], item[0])) if n > 1][:MOST_TERMS]
    column = {term: i for i, term in enumerate(common)}
    made = np.zeros((len(texts), max(1, len(column))), dtype=np.float32)
    for row, count in enumerate(counted):
        for term, n in count.items():
            if term in column:
                made[row, column[term]] = n
    return made


def _tf_idf(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts to rows of length 1 (or 0), weighted by how many of the training texts have a term, as fewshot.Index
    does."""
    weight = (np.log((1 + len(train)) / (1 + (train > 0).sum(0))) + 1).astype(np.float32)
    made = []
    for counts in (train, test):
        weighted = counts * weight
        length = np.sqrt((weighted**2).sum(1, keepdims=True))
        made.append(weighted / np.where(length > 0, length, 1))
    return made[0], made[1]


def ridge(train: np.ndarray, values: np.ndarray, test: np.ndarray) -> np.ndarray:
    """float64[len(test)]: ridge regression with a penalty of 1 and a free intercept (Hoerl and Kennard, 1970).
    train[n, d] and test[m, d] are features, values[n] what train's rows are worth."""
    mean, offset = train.mean(0, dtype=float), values.mean()
    centred = train - mean
    gram = centred.T @ centred + np.eye(train.shape[1])
    return (test - mean) @ np.linalg.solve(gram, centred.T @ (values - offset)) + offset


MEMORY = 10
"""Steps that L-BFGS looks back on."""


def logistic_regression(
    features: np.ndarray, classes: np.ndarray, num_classes: int, penalty: float, tolerance: float = 1e-4
) -> tuple[np.ndarray, np.ndarray]:
    """Weights[d, num_classes] and bias[num_classes] of the multinomial logistic regression of classes[n], from 0, on
    features[n, d]: the minimum of Σ -log softmax(x W + b)[class] + penalty / 2 · ‖W‖², b unpenalised, which is
    scikit-learn's with C = 1 / penalty. By L-BFGS (Liu and Nocedal, On the limited memory BFGS method for large scale
    optimization, 1989) with a step that is halved until it descends (Armijo), until no entry of the gradient is above
    n · tolerance.
    """
    n, d = features.shape
    wanted = np.zeros((n, num_classes))
    wanted[np.arange(n), classes] = 1

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = point[:-1], point[-1]
        logits = (features @ weights.astype(features.dtype)).astype(float) + bias
        logits -= logits.max(1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(1, keepdims=True))
        excess = np.exp(logits - log_sum) - wanted
        gradient = np.empty_like(point)
        gradient[:-1] = features.T @ excess.astype(features.dtype) + penalty * weights
        gradient[-1] = excess.sum(0)
        value = float((log_sum - (logits * wanted).sum(1, keepdims=True)).sum() + penalty / 2 * (weights**2).sum())
        return value, gradient

    point = np.zeros((d + 1, num_classes))
    value, gradient = loss(point)
    past: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=MEMORY)
    # Bags of words were seen to need 50 steps, 100 for a tolerance of 1e-6.
    for _ in range(500):
        if np.abs(gradient).max() <= tolerance * n:
            break
        direction = _newton(gradient, past)
        slope, step = float((direction * gradient).sum()), 1.0
        # The first direction is the bare gradient, a sum over clips, which says nothing of how far to go.
        if not past:
            step = 1 / max(1.0, float(np.abs(gradient).sum()))
        while True:
            ahead = point + step * direction
            value_ahead, gradient_ahead = loss(ahead)
            if value_ahead <= value + 1e-4 * step * slope:
                break
            step /= 2
            if step < 1e-10:  # float32 features: no smaller value can be told from this one
                return point[:-1], point[-1]
        moved, turned = ahead - point, gradient_ahead - gradient
        curvature = float((moved * turned).sum())
        if curvature > 0:
            past.append((moved, turned, curvature))
        point, value, gradient = ahead, value_ahead, gradient_ahead
    return point[:-1], point[-1]


def _newton(gradient: np.ndarray, past: deque[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """The direction of descent: the gradient by an estimate of the inverse Hessian from past steps (two-loop
    recursion)."""
    direction = -gradient
    factors = []
    for moved, turned, curvature in reversed(past):
        factor = float((moved * direction).sum()) / curvature
        factors.append(factor)
        direction = direction - factor * turned
    if past:
        _, turned, curvature = past[-1]
        direction = direction * (curvature / float((turned**2).sum()))
    for (moved, turned, curvature), factor in zip(past, reversed(factors), strict=True):
        direction = direction + (factor - float((turned * direction).sum()) / curvature) * moved
    return direction


def in_words(found: dict[str, Any]) -> list[str]:
    """A sentence for each task and kind of description of what `audit` found."""
    sentences = []
    for name, of_task in found.items():
        for kind, told in of_task["descriptions"].items():
            named = told["named"]
            sentence = (
                f"{name}, {'descriptions together' if kind == 'all' else f'{kind} descriptions'}:"
                f" {1 - named['none']:.1%} name a label or a synonym ({named['gold']:.1%} only the right one,"
                f" {named['other']:.1%} only wrong ones)"
            )
            if told["predicted"] is None:
                sentences.append(f"{sentence}; the clips are of a single group, so nothing is predicted from them")
                continue
            measure = next(m for m in ("uar", "macro_f1", "mae") if m in told["predicted"])
            sentences.append(
                f"{sentence}; from them alone a bag of words reaches {measure} {told['predicted'][measure]:.3f}, with"
                f" label words masked {told['masked'][measure]:.3f}, without looking {of_task['baseline'][measure]:.3f}"
            )
    return sentences
