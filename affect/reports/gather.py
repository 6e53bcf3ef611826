"""Folders to a report: its tables, their notes, and what could not be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from affect.config import ConfigError
from affect.reports import openings
from affect.reports.aggregate import table, tasks
from affect.reports.collect import check_metrics, find, load, lost, unfinished
from affect.reports.comparison import against
from affect.reports.console import bad_rows, unanswered
from affect.reports.formats import Report
from affect.reports.knowledge import tell
from affect.reports.published import attach, shipped
from affect.reports.rows import Table
from affect.reports.selection import where
from affect.reports.settings import HEADLINE, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a report is about."""

    folders: Sequence[Path]
    """Run folders, or folders with run folders in them."""
    where: Sequence[str] = ()
    """`KEY=VALUE` of the runs that are in it."""
    metrics: Sequence[str] = (HEADLINE,)
    per_class: bool = False
    """Also the recall of each class."""
    each: bool = False
    """One row a run."""
    against: Sequence[str] = ()
    """`KEY=VALUE` of the reference of the differences."""
    published: bool = False
    """Also published numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    report: Report
    runs: list[Run]
    refused: list[str] = field(default_factory=list)
    """Sentences on what has no table, or could not be read."""
    damaged: list[str] = field(default_factory=list)
    """A sentence for each run folder that could not be read; the notes of the report have them too."""


def gather(request: Request) -> Gathered:
    """Reads the runs and makes the tables. Raises ConfigError where the request cannot be met."""
    folders, deeper = find(request.folders)
    runs, damaged = load(folders)
    chosen = where(runs, request.where)
    check_metrics(chosen, request.metrics)
    if request.against and request.each:
        raise ConfigError("--against compares settings, and --each shows single runs: leave one out")
    tables: list[Table] = []
    refused = []
    for task in tasks(chosen):
        try:
            tables.append(table(chosen, task, metrics=request.metrics, per_class=request.per_class, each=request.each))
        except ConfigError as error:
            refused.append(str(error))
    refused += against(tables, chosen, request.against) if request.against else []
    refused += tell(tables, chosen)
    opened = openings.attach(tables, chosen)
    if request.published:
        attach([each for each in tables if each.rows], chosen, shipped())
    notes = [
        *unfinished(chosen),
        *(note for each in tables for note in each.notes),
        *(
            f"{number} {line}"
            for number, run in enumerate(chosen, 1)
            for line in (*bad_rows(run.summary), *unanswered(run.summary))
        ),
        *lost(chosen),
        *opened,
        *deeper,
        *(f"not in the table: {problem}" for problem in damaged),
    ]
    if damaged:
        refused.append(f"{len(damaged)} of {len(folders)} run folders could not be read, for the reasons above.")
    report = Report(
        tables=[each for each in tables if each.rows],
        runs=[(run.summary.model, str(run.folder)) for run in chosen],
        notes=notes,
    )
    return Gathered(report=report, runs=chosen, refused=refused, damaged=damaged)
