"""What a command makes, printed or written to a file."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from affect.config import ConfigError
from affect.data.files import write_atomic
from affect.data.progress import terminal
from affect.reports.console import printed

Made = TypeVar("Made")


def give(
    made: Made,
    how: str,
    formats: Mapping[str, Callable[[Made], str]],
    prints: Callable[[Made, Console], None],
    output: Path | None,
) -> None:
    """Prints what was made, or writes it to `output`: as tables by `prints` where `how` is table, else in one of the
    `formats`. Raises ConfigError as `write_output`."""
    if output is None and how == "table":
        prints(made, terminal())
        return
    content = printed(partial(prints, made)) if how == "table" else formats[how](made)
    if output is None:
        print(content, end="")
    else:
        write_output(output, content)


def write_output(path: Path, content: str, option: str = "--output") -> None:
    """Raises ConfigError, which names the option, where the file cannot be written."""
    try:
        write_atomic(path, content)
    except OSError as error:
        raise ConfigError(
            f"{option} {path} cannot be written ({error.strerror or error}): name a file in a folder that can"
        ) from error
