"""The progress bar."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress(enabled: bool, *, to_stderr: bool = False) -> Progress:
    """A progress bar in the style of all of affect's. `to_stderr`: on the error stream, if that is a terminal, so that
    the output can be piped."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not to_stderr:
        return Progress(*columns, disable=not enabled)
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (enabled and console.is_terminal))
