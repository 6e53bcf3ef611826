"""The page of a report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from affect.reports.gather import Gathered
from affect.reports.page import building
from affect.reports.page.charts import charts
from affect.reports.page.clips.browser import browser
from affect.reports.page.confusion import confusion
from affect.reports.page.overview import overview
from affect.reports.page.runs import about, configurations, ledgers

TITLE = "affect report"


def blocks(gathered: Gathered, metrics: Sequence[str]) -> building.Blocks:
    """The data of the page without its clips. `metrics` are those that were asked for, as --metrics has them."""
    runs = gathered.runs
    return {
        "charts": partial(charts, gathered),
        "overview": partial(overview, gathered.report, runs, metrics=metrics, refused=gathered.refused),
        "confusion": partial(confusion, runs),
        "configurations": partial(configurations, runs),
        "ledger": partial(ledgers, runs),
        **{f"run/{number}": partial(about, run) for number, run in enumerate(runs, 1)},
    }


def write(
    gathered: Gathered, metrics: Sequence[str], path: Path, *, embed: bool = False
) -> tuple[list[Path], list[str]]:
    """Writes the page to `path` (affect.reports.page.building.write), with small previews of the clips where `embed`.
    Gives also what has to be known about its clips."""
    clips = browser(gathered.runs, path.parent, embed=embed)
    return building.write({**blocks(gathered, metrics), **clips.blocks}, TITLE, path), clips.notes
