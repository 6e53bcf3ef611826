"""Reads label cells of tables: equal spellings, empty cells, and lists of labels.

Annotations and predictions made elsewhere are read by the same functions.
"""

import ast
import math
import re
from collections.abc import Iterable, Sequence

from affect.config import Kind, Task

WRITTEN = frozenset(("nan", "NaN", "<NA>", "NaT", "None", "NULL"))
"""What programs write for a missing value, in their spelling. For cells that hold names: NA or Nan may be a name."""

MISSING = frozenset(
    # What pandas writes for a missing value, or reads as one.
    ("nan", "-nan", "none", "null", "<na>", "n/a", "na", "nat", "#n/a", "#na", "#n/a n/a", "1.#ind", "1.#qnan")
)
SHEET_ERROR = re.compile(r"#(?:[A-Z0-9/ÄÖÜÉ]+[!?]|N/?[ADV])")
"""What spreadsheets show for a formula that failed (#N/A, #REF!, #DIV/0!, in German #NV)."""


def is_missing(cell: str) -> bool:
    """Whether pandas or a spreadsheet would write the cell for a missing value. A declared set of labels may contain
    such a word; the caller checks that first.

    >>> [is_missing(cell) for cell in ("NaN", "<NA>", "#REF!", "None", "nancy", "")]
    [True, True, True, True, False, False]
    """
    return cell.strip().casefold() in MISSING or SHEET_ERROR.fullmatch(cell.strip()) is not None


def is_written_for_nothing(cell: str) -> bool:
    """Whether a cell for a name (a speaker, a group) has what programs write for a missing one."""
    return cell.strip() in WRITTEN or SHEET_ERROR.fullmatch(cell.strip()) is not None


def number(cell: str) -> float | None:
    """The number in a cell, as programs write it (1e-05, nan, inf); None if it is not a number."""
    try:
        # Python reads 1_000 as a thousand, which nobody else writes.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def in_spelling_of(cell: str, labels: Sequence[str]) -> str | None:
    """The label that a cell names: the one with its spelling, or the only one with its numeric value, since pandas
    writes 1.0 for 1 in a column with gaps, and spreadsheets 1 for 01. None if there is no such label.

    >>> in_spelling_of("1.0", ["0", "1"]), in_spelling_of("01", ["0", "1"]), in_spelling_of("2", ["0", "1"])
    ('1', '1', None)
    """
    if cell in labels:
        return cell
    value = number(cell)
    if value is None or not math.isfinite(value):
        return None
    same = [label for label in labels if number(label) == value]
    return same[0] if len(same) == 1 else None


def closed_set(cells: Iterable[str]) -> list[str]:
    """The labels, sorted, of cells whose task declares none. Spellings of one number are one label, named by the
    shortest.

    >>> closed_set(["1", "0", "1.0", "0", "joy"])
    ['0', '1', 'joy']
    """
    spellings: dict[str | float, set[str]] = {}
    for cell in cells:
        value = number(cell)
        spellings.setdefault(cell if value is None or not math.isfinite(value) else value, set()).add(cell)
    return sorted(min(same, key=lambda cell: (len(cell), cell)) for same in spellings.values())


def several(cell: str, task: Task, language: str) -> tuple[str, ...] | None:
    """The labels in a cell of a multi-label task, as they are spelled there; None for an empty cell, which is a missing
    label.

    Labels are separated by | or in a list of strings (JSON's, or Python's, which pandas writes). That none of them
    applies is a label too: `none`, the task's word for it in `language`, or the empty list [].
    """
    if not cell.strip():
        return None
    parts = [part.strip() for part in _listed(cell.strip())]
    if len(parts) == 1 and parts[0] not in task.labels and parts[0] in ("none", task.word_for_none(language)):
        return ()
    return tuple(parts)


def without_label(cell: str, task: Task) -> str:
    """The remedy for a cell that `is_missing`: a clause to follow a colon."""
    none = "; where none of the labels applies, write none" if task.kind is Kind.multi_label else ""
    name = f"task_definitions.{task.name}.labels"
    declare = "" if task.kind is Kind.intensity else f", or declare '{cell.strip()}' under {name} if it is a label"
    return f"write the label, or leave the cell empty where there is none{none}{declare}"


def _listed(cell: str) -> list[str]:
    if cell.startswith("[") and cell.endswith("]"):
        try:
            items = ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            items = None
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return items
    return cell.split("|")
