"""The words of a study's multiruns, from those of its file and those of the command line."""

import re
from collections.abc import Sequence
from dataclasses import fields

from hydra.core.override_parser.overrides_parser import OverridesParser

from affect.cli import multiruns
from affect.config import Config, ConfigError, StudyConfig, StudyProgram, near
from affect.config.groups import choices
from affect.runs import sweep_points

PLACEHOLDER = "DATASET"
"""Stands in the words of a study for the name of the dataset."""

OF_EVALUATION = [each.name for each in fields(Config) if each.metadata.get("programs") == ("evaluate",)]
"""Keys that trainings do not have."""


def key(word: str) -> str:
    """
    >>> key("~finetuning.rank"), key("seed=1,2")
    ('finetuning.rank', 'seed')
    """
    return word.lstrip("+~").split("=", 1)[0]


def datasets(word: str) -> list[list[str]]:
    """The datasets of each choice of a word: dataset=a,b are two choices, dataset=[a,b] is one of two datasets. Raises
    ConfigError for an unknown one."""
    override = OverridesParser.create().parse_override(word)
    values = sweep_points.values_of(override) if override.is_sweep_override() else [override.value()]
    chosen = [[str(each) for each in value] if isinstance(value, list) else [str(value)] for value in values]
    for name in (name for choice in chosen for name in choice):
        if name not in choices("dataset"):
            raise ConfigError(
                f"{word} names {name}, which is none{near(name, choices('dataset'))} Datasets:"
                f" {', '.join(choices('dataset'))}"
            )
    return chosen


def check_datasets(given: Sequence[str], chosen: Sequence[Sequence[str]]) -> None:
    """Raises ConfigError for a word about a dataset that is not among the chosen ones."""
    names = [name for choice in chosen for name in choice]
    for word in given:
        match = re.match(r"datasets\.([^.]+)\.", key(word))
        if match and names and match[1] not in names:
            raise ConfigError(f"{word}: {match[1]} is not one of dataset={','.join(names)}: name it there too")


def of_multirun(
    study: StudyConfig, multirun: str, given: Sequence[str], choice: Sequence[str] | None, present: Sequence[str]
) -> list[str]:
    """The words of one multirun: the study's, replaced and followed by those `given`.

    Evaluations of runs get those that are about every job, and those that replace a word that is the evaluations'
    alone: all else comes with the runs. Trainings do not get what another multirun has of the keys of evaluations.
    choice: the datasets that the command line chooses for it, None where it chooses none.
    present: the datasets that it has in any case.
    """
    config = study.multiruns[multirun]
    keys = {name: {key(_placed(word, present)) for word in each.words} for name, each in study.multiruns.items()}
    words = [word for word in given if choice is None or _is_of(word, choice)]
    of_study = [_placed(word, present) for word in config.words]
    removed = {key(word) for word in words if word.startswith("~")} & keys[multirun]
    words = [word for word in words if key(word) not in removed]
    of_study = [word for word in of_study if key(word) not in removed]
    if config.evaluates is not None:
        alone = keys[multirun] - keys[config.evaluates]
        of_every_job = multiruns.of_every_job(words)
        words = [word for word in words if word in of_every_job or key(word) in alone or word.startswith("datasets.")]
    elif config.program is StudyProgram.train:
        elsewhere = set().union(*keys.values()) - keys[multirun]
        words = [word for word in words if not (key(word).split(".")[0] in OF_EVALUATION and key(word) in elsewhere)]
    below = [word for word in words if key(word) == "experiment"]
    above = [word for word in of_study if key(word) == "experiment"]
    if below and above:
        words = [word for word in words if word not in below]
        of_study = [_joined(below[0], word) if word in above else word for word in of_study]
    dataset = [] if choice is None else [f"dataset=[{','.join(choice)}]"]
    replaced = set(map(key, (*dataset, *words)))
    result = [*dataset, *(word for word in of_study if key(word) not in replaced), *words]
    return [f"seed={values(word)[0]}" if config.first_seed and key(word) == "seed" else word for word in result]


def values(word: str) -> list[str]:
    """The values of a word as they are written.

    >>> values("seed=1,2"), values("experiment=[quick,plain]")
    (['1', '2'], ['[quick,plain]'])
    """
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return [word.partition("=")[2]]
    return [str(value) for value in override.sweep_string_iterator()]


def _is_of(word: str, choice: Sequence[str]) -> bool:
    match = re.match(r"datasets\.([^.]+)\.", key(word))
    return match is None or match[1] in choice


def _placed(word: str, names: Sequence[str]) -> str:
    """A word of a study with the name of the dataset. Raises ConfigError where there are several."""
    if PLACEHOLDER in word and len(names) > 1:
        raise ConfigError(
            f"dataset=[{','.join(names)}] is one choice of {len(names)} datasets, and this study is about the clips of"
            f" one: dataset={','.join(names)} runs it on one after the other"
        )
    return word.replace(PLACEHOLDER, names[0]) if names else word


def _joined(below: str, above: str) -> str:
    """Every experiment of the user with every one of the study above it, each pair as one list of changes."""
    pairs = [f"[{one.strip('[]')},{other.strip('[]')}]" for one in values(below) for other in values(above)]
    return f"experiment={','.join(pairs)}"
