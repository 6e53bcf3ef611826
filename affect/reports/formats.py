"""Tables as Markdown, CSV, JSON and LaTeX."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from affect.data.escaping import escape_markdown, one_line
from affect.data.tables import for_spreadsheets
from affect.reports.rows import Number, Published, Row, Table
from affect.reports.sections import Column, Section, Style, aligned, four, sections


@dataclass(frozen=True, slots=True, kw_only=True)
class WithRuns:
    """What is printed beside tables: the runs by number, and what has to be known."""

    runs: Sequence[tuple[str, str]]
    """Model and folder of every run; a run's number is its place, from 1."""
    notes: Sequence[str]

    def json(self, key: str, value: Any) -> str:
        """`value` under `key`, the runs and the notes, for other programs."""
        runs = [{"number": n, "model": model, "folder": folder} for n, (model, folder) in enumerate(self.runs, 1)]
        content = {key: value, "runs": runs, "notes": list(self.notes)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(WithRuns):
    """Tables of results, and what is printed beside them."""

    tables: list[Table]


def markdown(report: Report) -> str:
    """GitHub's tables; what else has to be known follows as text and a list."""
    blocks = []
    for table in report.tables:
        for section in sections(table, markdown_style()):
            blocks += markdown_section(section)
        blocks += [f"<sup>{letter}</sup> {escape_markdown(note)}" for letter, note in table.footnotes.items()]
    return joined_markdown(blocks, report.runs, report.notes)


def joined_markdown(blocks: Sequence[str], runs: Sequence[tuple[str, str]], notes: Sequence[str]) -> str:
    """Blocks of Markdown, with the runs by number and the notes below."""
    listed = [f"{n}. {escape_markdown(run)}" for n, run in enumerate(map(", ".join, runs), 1)]
    blocks = [*blocks, "\n".join(listed), "\n".join(f"- {escape_markdown(note)}" for note in notes)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def markdown_style() -> Style:
    return Style(
        numbers=aligned,
        escape=escape_markdown,
        mark=lambda letter: f"<sup>{letter}</sup>",
        strong=lambda cell: f"**{cell.strip()}**",
    )


def markdown_section(section: Section) -> list[str]:
    """The title with the table, then its footnotes; cells are escaped already."""
    columns = [*section.columns, *([] if section.runs is None else [section.runs])]
    return [
        f"**{escape_markdown(section.title)}**\n\n{pipes(columns)}",
        *(f"<sup>{mark}</sup> {escape_markdown(note)}" for mark, note in section.footnotes.items()),
    ]


def pipes(columns: Sequence[Column]) -> str:
    """A table of Markdown."""
    widths = [max(3, len(column.heading), *map(len, column.cells)) for column in columns]
    right = [column.kind != "word" for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(cells, widths, right, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    rows = zip(*(column.cells for column in columns), strict=True)
    return "\n".join([line([column.heading for column in columns]), line(rule), *map(line, rows)])


def comma_separated(report: Report) -> str:
    """All tables in one, for other programs: numbers in full, `NAME_mean` and `NAME_sd` of every metric, a cell empty
    where something does not apply or is undefined. Rows of published numbers have them as `NAME_published`, so that no
    mean over a column takes them in. Notes and footnotes are not in it, and what descriptions give away is told by JSON
    alone."""
    folders = [folder for _, folder in report.runs]
    rows = [
        record
        for table in report.tables
        for record in (
            *(_record(table, row, folders) for row in table.rows),
            *(_published_record(table, row) for row in table.published),
        )
    ]
    # In the order of tables, but with the settings of all tables before the counts of any.
    fields: dict[str, None] = dict.fromkeys(["task"])
    for table in report.tables:
        fields |= dict.fromkeys(table.about)
    for table in report.tables:
        fields |= dict.fromkeys(table.settings)
    fields |= dict.fromkeys(field for row in rows for field in row)
    return rows_as_csv(rows, list(fields))


def rows_as_csv(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """A CSV table in which spreadsheets find no formula; a field that a row lacks is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: for_spreadsheets(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _record(table: Table, row: Row, folders: Sequence[str]) -> dict[str, str]:
    """A row for CSV."""

    def full(value: float | None) -> str:
        return "" if value is None else repr(value)

    record = {"task": table.task, **table.about}
    record |= {key: "" if value is None else value for key, value in row.setting.items()}
    record |= {"n_seeds": str(len(row.seeds)), "seeds": " ".join(map(str, row.seeds))}
    for name, (low, high) in row.counts.items():
        record[name] = str(low) if low == high else f"{low}-{high}"
    record["opened_before"] = "" if row.opened is None else str(row.opened)
    record["readable"] = full(row.readable)
    for name, number in row.numbers.items():
        record |= {f"{name}_mean": full(number.mean), f"{name}_sd": full(number.sd)}
    if row.difference is not None:
        fields = asdict(row.difference)
        record["difference"] = full(fields["mean"])
        record |= {f"difference_{key}": full(fields[key]) for key in ("low", "high", "p", "holm", "effect")}
        record |= {f"difference_{key}": str(fields[key]) for key in ("clips", "groups", "num_seeds")}
        record["difference_against"] = ";".join(folders[n - 1] for n in row.difference.against)
    for control, difference in row.controls.items():
        record[f"difference_to_{control}"] = full(difference.mean)
        ends = ("low", "high", "p", "holm")
        record |= {f"difference_to_{control}_{end}": full(getattr(difference, end)) for end in ends}
    if row.cost is not None:
        record |= {key: full(value) for key, value in asdict(row.cost).items()}
    return record | {"ids_sha256": " ".join(row.clips), "folders": ";".join(folders[n - 1] for n in row.runs)}


def _published_record(table: Table, row: Published) -> dict[str, str]:
    """A row for CSV."""
    return {
        "task": table.task,
        "evaluation.split": table.about["evaluation.split"],
        "published_method": row.method,
        "published_inputs": row.inputs,
        "published_dialect": row.dialect or "",
        "published_clips": "" if row.clips is None else str(row.clips),
        **{f"{name}_published": number for name, number in row.numbers.items()},
        "published_source": row.source,
    }


def as_json(report: Report) -> str:
    """All that is known of the tables, for other programs: affect.reports.rows says what it is."""
    return report.json("tables", [asdict(table) for table in report.tables])


def latex(report: Report) -> str:
    """A table environment for each table, with booktabs; folders and notes are comments."""
    blocks = [r"% Needs \usepackage{booktabs}; with letters other than Latin ones, XeLaTeX or LuaLaTeX."]
    for table in report.tables:
        blocks += [
            environment(part, escape_latex(part.title), part.footnotes or table.footnotes)
            for part in sections(table, latex_style())
        ]
    lines = [f"{n} {run}" for n, run in enumerate(map(", ".join, report.runs), 1)]
    blocks.append("\n".join(f"% {one_line(line)}" for line in (*lines, *report.notes)))
    return "\n".join(block for block in blocks if block) + "\n"


def latex_style() -> Style:
    return Style(
        numbers=_numbers_latex,
        escape=escape_latex,
        mark=lambda letter: rf"\textsuperscript{{{letter}}}",
        signed=lambda value: f"${value:+.4f}$",
        strong=lambda cell: rf"\textbf{{{cell}}}",
    )


def environment(section: Section, caption: str, footnotes: Mapping[str, str], *, fitted: bool = False) -> str:
    """A section as a table environment. `caption`, without a full stop, and the cells are LaTeX. With `fitted`, a table
    that is wider than the page is scaled down, which needs graphicx."""
    label = re.sub(r"[^a-z0-9]+", "-", section.title.split(":")[0].lower()).strip("-")
    rows = zip(*(column.cells for column in section.columns), strict=True)
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{caption}.}}",
        f"  \\label{{tab:{label}}}",
        *([r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"] if fitted else []),
        f"  \\begin{{tabular}}{{{''.join('l' if column.kind == 'word' else 'r' for column in section.columns)}}}",
        r"    \toprule",
        f"    {' & '.join(column.heading for column in section.columns)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(row)} \\\\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}" + ("}" if fitted else ""),
    ]
    for letter, note in footnotes.items():
        lines.append(f"\n  \\smallskip{{\\footnotesize \\textsuperscript{{{letter}}} {escape_latex(note)}}}")
    return "\n".join([*lines, r"\end{table}"])


def _numbers_latex(numbers: Sequence[Number]) -> list[str]:
    spread = any(number.sd is not None for number in numbers)

    def cell(number: Number) -> str:
        if number.sd is not None:
            return rf"{four(number.mean)} $\pm$ {number.sd:.4f}"
        # As wide as a standard deviation, so that the means stand below each other.
        return four(number.mean) + (r"\phantom{ $\pm$ 0.0000}" if spread else "")

    return [cell(number).replace("-", "$-$", 1) if (number.mean or 0) < 0 else cell(number) for number in numbers]


LATEX = {
    **{letter: rf"\{letter}" for letter in "%_&#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "[": "{[}",  # behind the \\ of the row above it would begin an option of that
    "]": "{]}",
    "*": "{*}",  # the same
}


def escape_latex(word: str) -> str:
    r"""
    >>> print(escape_latex("weighted_f1 50% [a&b] ±"))
    weighted\_f1 50\% {[}a\&b{]} $\pm$
    """
    return "".join(LATEX.get(letter, letter) for letter in one_line(word))


FORMATS: dict[str, Callable[[Report], str]] = {
    "markdown": markdown,
    "csv": comma_separated,
    "json": as_json,
    "latex": latex,
}
