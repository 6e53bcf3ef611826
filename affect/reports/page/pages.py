"""The page of a report."""

from collections.abc import Sequence
from pathlib import Path

from affect.reports.formats import Report
from affect.reports.page import building, overview
from affect.reports.settings import Run


def blocks(report: Report, runs: Sequence[Run], refused: Sequence[str]) -> building.Blocks:
    """The data of the page. A run's number is its place in `runs`, from 1."""
    return {"overview": lambda: overview.overview(report, runs, refused)}


def write(
    report: Report, runs: Sequence[Run], refused: Sequence[str], path: Path, *, embed: bool = False
) -> tuple[list[Path], list[str]]:
    """Writes the page to `path` (affect.reports.page.building.write), with small previews of the clips where `embed`.
    Gives also what has to be known about its clips."""
    from affect.reports.page.clips.browser import browser  # half a second, which other formats do not need

    clips = browser(runs, path.parent, embed=embed)
    return building.write({**blocks(report, runs, refused), **clips.blocks}, "Report of affect", path), clips.notes
