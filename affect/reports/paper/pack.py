"""Writes the pack for a paper into a new folder."""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.data.escaping import escape_markdown
from affect.data.tables import for_spreadsheets
from affect.reports.drawing import draw
from affect.reports.formats import (
    Report,
    comma_separated,
    latex_style,
    markdown,
    markdown_style,
    pipes,
)
from affect.reports.paper import figures, latex, methods, numbers, reproduce, sources
from affect.reports.paper.names import unique
from affect.reports.rows import Table
from affect.reports.sections import Section, Style, aligned
from affect.reports.settings import Run
from affect.runs.jobs import read_note

CONTENTS = {
    "pack.tex": "all of it as one document: `pdflatex pack.tex`",
    "preamble.tex": "what a paper needs to have before it includes one of the tables",
    "tables/": "every table as LaTeX (booktabs), Markdown and CSV",
    "figures/": "every figure as PDF and PNG",
    "methods.tex, methods.md": "the paragraph on methods",
    "settings.csv": "every setting that the numbers depend on, by task and line of its table",
    "numbers.csv": "every number, with its run, its signature and the numbers of clips",
    "reproduce.sh, constraints.txt": "the script that runs everything again and compares, and the versions it needs",
}


OTHER_TABLES = {"datasets": sources.datasets, "openings": sources.openings}
"""The tables that are not of results, by name of the file."""


def check(folder: Path) -> None:
    """Raises ConfigError where the pack cannot be written into `folder`, as far as that is known beforehand."""
    if folder.exists():
        raise ConfigError(f"{folder} exists, and a pack is written into a new folder: name another with --folder")


def write(folder: Path, report: Report, runs: Sequence[Run], refused: Sequence[str]) -> list[dict[str, Any]]:
    """Writes the pack into `folder`, which must not exist; all of it, or nothing. Gives the rows of numbers.csv.
    `report` is marked with what is best, `runs` are its runs in order, and `refused` is what was refused or is damaged.

    Raises ConfigError where the folder exists or cannot be made, and where no run is in a table.
    """
    check(folder)
    counted = {n: runs[n - 1] for n in sorted({n for table in report.tables for row in table.rows for n in row.runs})}
    if not counted:
        raise ConfigError(
            "no run has numbers for a table, so that there is nothing to write: name folders with finished runs"
            + "".join(f"\n{line}" for line in dict.fromkeys([*refused, *report.notes]))
        )
    named = dict(zip(counted, unique(run.folder.name for run in counted.values()), strict=True))
    stems = unique((table.task for table in report.tables), taken=list(OTHER_TABLES))
    of_runs = list(numbers.rows(runs, report.tables, named))
    script, problems = reproduce.script(counted, named)
    files = {"numbers.csv": numbers.as_csv(of_runs), "reproduce.sh": script, **_files(report, stems, counted)}
    undrawn = [
        f"{table.task}: {len(table.rows)} settings are too many for a figure: choose with --where"
        for table in report.tables
        if figures.too_many(table)
    ]
    notes = list(dict.fromkeys([*refused, *undrawn, *report.notes, *problems, *sources.exclusions(counted)]))
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        (temporary / "tables").mkdir(parents=True)
        captions = _figures(temporary / "figures", report, stems, runs)
        for name, content in (files | _documents(report, files, captions, notes)).items():
            # What no file can hold, half of a pair of surrogates in an answer, becomes a question mark.
            (temporary / name).write_text(content, encoding="utf-8", errors="replace")
        (temporary / "reproduce.sh").chmod(0o755)
        os.rename(temporary, folder)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror or error}): name a folder that can with --folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return of_runs


def _files(report: Report, stems: Sequence[str], runs: Mapping[int, Run]) -> dict[str, str]:
    """The tables, methods, settings and versions, by name of the file."""
    files: dict[str, str] = {}
    for stem, table in zip(stems, report.tables, strict=True):
        alone = Report(tables=[table], runs=report.runs, notes=[f"{table.bold}."] if table.bold else [])
        files[f"tables/{stem}.tex"] = latex.results(table)
        files[f"tables/{stem}.md"] = markdown(alone)
        files[f"tables/{stem}.csv"] = comma_separated(alone)
    for stem, make in OTHER_TABLES.items():
        files[f"tables/{stem}.tex"] = latex.section(make(runs, latex_style()))
        section = make(runs, markdown_style())
        files[f"tables/{stem}.md"] = f"**{section.title}**\n\n{pipes(section.columns)}\n"
        files[f"tables/{stem}.csv"] = _csv(make(runs, Style(numbers=aligned)))
    environments = {n: read_note(run.folder / "environment.json") for n, run in runs.items()}
    told = methods.paragraphs(runs, report.tables, environments)
    files["methods.tex"] = latex.paragraphs(told)
    files["methods.md"] = "".join(
        f"**{heading}.** {escape_markdown(' '.join(sentences))}\n\n" for heading, sentences in told
    )
    files["settings.csv"] = _settings(report.tables)
    files["constraints.txt"] = reproduce.constraints(environments.values())
    return files


def _figures(folder: Path, report: Report, stems: Sequence[str], runs: Sequence[Run]) -> dict[str, str]:
    """Draws the figures; gives the caption of each by name of its PDF."""
    folder.mkdir()
    captions = {}
    for stem, table in zip(stems, report.tables, strict=True):
        for kind, chart, caption in figures.charts(table, runs):
            name = f"{stem}-{kind}"
            for suffix in (".pdf", ".png"):
                draw(chart, folder / f"{name}{suffix}")
            captions[f"figures/{name}.pdf"] = caption
    return captions


def _documents(
    report: Report, files: Mapping[str, str], charts: Mapping[str, str], notes: Sequence[str]
) -> dict[str, str]:
    """The document with everything in it, and README.md."""
    tables = [name for name in files if name.startswith("tables/") and name.endswith(".tex")]
    whole = latex.document(tables, charts, notes)
    texts = [whole, *(content for name, content in files.items() if name.endswith(".tex"))]
    lines = ["# Results", "", *(f"- `{name}`: {what}" for name, what in CONTENTS.items()), "", "## Notes", ""]
    lines += [f"- {escape_markdown(note)}" for note in notes or ["none"]]
    lines += ["", "## Runs", "", "Numbers of runs in tables and notes are these:", ""]
    lines += [f"{n}. {escape_markdown(', '.join(run))}" for n, run in enumerate(report.runs, 1)]
    return {"pack.tex": whole, "preamble.tex": latex.preamble(texts), "README.md": "\n".join(lines) + "\n"}


def _csv(section: Section) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.heading for column in section.columns])
    writer.writerows(
        map(for_spreadsheets, row) for row in zip(*(column.cells for column in section.columns), strict=True)
    )
    return out.getvalue()


def _settings(tables: Sequence[Table]) -> str:
    """Every setting of every line of the tables."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "row", "key", "value"])
    for table in tables:
        for line, row in enumerate(table.rows, 1):
            writer.writerows(map(for_spreadsheets, (table.task, line, *item)) for item in sorted(row.whole.items()))
    return out.getvalue()
