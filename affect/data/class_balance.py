"""Class-balanced sampling, loss weights and logit adjustment for rare classes.

Classes are those of classification tasks, counted on the training examples, by task and label:

    {"meld.emotion": {"neutral": 4710, "surprise": 1205, …}}

Intensities and multi-label tasks have no classes to balance: their examples keep a weight of 1. Weights have a mean of
1 over a task's examples, so each task keeps its share of an epoch and of the loss.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from affect.config import ClassSampling, Config, ConfigError, DataError, DatasetConfig, Kind, LabelWeights
from affect.data import loading
from affect.data.files import write_json
from affect.data.part import Part

Counts = dict[str, dict[str, int]]
"""Number of training examples by task (`meld.emotion`) and label, in the task's order; 0 for unused labels."""

ByClass = Mapping[str, Mapping[str, float]]
"""A number by task and label."""

PRIORS = "priors.json"

EXPONENTS = {
    ClassSampling.natural: 0.0,
    ClassSampling.square_root: 0.5,
    ClassSampling.balanced: 1.0,
    LabelWeights.none: 0.0,
    LabelWeights.square_root: 0.5,
    LabelWeights.balanced: 1.0,
}
"""The weight of a class with n examples is n to the power of minus this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Class counts of a run and what follows from them. Weights and priors are {} if they are not used."""

    counts: Counts
    sampling: ByClass = field(default_factory=dict)
    """Relative frequency at which an example is drawn, see `class_weights`."""
    loss: ByClass = field(default_factory=dict)
    """Factor for the loss of an answer, see `class_weights`."""
    log_priors: ByClass = field(default_factory=dict)
    """In nats, see `log_priors`."""


UNTOUCHED = Classes(counts={})
"""No balancing."""


def of_training(folder: Path, parts: Sequence[Part], cfg: Config) -> Classes:
    """The classes of a training on `parts`. Their counts are always written to the run's priors.json, for later
    evaluations of its model. Raises DataError like `log_priors`."""
    counts = class_counts(parts, cfg.datasets)
    write_json(folder / PRIORS, counts)
    return Classes(
        counts=counts,
        sampling=class_weights(counts, cfg.finetuning.sampling),
        loss=class_weights(counts, cfg.finetuning.label_weights),
        log_priors=log_priors(cfg, counts),
    )


def of_evaluation(cfg: Config) -> Classes:
    """The classes for evaluation.logit_adjustment: those that the model was trained on, or, for zero-shot evaluation,
    those of each dataset's training split (its clips are not checked). UNTOUCHED without adjustment.

    Raises ConfigError if the run has no class counts, and DataError like `log_priors` or if a dataset has no labelled
    training split.
    """
    tau = cfg.evaluation.logit_adjustment
    if not tau:
        return UNTOUCHED
    if cfg.run is not None:
        counts = _read_priors(Path(cfg.run), tau)
    else:
        try:
            counts = class_counts(loading.read(cfg, ["train"]), cfg.datasets)
        except DataError as error:
            raise DataError(
                f"evaluation.logit_adjustment={tau:g} takes its priors from the labels of the training split, which"
                f" cannot be read: {error}; or set evaluation.logit_adjustment=0"
            ) from error
    return Classes(counts=counts, log_priors=log_priors(cfg, counts))


def keep(folder: Path, classes: Classes) -> None:
    """Writes the class counts to an evaluation's folder if its answers were adjusted by them."""
    if classes.log_priors:
        write_json(folder / PRIORS, classes.counts)


def class_counts(parts: Sequence[Part], datasets: Mapping[str, DatasetConfig]) -> Counts:
    """Number of records of the split `train` in `parts` by label, for each classification task in use."""
    counts: Counts = {}
    for part in parts:
        if part.split != "train":
            continue
        config = datasets[part.dataset]
        for name in config.tasks:
            task = config.task_definitions[name]
            if task.kind is Kind.classification:
                by_label = Counter(record.labels[name] for record in part.records if name in record.labels)
                counts[f"{part.dataset}.{name}"] = {label: by_label[label] for label in task.labels}
    return counts


def class_weights(counts: Counts, scheme: ClassSampling | LabelWeights) -> ByClass:
    """Weight of an example by task and label: proportional to n_c^-e, where n_c is the number of training examples of
    its class and e is 1 for balanced and 1/2 for square_root, with a mean of 1 over the examples of the task.

    So balanced is N / (K · n_c) with N examples in the K classes that occur: scikit-learn's `class_weight="balanced"`
    (after King & Zeng, Logistic Regression in Rare Events Data, 2001). square_root is the square-root sampling of
    Mahajan et al. (ECCV 2018, arXiv 1805.00932). Classes without examples are left out; {} means no weighting.

    >>> class_weights({"d.t": {"a": 4, "b": 1, "c": 0}}, LabelWeights.balanced)
    {'d.t': {'a': 0.625, 'b': 2.5}}
    """
    exponent = EXPONENTS[scheme]
    if not exponent:
        return {}
    weights = {}
    for task, by_label in counts.items():
        raw = {label: count**-exponent for label, count in by_label.items() if count}
        total = sum(by_label[label] * weight for label, weight in raw.items())
        weights[task] = {label: weight * sum(by_label.values()) / total for label, weight in raw.items()}
    return weights


def _read_priors(run: Path, tau: float) -> Counts:
    path = run / PRIORS
    without = "evaluate without it, evaluation.logit_adjustment=0"
    if not path.is_file():
        raise ConfigError(
            f"evaluation.logit_adjustment={tau:g} needs the class counts of the training, but run={run} has no"
            f" {PRIORS}: {without}, or train again"
        )
    return read_counts(run, without)


def read_counts(run: Path, remedy: str) -> Counts:
    """The class counts that `of_training` wrote to a run folder. Raises ConfigError, which ends with `remedy`, where
    the file is not that."""
    path = run / PRIORS
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
        valid = all(type(count) is int and count >= 0 for labels in counts.values() for count in labels.values())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): restore it from a copy, or {remedy}") from error
    if not valid:
        raise ConfigError(
            f"{path} has something other than whole numbers by task and label: restore it from a copy, or {remedy}"
        )
    return counts


def log_priors(cfg: Config, counts: Counts) -> ByClass:
    """log(n_c / N) in nats by task and label, for every classification task that is evaluated; {} without adjustment.

    Raises DataError if a task was not trained on, or a label has no training example: log 0 is undefined, and any value
    in its place would decide how often the label is answered.
    """
    tau = cfg.evaluation.logit_adjustment
    if not tau:
        return {}
    priors = {}
    for name, dataset in cfg.datasets.items():
        for task_name in dataset.tasks:
            task, key = dataset.task_definitions[task_name], f"{name}.{task_name}"
            if task.kind is not Kind.classification:
                continue
            if key not in counts:
                raise DataError(
                    f"evaluation.logit_adjustment={tau:g} has no priors for {key}: run={cfg.run} was trained on"
                    f" {', '.join(counts) or 'no classification task'}; set evaluation.logit_adjustment=0"
                )
            absent = [label for label in task.labels if label not in counts[key] or not counts[key][label]]
            if absent:
                raise DataError(
                    f"evaluation.logit_adjustment={tau:g} has no prior for {', '.join(absent)} of {key}, of which there"
                    " is no training example: train on more clips, take the label out of the task's labels, or set"
                    " evaluation.logit_adjustment=0"
                )
            total = sum(counts[key][label] for label in task.labels)
            priors[key] = {label: math.log(counts[key][label] / total) for label in task.labels}
    return priors
