"""An error analysis as text, Markdown, CSV and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from affect.data.escaping import escape_markdown, one_line
from affect.reports.console import print_line, print_section
from affect.reports.errors.results import Clip, ErrorAnalysis
from affect.reports.errors.tables import sections, sentences
from affect.reports.formats import WithRuns, markdown_section, rows_as_csv
from affect.reports.sections import Style, aligned


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyses(WithRuns):
    """An analysis for each task, and what is printed beside them."""

    tasks: Sequence[ErrorAnalysis]
    most: int
    """Clips of a list in text and Markdown."""


def print_analyses(shown: Analyses, out: Console) -> None:
    """Prints the tables, and what has to be known beside them."""
    style = Style(numbers=aligned, escape=one_line)
    for analysis in shown.tasks:
        for section in sections(analysis, style, shown.most):
            section.title = one_line(section.title)
            print_section(section, out)
    for line in _lines(shown):
        print_line(out, one_line(line))


def markdown(shown: Analyses) -> str:
    """GitHub's tables, and a list of what has to be known beside them."""
    style = Style(numbers=aligned, escape=escape_markdown)
    blocks = []
    for analysis in shown.tasks:
        for section in sections(analysis, style, shown.most):
            blocks += markdown_section(section)
    blocks.append("\n".join(f"- {escape_markdown(line)}" for line in _lines(shown)))
    return "\n\n".join(blocks) + "\n"


def _lines(shown: Analyses) -> Iterator[str]:
    yield from (f"{number} {', '.join(run)}" for number, run in enumerate(shown.runs, 1))
    for analysis in shown.tasks:
        yield from sentences(analysis, shown.most)
    yield from shown.notes


def as_json(shown: Analyses) -> str:
    """All that is known (affect.reports.errors.analysis says what it is), every clip included."""
    return shown.json("tasks", [asdict(analysis) for analysis in shown.tasks])


def comma_separated(shown: Analyses) -> str:
    """One table for other programs: a row for each cell, slice, clip, cause, bin and class, told apart by `table`.
    Numbers are in full, and every clip is in it; the sentences beside the tables are not."""
    rows = [
        {"task": analysis.task, "table": name, **row} for analysis in shown.tasks for name, row in _records(analysis)
    ]
    return rows_as_csv(rows, list(dict.fromkeys(key for row in rows for key in row)))


def _records(analysis: ErrorAnalysis) -> Iterator[tuple[str, dict[str, object]]]:
    confusion = analysis.confusion
    for gold, counts, rates in zip(confusion.rows, confusion.counts, confusion.rates, strict=True):
        for answer, count, rate in zip(confusion.columns, counts, rates, strict=True):
            yield "confusion", {"gold": gold, "answer": answer, "count": count, "rate": rate}
    yield from (("slice", asdict(each) | {"measure": analysis.metric}) for each in analysis.slices)
    lists: dict[str, Sequence[Clip]] = {"hardest": analysis.hardest, "confident": analysis.confident}
    if analysis.changes is not None:
        lists |= {"fixed": analysis.changes.fixed, "broken": analysis.changes.broken}
        yield from (("change", asdict(each)) for each in analysis.changes.by_class)
    for name, listed in lists.items():
        yield from ((name, asdict(each) | {"answers": " / ".join(each.answers)}) for each in listed)
    yield from (("unreadable", asdict(each)) for each in analysis.unreadable)
    if analysis.calibration is not None:
        yield from (("calibration", asdict(each)) for each in analysis.calibration.curve)


FORMATS = {"markdown": markdown, "csv": comma_separated, "json": as_json}
