"""Runs, predictions and tables as pandas frames, for notebooks."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from affect.config import DataError
from affect.config.roles import leaves
from affect.data.escaping import one_line
from affect.reports.aggregate import numbers, tasks
from affect.reports.formats import Report
from affect.reports.gather import Request, gather
from affect.reports.rows import Table
from affect.reports.sections import Style, aligned, sections
from affect.reports.settings import HEADLINE, Run
from affect.runs.run_results import read_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The run folders in some folders. Shown by a notebook, it is the tables of `affect report` with their notes."""

    runs: pd.DataFrame
    """One row a run, finished or not: `run` (its number in tables and notes), `folder`, `state`, `model`, `tuning`,
    `seed` (of the training); every key of its configuration, as `finetuning.rank`, but that the key `run` is called
    `evaluated`; and every metric, as `demo.emotion.weighted_f1`."""
    predictions: pd.DataFrame
    """One row a prediction of a finished run, `run` being the number of that: the fields of affect.data.Prediction, and
    `value`, what the run's reader has read."""
    tables: dict[str, pd.DataFrame]
    """By task, its table: one row a setting, with the mean and the standard deviation of every metric over seeds."""
    notes: list[str]
    """What has to be known beside the tables; folders that are damaged are among them."""
    damaged: list[str]
    """A sentence for everything that could not be read, or may not stand in one table."""
    report: Report
    """The tables as `affect report` has them, for affect.reports.formats and affect.reports.drawing."""

    def _repr_html_(self) -> str:
        return "\n".join(_as_html(self.report, self.damaged))


def load_runs(
    *folders: str | Path,
    where: Sequence[str] = (),
    metrics: Sequence[str] = (HEADLINE,),
    predictions: bool = True,
) -> Runs:
    """The runs in `folders`: run folders, or folders with run folders in them.

    `where` are conditions `KEY=VALUE`, as those of `affect report --where`; `metrics` are the columns of the tables
    (its --metrics). Without `predictions` that frame is empty, which is quicker.

    Raises ConfigError where a folder is no run folder and holds none, and where a condition or a metric cannot be.
    """
    gathered = gather(Request(folders=[Path(folder) for folder in folders], where=where, metrics=metrics))
    rows, unreadable = _predictions(gathered.runs) if predictions else ([], [])
    return Runs(
        runs=pd.DataFrame([_run(n, run) for n, run in enumerate(gathered.runs, 1)]),
        predictions=pd.DataFrame(rows),
        tables={table.task: _table(table) for table in gathered.report.tables},
        notes=gathered.report.notes,
        damaged=[*gathered.damaged, *gathered.refused, *unreadable],
        report=gathered.report,
    )


def _run(number: int, run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"folder": str(run.folder), "state": run.state, "model": run.summary.model}
    row |= dict(leaves(run.summary.config))
    row |= {"evaluated": row["run"], "run": number}
    if run.counts:
        row |= {"tuning": run.tuning, "seed": run.seed}
    for task in tasks([run]):
        row |= {f"{task}.{metric}": value for metric, value in numbers(run, task).items()}
    return row


def _predictions(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, and a sentence for every file that cannot be read."""
    rows: list[dict[str, Any]] = []
    damaged = []
    for number, run in enumerate(runs, 1):
        if run.counts:
            assert run.summary.metrics is not None
            reader = run.summary.metrics["reader"]
            try:
                rows += [
                    {"run": number, **asdict(each), "value": getattr(each, reader)}
                    for each in read_predictions(run.folder)
                ]
            except DataError as error:
                damaged.append(str(error))
    return rows, damaged


def _table(table: Table) -> pd.DataFrame:
    rows = []
    for row in table.rows:
        cells: dict[str, Any] = {**row.setting, "seeds": row.seeds, "runs": row.runs}
        for name, (low, high) in row.counts.items():
            cells |= {name: low} if low == high else {name: low, f"{name}_most": high}
        cells |= {"opened_before": row.opened, "readable": row.readable}
        for metric, number in row.numbers.items():
            cells |= {metric: number.mean, f"{metric}_sd": number.sd}
        rows.append(cells)
    return pd.DataFrame(rows)


def _as_html(of: Report, damaged: Sequence[str]) -> Iterator[str]:
    """Tables with titles, then folders and notes, all of which is shown as the text that it is."""

    def shown(text: str) -> str:
        return escape(one_line(text))

    for table in of.tables:
        for section in sections(table, Style(numbers=aligned, escape=one_line)):
            columns = [*section.columns, section.runs]
            frame = pd.DataFrame(dict(enumerate(column.cells for column in columns)))
            with pd.option_context("display.max_colwidth", None):  # longer cells would be cut
                html = frame.to_html(index=False, header=[one_line(column.heading) for column in columns], border=0)
            yield f"<p><strong>{shown(section.title)}</strong></p>\n{html}"
        yield from (f"<p>{letter} {shown(note)}</p>" for letter, note in table.footnotes.items())
    lines = [f"{n} {', '.join(run)}" for n, run in enumerate(of.runs, 1)]
    yield f"<p>{'<br>'.join(shown(line) for line in dict.fromkeys([*lines, *of.notes, *damaged]))}</p>"
