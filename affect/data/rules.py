"""Rules that span the fields of a dataset's configuration."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter

from affect.config import (
    MODALITIES,
    ClassSampling,
    Config,
    DatasetConfig,
    Intervention,
    Kind,
    LabelWeights,
    Media,
    Mixing,
    PromptingConfig,
    Readout,
    SubsetClasses,
    Transcribe,
    near,
)
from affect.config.intervention import CHANGED
from affect.config.roles import default_of
from affect.config.schema import kinds_of
from affect.config.tasks import HEADLINES
from affect.config.tasks import problems as task_problems


def dataset_conflicts(name: str, dataset: DatasetConfig, prompting: PromptingConfig) -> Iterator[str]:
    defined = dataset.task_definitions
    if not dataset.tasks:
        yield (
            f"datasets.{name}.tasks is empty: choose from"
            f" {', '.join(defined) or 'task_definitions, which is empty too'}"
        )
    for task_name in dataset.tasks:
        if task_name not in defined:
            yield (
                f"datasets.{name}.tasks names '{task_name}', which dataset={name} does not have"
                f"{near(task_name, defined)} Its tasks: {', '.join(defined)}"
            )
            continue
        task = defined[task_name]
        yield from (f"datasets.{name}: {problem}" for problem in task_problems(task))
        if task.headline not in HEADLINES[task.kind]:
            yield (
                f"datasets.{name}: task '{task_name}' ({task.kind.value}) has headline={task.headline}"
                f"{near(task.headline, HEADLINES[task.kind])} Metrics of that kind: {', '.join(HEADLINES[task.kind])}"
            )
        if task.question and dataset.language not in task.question:
            yield (
                f"datasets.{name}: task '{task_name}' has no question in language '{dataset.language}': add"
                f" question.{dataset.language}"
            )
    is_counted = dataset.subset.train is not None and dataset.fraction is None
    if dataset.subset_classes is SubsetClasses.balanced and not is_counted:
        yield (
            f"datasets.{name}.subset_classes=balanced needs the number of training clips: give"
            f" datasets.{name}.subset.train=N, and no fraction"
        )
    yield from language_conflicts(name, dataset, prompting, ("system", "transcript", "context"))


def language_conflicts(
    name: str, dataset: DatasetConfig, prompting: PromptingConfig, wordings: Iterable[str]
) -> Iterator[str]:
    """A sentence for each of these wordings, keys of `prompting`, that is not there in the language of a dataset."""
    for key in wordings:
        if dataset.language not in attrgetter(key)(prompting):
            yield (
                f"dataset={name} is in language '{dataset.language}', but prompting={prompting.name} has no {key} in"
                f" it: add prompting.{key}.{dataset.language}"
            )


def intervention_conflicts(cfg: Config, program: str) -> Iterator[str]:
    config, name = cfg.intervention, cfg.intervention.name.value
    asked = f"intervention={name}"
    for field in fields(config):
        key, used_by = f"intervention.{field.name}", field.metadata.get("used_by", ())
        value = getattr(config, field.name)
        if field.name in config.strengths and name not in used_by:
            yield (
                f"{key}={value:g} has no effect with {asked}: leave it out, or choose one that it is a strength of:"
                f" {', '.join(used_by)}"
            )
        elif value is None and name in used_by:
            yield f"{asked} needs {key}, and it is null: give it a value, {key}=…"
    if config.name is Intervention.none:
        return
    if program != "evaluate":
        yield f"{asked} is for `python evaluate.py`: it is for evaluation alone, leave it out"
    letter = CHANGED[name]
    if letter not in cfg.modalities:
        yield (
            f"{asked} changes {MODALITIES[letter]}, but modalities={cfg.modalities} has none: leave it out, or add"
            f" {letter} to modalities"
        )
    if config.name is Intervention.frames_shuffled and cfg.model.num_frames == 1 and cfg.model.media is Media.uniform:
        yield f"{asked} changes the order of frames, but model.num_frames=1 takes a single one: leave it out"
    if config.name is Intervention.asr_text:
        for dataset_name, dataset in cfg.datasets.items():
            transcribe = f"datasets.{dataset_name}.transcribe={dataset.transcribe.value}"
            if "a" not in dataset.modalities:
                yield (
                    f"{asked} transcribes what is heard, but datasets.{dataset_name}.modalities={dataset.modalities}"
                    " has no sound: leave it out, or choose another dataset"
                )
            elif dataset.transcribe is Transcribe.all:
                yield f"{asked} changes nothing beside {transcribe}, which is a recogniser's already: leave it out"


def mixing_conflicts(cfg: Config, program: str) -> Iterator[str]:
    if program != "train":
        return
    finetuning, names = cfg.finetuning, list(cfg.datasets)
    mixing, weights = finetuning.mixing, finetuning.mixing_weights
    if mixing is not Mixing.proportional and len(names) < 2:
        yield (
            f"finetuning.mixing={mixing.value} says how often each of several datasets is drawn, but"
            f" {' and '.join(names) or 'none'} is the only one: name several, dataset=[demo,meld], or leave it out"
        )
    elif mixing is Mixing.weights:
        wrong = [f"{name} has none" for name in names if name not in weights]
        wrong += [
            f"{name} is not a dataset of this run{near(name, names).rstrip('.')}"
            for name in weights
            if name not in names
        ]
        wrong += [f"{name} has {weight:g}" for name, weight in weights.items() if not 0 < weight < math.inf]
        if wrong:
            yield (
                f"finetuning.mixing=weights needs a number above 0 for each of {', '.join(names)} in"
                f" finetuning.mixing_weights, but {'; '.join(wrong)}: give each one, +finetuning.mixing_weights="
                f"{{{','.join(f'{name}:1' for name in names)}}}"
            )
    if weights and mixing is not Mixing.weights:
        yield (
            f"finetuning.mixing_weights={weights} has no effect with finetuning.mixing={mixing.value}: set"
            " finetuning.mixing=weights, or leave the weights out"
        )
    if (
        finetuning.mixing_temperature != default_of("finetuning.mixing_temperature")
        and mixing is not Mixing.temperature
    ):
        yield (
            f"finetuning.mixing_temperature={finetuning.mixing_temperature:g} has no effect with"
            f" finetuning.mixing={mixing.value}: set finetuning.mixing=temperature, or leave it out"
        )


def imbalance_conflicts(cfg: Config, program: str) -> Iterator[str]:
    tau, readout = cfg.evaluation.logit_adjustment, cfg.evaluation.readout
    sampling, weights = cfg.finetuning.sampling, cfg.finetuning.label_weights
    asked = {}
    if tau:
        asked[f"evaluation.logit_adjustment={tau:g}"] = "evaluation.logit_adjustment=0"
    if program == "train" and sampling is not ClassSampling.natural:
        asked[f"finetuning.sampling={sampling.value}"] = "finetuning.sampling=natural"
    if program == "train" and weights is not LabelWeights.none:
        asked[f"finetuning.label_weights={weights.value}"] = "finetuning.label_weights=none"
    kinds = kinds_of(cfg)
    if kinds and Kind.classification not in kinds:
        for key, off in asked.items():
            yield (
                f"{key} goes by classes, but no task of {' and '.join(cfg.datasets)} that is chosen is a"
                f" classification: set {off}, or choose another task"
            )
    if tau and readout is not Readout.score:
        yield (
            f"evaluation.logit_adjustment={tau:g} corrects the scores of labels, but evaluation.readout={readout.value}"
            " has none: set evaluation.readout=score, or evaluation.logit_adjustment=0"
        )
    # Two square roots together weigh by 1 / n, which balances classes; anything more favours rare classes.
    both = sampling is not ClassSampling.natural and weights is not LabelWeights.none
    if program == "train" and both and (sampling is ClassSampling.balanced or weights is LabelWeights.balanced):
        yield (
            f"finetuning.sampling={sampling.value} and finetuning.label_weights={weights.value} make up for the same"
            " imbalance, so that rare classes would count for more than frequent ones: set one of them to its"
            " default (natural, none), or both to square_root"
        )
