"""Finds and loads the run folders of a report."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.reports.aggregate import numbers
from affect.reports.settings import ALL, HEADLINE, Run
from affect.runs.run_environment import program_of
from affect.runs.run_summary import RunSummary, read

DEPTH = 3
"""Levels below a folder at which run folders are looked for."""


def find(named: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Run folders that are named or lie in a named folder, each once, by name; and a note for each folder whose run
    folders lie deeper than DEPTH. Raises ConfigError where a folder is none and holds none."""
    folders: dict[Path, Path] = {}
    deeper: list[str] = []
    for folder in named:
        try:
            inside = dict.fromkeys(_inside(folder, DEPTH))
            below = list(_inside(folder, DEPTH + 1))
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read ({error.strerror}): name a folder that can") from error
        if not below:
            read(folder)  # says what is wrong with it
        for path in inside:
            folders.setdefault(path.resolve(), path)
        parents = dict.fromkeys(path.parent for path in below if path not in inside)
        deeper += [f"{parent} has runs too, which are not in the table: name it beside {folder}" for parent in parents]
    return list(folders.values()), deeper


def _inside(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.yaml").is_file():
        yield folder
    elif depth and folder.is_dir():
        for path in sorted(folder.iterdir(), key=_natural):
            if path.is_dir():
                yield from _inside(path, depth - 1)


def _natural(path: Path) -> list[str | int]:
    """The order of names in which job 2 of a sweep comes before job 10."""
    # Every second part is digits, so that words are compared with words and numbers with numbers.
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", path.name))]


def load(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs, and a sentence for each folder that is damaged."""
    runs, damaged = [], []
    for folder in folders:
        try:
            runs.append(_load(folder))
        except ConfigError as error:
            damaged.append(str(error))
    return runs, damaged


def with_results(folder: Path) -> Run:
    """A run that has just written its results, and is about to finish."""
    return _load(folder, state="finished")


def _load(folder: Path, state: str | None = None) -> Run:
    try:
        summary = read(folder)
        state = state or summary.status["state"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Valid JSON without what a state is told by: `read` reports all else itself.
        raise _broken(folder / "status.json", f"it lacks {error}") from error
    if state != "finished":
        return Run(summary=summary, state=state)
    if summary.metrics is None:
        raise _broken(folder / "metrics.json", "it is not there, and the run finished")
    lacking = list(_lacking(summary.metrics))
    if lacking:
        raise _broken(folder / "metrics.json", f"it lacks {', '.join(lacking)}")
    try:
        parts = json.loads((folder / "data.json").read_text(encoding="utf-8"))["parts"]
        by_split = {split: _clips(parts, split) for split in (summary.metrics["split"], "val")}
        clips, validated = by_split[summary.metrics["split"]], by_split["val"]
        for task in summary.metrics["tasks"]:
            clips[task.split(".")[0]]
    except OSError as error:
        raise _broken(folder / "data.json", error.strerror or str(error)) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise _broken(folder / "data.json", str(error)) from error
    except KeyError as error:
        raise _broken(folder / "data.json", f"it lacks {error}") from error
    # Said by the run itself. Which splits it has read says nothing: an evaluation with few-shot examples reads two.
    try:
        program = program_of(folder)
    except KeyError as error:
        raise _broken(folder / "environment.json", f"it lacks {error}") from error
    if program == "train":
        return Run(summary=summary, state=state, training=summary.config, clips=clips, validated=validated)
    if summary.config["run"] is None:
        return Run(summary=summary, state=state, clips=clips, validated=validated)
    training = _training(Path(summary.config["run"]), folder)
    return Run(
        summary=summary,
        state=state,
        training=summary.config if training is None else training.config,
        training_lost=training is None,
        clips=clips,
        validated=validated,
    )


def _clips(parts: Sequence[dict[str, Any]], split: str) -> dict[str, str]:
    return {part["dataset"]: part["ids_sha256"] for part in parts if part["split"] == split}


def _broken(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be used ({why}): restore the file, or delete {path.parent} and run again")


def _lacking(metrics: Any) -> Iterator[str]:
    """What a metrics.json has to have, and this one has not."""
    if not isinstance(metrics, dict):
        yield "keys and values"
        return
    yield from (key for key in ("split", "readout", "intensity_readout", "reader", "tasks") if key not in metrics)
    if "tasks" not in metrics:
        return
    needed_by_all = ("headline", "value", "n_scored", "expected", "used", "n_readable_exact", "n_readable_lenient")
    for task, numbers_of_task in metrics["tasks"].items():
        needed = (
            *needed_by_all,
            "exact",
            "lenient",
            "majority",
            *(["recall_per_class"] if "labels" in numbers_of_task else []),
        )
        yield from (f"tasks.{task}.{key}" for key in needed if key not in numbers_of_task)


def _training(run: Path, evaluation: Path) -> RunSummary | None:
    """The run that an evaluation names. Its path is as it was given then; when both have been moved it may still lie
    beside the evaluation."""
    for folder in (run, evaluation.parent / run.name):
        if (folder / "config.yaml").is_file():
            return read(folder)
    return None


def check_metrics(runs: Sequence[Run], metrics: Sequence[str]) -> None:
    """Raises ConfigError for a metric that no task of any run has."""
    there_are = {
        name for run in runs if run.counts for task in run.summary.metrics["tasks"] for name in numbers(run, task)
    }
    for name in metrics:
        if there_are and name not in (there_are | {HEADLINE, ALL}):
            raise ConfigError(
                f"--metrics {name}: no run has this metric: choose of {HEADLINE}, {ALL}, {', '.join(sorted(there_are))}"
            )


def unfinished(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs, 1):
        if not run.counts:
            status = run.summary.status
            why = f" ({status['error']}, {status['where']})" if {"error", "where"} <= status.keys() else ""
            yield f"{number} has no numbers: {run.state}{why}"


def lost(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs, 1):
        if run.training_lost:
            yield (
                f"{number} evaluates {run.summary.config['run']}, which is not there: what that was trained with is not"
                " known, so it is a setting of its own"
            )
