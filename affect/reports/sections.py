"""The sections of a table: titles, columns and cells, in the style of a format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from affect.evaluation.error_analysis.slices import Slice
from affect.evaluation.significance import LEVEL, Paired
from affect.reports.rows import COUNTS, Audit, Difference, Number, Published, Row, Table

READABLE = "readable"
NOT_APPLICABLE = "-"

SHORT = {
    "model.name": "model",
    "features.name": "features",
    "prompting.name": "prompting",
    "finetuning.name": "finetuning",
    "trainer.name": "trainer",
    "evaluation.readout": "readout",
    "evaluation.intensity_readout": "readout",
    "knowledge.source": "knowledge",
    "knowledge.control": "control",
}
"""Headings of keys that are the name of a group, or nearly."""


@dataclass(slots=True, kw_only=True)
class Column:
    heading: str
    cells: list[str]
    kind: str
    """`word`, `count` or `number`; numbers are padded so that their points stand below each other."""


@dataclass(slots=True, kw_only=True)
class Section:
    title: str
    columns: list[Column]
    runs: Column | None = None
    """The numbers of the runs of every line; None where all lines are of the same runs."""
    footnotes: dict[str, str] = field(default_factory=dict)
    """By mark, those of this section alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a format writes what stands in cells."""

    numbers: Callable[[Sequence[Number]], list[str]]
    """Those of one metric."""
    escape: Callable[[str], str] = str
    """Words and headings."""
    mark: Callable[[str], str] = lambda letter: f" {letter}"
    """The letter of a footnote."""
    signed: Callable[[float], str] = lambda value: f"{value:+.4f}"
    """A difference."""
    strong: Callable[[str], str] = str
    """A cell of `numbers` that is the best of its column."""


def heading(key: str) -> str:
    return SHORT.get(key, key)


def sections(table: Table, style: Style) -> list[Section]:
    """The parts of a table. The recall of many classes is one of its own, and does not repeat all that stands in the
    first; so is what descriptions cost, and what they give away."""
    about = "; ".join(f"{heading(key).removeprefix('evaluation.')} {value}" for key, value in table.about.items())
    about += "" if all(len(row.seeds) == 1 for row in table.rows) else "; mean ± standard deviation over seeds"
    parts = []
    if table.metrics:
        columns = _results(table, table.metrics, (*COUNTS, READABLE), style)
        columns += _differences(table.rows, style) if table.compared is not None else []
        parts.append(_section(f"{table.task}: {about}", table.rows, columns))
    if table.classes:
        title = f"{table.task}, recall per class of the lenient reader: {about}"
        parts.append(_section(title, table.rows, _results(table, table.classes, ("used",), style)))
    split = table.about["evaluation.split"]
    if told := [row for row in table.rows if row.cost is not None]:
        columns = [*_settings(table, told, style), *_costs(told, style)]
        columns += _differences(told, style) if table.compared is not None else []
        parts.append(_section(f"{table.task}, cost of descriptions: split {split}", told, columns))
    if compared := [(row, control) for row in table.rows for control in row.controls]:
        rows = [row for row, _ in compared]
        differences = [(control, row.controls[control]) for row, control in compared]
        columns = [*_settings(table, rows, style), *_to_controls(differences, style)]
        parts.append(_section(f"{table.task}, descriptions against their controls: split {split}", rows, columns))
    if audits := [(row, audit) for row in table.rows for audit in row.audits]:
        rows = [row for row, _ in audits]
        columns = [*_settings(table, rows, style), *_audits([audit for _, audit in audits], style)]
        parts.append(
            _section(f"{table.task}, leak audit: all splits of a training, {split} of an evaluation", rows, columns)
        )
    if table.published:
        parts.append(_published(table, style))
    return parts


def _section(title: str, rows: Sequence[Row], columns: list[Column]) -> Section:
    runs = Column(heading="runs", cells=[numbered(row.runs) for row in rows], kind="word")
    return Section(title=title, columns=columns, runs=runs)


def _settings(table: Table, rows: Sequence[Row], style: Style) -> list[Column]:
    def cell(row: Row, key: str) -> str:
        value = row.setting[key]
        return style.escape(NOT_APPLICABLE if value is None else value)

    return [
        Column(heading=style.escape(heading(key)), cells=[cell(row, key) for row in rows], kind="word")
        for key in table.settings
    ]


def _results(table: Table, metrics: Sequence[str], counts: Sequence[str], style: Style) -> list[Column]:
    def column(name: str, cell: Callable[[Row], str]) -> Column:
        return Column(heading=style.escape(name), cells=[cell(row) for row in table.rows], kind="count")

    def count(name: str) -> Callable[[Row], str]:
        # The mark stands where the clips are counted.
        return lambda row: span(row.counts[name]) + (style.mark(row.mark) if row.mark and name == "used" else "")

    columns = _settings(table, table.rows, style)
    if table.each:
        columns.append(column("seed", lambda row: str(row.seeds[0])))
    else:
        columns.append(column("seeds", lambda row: str(len(row.seeds))))
    columns += [column(name, count(name)) for name in counts if name != READABLE]
    if READABLE in counts:
        if any(row.opened is not None for row in table.rows):
            columns.append(
                column("opened before", lambda row: NOT_APPLICABLE if row.opened is None else f"{row.opened:,}")
            )
        columns.append(column(READABLE, lambda row: style.escape(f"{row.readable:.1%}")))
    for name in metrics:
        values = style.numbers([row.numbers[name] for row in table.rows])
        values = [
            style.strong(cell) if name in row.best else cell for cell, row in zip(values, table.rows, strict=True)
        ]
        columns.append(Column(heading=style.escape(name.removeprefix("recall.")), cells=values, kind="number"))
    return columns


def _differences(rows: Sequence[Row], style: Style) -> list[Column]:
    def mean(row: Row) -> str:
        if row.difference is None:
            return "reference" if row.is_reference else NOT_APPLICABLE
        return "undefined" if row.difference.mean is None else style.signed(row.difference.mean)

    intervals = [NOT_APPLICABLE if row.difference is None else ends(row.difference, style) for row in rows]
    return [
        Column(heading="difference", cells=[mean(row) for row in rows], kind="number"),
        Column(heading=style.escape(f"{LEVEL:.0%} interval"), cells=intervals, kind="number"),
        Column(
            heading="p (Holm)",
            cells=[style.escape(p_value(None if row.difference is None else row.difference.holm)) for row in rows],
            kind="number",
        ),
    ]


def p_value(p: float | None) -> str:
    if p is None:
        return NOT_APPLICABLE
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def ends(difference: Difference | Paired | Slice, style: Style) -> str:
    """The interval of a difference, in brackets."""
    if difference.low is None or difference.high is None:
        return NOT_APPLICABLE
    low, high = style.signed(difference.low), style.signed(difference.high)
    return f"{style.escape('[')}{low}, {high}{style.escape(']')}"


def _to_controls(differences: Sequence[tuple[str, Difference]], style: Style) -> list[Column]:
    means = ["undefined" if one.mean is None else style.signed(one.mean) for _, one in differences]
    return [
        Column(heading="minus", cells=[style.escape(control) for control, _ in differences], kind="word"),
        Column(heading="difference", cells=means, kind="number"),
        Column(
            heading=style.escape(f"{LEVEL:.0%} interval"),
            cells=[ends(one, style) for _, one in differences],
            kind="number",
        ),
        Column(heading="p (Holm)", cells=[style.escape(p_value(one.holm)) for _, one in differences], kind="number"),
        Column(heading="groups", cells=[f"{one.groups:,}" for _, one in differences], kind="count"),
        Column(heading="seeds", cells=[f"{one.num_seeds:,}" for _, one in differences], kind="count"),
        Column(heading="better", cells=[one.better or NOT_APPLICABLE for _, one in differences], kind="word"),
    ]


def _costs(rows: Sequence[Row], style: Style) -> list[Column]:
    costs = [row.cost for row in rows if row.cost is not None]
    columns = {
        "tokens a prompt": [_or_none(cost.tokens_per_prompt, ".1f") for cost in costs],
        "of its text": [style.escape(_or_none(cost.share_of_text_tokens, ".1%")) for cost in costs],
        "seconds a clip": [_or_none(cost.seconds_per_clip, ".3f") for cost in costs],
    }
    return [Column(heading=name, cells=cells, kind="count") for name, cells in columns.items()]


def _audits(audits: Sequence[Audit], style: Style) -> list[Column]:
    def shares(kind: str) -> list[str]:
        cells = []
        for audit in audits:
            right = audit.right[kind]
            cell = _or_none(audit.named[kind], ".1%") + ("" if right is None else f" ({right:.2f})")
            cells.append(style.escape(cell))
        return cells

    columns = {
        "of": [style.escape(audit.of) for audit in audits],
        "clips": [span(audit.clips) for audit in audits],
        **{kind: shares(kind) for kind in audits[0].named},
        audits[0].measure: [_or_none(audit.predicted, ".4f") for audit in audits],
        "masked": [_or_none(audit.masked, ".4f") for audit in audits],
        "constant": [_or_none(audit.baseline, ".4f") for audit in audits],
    }
    return [
        Column(heading=style.escape(name), cells=cells, kind="word" if name == "of" else "count")
        for name, cells in columns.items()
    ]


def _published(table: Table, style: Style) -> Section:
    """The block of published numbers; its footnotes are the sources."""
    marks = {source: f"P{n}" for n, source in enumerate(dict.fromkeys(row.source for row in table.published), 1)}

    def column(heading: str, kind: str, cell: Callable[[Published], str | None]) -> Column:
        cells = [style.escape(cell(row) or NOT_APPLICABLE) for row in table.published]
        return Column(heading=style.escape(heading), cells=cells, kind=kind)

    def number(name: str) -> Column:
        return column(name, "number", lambda row: row.numbers.get(name))

    split = table.about["evaluation.split"]
    return Section(
        title=f"{table.task}, published: as the sources report them, in no mean and no comparison; split {split}",
        columns=[
            column("method", "word", lambda row: row.method),
            column("inputs", "word", lambda row: row.inputs),
            column("dialect", "word", lambda row: row.dialect),
            column("clips", "count", lambda row: None if row.clips is None else f"{row.clips:,}"),
            *(number(name) for name in table.metrics if any(name in row.numbers for row in table.published)),
            column("source", "word", lambda row: marks[row.source]),
        ],
        runs=Column(heading="runs", cells=["published"] * len(table.published), kind="word"),
        footnotes={mark: source for source, mark in marks.items()},
    )


def _or_none(value: float | None, form: str) -> str:
    return NOT_APPLICABLE if value is None else format(value, form)


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
    cells = [f"{mean:>{width}}{spread}" for mean, spread in zip(means, spreads, strict=True)]
    return [f"{cell:<{max(map(len, cells))}}" for cell in cells]


def four(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


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
