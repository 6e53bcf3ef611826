"""A chart of a metric over the settings of a study, and the ranks of settings over tasks."""

from collections.abc import Iterator, Sequence

from scipy.stats import rankdata

from affect.config import StudyConfig
from affect.evaluation.metrics.registry import lower_is_better
from affect.reports.charts import Chart, Series
from affect.reports.gather import Gathered
from affect.reports.rows import Row, Table
from affect.reports.sections import heading
from affect.reports.studies.findings import Finding, file_name, label, number, placed, told_apart

NULL = "null"


def charts(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    """For each task the first metric over each key of `x`, a line over numbers and bars over words; and the recall of
    each class where the table has it."""
    for table in gathered.report.tables:
        for key in study.x:
            x = placed(key, table)
            name = file_name(table.task if len(study.x) == 1 else f"{table.task}_{x.rpartition('.')[2]}")
            rows = [row for row in table.rows if row.whole.get(x, NULL) != NULL]
            if not rows or not table.metrics:
                yield Finding(name=name, title=table.task, notes=[f"there is no chart over {x}, which no row has"])
                continue
            keys = told_apart(rows, study.series, [x], table)
            yield Finding(name=name, title=f"{table.task} over {heading(x)}", chart=_chart(table, rows, x, keys))
            if table.classes:
                yield _recalls(table, rows, [x, *keys])


def _chart(table: Table, rows: Sequence[Row], x: str, keys: Sequence[str]) -> Chart:
    metric = table.metrics[0]
    numeric = all(_is_number(row.whole[x]) for row in rows) and len({row.whole[x] for row in rows}) > 1
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(label(row, keys, table), []).append(row)
    if numeric:
        named = {name: sorted(of_name, key=lambda row: float(row.whole[x])) for name, of_name in named.items()}
    spread = all(row.numbers[metric].sd is not None for row in rows)
    return Chart(
        title=table.task,
        x_label=heading(x),
        y_label=f"{metric}{' (mean ± standard deviation over seeds)' if spread else ''}",
        kind="line" if numeric else "bar",
        series=[_series(name, of_name, x, metric, numeric, spread) for name, of_name in named.items()],
    )


def _series(name: str, rows: Sequence[Row], x: str, metric: str, numeric: bool, spread: bool) -> Series:
    numbers = [row.numbers[metric] for row in rows]
    ends = [
        [None if each.mean is None or each.sd is None else each.mean + sign * each.sd for each in numbers]
        for sign in (-1, 1)
    ]
    return Series(
        name=name,
        x=[float(row.whole[x]) for row in rows] if numeric else [row.whole[x] for row in rows],
        y=[each.mean for each in numbers],
        low=ends[0] if spread else (),
        high=ends[1] if spread else (),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _recalls(table: Table, rows: Sequence[Row], keys: Sequence[str]) -> Finding:
    classes = [name.removeprefix("recall.") for name in table.classes]
    return Finding(
        name=f"{file_name(table.task)}_recall",
        title=f"{table.task}, recall of each class",
        chart=Chart(
            title=f"{table.task}, recall of each class",
            x_label="class",
            y_label="recall",
            kind="bar",
            series=[
                Series(name=label(row, keys, table), x=classes, y=[row.numbers[name].mean for name in table.classes])
                for row in rows
            ],
        ),
    )


def ranks(gathered: Gathered, study: StudyConfig) -> Iterator[Finding]:
    """The first metric of every setting and task, the rank of each setting in it, and its mean rank over the tasks that
    all settings have; bars where there is one task."""
    tables = [table for table in gathered.report.tables if table.metrics]
    by_task: dict[str, dict[str, Row]] = {}
    for table in tables:
        keys = told_apart(table.rows, study.series, [], table)
        by_task[table.task] = {label(row, keys, table): row for row in table.rows}
    names = list(dict.fromkeys(name for rows in by_task.values() for name in rows))
    lines, ranked = {name: [name] for name in names}, {name: [] for name in names}
    for table in tables:
        metric, rows = table.metrics[0], by_task[table.task]
        means = {name: row.numbers[metric].mean for name, row in rows.items()}
        known = {name: mean for name, mean in means.items() if mean is not None}
        sign = 1 if lower_is_better(metric) else -1
        places = dict(zip(known, rankdata([sign * mean for mean in known.values()]).tolist(), strict=True))
        for name in names:
            lines[name].append(f"{number(known[name])} ({places[name]:g})" if name in known else "-")
            ranked[name].append(places.get(name))
    complete = {name: [place for place in places if place is not None] for name, places in ranked.items()}
    notes = ["In brackets the rank in the task; 1 is best, and equals share the mean of their ranks."]
    lacking = [name for name, places in complete.items() if len(places) < len(tables)]
    if lacking:
        notes.append(f"without a number in some task, and so without a mean rank: {', '.join(lacking)}")
    for name in names:
        lines[name].append(f"{sum(complete[name]) / len(tables):.2f}" if name not in lacking else "-")
    yield Finding(
        name="ranks",
        title="Settings and tasks",
        headings=["setting", *(f"{table.task} {table.metrics[0]}" for table in tables), "mean rank"],
        lines=list(lines.values()),
        notes=notes,
        chart=_bars(tables[0], by_task[tables[0].task]) if len(tables) == 1 else _rank_map(tables, ranked),
    )


def _bars(table: Table, rows: dict[str, Row]) -> Chart:
    metric = table.metrics[0]
    bars = Series(name=metric, x=list(rows), y=[row.numbers[metric].mean for row in rows.values()])
    return Chart(title=table.task, x_label="setting", y_label=metric, kind="bar", series=[bars])


def _rank_map(tables: Sequence[Table], ranked: dict[str, list[float | None]]) -> Chart:
    tasks = [table.task for table in tables]
    return Chart(
        title="Rank in each task, 1 is best",
        x_label="task",
        y_label="setting",
        kind="heat map",
        series=[Series(name=name, x=tasks, y=places) for name, places in ranked.items()],
    )
