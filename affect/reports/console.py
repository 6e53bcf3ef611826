"""Tables for the terminal: trained towers, results and the counts beside them."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from affect.config.logs import LOG
from affect.data.progress import WIDTH, terminal
from affect.reports import openings, rows
from affect.reports.aggregate import table, tasks
from affect.reports.attribution.reach import reached
from affect.reports.collect import with_results
from affect.reports.formats import Report
from affect.reports.sections import Column, Section, Style, aligned, four, sections
from affect.runs.run_summary import RunSummary

if TYPE_CHECKING:
    from affect.models.adapters import TowerCount
    from affect.training.alignment import Aligned


FOLDED = 24
"""Columns at which words are folded in a table that is too wide."""

MOST_REPEATED = 3
"""Columns that are repeated in each block of a table that has several."""

UNBOUNDED = 100_000
"""Columns of a page on which no table is too wide."""


def print_towers(counts: Sequence["TowerCount"]) -> None:
    """What is trained of each tower."""
    towers = Table(title="Trained parameters")
    for heading in ("tower", "how", "parameters", "trained", "LoRA modules", "learning rate"):
        towers.add_column(heading, justify="left" if heading in ("tower", "how") else "right")
    for count in counts:
        rate = "" if count.learning_rate is None else f"{count.learning_rate:g}"
        numbers = (f"{number:,}" for number in (count.parameters, count.trained, count.lora_modules))
        towers.add_row(count.tower, count.mode, *numbers, rate)
    Console().print(towers)


def print_alignment(aligned: Sequence["Aligned"]) -> None:
    """What the alignment of new towers came to, on the validation split."""
    for item in aligned:
        if item.accuracy is None:
            LOG.info(f"{item.modality} aligned; no clip of the validation split has one of the training answers")
            continue
        LOG.info(
            f"{item.modality} aligned: on the validation split the nearest answer is right for {item.accuracy:.1%},"
            f" loss {item.loss:.3f} nats"
        )


def print_results(folder: Path) -> None:
    """The tables of a run that has just written its results: those of a report on it alone, then the recall of every
    class, a row each."""
    run = with_results(folder)
    tables = [table([run], task) for task in tasks([run])]
    notes = [*openings.attach(tables, [run]), *(note for each in tables for note in each.notes)]
    notes += [f"1 {line}" for line in (*unlabelled(run.summary), *bad_rows(run.summary), *unanswered(run.summary))]
    notes += [f"1 {line}" for line in reached(run)]
    out = terminal()
    for each in tables:
        if each.rows:
            _print_table(each, out)
    for section in recalls(run.summary):
        print_section(section, out)
    out.print()
    print_notes([(run.summary.model, str(folder))], notes, out)


def recalls(run: RunSummary) -> Iterator[Section]:
    """For every classification that was scored: label, number of gold labels and recall (of the lenient reader) of its
    classes. Recall of a class without gold labels is undefined."""
    for name, numbers in ({} if run.metrics is None else run.metrics["tasks"]).items():
        if "confusion" in numbers and numbers["n_scored"]:
            labels = numbers["labels"]
            counts = [f"{numbers['n_per_class'][label]:,}" for label in labels]
            recall = [four(numbers["recall_per_class"][label]) for label in labels]
            yield Section(
                title=f"{name}, recall per class",
                columns=[
                    Column(heading="class", cells=labels, kind="word"),
                    Column(heading="n", cells=counts, kind="count"),
                    Column(heading="recall", cells=recall, kind="number"),
                ],
                runs=Column(heading="runs", cells=["1"] * len(labels), kind="word"),
            )


def unlabelled(run: RunSummary) -> Iterator[str]:
    """A sentence for every task that was predicted for clips without labels."""
    for name, numbers in ({} if run.metrics is None else run.metrics["tasks"]).items():
        if numbers["used"] and not numbers["n_scored"]:
            yield f"{name}: {numbers['used']:,} clips without labels are predicted, in predictions.jsonl of the run"


def bad_rows(run: RunSummary) -> Iterator[str]:
    """A sentence for every task of whose clips some are left out because their row in the annotations is wrong."""
    for name, numbers in ({} if run.metrics is None else run.metrics["tasks"]).items():
        if count := numbers.get("bad_rows"):
            yield (
                f"{name}: {count:,} of {numbers['expected']:,} rows of the annotations are wrong and left out"
                " (on_bad_rows=exclude; exclusions.csv lists them)"
            )


def unanswered(run: RunSummary) -> Iterator[str]:
    """A sentence for every task with clips that got no answer at all: how many, and why most of them did not."""
    for name, numbers in ({} if run.metrics is None else run.metrics["tasks"]).items():
        if errors := Counter(numbers["errors"]):
            [(reason, count)] = errors.most_common(1)
            others = f" ({count:,} of them; the others' reasons are in predictions.jsonl)" if len(errors) > 1 else ""
            yield f"{name}: {errors.total():,} of {numbers['n_scored']:,} clips have no answer: {reason}{others}"


def printed(prints: Callable[[Console], None]) -> str:
    """What a function prints to a console that is no terminal."""
    out = io.StringIO()
    prints(Console(file=out, width=WIDTH, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def print_report(report: Report, console: Console) -> None:
    """The tables, the folders by number and the notes."""
    for each in report.tables:
        _print_table(each, console)
    if report.tables:
        console.print()
    print_notes(report.runs, report.notes, console)


def _print_table(each: rows.Table, console: Console) -> None:
    for section in sections(each, Style(numbers=aligned)):
        print_section(section, console)
        for mark, note in section.footnotes.items():
            print_line(console, f"{mark} {note}")
    for letter, note in each.footnotes.items():
        print_line(console, f"{letter} {note}")


def print_section(section: Section, console: Console) -> None:
    """A table as wide as it has to be. On a terminal that has less room its columns come in several blocks, one below
    the other."""
    before = console.width
    built, width = _built(section, console)
    if width > before:
        built, width = _built(section, console, folded=FOLDED)
    if width > before and console.is_terminal:
        for block in _blocks(section, console):
            _print_whole(*_fitted(block, console), console)
        return
    _print_whole(built, width, console)


def _print_whole(built: Table, width: int, console: Console) -> None:
    """A table that needs more than there is runs over the edge, where a terminal breaks it, all of it there."""
    before = console.width
    console.width = max(before, width)
    console.print(built)
    console.width = before


def _blocks(section: Section, console: Console) -> Iterator[Section]:
    """The table in parts that are no wider than the console, if one column beside those that name the rows is not. Rows
    are named by their runs, and by the first columns where those are not enough."""
    names = [()] * len(section.columns[0].cells) if section.runs is None else [(cell,) for cell in section.runs.cells]
    repeated: list[Column] = []
    for column in section.columns[:MOST_REPEATED]:
        if len(set(names)) == len(names) and (repeated or section.runs is not None):
            break
        repeated.append(column)
        names = [(*name, cell) for name, cell in zip(names, column.cells, strict=True)]
    own: list[Column] = []
    title = section.title
    for column in section.columns:
        wider = replace(section, title="", columns=[*own, column])
        if len(own) > len(repeated) and _built(wider, console, folded=FOLDED)[1] > console.width:
            yield replace(section, title=title, columns=own)
            own, title = [*repeated], ""
        own.append(column)
    yield replace(section, title=title, columns=own)


def _fitted(section: Section, console: Console) -> tuple[Table, int]:
    """A table whose words are folded no sooner than the console asks for."""
    for folded in range(console.width, FOLDED, -2):
        built, width = _built(section, console, folded)
        if width <= console.width:
            return built, width
    return _built(section, console, FOLDED)


def print_notes(runs: Sequence[tuple[str, str]], notes: Sequence[str], console: Console) -> None:
    """Model and folder of the runs by number, and the notes."""
    for number, run in enumerate(map(", ".join, runs), 1):
        print_line(console, f"{number} {run}")
    for note in notes:
        print_line(console, note)


def _built(section: Section, console: Console, folded: int = UNBOUNDED) -> tuple[Table, int]:
    """A table and its width. Words are folded at so many columns; a number is never cut, since columns are as wide as
    they have to be, and rich has none to shrink."""
    title = section.title if section.runs is None or not section.title else f"Results, {section.title}"
    built = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    shown = [*([] if section.runs is None else [section.runs]), *section.columns]
    for column in shown:
        heading = column.heading.replace(".", ".\n")
        needed = max(map(cell_len, [*column.cells, *heading.split()]))
        built.add_column(
            Text(heading),
            justify="right" if column.kind == "count" else "left",
            vertical="bottom",
            overflow="fold",
            width=min(needed, folded) if column.kind == "word" else needed,
        )
    for cells in zip(*(column.cells for column in shown), strict=True):
        built.add_row(*map(Text, cells))
    return built, built.__rich_measure__(console, console.options.update(width=UNBOUNDED)).maximum


def print_line(console: Console, line: str) -> None:
    """A line of text below the tables, whole and as it is."""
    # A path may look like markup, and has to come out in one piece to be copied.
    console.out(line, highlight=False)
