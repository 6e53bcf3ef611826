"""All tables of a report on some runs, with the notes that belong beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affect.config import ConfigError
from affect.reports import openings
from affect.reports.aggregate import table, tasks
from affect.reports.collect import find, load, lost, unfinished
from affect.reports.comparison import against
from affect.reports.console import bad_rows, unanswered
from affect.reports.formats import Report
from affect.reports.knowledge import tell
from affect.reports.published import attach, shipped
from affect.reports.rows import Table
from affect.reports.settings import HEADLINE, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The run folders in some folders."""

    runs: list[Run]
    damaged: list[str]
    """A sentence for each that cannot be read."""
    deeper: list[str]
    """A sentence for each folder with runs that lie too deep to be looked at."""


def loaded(folders: Sequence[Path]) -> Loaded:
    """Raises ConfigError where a folder is no run folder, and holds none."""
    inside, deeper = find(folders)
    runs, damaged = load(inside)
    return Loaded(runs=runs, damaged=damaged, deeper=deeper)


def report(
    runs: Sequence[Run],
    source: Loaded,
    *,
    metrics: Sequence[str] = (HEADLINE,),
    per_class: bool = False,
    each: bool = False,
    compared_with: Sequence[str] = (),
    published: bool = False,
) -> tuple[Report, list[str]]:
    """The report on `runs`, which are those of `source` or some of them, and a sentence for everything that is refused
    or damaged. The options are those of `affect report`; `compared_with` is its --against.

    Raises ConfigError where `compared_with` cannot be.
    """
    tables: list[Table] = []
    refused = []
    for task in tasks(runs):
        try:
            tables.append(table(runs, task, metrics=metrics, per_class=per_class, each=each))
        except ConfigError as error:
            refused.append(str(error))
    refused += against(tables, runs, compared_with) if compared_with else []
    refused += tell(tables, runs)
    opened = openings.attach(tables, runs)
    if published:
        attach([each for each in tables if each.rows], runs, shipped())
    notes = [
        *unfinished(runs),
        *(note for each in tables for note in each.notes),
        *(
            f"{number} {line}"
            for number, run in enumerate(runs, 1)
            for line in (*bad_rows(run.summary), *unanswered(run.summary))
        ),
        *lost(runs),
        *opened,
        *source.deeper,
        *(f"not in the table: {problem}" for problem in source.damaged),
    ]
    if source.damaged:
        of = len(source.damaged) + len(source.runs)
        refused.append(f"{len(source.damaged)} of {of} run folders could not be read, for the reasons above.")
    return (
        Report(
            tables=[each for each in tables if each.rows],
            runs=[(run.summary.model, str(run.folder)) for run in runs],
            notes=notes,
        ),
        refused,
    )
