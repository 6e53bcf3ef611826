"""The page of a report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from affect.reports.formats import Report
from affect.reports.page import building
from affect.reports.page.confusion import confusion
from affect.reports.page.overview import overview
from affect.reports.page.runs import about, configurations, ledgers
from affect.reports.settings import Run


def blocks(report: Report, runs: Sequence[Run], *, metrics: Sequence[str], refused: Sequence[str]) -> building.Blocks:
    """The data of the page. A run's number is its place in `runs`, from 1; `metrics` and `refused` are those of
    affect.reports.page.overview."""
    return {
        "overview": partial(overview, report, runs, metrics=metrics, refused=refused),
        "confusion": partial(confusion, runs),
        "configurations": partial(configurations, runs),
        "ledger": partial(ledgers, runs),
        **{f"run/{number}": partial(about, run) for number, run in enumerate(runs, 1)},
    }


TITLE = "affect report"


def write(blocks: building.Blocks, path: Path) -> list[Path]:
    """Writes the page to `path`: affect.reports.page.building.write."""
    return building.write(blocks, TITLE, path)
