"""Names of files for what has a name of its own."""

import re
from collections.abc import Iterable, Sequence


def unique(texts: Iterable[str], taken: Sequence[str] = ()) -> list[str]:
    """A name for each text, safe in a shell, in LaTeX and as that of a file; equal ones get a number.

    >>> unique(["run 1", "run_1", "../x", "情感"], taken=["x"])
    ['run_1', 'run_1_2', 'x_2', 'unnamed']
    """
    given = list(taken)
    for text in texts:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-") or "unnamed"
        number = 1
        while (name := stem if number == 1 else f"{stem}_{number}") in given:
            number += 1
        given.append(name)
    return given[len(taken) :]
