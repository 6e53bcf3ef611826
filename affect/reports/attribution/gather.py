"""All attributions that a set of runs allows."""

from collections.abc import Sequence
from dataclasses import dataclass

from affect.config import DataError
from affect.reports.aggregate import tasks
from affect.reports.attribution.families import Family, families
from affect.reports.attribution.missing import command
from affect.reports.attribution.results import attributed
from affect.reports.attribution.rows import Attributed
from affect.reports.settings import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    found: list[Attributed]
    """By task, in the order in which the runs come."""
    notes: list[str]
    """What has to be known beside the numbers."""
    refused: list[str]
    """Sentences about what could not be had: which subsets are missing and how they are made, and what is damaged."""


def gather(runs: Sequence[Run], metric: str | None = None) -> Gathered:
    """The attributions of every task and family of runs. `metric` is a metric of the tasks; None is their headline.
    Raises ConfigError where a task has no such metric."""
    gathered = Gathered(found=[], notes=[], refused=[])
    for task in tasks(runs):
        for family in families(runs, task):
            if not family.seeds:
                gathered.refused.append(_incomplete(family, task))
                continue
            try:
                found = attributed(family, task, metric)
            except DataError as error:
                gathered.refused.append(str(error))
                continue
            gathered.found.append(found)
            notes = [f"none is {found.none}", *found.notes]
            gathered.notes.extend(f"{task}, {found.flavour}: {note}" for note in notes)
    return gathered


def _incomplete(family: Family, task: str) -> str:
    if family.missing:
        lacking = f"there is no finished run with modalities={','.join(family.missing)}"
    else:
        lacking = "no seed has a run of every subset"
    return (
        f"{task}, {family.flavour.value} ({family.anchor[1].folder}): {lacking}, and contributions need every subset of"
        f" {family.modalities}. Make them, and name their folder too:\n  {command(family)}"
    )
