"""The progress bar."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress(enabled: bool, *extra: ProgressColumn, stderr: bool = False) -> Progress:
    """A progress bar in the style of all of affect's.

    extra: columns before the remaining time. stderr: write to the error stream, and only in a terminal, so that a
    program's output can be piped.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *extra, TimeRemainingColumn())
    console = Console(stderr=stderr)
    return Progress(*columns, console=console, disable=not enabled or (stderr and not console.is_terminal))
