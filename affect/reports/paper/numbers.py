"""Every number of a pack, with the run that it comes from: numbers.csv."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.data.tables import for_spreadsheets, from_spreadsheets
from affect.reports.aggregate import numbers
from affect.reports.rows import COUNTS, Table
from affect.reports.settings import Run

FIELDS = ("name", "run", "task", "row", "seed", "split", "metric", "value", *COUNTS, "signature")
"""`row` is the number of the line in the table of the task whose mean the number is part of; it is empty where the
number is in no mean."""


def rows(runs: Sequence[Run], tables: Sequence[Table], names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """One row for every metric of every task of every run that has numbers; `names` are those of the runs, by number,
    from 1. `value` is None where the metric is undefined."""
    line_of = {(table.task, n): line for table in tables for line, row in enumerate(table.rows, 1) for n in row.runs}
    for n, name in names.items():
        run = runs[n - 1]
        metrics = run.summary.metrics
        assert metrics is not None, "a run without numbers has no name here"
        for task, of_task in metrics["tasks"].items():
            signed = of_task.get("signatures", {})
            for metric, value in numbers(run, task).items():
                reader, _, rest = metric.partition(".")
                yield {
                    "name": name,
                    "run": str(run.folder),
                    "task": task,
                    "row": line_of.get((task, n), ""),
                    "seed": run.seed,
                    "split": metrics["split"],
                    "metric": metric,
                    "value": value,
                    **{count: of_task[key] for count, key in COUNTS.items()},
                    "signature": signed.get(reader, {}).get(rest) or signed.get(metrics["reader"], {}).get(metric, ""),
                }


def as_csv(of_runs: Sequence[Mapping[str, Any]]) -> str:
    """Numbers in full precision, and an empty value where one is undefined."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in of_runs:
        value = "" if row["value"] is None else repr(float(row["value"]))
        writer.writerow({key: for_spreadsheets(cell) for key, cell in (row | {"value": value}).items()})
    return out.getvalue()


def compare(reproduced: Sequence[Mapping[str, Any]], path: Path) -> tuple[int, list[str]]:
    """How many of the numbers in the numbers.csv at `path` are found with the same value, to 9 decimals; and a sentence
    for each that is another or missing. Numbers belong together by name, task and metric.

    Raises ConfigError where the file is no numbers.csv.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != FIELDS:
                raise ConfigError(f"{path} is no numbers.csv of a pack: its columns have to be {', '.join(FIELDS)}")
            stated = {
                tuple(from_spreadsheets(row[key]) for key in ("name", "task", "metric")): (
                    float(row["value"]) if row["value"] else None
                )
                for row in reader
            }
    except (OSError, UnicodeDecodeError, ValueError, TypeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name the numbers.csv of a pack") from error
    now = {(row["name"], row["task"], row["metric"]): row["value"] for row in reproduced}
    different = []
    for key, then in stated.items():
        words = f"{key[2]} of {key[1]}, {key[0]}"
        if key not in now:
            different.append(f"{words}: is not there, and was {_shown(then)}")
        elif not _same(now[key], then):
            different.append(f"{words}: is {_shown(now[key])}, and was {_shown(then)}")
    return len(stated) - len(different), different


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=1e-9)


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6f}"
