"""Shows how far a multirun is, or each multirun of a study:

    affect sweep status outputs/sweeps/…          once
    affect sweep status outputs/sweeps/… --live   again and again, until all jobs have ended or Ctrl-C
    affect sweep status outputs/studies/…         the multiruns of a study one after the other

States, progress and last validation number of the running jobs, the time left as estimated from finished jobs and from
the pace of running ones, disk and cache use, and for every job that failed its last error and its log. Progress is what
a run writes with its heartbeat, every 10 seconds.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from affect.config import ConfigError
from affect.data.progress import terminal
from affect.runs.jobs import longest_word
from affect.runs.sweep_points import distinct
from affect.runs.sweep_status import STATES, Status, SweepStatus, Watched, bytes_in, cache_root, look_all

EVERY = 2.0
"""Seconds between two looks."""


def main(arguments: Sequence[str]) -> None:
    """Runs `affect sweep status ARGUMENTS`."""
    parser = argparse.ArgumentParser(
        prog="affect sweep status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of outputs/sweeps or outputs/studies")
    parser.add_argument("--live", action="store_true", help="until all jobs have ended")
    given = parser.parse_args(arguments)
    try:
        status = look_all(given.folder)
        space = _space(status)
        if not given.live:
            terminal().print(_shown(status, space))
            return
        with Live(_shown(status, space), console=terminal(), auto_refresh=False) as live:
            while not status.ended:
                time.sleep(EVERY)
                status = look_all(given.folder)
                live.update(_shown(status, space), refresh=True)
    except ConfigError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        return  # the jobs go on


def _space(status: Status) -> str:
    """Disk use, which takes longer to find out than all else, and is said as it was at the first look."""
    told = f"{_size(bytes_in(status.folder))} in {status.folder}"
    if (cache := next(filter(None, map(cache_root, status.multiruns)), None)) is not None:
        told += f", {_size(bytes_in(cache))} in the cache {cache}"
    return f"Disk: {told}; {_size(shutil.disk_usage(status.folder).free)} free"


def _shown(status: Status, space: str) -> Group:
    parts: list[Text | Table] = []
    for multirun in status.multiruns:
        parts += _of_multirun(multirun, "" if multirun.folder == status.folder else f"{status.name(multirun)}: ")
    parts += [Text(f"{name}: {number:,} jobs: {number:,} not begun") for name, number in status.to_come.items()]
    return Group(*parts, Text(_time_left(status)), Text(space))


def _of_multirun(status: SweepStatus, name: str) -> list[Text | Table]:
    counts = ", ".join(f"{number:,} {state}" for state in STATES if (number := status.count(state)))
    parts: list[Text | Table] = [Text(f"{name}{len(status.jobs):,} jobs: {counts}")]
    words = dict(
        zip(
            (each.job.number for each in status.jobs),
            map(" ".join, distinct([each.job.words for each in status.jobs])),
            strict=True,
        )
    )
    if running := status.of("running"):
        headings = ("#", "words", "stage", "epoch", "step", "val selection", "time", "left", "on")
        rows = [_running(each, words[each.job.number]) for each in running]
        parts.append(_table("Running", headings, rows))
    if broken := status.of("failed", "refused", "killed", "stopped"):
        headings = ("#", "state", "words", "step", "val selection", "last error")
        rows = [_broken(each, words[each.job.number]) for each in broken]
        parts.append(_table("Not finished", headings, rows))
        # A path in a narrow column would be broken into many lines.
        parts += [Text(f"#{each.job.number}: {each.log}", overflow="fold") for each in broken if each.log is not None]
    return parts


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(headings):
        least = longest_word([row[place].split(" ") for row in rows]) if heading == "words" else None
        table.add_column(heading, overflow="fold", justify="right" if heading == "#" else "left", min_width=least)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _running(each: Watched, words: str) -> list[str]:
    stage = each.progress.get("stage", "beginning")
    epoch = _of(each, "epoch", "epochs") if stage != "test" else ""
    step = _of(each, "batch", "batches") if stage == "test" else _of(each, "step", "steps")
    times = [_time(each.seconds), "" if each.left is None else f"about {_time(each.left)}"]
    return [str(each.job.number), words, stage, epoch, step, _selection(each), *times, each.host or ""]


def _broken(each: Watched, words: str) -> list[str]:
    job = each.job
    return [str(job.number), job.state, words, _of(each, "step", "steps"), _selection(each), job.error or ""]


def _of(each: Watched, done: str, total: str) -> str:
    return f"{each.progress[done]:,} of {each.progress[total]:,}" if {done, total} <= each.progress.keys() else ""


def _selection(each: Watched) -> str:
    value = each.progress.get("selection", each.job.selection)
    return "" if value is None else f"{value:.4f}"


def _time_left(status: Status) -> str:
    running = [each for each in status.multiruns if each.of("running")]
    if running and all(each.left is not None for each in running):
        told = f"Time left: about {_time(max(each.left or 0.0 for each in running))}"
        return told + (", and that of the multiruns that have not begun" if status.to_come else "")
    if running:
        return "Time left: not known before a job has finished, or its training is under way"
    if not status.ended:
        return "Time left: not known while no job runs"
    undone = sum(len(each.jobs) - each.count("finished") - each.count("pruned") for each in status.multiruns)
    undone += sum(status.to_come.values())
    return f"No job is running; run the other {undone:,}: affect sweep resume {status.folder}" if undone else "All done"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(max(0.0, seconds))))


def _size(number: int) -> str:
    """
    >>> _size(999), _size(1_500_000_000)
    ('999 B', '1.5 GB')
    """
    size, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
