"""Which setting of a sweep is best by validation: the runs to choose among, and the sentence that names it."""

from collections.abc import Sequence
from pathlib import Path

from affect.config import ConfigError, DataError
from affect.data.progress import terminal
from affect.reports.choice import Point, choose
from affect.reports.collect import find, load
from affect.reports.selection import where
from affect.reports.settings import Run, some
from affect.runs.jobs import jobs


def say_best(folder: Path) -> None:
    """Prints which setting of a multirun is best by validation, of the jobs that have finished; nothing where there are
    not two settings, or where their numbers must not be held against each other."""
    try:
        choice = choose(candidates(folder, (), finished_only=True))
    except (ConfigError, DataError):
        return
    if len(choice.points) > 1:
        best = choice.points[0]
        say(f"Best by validation, mean over {seeds(best)}: {best.name}, selection {best.selection.mean:.4f}")


def candidates(folder: Path, conditions: Sequence[str], finished_only: bool) -> list[Run]:
    """The finished runs to choose among. Raises ConfigError where there are none, and where others are not finished."""
    if folder.is_dir() and not any(folder.rglob("config.yaml")):
        raise ConfigError(f"{folder} has no run folders in it: name the folder of a sweep, one of outputs/sweeps")
    folders, _ = find([folder])
    runs, damaged = load(folders)
    chosen = where(runs, conditions)
    finished = [run for run in chosen if run.counts]
    # What a search has pruned is over: it was worse than others after as many epochs.
    unfinished = [f"{run.folder} ({run.state})" for run in chosen if not run.counts and run.state != "pruned"]
    # Reading the jobs of a large sweep takes a while: only where they are asked about.
    runless = [] if finished_only else [job for job in jobs(folder) if not (folder / str(job.folder)).is_dir()]
    lacking = [*unfinished, *damaged, *(f"{' '.join(job.words)} ({job.state})" for job in runless)]
    if lacking and not finished_only:
        raise ConfigError(
            f"{len(lacking)} jobs of {folder} have not finished: {some(lacking)}. A setting that is chosen now may not"
            " be the best: wait for them or run them again, or choose among those that finished with --finished"
        )
    if not finished:
        raise ConfigError(f"{folder} has no finished run, so there is nothing to choose: name the folder of a sweep")
    return finished


def seeds(point: Point) -> str:
    """How many seeds a point has, in words."""
    return "1 seed" if len(point.runs) == 1 else f"{len(point.runs):,} seeds"


def say(sentence: str) -> None:
    """Prints a sentence as it is, in one line."""
    terminal().print(sentence, highlight=False, markup=False, soft_wrap=True)
