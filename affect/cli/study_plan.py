"""The multiruns of a study, every point of them checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.cli import study_models, study_words, transfer
from affect.cli.checked import checked
from affect.cli.study_words import PLACEHOLDER, key
from affect.config import ConfigError, StudyConfig, launch
from affect.runs import sweep_points
from affect.runs.sweep_points import Composer


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
    said: list[str]
    """What was changed of the study for its models."""
    dry_run: bool


def planned(study: StudyConfig, given: Sequence[str], name: str) -> Plan:
    """The steps of a study with the words `given`; `name` is that of its folder unless they name one.

    Raises ConfigError, and what Hydra raises, for words that a job could not have.
    """
    # Of words with one key the last counts, as it does for Hydra; `affect sweep resume` adds some.
    given = list({key(word): word for word in given}.values())
    _check(given)
    fitted = study_models.fitted(study, given)
    study, given = fitted.study, fitted.words
    stated = {key(word): word for word in given}
    words = [word for word in given if key(word) not in ("dataset", "hydra.sweep.dir", "dry_run")]
    chosen = study_words.datasets(stated["dataset"]) if "dataset" in stated else []
    study_words.check_datasets(words, chosen)
    default = [] if chosen else _default_datasets(study, words)
    steps: dict[str, Step] = {}
    roots = []
    for choice in chosen or [None]:
        suffix = "" if choice is None else f"_{'+'.join(choice)}"
        for multirun, config in study.multiruns.items():
            own = study_words.of_multirun(study, multirun, words, choice, default if choice is None else choice)
            before = None if config.evaluates is None else steps[f"{config.evaluates}{suffix}"]
            num_points, root = _num_points(config.program.value, own, f"{multirun}{suffix}", before is not None)
            roots.append(root)
            steps[f"{multirun}{suffix}"] = Step(
                name=f"{multirun}{suffix}",
                program=config.program.value,
                words=own,
                evaluates=None if before is None else before.name,
                num_jobs=num_points * (1 if before is None else before.num_jobs),
            )
    folder = Path(roots[0]) / "studies" / name
    if "hydra.sweep.dir" in stated:
        folder = Path(stated["hydra.sweep.dir"].partition("=")[2].strip("'\""))
    dry_run = stated.get("dry_run", "").partition("=")[2].lower() == "true"
    return Plan(study=study, folder=folder.absolute(), steps=list(steps.values()), said=fitted.said, dry_run=dry_run)


def _check(given: Sequence[str]) -> None:
    for word in given:
        if word.startswith("-"):
            raise ConfigError(f"{word} cannot be given to a study, which begins several multiruns: leave it out")
        if key(word) in ("run", "resume", "sweep", "hydra.sweep.subdir", "hydra/sweeper"):
            raise ConfigError(f"{word} cannot be given to a study, which names points and runs itself: leave it out")
    if (place := launch.given()) is not None:
        raise ConfigError(
            f"a study begins one multirun after another, and {place.started_by} has started {place.size} processes:"
            " start it as one process; trainer.devices=N gives every job N of its own"
        )


def _default_datasets(study: StudyConfig, given: Sequence[str]) -> list[str]:
    """The datasets of a study for which none are chosen, where its words are about them."""
    if not any(PLACEHOLDER in word for multirun in study.multiruns.values() for word in multirun.words):
        return []
    experiments = [study_words.values(word)[0] for word in given if word.startswith("experiment=")]
    return list(Composer([f"experiment={name}" for name in experiments]).whole.datasets)


def _num_points(program: str, words: Sequence[str], folder: str, of_runs: bool) -> tuple[int, str]:
    """The number of points of a multirun, each of which is checked, and its output_root. Those of evaluations of runs,
    which are not there yet, are checked as far as they can be composed."""
    given = ["-m", *words]
    sweep_points.check_deltas(given)
    if transfer.asked(words) is not None:
        return transfer.num_jobs([*given, f"hydra.sweep.dir={folder}"], program)
    composer = Composer(given)
    points = composer.points()

    def sound(point: list[str]) -> None:
        raw = composer.compose(point)
        if not of_runs:
            checked(raw, point, program)

    sweep_points.check(points, sound, given)
    return len(points), composer.whole.output_root
