"""Tables as Markdown, CSV and LaTeX, and the cells that all of them are made of."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from affect.report.aggregate import COUNTS, Number, Row, Table

READABLE = "readable"
NOT_APPLICABLE = "-"

SHORT = {
    "model.name": "model",
    "prompting.name": "prompting",
    "finetuning.name": "finetuning",
    "trainer.name": "trainer",
    "evaluation.readout": "readout",
    "evaluation.intensity_readout": "readout",
}
"""Headings of keys that are the name of a group, or known to everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is printed: tables, the runs by number, and what has to be known beside them."""

    tables: list[Table]
    runs: list[tuple[str, str]]
    """Model and folder of every run; a run's number is its place, from 1."""
    notes: list[str]


@dataclass(slots=True, kw_only=True)
class Column:
    heading: str
    cells: list[str]
    kind: str
    """`word`, `count` or `number`; numbers are padded so that their points stand below each other."""


def heading(key: str) -> str:
    return SHORT.get(key, key)


def parts(table: Table) -> list[tuple[str, list[str], Sequence[str]]]:
    """What the table is shown as: title, metrics and counts of each part. The recall of many classes is a table of its
    own, and does not repeat all that stands in the first."""
    about = "; ".join(f"{heading(key).removeprefix('evaluation.')} {value}" for key, value in table.about.items())
    spread = "" if all(len(row.seeds) == 1 for row in table.rows) else "; mean ± standard deviation over seeds"
    found = []
    if table.metrics:
        found.append((f"{table.task}: {about}{spread}", table.metrics, (*COUNTS, READABLE)))
    if table.classes:
        title = f"{table.task}, recall per class of the lenient reader: {about}{spread}"
        found.append((title, table.classes, ("used",)))
    return found


def columns(
    table: Table,
    metrics: Sequence[str],
    counts: Sequence[str],
    *,
    numbers: Callable[[Sequence[Number]], list[str]],
    escape: Callable[[str], str] = str,
    mark: Callable[[str], str] = lambda letter: f" {letter}",
) -> list[Column]:
    """The columns of a part; `escape` makes words and headings safe, `numbers` writes those of one metric."""

    def column(name: str, kind: str, cell: Callable[[Row], str]) -> Column:
        return Column(heading=escape(name), cells=[cell(row) for row in table.rows], kind=kind)

    def word(key: str) -> Callable[[Row], str]:
        return lambda row: escape(NOT_APPLICABLE if (value := row.setting[key]) is None else value)

    def count(name: str) -> Callable[[Row], str]:
        # The mark stands where the clips are counted.
        return lambda row: span(row.counts[name]) + (mark(row.mark) if row.mark and name == "used" else "")

    made = [column(heading(key), "word", word(key)) for key in table.settings]
    if table.each:
        made.append(column("seed", "count", lambda row: str(row.seeds[0])))
    else:
        made.append(column("seeds", "count", lambda row: str(len(row.seeds))))
    made += [column(name, "count", count(name)) for name in counts if name != READABLE]
    if READABLE in counts:
        made.append(column(READABLE, "count", lambda row: escape(f"{row.readable:.1%}")))
    for name in metrics:
        values = numbers([row.numbers[name] for row in table.rows])
        made.append(Column(heading=escape(name.removeprefix("recall.")), cells=values, kind="number"))
    return made


def span(ends: tuple[int, int]) -> str:
    """A count, or the smallest and the greatest of several.

    >>> span((120, 120)), span((1118, 1120))
    ('120', '1,118-1,120')
    """
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def aligned(numbers: Sequence[Number]) -> list[str]:
    """The numbers of a column with four decimals, as wide as each other.

    >>> aligned([Number(mean=0.5, sd=0.01), Number(mean=12.25, sd=None), Number(mean=None, sd=None)])
    [' 0.5000 ± 0.0100', '12.2500         ', 'undefined       ']
    """
    means = [four(number.mean) for number in numbers]
    spreads = ["" if number.sd is None else f" ± {number.sd:.4f}" for number in numbers]
    width = max((len(mean) for mean, number in zip(means, numbers, strict=True) if number.mean is not None), default=0)
    made = [f"{mean:>{width}}{spread}" for mean, spread in zip(means, spreads, strict=True)]
    return [f"{cell:<{max(map(len, made))}}" for cell in made]


def four(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def markdown(report: Report) -> str:
    """GitHub's tables; what else has to be known follows as text and a list."""
    blocks = []
    for table in report.tables:
        for title, metrics, counts in parts(table):
            found = columns(
                table,
                metrics,
                counts,
                numbers=aligned,
                escape=escape_markdown,
                mark=lambda letter: f"<sup>{letter}</sup>",
            )
            found.append(Column(heading="runs", cells=[numbered(row.runs) for row in table.rows], kind="word"))
            blocks.append(f"**{escape_markdown(title)}**\n\n{_pipes(found)}")
        blocks += [f"<sup>{letter}</sup> {note}" for letter, note in table.footnotes.items()]
    listed = [f"{n}. {escape_markdown(run)}" for n, run in enumerate(map(", ".join, report.runs), 1)]
    blocks += ["\n".join(listed), "\n".join(f"- {escape_markdown(note)}" for note in report.notes)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def numbered(runs: Sequence[int]) -> str:
    """
    >>> numbered([1, 2, 3, 7, 9, 8])
    '1-3, 7-9'
    """
    ends: list[list[int]] = []
    for number in sorted(runs):
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def _pipes(found: Sequence[Column]) -> str:
    widths = [max(3, len(column.heading), *map(len, column.cells)) for column in found]
    right = [column.kind != "word" for column in found]

    def line(cells: Sequence[str]) -> str:
        padded = [f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(cells, widths, right, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    rows = zip(*(column.cells for column in found), strict=True)
    return "\n".join([line([column.heading for column in found]), line(rule), *map(line, rows)])


def escape_markdown(word: str) -> str:
    r"""
    >>> escape_markdown("a|b <c> 2*3*4")
    'a\\|b &lt;c> 2\\*3\\*4'
    """
    return re.sub(r"([\\|*`])", r"\\\1", word).replace("<", "&lt;")


def comma_separated(report: Report) -> str:
    """All tables in one, for other programs: numbers in full, `NAME_mean` and `NAME_sd` of every metric, a cell empty
    where something does not apply or is undefined. Notes and footnotes are not in it."""
    folders = [folder for _, folder in report.runs]
    rows = [_record(table, row, folders) for table in report.tables for row in table.rows]
    # In the order of tables, but with the settings of all tables before the counts of any.
    fields: dict[str, None] = dict.fromkeys(["task"])
    for table in report.tables:
        fields |= dict.fromkeys(table.about)
    for table in report.tables:
        fields |= dict.fromkeys(table.settings)
    fields |= dict.fromkeys(field for row in rows for field in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(fields), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
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
    record["readable"] = full(row.readable)
    for name, number in row.numbers.items():
        record |= {f"{name}_mean": full(number.mean), f"{name}_sd": full(number.sd)}
    return record | {"ids_sha256": " ".join(row.clips), "folders": ";".join(folders[n - 1] for n in row.runs)}


def latex(report: Report) -> str:
    """A table environment for each table, with booktabs; folders and notes are comments."""
    blocks = [r"% Needs \usepackage{booktabs}; with letters other than Latin ones, XeLaTeX or LuaLaTeX."]
    for table in report.tables:
        for title, metrics, counts in parts(table):
            found = columns(
                table,
                metrics,
                counts,
                numbers=_numbers_latex,
                escape=escape_latex,
                mark=lambda letter: rf"\textsuperscript{{{letter}}}",
            )
            blocks.append(_environment(title, found, table.footnotes))
    lines = [f"{n} {run}" for n, run in enumerate(map(", ".join, report.runs), 1)] + report.notes
    blocks.append("\n".join(f"% {line}".replace("\n", " ") for line in lines))
    return "\n".join(block for block in blocks if block) + "\n"


def _environment(title: str, found: Sequence[Column], footnotes: Mapping[str, str]) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", title.split(":")[0].lower()).strip("-")
    rows = zip(*(column.cells for column in found), strict=True)
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{escape_latex(title)}.}}",
        f"  \\label{{tab:{label}}}",
        f"  \\begin{{tabular}}{{{''.join('l' if column.kind == 'word' else 'r' for column in found)}}}",
        r"    \toprule",
        f"    {' & '.join(column.heading for column in found)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(row)} \\\\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
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
    "\n": " ",
}


def escape_latex(word: str) -> str:
    r"""
    >>> print(escape_latex("weighted_f1 50% [a&b] ±"))
    weighted\_f1 50\% {[}a\&b{]} $\pm$
    """
    return "".join(LATEX.get(letter, letter) for letter in word)


FORMATS: dict[str, Callable[[Report], str]] = {"markdown": markdown, "csv": comma_separated, "latex": latex}
