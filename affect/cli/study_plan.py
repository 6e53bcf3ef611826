"""The multiruns of a study as the words of its command line have them, every point checked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from affect.cli import multiruns, transfer
from affect.cli.checked import checked
from affect.config import ConfigError, MultirunConfig, StudyConfig, launch, near
from affect.config.groups import choices
from affect.runs import sweep_points
from affect.runs.sweep_points import Composer

PLACEHOLDER = "DATASET"
"""Stands in the words of a study for the name of the dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One multirun."""

    name: str
    """Of its folder inside the study's."""
    program: str
    words: list[str]
    evaluates: str | None
    """Name of the step whose runs it evaluates."""
    num_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    study: StudyConfig
    folder: Path
    steps: list[Step]
    dry_run: bool


def planned(study: StudyConfig, given: Sequence[str], name: str) -> Plan:
    """The steps of a study with the words `given`; `name` is that of its folder unless one is given.

    Raises ConfigError, and what Hydra raises, for words that a job could not have.
    """
    # Of words with one key the last counts, as it does for Hydra; `affect sweep resume` adds some.
    given = list({_key(word): word for word in given}.values())
    _check(given)
    words = [word for word in given if _key(word) not in ("dataset", "hydra.sweep.dir", "dry_run")]
    chosen = next((_datasets(word) for word in given if _key(word) == "dataset"), [])
    names = [each for choice in chosen for each in choice] if chosen else []
    steps: list[Step] = []
    for choice in chosen or [None]:
        for multirun, config in study.multiruns.items():
            own = _own(config, words, choice, names)
            before = {step.name: step.num_jobs for step in steps}
            suffix = "" if choice is None else f"_{'+'.join(choice)}"
            evaluates = None if config.evaluates is None else f"{config.evaluates}{suffix}"
            num_jobs = _num_jobs(config, own) * (1 if evaluates is None else before[evaluates])
            steps.append(
                Step(
                    name=f"{multirun}{suffix}",
                    program=config.program.value,
                    words=own,
                    evaluates=evaluates,
                    num_jobs=num_jobs,
                )
            )
    stated = [word.partition("=")[2].strip("'\"") for word in given if _key(word) == "hydra.sweep.dir"]
    whole = Composer(["-m", *steps[0].words]).whole
    folder = Path(stated[-1]) if stated else Path(whole.output_root) / "studies" / name
    dry_run = any(_key(word) == "dry_run" and word.partition("=")[2].lower() == "true" for word in given)
    return Plan(study=study, folder=folder.absolute(), steps=steps, dry_run=dry_run)


def _key(word: str) -> str:
    return word.lstrip("+~").split("=", 1)[0]


def _check(given: Sequence[str]) -> None:
    for word in given:
        if word.startswith("-"):
            raise ConfigError(f"{word} cannot be given to a study, which begins several multiruns: leave it out")
        if _key(word) in ("run", "resume", "sweep", "hydra.sweep.subdir", "hydra/sweeper"):
            raise ConfigError(f"{word} cannot be given to a study, which names points and runs itself: leave it out")
    if (place := launch.given()) is not None:
        raise ConfigError(
            f"a study begins one multirun after another, and {place.started_by} has started {place.size} processes:"
            " start it as one process; trainer.devices=N gives every job N of its own"
        )


def _datasets(word: str) -> list[list[str]]:
    """The datasets of each choice: dataset=a,b are two choices, dataset=[a,b] is one of two datasets."""
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


def _own(config: MultirunConfig, given: Sequence[str], choice: Sequence[str] | None, names: Sequence[str]) -> list[str]:
    """The words of one multirun: the study's, replaced and followed by those `given`, on the datasets of `choice`."""
    words = []
    for word in given:
        match = re.match(r"datasets\.([^.]+)\.", _key(word))
        if match and choice is not None and match[1] not in names:
            raise ConfigError(f"{word}: {match[1]} is not one of dataset={','.join(names)}: name it there too")
        if not match or choice is None or match[1] in choice:
            words.append(word)
    study = [_placed(word, choice, words) for word in config.words]
    removed = {_key(word) for word in words if word.startswith("~")} & set(map(_key, study))
    words = [word for word in words if _key(word) not in removed]
    study = [word for word in study if _key(word) not in removed]
    if config.evaluates is not None:
        # All else comes with the runs.
        of_datasets = [word for word in words if _key(word).startswith("datasets.")]
        words = [*of_datasets, *multiruns.of_every_job(words)]
    below = [word for word in words if _key(word) == "experiment"]
    above = [word for word in study if _key(word) == "experiment"]
    if below and above:
        words = [word for word in words if word not in below]
        study = [_joined(below[0], word) if word in above else word for word in study]
    dataset = [] if choice is None else [f"dataset=[{','.join(choice)}]"]
    replaced = {_key(word) for word in (*dataset, *words)}
    result = [*dataset, *(word for word in study if _key(word) not in replaced), *words]
    return [_first(word) if config.first_seed and _key(word) == "seed" else word for word in result]


def _placed(word: str, choice: Sequence[str] | None, given: Sequence[str]) -> str:
    """A word of a study with the name of the dataset."""
    if PLACEHOLDER not in word:
        return word
    if choice is None:
        composer = Composer([f"experiment={_values(each)[0]}" for each in given if _key(each) == "experiment"])
        choice = list(composer.compose(composer.points()[0]).datasets)
    if len(choice) > 1:
        raise ConfigError(
            f"dataset=[{','.join(choice)}] is one choice of {len(choice)} datasets, and this study is about the clips"
            f" of one: dataset={','.join(choice)} runs it on one after the other"
        )
    return word.replace(PLACEHOLDER, choice[0])


def _values(word: str) -> list[str]:
    """The values of a word as they are written."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return [word.partition("=")[2]]
    return [str(value) for value in override.sweep_string_iterator()]


def _joined(below: str, above: str) -> str:
    """Every experiment of the user with every one of the study above it, each pair as one list of changes."""
    pairs = [f"[{one.strip('[]')},{other.strip('[]')}]" for one in _values(below) for other in _values(above)]
    return f"experiment={','.join(pairs)}"


def _first(word: str) -> str:
    return f"{_key(word)}={_values(word)[0]}"


def _num_jobs(config: MultirunConfig, words: Sequence[str]) -> int:
    """The number of points of a multirun, each of which is checked; for evaluations of runs, which are not there yet,
    only as far as it can be composed."""
    given = ["-m", *words]
    sweep_points.check_deltas(given)
    if transfer.asked(words) is not None:
        return transfer.num_jobs(given, config.program.value)
    composer = Composer(given)
    points = composer.points()

    def sound(point: list[str]) -> None:
        raw = composer.compose(point)
        if config.evaluates is None:
            checked(raw, point, config.program.value)

    sweep_points.check(points, sound, given)
    return len(points)
