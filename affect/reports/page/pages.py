"""The page of a report."""

from collections.abc import Sequence
from pathlib import Path

from affect.reports.formats import Report
from affect.reports.page import building, overview
from affect.reports.settings import Run


def blocks(report: Report, runs: Sequence[Run], refused: Sequence[str]) -> building.Blocks:
    """The data of the page. A run's number is its place in `runs`, from 1."""
    return {"overview": lambda: overview.overview(report, runs, refused)}


def write(report: Report, runs: Sequence[Run], refused: Sequence[str], path: Path) -> list[Path]:
    """Writes the page to `path`: affect.reports.page.building.write."""
    return building.write(blocks(report, runs, refused), "Report of affect", path)
