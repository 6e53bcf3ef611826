"""One finding of a study, and the rows of tables that it is made of."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from affect.config import Control
from affect.data.escaping import escape_markdown, one_line
from affect.reports.charts import Chart
from affect.reports.console import print_line, print_section
from affect.reports.formats import pipes
from affect.reports.rows import Row, Table
from affect.reports.sections import SHORT, Column, Section
from affect.reports.settings import CONTROL, LEADING


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A small table with its notes, a chart, or both."""

    name: str
    """Of the chart's file."""
    title: str
    headings: Sequence[str] = ()
    lines: Sequence[Sequence[str]] = ()
    """The cells of each line, as many as there are headings."""
    notes: Sequence[str] = field(default_factory=list)
    chart: Chart | None = None


def print_finding(finding: Finding, out: Console) -> None:
    """Prints title, table and notes."""
    if finding.lines:
        print_section(Section(title=one_line(finding.title), columns=_columns(finding, one_line, "count")), out)
    else:
        print_line(out, one_line(finding.title))
    for note in finding.notes:
        print_line(out, f"- {one_line(note)}")


def markdown(finding: Finding) -> str:
    """Title, table and notes."""
    blocks = [f"**{escape_markdown(finding.title)}**"]
    if finding.lines:
        blocks.append(pipes(_columns(finding, escape_markdown, "number")))
    if finding.notes:
        blocks.append("\n".join(f"- {escape_markdown(note)}" for note in finding.notes))
    return "\n\n".join(blocks)


def file_name(text: str) -> str:
    """A name of a file from one of a task.

    >>> file_name("demo.emotion"), file_name("../a b")
    ('demo.emotion', '.._a_b')
    """
    return re.sub(r"[^\w.-]", "_", text)


def placed(key: str, table: Table) -> str:
    """A key, or KEY=VALUE, of a study with the name of the table's dataset in place of DATASET."""
    return key.replace("DATASET", table.task.split(".")[0])


def label(row: Row, keys: Sequence[str], table: Table) -> str:
    """The values of a row that have these keys, as one name: `tav knowledge rank 4`.

    Keys that do not apply to the row are left out, and so is the control of descriptions that are no control; a row
    without any is named by its model.
    """
    values = []
    for key in (placed(key, table) for key in keys):
        if key in row.whole and (key, row.whole[key]) != (CONTROL, Control.none.value):
            says_itself = key in SHORT or key in LEADING
            values.append(row.whole[key] if says_itself else f"{key.rpartition('.')[2]} {row.whole[key]}")
    return " ".join(values) or row.whole["model.name"]


def told_apart(rows: Sequence[Row], keys: Sequence[str], beside: Sequence[str], table: Table) -> list[str]:
    """`keys`, and all further columns of the table where two rows agree in them and in the keys of `beside`."""
    names = [tuple(label(row, [key], table) for key in (*keys, *beside)) for row in rows]
    if len(set(names)) == len(names):
        return list(keys)
    known = {placed(key, table) for key in (*keys, *beside)}
    return [*keys, *(key for key in table.settings if key not in known)]


def number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def interval(low: float | None, high: float | None, digits: str = "+.4f") -> str:
    return "-" if low is None or high is None else f"[{low:{digits}}, {high:{digits}}]"


def _columns(finding: Finding, escaped: Callable[[str], str], numbers: str) -> list[Column]:
    """The columns of its table: words in the first, and cells of the kind `numbers` in the others."""
    return [
        Column(
            heading=escaped(heading),
            cells=[escaped(line[place]) for line in finding.lines],
            kind=numbers if place else "word",
        )
        for place, heading in enumerate(finding.headings)
    ]
