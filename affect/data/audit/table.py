"""Prints an audit: counts, distributions, then each finding with its remedy."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from affect.data.audit.examine import Examination
from affect.data.facts import Finding, Severity
from affect.data.record import SPLITS

WIDTH = 140
"""Columns where there is no terminal to ask: rich assumes 80 and would fold numbers."""

STYLES = {Severity.error: "bold red", Severity.warning: "yellow", Severity.note: "dim"}


def console() -> Console:
    """Of the terminal, or of a file or pipe, which gets plain lines."""
    terminal = Console(highlight=False, markup=False)
    return terminal if terminal.is_terminal else Console(highlight=False, markup=False, width=WIDTH, color_system=None)


def show(found: Examination, to: Console) -> None:
    """Prints an examination: sizes, classes, values, clips, findings, verdict, licence."""
    _print(to, f"{found.dataset}, read from {found.root}, modalities={found.modalities}")
    _table(
        to,
        ["split", "published", "found", "left out", "usable clips", "groups", "speakers"],
        [
            [
                _of_splits(row["splits"]),
                _count(row["published"]) if row["exact"] is not False else f"about {_count(row['published'])}",
                _count(row["found"]),
                _count(row["left_out"]),
                _count(row["usable"]),
                _count(row["groups"]),
                _count(row["speakers"]),
            ]
            for row in found.sizes
        ],
    )
    for task, parts in found.classes.items():
        _table(to, [task, *(_of_splits(part["splits"]) for part in parts)], _class_rows(parts))
    for task, by_split in found.values.items():
        rows = [[split, *(f"{value:.2f}" for value in numbers.values())] for split, numbers in by_split.items()]
        _table(to, [f"{task}, quantiles", *next(iter(by_split.values()))], rows)
    for what in ("seconds", "level"):
        rows = [
            [split, f"{numbers['hours']:.2f}", *(f"{value:.1f}" for value in numbers[what].values())]
            for split, numbers in found.clips.items()
            if numbers[what] is not None
        ]
        if rows:
            unit = {"seconds": "duration in s, quantiles", "level": "sound in dBFS, quantiles"}[what]
            quantiles = next(numbers[what] for numbers in found.clips.values() if numbers[what] is not None)
            _table(to, [unit, "hours", *quantiles], rows)
    for finding in found.findings:
        _finding(to, finding)
    counts = ", ".join(
        f"{number} {severity.value}{'' if number == 1 else 's'}"
        for severity in Severity
        if (number := sum(finding.severity is severity for finding in found.findings)) or severity is Severity.error
    )
    _print(to, f"{found.dataset}: {counts}.")
    _print(to, f"Licence: {found.licence or 'unknown to affect: see where the dataset came from'}")


def _of_splits(splits: Sequence[str]) -> str:
    return "total" if set(splits) == set(SPLITS) else "+".join(splits)


def _class_rows(parts: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A row a class, and one that says whether the counts are the published ones. A cell names the published count
    where it is another."""
    names = list(dict.fromkeys(name for part in parts for name in [*part["found"], *(part["published"] or ())]))
    rows = []
    for name in names:
        cells = []
        for part in parts:
            count = part["found"].get(name, 0)
            published = None if part["published"] is None else part["published"].get(name)
            cells.append(f"{count:,}" if published in (None, count) else f"{count:,} of {published:,}")
        rows.append([name, *cells])
    verdicts = [
        "unknown"
        if part["published"] is None
        else "yes"
        if all(part["found"].get(name, 0) == count for name, count in part["published"].items())
        else "no"
        for part in parts
    ]
    return [*rows, ["as published", *verdicts]]


def _finding(to: Console, finding: Finding) -> None:
    about = f" [{finding.count:,}]" if finding.count else ""
    # soft_wrap: a path or an id has to come out in one piece to be copied.
    line = Text.assemble((f"{finding.severity.value:<8}", STYLES[finding.severity]), f"{finding.what}{about}")
    to.print(line, soft_wrap=True)
    if finding.ids:
        more = ", …" if len(finding.ids) > len(finding.examples) else ""
        _print(to, f"{'':8}such as {', '.join(finding.examples)}{more}" if more else f"{'':8}{', '.join(finding.ids)}")
    if finding.remedy != "none":
        _print(to, f"{'':8}→ {finding.remedy}")


def _table(to: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD if to.is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    to.print(table)
    to.print()


def _print(to: Console, line: str) -> None:
    to.print(Text(line), soft_wrap=True)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
