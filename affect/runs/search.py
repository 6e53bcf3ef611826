"""A search: Optuna chooses the points of a multirun as it goes, by validation numbers alone.

The study is `search.log` in the multirun's folder, a journal to which every process appends. A search that was killed
goes on from it: trials that had not ended are run again with their values, in their folders, and each new point is
drawn with random numbers of its own, so that the points are those of a search that was never stopped.

Why not hydra-optuna-sweeper: it stays with the optuna of 2022, runs all trials again when it is started again, and
gives its jobs no trial, so that none can be pruned.
"""

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from affect.config import ConfigError
from affect.config.roles import NEUTRAL, is_one_of
from affect.runs import locks
from affect.runs.launchers import JobStopped
from affect.runs.lifecycle import Pruned
from affect.runs.sweep_points import SWEEPER, values_of

if TYPE_CHECKING:
    import optuna

JOURNAL = "search.log"

LOCK = ".search.lock"

STUDY = "search"

TRIAL = "AFFECT_TRIAL"
"""Environment variable with the trial that a job is, as JSON: its number and the file of its study."""

FRUITLESS = 5
"""Trials that may fail before the first one has a number."""

UNCOMPARABLE = ("evaluation", "dataset", "datasets")
"""Keys that change what `selection` is a number of, by their first part."""


class Search:
    """Chooses points and has a launcher run them. The arguments beside `folder`, the multirun's, and `launcher` are the
    keys of conf/hydra/sweeper/optuna.yaml."""

    def __init__(
        self,
        folder: Path,
        launcher: Launcher,
        n_trials: int,
        n_jobs: int,
        sampler: str,
        n_startup_trials: int,
        seed: int,
        prune: bool,
        objective: str,
    ) -> None:
        assert objective == "selection", "checked by `check`"
        self.folder, self.launcher = folder, launcher
        self.n_trials, self.n_jobs, self.seed, self.prune = n_trials, n_jobs, seed, prune
        self.sampler, self.n_startup_trials = sampler, n_startup_trials

    def run(self, overrides: Mapping[str, Override]) -> None:
        """Runs the trials that are not done; `overrides` are what every key is given. Raises ConfigError where the
        study in the folder is damaged, or another one, and where trial after trial fails."""
        space = {key: distribution(each) for key, each in overrides.items() if each.is_sweep_override()}
        fixed = [each.input_line for key, each in overrides.items() if key not in space]
        with opened(self.folder / JOURNAL) as study:
            self._check_same(study, sorted(each.input_line for key, each in overrides.items() if not _idle(key)))
            while trials := self._next(study, space):
                returns = self.launcher.launch(
                    [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in trials],
                    initial_job_idx=trials[0].number,  # by which `in_trial` knows it
                )
                for trial, returned in zip(trials, returns, strict=True):
                    _tell(study, trial, returned)
                self._check_fruitful(study)

    def _next(self, study: "optuna.Study", space: Mapping[str, Any]) -> "list[optuna.Trial]":
        """The trials to run now: those that a process which is gone had begun, one by one, then new ones. None where
        all are done."""
        import optuna

        states = optuna.trial.TrialState
        begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state == states.RUNNING]
        for trial in begun:
            if trial.params.keys() == space.keys():
                return [optuna.Trial(study, trial._trial_id)]
            study.tell(trial.number, state=states.FAIL)  # killed while its values were drawn
        # Those were never run, and do not count.
        done = [trial for trial in study.get_trials(deepcopy=False) if trial.params.keys() == space.keys()]
        trials = []
        for _ in range(min(self.n_jobs, self.n_trials - len(done))):
            number = len(study.get_trials(deepcopy=False))
            study.sampler = self._sampler(self.seed * 1_000_003 + number)
            trials.append(study.ask(dict(space)))
        return trials

    def _sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        if self.sampler == "random":
            return optuna.samplers.RandomSampler(seed)
        return optuna.samplers.TPESampler(n_startup_trials=self.n_startup_trials, seed=seed)

    def _check_same(self, study: "optuna.Study", words: list[str]) -> None:
        study.set_user_attr("prune", self.prune)
        if (before := study.user_attrs.get("words", words)) != words:
            other = " ".join(word for word in before if word not in words) or "less than these words say"
            raise ConfigError(
                f"{self.folder} has a search with {other}: give the same words, or begin another search in another"
                " folder (hydra.sweep.dir)"
            )
        study.set_user_attr("words", words)

    def _check_fruitful(self, study: "optuna.Study") -> None:
        trials = study.get_trials(deepcopy=False)
        if len(trials) >= FRUITLESS and all(trial.state.name == "FAIL" for trial in trials):
            raise ConfigError(
                f"the first {len(trials)} trials all failed, so there is nothing to choose further ones by: correct the"
                " reason that is said above, and begin the search in another folder (hydra.sweep.dir)"
            )


def check(hydra: DictConfig, overrides: Mapping[str, Override], program: str, split: str) -> None:
    """Raises ConfigError for a search that cannot be made, or would choose by test data. `overrides` are what the keys
    are given, `split` is evaluation.split."""
    sweeper = hydra.sweeper
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("hydra/sweeper=optuna needs Optuna, which is not installed: pip install 'affect[optuna]'")
    if sweeper.objective != "selection":
        raise ConfigError(
            f"hydra.sweeper.objective={sweeper.objective}: a search chooses by the validation alone, by what"
            " evaluation.selection makes one number of; test numbers are for the point that was chosen: leave the key"
            " out"
        )
    if program not in ("train", "evaluate"):
        raise ConfigError(f"a search needs numbers to choose by, and {program} makes none: leave out hydra/sweeper")
    if program == "evaluate" and split != "val":
        raise ConfigError(
            f"evaluate.py with evaluation.split={split} would choose a point by the data that it is then reported on:"
            " give evaluation.split=val, and evaluate the chosen point alone on the test split"
        )
    swept = [each for each in overrides.values() if each.is_sweep_override()]
    if not swept:
        raise ConfigError("there is nothing to search: give a key a range, interval(a,b), or several values")
    for each in swept:
        if each.get_key_element().lstrip("+~").split(".")[0].split("@")[0] in UNCOMPARABLE:
            raise ConfigError(
                f"{each.input_line} would make the trials' numbers ones of different data or metrics, which cannot be"
                " compared: give it one value"
            )
        distribution(each)
    if sweeper.sampler not in ("tpe", "random"):
        raise ConfigError(f"hydra.sweeper.sampler={sweeper.sampler} is not a choice: tpe or random")
    for key in ("n_trials", "n_jobs"):
        if not isinstance(sweeper[key], int) or sweeper[key] < 1:
            raise ConfigError(f"hydra.sweeper.{key}={sweeper[key]} has to be a whole number above 0")


def distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    """What Optuna draws the values of a swept word from. Raises ConfigError for a range that is none."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value, word = override.value(), override.input_line
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
        try:
            return kind(low, high, log=log)
        except ValueError as error:
            raise ConfigError(f"{word} is not a range ({error}): correct its ends") from error
    values = values_of(override)
    if isinstance(value, RangeSweep) and not value.shuffle and all(isinstance(each, int) for each in values):
        return IntDistribution(min(values), max(values), step=abs(value.step))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def ends(override: Override) -> list[str]:
    """The words with every value of a swept word, and of a range with its two ends."""
    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    return [f"{key}={each}" for each in override.sweep_string_iterator()]


def _idle(key: str) -> bool:
    return key == "launcher" or is_one_of(key, NEUTRAL)


@contextlib.contextmanager
def opened(path: Path) -> "Iterator[optuna.Study]":
    """The study in a journal, which is made where there is none, for the one process that chooses its points. Raises
    ConfigError where the file is damaged, or another process has it open."""
    import optuna

    try:
        with locks.held(path.parent / LOCK):
            _end_last_line(path)
            yield _study(path, optuna.create_study, direction="maximize", load_if_exists=True)
    except locks.Taken:
        raise ConfigError(
            f"another process chooses the points of the search in {path.parent}: wait for it, or stop it first. For"
            " more trials at a time give hydra.sweeper.n_jobs and a launcher"
        ) from None


def _study(path: Path, make: Any, **more: Any) -> "optuna.Study":
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # Its own lines are read when the storage is made.
        storage = JournalStorage(JournalFileBackend(str(path)))
        return make(study_name=STUDY, storage=storage, pruner=optuna.pruners.MedianPruner(), **more)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}): restore it, or begin the search in another folder (hydra.sweep.dir)"
        ) from error


def _end_last_line(path: Path) -> None:
    """Removes what a killed process had written of a line, to which Optuna would append the next one."""
    if not path.is_file():
        return
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _tell(study: "optuna.Study", trial: "optuna.Trial", returned: JobReturn) -> None:
    """Tells the study how a trial ended, by what its run folder says."""
    from optuna.trial import TrialState

    if isinstance(returned._return_value, JobStopped):
        raise returned._return_value  # it goes on when the search does
    number = None
    folder = Path(returned.hydra_cfg.hydra.runtime.output_dir)
    if returned.status is JobStatus.COMPLETED:
        number = objective(folder)
    if returned.status is JobStatus.COMPLETED and _was_pruned(folder):
        study.tell(trial, state=TrialState.PRUNED)
    elif number is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, number)


def _was_pruned(folder: Path) -> bool:
    path = folder / "status.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["state"] == "pruned"


def objective(folder: Path) -> float | None:
    """The validation metrics of the run in `folder` as one number; None where there is none."""
    path = folder / "metrics.json"
    if not path.is_file():
        return None
    results = json.loads(path.read_text(encoding="utf-8"))
    numbers = results if results["split"] == "val" else results.get("validation") or {}
    return numbers.get("selection")


# ---------------------------------------------------------------- in a trial


class Trial:
    """The trial of a search that a run is."""

    def __init__(self, number: int, file: str) -> None:
        import optuna

        self.study = _study(Path(file), optuna.load_study)
        [frozen] = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number == number]
        self.trial = optuna.Trial(self.study, frozen._trial_id)
        self.reported = set(frozen.intermediate_values)

    def report(self, epoch: int, number: float) -> None:
        """Notes the validation number after `epoch`. Raises Pruned where the search goes on without this trial."""
        if epoch not in self.reported:  # by the process before this one
            self.trial.report(number, epoch)
        if self.study.user_attrs["prune"] and self.trial.should_prune():
            raise Pruned(
                f"Pruned after epoch {epoch + 1}: the best validation number so far is below the median of what earlier"
                " trials had by then"
            )


@contextlib.contextmanager
def in_trial(hydra: DictConfig) -> Iterator[None]:
    """Makes the block that of a trial where the job with Hydra's configuration `hydra` is one of a search."""
    if hydra.sweeper._target_ != SWEEPER:
        yield
        return
    os.environ[TRIAL] = json.dumps({"number": hydra.job.num, "file": str(Path(hydra.sweep.dir).absolute() / JOURNAL)})
    try:
        yield
    finally:
        del os.environ[TRIAL]


def of_this_job() -> Trial | None:
    """The trial that the job of this process is; None where it is none of a search."""
    told = os.environ.get(TRIAL)
    return None if told is None else Trial(**json.loads(told))
