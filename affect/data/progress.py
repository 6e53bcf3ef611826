"""The terminal, and the progress bar."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

WIDTH = 140
"""Columns where there is no terminal to ask: rich assumes 80 and would break every number in two."""


def terminal() -> Console:
    """The terminal, or a page of WIDTH columns where there is none."""
    return Console() if Console().is_terminal else Console(width=WIDTH)


def progress(enabled: bool, *columns: ProgressColumn) -> Progress:
    """A progress bar on the error stream, so that results can be piped; nothing where that is no terminal.

    columns: what stands between the count and the time that is left.
    """
    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *columns, TimeRemainingColumn())
    return Progress(*shown, console=console, disable=not (enabled and console.is_terminal))
