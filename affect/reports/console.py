"""Tables for the terminal: trained towers, results and the counts beside them."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from affect.config.logs import LOG
from affect.reports.formats import Report
from affect.reports.sections import Section, Style, aligned, sections
from affect.runs.run_folder import RunSummary, program_of

if TYPE_CHECKING:
    from affect.models.adapters import TowerCount
    from affect.training.alignment import Aligned


WIDTH = 140
"""Columns where there is no terminal to ask: rich assumes 80 and would break every number in two."""

HEADINGS = (
    "run",
    "task",
    "modalities",
    "readout",
    "expected",
    "used",
    "scored",
    "readable",
    "metric",
    "lenient",
    "exact",
    "majority",
)

RECALL_HEADINGS = ("run", "task", "class", "n", "recall")

FOLDED = 24
"""Columns at which words are folded in a table that is too wide."""

UNBOUNDED = 100_000
"""Columns of a page on which no table is too wide."""


def print_towers(counts: Sequence["TowerCount"]) -> None:
    """What is trained of each tower."""
    table = Table(title="Trained parameters")
    for heading in ("tower", "how", "parameters", "trained", "LoRA modules", "learning rate"):
        table.add_column(heading, justify="left" if heading in ("tower", "how") else "right")
    for count in counts:
        rate = "" if count.learning_rate is None else f"{count.learning_rate:g}"
        numbers = (f"{number:,}" for number in (count.parameters, count.trained, count.lora_modules))
        table.add_row(count.tower, count.mode, *numbers, rate)
    Console().print(table)


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


def rows(runs: Sequence[RunSummary]) -> list[dict[str, str]]:
    """One row a run and task. A run without numbers gets a row that says in what state it is."""
    made = []
    for number, run in enumerate(runs, 1):
        common = {"run": f"{number}", "modalities": run.config["modalities"]}
        if run.metrics is None:
            made.append(dict.fromkeys(HEADINGS, "") | common | {"task": run.status["state"]})
            continue
        trained = run.config["run"] is not None or program_of(run.folder) == "train"
        common["run"] += " fine-tuned" if trained else " zero-shot"
        for name, numbers in run.metrics["tasks"].items():
            scored = numbers["n_scored"]
            metric = numbers["headline"]
            made.append(
                common
                | {
                    "task": name,
                    "readout": numbers["readout"],
                    "expected": f"{numbers['expected']:,}",
                    "used": f"{numbers['used']:,}",
                    "scored": f"{scored:,}",
                    "readable": f"{numbers['n_readable_lenient'] / scored:.1%}" if scored else "",
                    "metric": metric,
                    **{kind: _number(numbers[kind][metric]) for kind in ("lenient", "exact", "majority")},
                }
            )
    return made


def recall_rows(runs: Sequence[RunSummary]) -> Iterator[tuple[str, ...]]:
    """Run, task, label, number of gold labels and recall (of the lenient reader) of every class of every classification
    task that was scored. Recall of a class without gold labels is undefined."""
    for number, run in enumerate(runs, 1):
        for name, numbers in ({} if run.metrics is None else run.metrics["tasks"]).items():
            if "confusion" not in numbers or not numbers["n_scored"]:
                continue
            for at, label in enumerate(numbers["labels"]):
                first = (f"{number}", name) if at == 0 else ("", "")
                count, recall = numbers["n_per_class"][label], numbers["recall_per_class"][label]
                yield (*first, label, f"{count:,}", _number(recall))


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def print_results(runs: Sequence[RunSummary]) -> None:
    """The table of results. expected: rows of the annotations; used: after subset and exclusions; scored: with a label;
    readable: share the lenient reader could read. lenient and exact: the metric by reader; majority: by always
    answering what is most frequent."""
    table = Table(title="Results")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in HEADINGS[4:8] + HEADINGS[9:] else "left")
    for row in rows(runs):
        table.add_row(*(row[heading] for heading in HEADINGS))
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    console.print(table)
    if recalls := list(recall_rows(runs)):
        table = Table(title="Recall per class")
        for heading in RECALL_HEADINGS:
            table.add_column(heading, justify="right" if heading in ("n", "recall") else "left")
        for row in recalls:
            table.add_row(*row)
        console.print(table)
    for number, run in enumerate(runs, 1):
        for line in (*bad_rows(run), *unanswered(run)):
            console.print(f"{number} {line}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"{number} {run.model}, {run.folder}", highlight=False, markup=False, soft_wrap=True)


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


def print_report(report: Report) -> None:
    """The tables, the folders by number and the notes: to the terminal, or as text to what stands in its place."""
    _show(report, Console() if Console().is_terminal else Console(width=WIDTH))


def as_text(report: Report) -> str:
    """What `print_report` prints without a terminal."""
    out = io.StringIO()
    _show(report, Console(file=out, width=WIDTH, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _show(report: Report, console: Console) -> None:
    for made in report.tables:
        for section in sections(made, Style(numbers=aligned)):
            before = console.width
            table, width = _built(section, console)
            if width > before:
                table, width = _built(section, console, folded=FOLDED)
            # A table that needs more than there is runs over the edge, where a terminal breaks it, all of it there.
            console.width = max(before, width)
            console.print(table)
            console.width = before
        for letter, note in made.footnotes.items():
            _say(console, f"{letter} {note}")
    if report.tables:
        console.print()
    for number, run in enumerate(map(", ".join, report.runs), 1):
        _say(console, f"{number} {run}")
    for note in report.notes:
        _say(console, note)


def _built(section: Section, console: Console, folded: int = UNBOUNDED) -> tuple[Table, int]:
    """A table and its width. Words are folded at so many columns; a number is never cut, since columns are as wide as
    they have to be, and rich has none to shrink."""
    table = Table(title=Text(f"Results, {section.title}"), title_justify="left", box=box.SIMPLE_HEAD)
    shown = [section.runs, *section.columns]
    for column in shown:
        heading = column.heading.replace(".", ".\n")
        needed = max(map(cell_len, [*column.cells, *heading.split()]))
        table.add_column(
            Text(heading),
            justify="right" if column.kind == "count" else "left",
            vertical="bottom",
            overflow="fold",
            width=min(needed, folded) if column.kind == "word" else needed,
        )
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*map(Text, cells))
    return table, table.__rich_measure__(console, console.options.update(width=UNBOUNDED)).maximum


def _say(console: Console, line: str) -> None:
    # A path may look like markup, and has to come out in one piece to be copied.
    console.out(line, highlight=False)
