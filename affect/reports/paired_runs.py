"""How two settings compare on the clips that all their runs have scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from affect.config import DataError, Kind, Task
from affect.data import Prediction
from affect.evaluation.metrics.policies import encode
from affect.evaluation.metrics.registry import Metric
from affect.evaluation.significance import Paired, paired
from affect.reports.aggregate import numbers
from affect.reports.settings import Run
from affect.runs.run_results import read_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a run has answered to the clips that have a label for a task, by id."""

    name: str
    """Of its folder, for messages."""
    predictions: Mapping[str, Prediction]
    reader: str
    """Whose values count."""

    def gold(self, ids: Sequence[str], task: Task) -> np.ndarray:
        return encode([self.predictions[key].target for key in ids], task)

    def read(self, ids: Sequence[str], task: Task) -> np.ndarray:
        return encode([getattr(self.predictions[key], self.reader) for key in ids], task)


def compare(pairs: Sequence[tuple[Scored, Scored]], task: Task, metric: Metric) -> tuple[Paired, list[str]]:
    """The first's metric minus the second's, on the clips that all runs have scored, over the pairs of seeds; and what
    has to be known beside it. Raises DataError where a clip has two labels or two groups, and where no clip is common.
    """
    runs = [run for pair in pairs for run in pair]
    ids = sorted(set.intersection(*(set(run.predictions) for run in runs)))
    if not ids:
        raise DataError(f"{runs[0].name} and {runs[1].name} have no clip in common: evaluate both on the same split")
    check_same_clips(runs, ids)
    notes = []
    most = max(len(run.predictions) for run in runs)
    if most > len(ids):
        notes.append(f"compared on the {len(ids):,} clips that all runs have scored, of up to {most:,}")
    # A run that stands beside several others is encoded once, and its metric computed once.
    columns = {id(run): run.read(ids, task) for run in runs}
    ours, theirs = ([columns[id(pair[side])] for pair in pairs] for side in (0, 1))
    found = paired(
        runs[0].gold(ids, task),
        ours,
        theirs,
        [runs[0].predictions[key].group for key in ids],
        lambda gold, read: metric.function(gold, read, task),
    )
    if found.reason:
        notes.append(f"no interval, since {found.reason}")
    elif len(pairs) == 1:
        notes.append("a single seed, so that the interval is over groups of clips alone, and says nothing of others")
    return found, notes


def check_same_clips(runs: Sequence[Scored], ids: Sequence[str]) -> None:
    """Raises DataError where a clip has two labels or two groups in these runs."""
    first = runs[0]
    for run in runs[1:]:
        for key in ids:
            for attribute in ("target", "group"):
                one, other = getattr(first.predictions[key], attribute), getattr(run.predictions[key], attribute)
                if one != other:
                    raise DataError(
                        f"{key} has the {attribute} {one} in {first.name} and {other} in {run.name}: the annotations"
                        " have changed between these runs, evaluate the older one again"
                    )


def task_of_run(run: Run, name: str, headline: str) -> Task:
    """A task of a run, as far as metrics need it, with this metric as its headline; `name` is that of the task in
    metrics.json."""
    dataset, task = name.split(".", 1)
    defined = run.summary.config["datasets"][dataset]["task_definitions"][task]
    definition = {key: defined[key] for key in ("labels", "low", "high")}
    return Task(name=task, kind=Kind(defined["kind"]), headline=headline, **definition)


def scored(run: Run, name: str, task: Task, metric: Metric) -> Scored:
    """What a run has answered to a task; `name` is that of the task in its metrics.json, and task.headline that of the
    metric. Raises DataError where its predictions are damaged, or are not those that its number was computed from."""
    assert run.summary.metrics is not None
    path = run.folder / "predictions.jsonl"
    predictions = {
        p.id: p for p in read_predictions(run.folder) if f"{p.dataset}.{p.task}" == name and p.target is not None
    }
    result = Scored(name=str(run.folder), predictions=predictions, reader=run.summary.metrics["reader"])
    stated = numbers(run, name)[task.headline]
    if not predictions:
        raise DataError(f"{path} has no prediction of {name} that has a label: restore the file, or evaluate again")
    try:
        now = metric.function(result.gold(list(predictions), task), result.read(list(predictions), task), task)
    except ValueError as error:
        raise DataError(f"{path} is not of {name} ({error}): restore the file, or evaluate again") from error
    if not np.isclose(now, np.nan if stated is None else stated, rtol=0, atol=1e-9, equal_nan=True):
        raise DataError(
            f"{path} gives {task.headline}={now:.6f} of {name}, and metrics.json has"
            f" {'undefined' if stated is None else f'{stated:.6f}'}: restore the two files, or evaluate again"
        )
    return result
