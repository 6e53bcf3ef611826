"""The figures of a pack, as data of charts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affect.reports.aggregate import summarised
from affect.reports.charts import Chart, Series
from affect.reports.rows import Table
from affect.reports.sections import heading
from affect.reports.settings import Run

MOST_BARS = 60
"""More than these cannot be read in one figure."""


def charts(table: Table, runs: Sequence[Run]) -> Iterator[tuple[str, Chart, str]]:
    """The charts of a table, each with a name and a caption: the first metric of every row, and the confusion matrix of
    the first row that is best."""
    if table.metrics and not too_many(table):
        chart = _bars(table, table.metrics[0])
        spread = any(row.numbers[table.metrics[0]].sd is not None for row in table.rows)
        how = "mean over seeds, with a standard deviation to each side" if spread else "one run each"
        yield "settings", chart, f"{table.task}, split {table.about['evaluation.split']}: {how}"
    if (confusion := _confusion(table, runs)) is not None:
        yield "confusion", confusion, f"{confusion.title}, in shares of each gold label, mean over seeds"


def too_many(table: Table) -> bool:
    return len(table.rows) > MOST_BARS


def _bars(table: Table, metric: str) -> Chart:
    """Bars of the mean over seeds, with a standard deviation to each side. The setting with the fewest values tells
    bars of one place apart, the others are the places."""
    numbers = [row.numbers[metric] for row in table.rows]
    values = {key: list(dict.fromkeys(row.setting[key] or "-" for row in table.rows)) for key in table.settings}
    colour = min(values, key=lambda key: len(values[key])) if len(values) > 1 else None
    places = [key for key in table.settings if key != colour]
    series = []
    for value in [None] if colour is None else values[colour]:
        own = [
            (row, number)
            for row, number in zip(table.rows, numbers, strict=True)
            if colour is None or (row.setting[colour] or "-") == value
        ]
        series.append(
            Series(
                name=metric if colour is None else f"{heading(colour)} {value}",
                x=[", ".join(filter(None, (row.setting[key] for key in places))) or "-" for row, _ in own],
                y=[number.mean for _, number in own],
                low=[None if n.sd is None or n.mean is None else n.mean - n.sd for _, n in own],
                high=[None if n.sd is None or n.mean is None else n.mean + n.sd for _, n in own],
            )
        )
    return Chart(
        title=f"{table.task}, {table.about['evaluation.split']}",
        x_label=", ".join(map(heading, places)) if len(places) < 4 else "setting",
        y_label=metric,
        kind="bar",
        series=series,
    )


def _confusion(table: Table, runs: Sequence[Run]) -> Chart | None:
    """Shares of the predicted labels of each gold label, mean over the runs of the first best row; None where the task
    has no confusion matrix, and where no row is best."""
    best = next((row for row in table.rows if table.metrics and table.metrics[0] in row.best), None)
    if best is None:
        return None
    summaries = [runs[n - 1].summary.metrics for n in best.runs]
    results = [summary["tasks"][table.task] for summary in summaries if summary is not None]
    if not all("confusion" in result for result in results):
        return None
    unreadable = any(row[-1] for result in results for row in result["confusion"])
    series = [_gold(label, results, unreadable) for label in results[0]["labels"]]
    setting = ", ".join(value for value in best.setting.values() if value is not None)
    return Chart(
        title=f"{table.task}, {setting}: predictions by gold label",
        x_label="predicted",
        y_label="gold",
        kind="heat map",
        series=series,
    )


def _gold(label: str, results: Sequence[Mapping[str, Any]], unreadable: bool) -> Series:
    """One row of the matrix. Where a run has no clip of the label, its shares are undefined."""
    columns = [*results[0]["labels"], *(["unreadable"] if unreadable else [])]
    shares = []
    for result in results:
        # The order of the labels may differ between runs.
        places = {name: place for place, name in enumerate(result["labels"])}
        counts = result["confusion"][places[label]]
        total = sum(counts)
        shares.append([counts[places.get(name, -1)] / total if total else None for name in columns])
    return Series(name=label, x=columns, y=[summarised(column).mean for column in zip(*shares, strict=True)])
