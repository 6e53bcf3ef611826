"""Paired bootstrap of the difference between two settings on the same clips.

The interval is that of the paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; of two
systems on one test set: Koehn, EMNLP 2004): the difference is computed again on resamples, drawn with replacement, of
what might have been other, and the interval is what the middle 95 % of them span. Other clips might have been tested,
and clips of a group (speaker, dialogue, video) go together, so whole groups are drawn; and other seeds might have been
trained with, so pairs of seeds are drawn too, independently of the groups (Owen, The pigeonhole bootstrap, Annals of
Applied Statistics 1, 2007). Both sides get the same resample. Every metric is computed by the function that gives the
number itself.

How far to trust it, in simulation (accuracy of 120 clips, 300 experiments; tests/benchmarks/intervals.py): with one
seed it has the true difference in it 92 to 95 % of the time with 60 groups, 90 % with 12, 82 % with 4 and 56 % with 2.
With three seeds it is too wide where seeds differ by no more than chance (100 %), and too narrow where they differ by
much more (86 %): three cannot tell what others would do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from affect.config import DataError, Task
from affect.data import Prediction
from affect.evaluation.metrics.policies import encode
from affect.evaluation.metrics.registry import Metric
from affect.reports.aggregate import numbers
from affect.reports.settings import Run
from affect.runs.run_folder import read_predictions

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0
"""Of the drawing, so that a report comes out the same again."""

FEW_GROUPS = 10
"""Fewer groups are too few to stand for all that might have been drawn."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The outcome of a comparison, as rows.Difference has it, with what has to be known beside it."""

    clips: int
    groups: int
    mean: float | None
    low: float | None
    high: float | None
    notes: list[str]


def interval(
    gold: np.ndarray,
    ours: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    groups: np.ndarray,
    metric: Callable[[np.ndarray, np.ndarray], float],
    resamples: int = RESAMPLES,
) -> tuple[float, float, int]:
    """The ends of the interval for the mean over seeds of metric(gold, ours) - metric(gold, theirs), and in how many of
    the resamples that was undefined (nan); these are left out. Both ends are nan where there are no others.

    gold[N] and, for each seed, ours[N] and theirs[N] are columns of whatever `metric` takes, of the same clips in the
    same order; groups[N] are whole numbers from 0 without gaps.
    """
    assert len(ours) == len(theirs) > 0 and all(len(column) == len(gold) for column in (*ours, *theirs, groups))
    dice = np.random.default_rng(SEED)
    num_groups, num_seeds, every = int(groups.max()) + 1, len(ours), np.arange(len(gold))
    differences = np.empty(resamples)
    for number in range(resamples):
        times = np.bincount(dice.integers(num_groups, size=num_groups), minlength=num_groups)
        rows = np.repeat(every, times[groups])
        drawn = np.bincount(dice.integers(num_seeds, size=num_seeds))
        differences[number] = sum(
            n * (metric(gold[rows], ours[seed][rows]) - metric(gold[rows], theirs[seed][rows]))
            for seed, n in enumerate(drawn)
            if n
        )
    defined = differences[~np.isnan(differences)] / num_seeds
    if not len(defined):
        return float("nan"), float("nan"), resamples
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high), resamples - len(defined)


def compare(pairs: Sequence[tuple[Scored, Scored]], task: Task, metric: Metric, resamples: int = RESAMPLES) -> Compared:
    """The mean over the pairs of seeds of the first's metric minus the second's, on the clips that all runs have
    scored, with its interval. Raises DataError where a clip has two labels or two groups, and where no clip is common.
    """
    runs = [run for pair in pairs for run in pair]
    ids = sorted(set.intersection(*(set(run.predictions) for run in runs)))
    if not ids:
        raise DataError(f"{runs[0].name} and {runs[1].name} have no clip in common: evaluate both on the same split")
    _check_same_clips(runs, ids)
    notes = []
    most = max(len(run.predictions) for run in runs)
    if most > len(ids):
        notes.append(f"compared on the {len(ids):,} clips that all runs have scored, of up to {most:,}")
    gold = runs[0].gold(ids, task)
    ours, theirs = ([pair[side].read(ids, task) for pair in pairs] for side in (0, 1))
    groups = np.unique([runs[0].predictions[key].group for key in ids], return_inverse=True)[1]

    def value(gold: np.ndarray, read: np.ndarray) -> float:
        return metric.function(gold, read, task)

    mean = float(np.mean([value(gold, one) - value(gold, other) for one, other in zip(ours, theirs, strict=True)]))
    low, high, undefined = interval(gold, ours, theirs, groups, value, resamples)
    num_groups = int(groups.max()) + 1
    if len(pairs) == 1 and num_groups == 1:
        notes.append("a single seed and a single group of clips, so that nothing can be resampled")
        low = high = float("nan")
    elif len(pairs) == 1:
        notes.append("a single seed, so that the interval is over groups of clips alone")
    if 1 < num_groups < FEW_GROUPS or (num_groups == 1 and len(pairs) > 1):
        number_in_words = "a single group" if num_groups == 1 else f"{num_groups} groups"
        notes.append(f"the clips are of {number_in_words}, too few to stand for others: the interval is too narrow")
    if undefined:
        notes.append(f"undefined in {undefined:,} of {resamples:,} resamples, which the interval leaves out")
    return Compared(
        clips=len(ids), groups=num_groups, mean=_defined(mean), low=_defined(low), high=_defined(high), notes=notes
    )


def _check_same_clips(runs: Sequence[Scored], ids: Sequence[str]) -> None:
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


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


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
