"""Choosing a setting among runs by their validation numbers, over seeds.

The numbers are those by which a training chooses its checkpoint (`selection`), or those of an evaluation of the
validation split. Numbers of the test split are never looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from affect.config import ConfigError
from affect.reports.aggregate import columns, newest, summarised
from affect.reports.rows import Number
from affect.reports.settings import HEADLINE, Run, grouped_by, idle, mixed, settings, some

VALIDATION = "val"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A setting, with a run for every seed."""

    setting: dict[str, str | None]
    """By key of `Choice.keys`; None where a key does not apply."""
    runs: list[Run]
    """By seed."""
    selection: Number
    """The number it is chosen by, over the seeds."""
    headlines: dict[str, Number]
    """By task, the headline of the validation."""

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.setting.items() if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    points: list[Point]
    """The chosen one first, then by `selection`."""
    keys: list[str]
    """What the settings differ in."""
    headlines: dict[str, str]
    """By task, its headline metric."""
    notes: list[str]

    def within_spread(self) -> list[Point]:
        """The points whose distance from the chosen one is not greater than the greater one of the two's standard
        deviations over seeds: other seeds may have another order. None where there is one seed a point."""
        best = self.points[0]
        return [point for point in self.points[1:] if _distance(best, point) <= _spread(best, point)]


def _distance(one: Point, other: Point) -> float:
    assert one.selection.mean is not None and other.selection.mean is not None
    return one.selection.mean - other.selection.mean


def _spread(one: Point, other: Point) -> float:
    return max(-1.0 if point.selection.sd is None else point.selection.sd for point in (one, other))


def choose(runs: Sequence[Run]) -> Choice:
    """The settings of finished runs, the one with the greatest mean of its validation numbers over seeds first.

    Runs belong to one setting where a report has them in one row. Raises ConfigError where the numbers must not be held
    against each other: where a run has none of the validation split, or one that is undefined; where validations are of
    different clips, tasks or definitions; and where settings have different numbers of seeds.
    """
    _check_validated(runs)
    tasks = list(_validation(runs[0])["tasks"])
    _check_alike(runs, tasks)
    settings_of, groups = [], dict[Any, list[tuple[int, Run]]]()
    unused = [idle(run) for run in runs]
    for number, run in enumerate(runs):
        by_task = [settings(run, task) for task in tasks]
        settings_of.append({key: value for each in by_task for key, value in each.items()})
        groups.setdefault(grouped_by(settings_of[-1], unused[number]), []).append((number, run))
    notes: list[str] = []
    kept = [newest(group, "the choice", notes) for group in groups.values()]
    keys = columns(settings_of, unused)
    points = []
    for entries in kept:
        validations = [_validation(run) for _, run in entries]
        points.append(
            Point(
                setting={key: settings_of[entries[0][0]].get(key) for key in keys},
                runs=[run for _, run in entries],
                selection=summarised([each["selection"] for each in validations]),
                headlines={task: summarised([each["tasks"][task]["value"] for each in validations]) for task in tasks},
            )
        )
    notes += _check_seeds(points)
    # Of equals the first, which is that of the first run.
    points.sort(key=lambda point: -(point.selection.mean or 0.0))
    headlines = {task: _validation(runs[0])["tasks"][task]["headline"] for task in tasks}
    return Choice(points=points, keys=keys, headlines=headlines, notes=notes)


def _validation(run: Run) -> dict[str, Any]:
    """`selection`, and by task `headline` and `value`; empty where a run was not validated."""
    metrics = run.summary.metrics
    assert metrics is not None
    return metrics.get("validation") or (metrics if metrics["split"] == VALIDATION else {})


def _check_validated(runs: Sequence[Run]) -> None:
    if without := [run for run in runs if not _validation(run) or not run.validated]:
        assert without[0].summary.metrics is not None
        split = without[0].summary.metrics["split"]
        raise ConfigError(
            f"{len(without)} of {len(runs)} runs have numbers of the {split} split alone, so that no setting can be"
            f" chosen by validation ({_some(without)}): run them with evaluation.split=val"
        )
    if undefined := [run for run in runs if _validation(run)["selection"] is None]:
        raise ConfigError(
            f"{len(undefined)} of {len(runs)} runs have no validation number, since it is undefined for a task or no"
            f" clip of the validation split is labelled ({_some(undefined)}): leave them out with --where"
        )


def _check_alike(runs: Sequence[Run], tasks: Sequence[str]) -> None:
    _check_one_of(
        runs,
        [tuple((task, numbers["headline"]) for task, numbers in _validation(run)["tasks"].items()) for run in runs],
        "were validated on different tasks or headline metrics",
    )
    for key in ("selection", "reader"):
        values = [run.summary.config["evaluation"][key] for run in runs]
        _check_one_of(runs, values, f"have different values of evaluation.{key}, which defines the number")
    _check_one_of(
        runs, [tuple(sorted(run.validated.items())) for run in runs], "were validated on different clips (data.json)"
    )
    for task in tasks:
        if (refusal := mixed(runs, task, [HEADLINE])) is not None:
            raise ConfigError(f"no setting can be chosen by {task}, since {refusal}")


def _check_one_of(runs: Sequence[Run], values: Sequence[Any], how: str) -> None:
    first: dict[Any, Run] = {}
    for run, value in zip(runs, values, strict=True):
        first.setdefault(value, run)
    if len(first) > 1:
        raise ConfigError(
            f"the runs {how}, as {_some(list(first.values()))}, so that their numbers cannot be held against each"
            " other: choose among those that are alike with --where KEY=VALUE"
        )


def _check_seeds(points: Sequence[Point]) -> Iterator[str]:
    """A note where the seeds are not the same. Raises ConfigError where there are not as many."""
    seeds = {point.name: [run.seed for run in point.runs] for point in points}
    by_number = {len(each): name for name, each in seeds.items()}
    if len(by_number) > 1:
        told = "; ".join(f"{name} has {', '.join(map(str, seeds[name]))}" for name in by_number.values())
        raise ConfigError(
            f"the settings have different numbers of seeds ({told}), so that their means cannot be held against each"
            " other: run the missing ones, or choose among common seeds with --where seed=N"
        )
    if len({*map(tuple, seeds.values())}) > 1:
        yield "The settings have as many seeds, but not the same ones."


def _some(runs: Sequence[Run]) -> str:
    return some([str(run.folder) for run in runs])
