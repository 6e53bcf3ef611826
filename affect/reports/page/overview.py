"""What all runs have in common: tables with what is behind every number, the runs by number, notes."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from math import sqrt
from typing import Any

from scipy.special import stdtrit

from affect.evaluation.metrics.registry import lower_is_better
from affect.evaluation.significance import FEWEST_SEEDS, LEVEL
from affect.reports.formats import Report
from affect.reports.paper import best
from affect.reports.rows import Number, Row, Table
from affect.reports.sections import Style, aligned, four, heading, sections
from affect.reports.settings import ALL, HEADLINE, Run

OF_OTHERS = ("exact.", "lenient.", "majority.")
"""What stands before a metric of another reader, or of the majority answer."""

MOST_COMPARED = 60
"""Runs of a table whose rows are held against the best one; each is read again for every metric."""


def overview(report: Report, runs: Sequence[Run], *, metrics: Sequence[str], refused: Sequence[str]) -> dict[str, Any]:
    """The value of the block `overview`. `metrics` are those that were asked for, which are shown at first; `refused`
    are sentences on what has no table, or could not be read."""
    return {
        "level": LEVEL,
        "tables": [_table(table, runs, metrics) for table in report.tables],
        "runs": [_run(number, run) for number, run in enumerate(runs, 1)],
        "notes": report.notes,
        "refused": list(refused),
    }


def _run(number: int, run: Run) -> dict[str, Any]:
    of_task = run.summary.metrics["tasks"] if run.counts else {}
    return {
        "number": number,
        "model": run.summary.model,
        "folder": str(run.folder),
        "state": run.state,
        "tuning": run.tuning if run.counts else None,
        "seed": run.seed,
        "started": run.summary.status.get("started"),
        "results": {task: f"{numbers['headline']} {four(numbers['value'])}" for task, numbers in of_task.items()},
    }


def _table(table: Table, runs: Sequence[Run], asked: Sequence[str]) -> dict[str, Any]:
    compared = not table.each and sum(len(row.runs) for row in table.rows) <= MOST_COMPARED
    untold, damaged = best.mark(table, runs) if compared else ([], [])
    bold = {name: {id(row) for row in table.rows if name in row.best} or _best(table, name) for name in table.metrics}
    names = [*table.metrics, *table.classes]
    others = sections(table, Style(numbers=aligned))[bool(table.metrics) + bool(table.classes) :]
    return {
        "task": table.task,
        "about": {heading(key): value for key, value in table.about.items()},
        "settings": [{"key": key, "heading": heading(key)} for key in table.settings],
        "metrics": names,
        "shown": _shown(table, runs, asked),
        "lower_is_better": [name for name in table.metrics if lower_is_better(name)],
        "rule": table.bold or best.UNTESTED,
        "untold": [*untold, *damaged],
        "each": table.each,
        "compared": table.compared,
        "rows": [
            _row(row, table, runs) | {"best": [name for name in table.metrics if id(row) in bold[name]]}
            for row in table.rows
        ],
        "footnotes": table.footnotes,
        "sections": [asdict(section) for section in others],
    }


def _shown(table: Table, runs: Sequence[Run], asked: Sequence[str]) -> list[str]:
    """The columns that are shown at first: those that `affect report` has without a page."""
    metrics = runs[table.rows[0].runs[0] - 1].summary.metrics
    assert metrics is not None
    headline = metrics["tasks"][table.task]["headline"]
    names = {HEADLINE: [headline, *(prefix + headline for prefix in OF_OTHERS)], ALL: table.metrics}
    return [name for word in asked for name in names.get(word, [word]) if name in table.metrics]


def _best(table: Table, name: str) -> set[int]:
    """The rows with the best mean, by their id; none where all have it, and for numbers of comparison."""
    means = {id(row): row.numbers[name].mean for row in table.rows if not row.mark}
    known = [mean for mean in means.values() if mean is not None]
    if len(set(known)) < 2 or name.startswith(OF_OTHERS):
        return set()
    wanted = min(known) if lower_is_better(name) else max(known)
    return {key for key, mean in means.items() if mean == wanted}


def _row(row: Row, table: Table, runs: Sequence[Run]) -> dict[str, Any]:
    result = {
        key: getattr(row, key)
        for key in ("runs", "setting", "seeds", "counts", "readable", "mark", "opened", "is_reference")
    }
    result["numbers"] = {name: _number(number, len(row.runs)) for name, number in row.numbers.items()}
    result["difference"] = None if row.difference is None else asdict(row.difference)
    result["signatures"] = _signatures([runs[number - 1] for number in row.runs], table)
    return result


def _number(number: Number, num_seeds: int) -> dict[str, float | None]:
    low, high = over_seeds(number, num_seeds)
    return {"mean": number.mean, "sd": number.sd, "low": low, "high": high}


def over_seeds(number: Number, num_seeds: int) -> tuple[float | None, float | None]:
    """Interval of the mean over seeds at LEVEL: mean ± t(n - 1) · sd / √n (Student). All seeds are scored on the same
    clips, so that it says nothing of other clips. None for fewer than FEWEST_SEEDS, and where no seed makes a
    difference: a method without chance would seem certain."""
    if number.mean is None or not number.sd or num_seeds < FEWEST_SEEDS:
        return None, None
    half = _t(num_seeds - 1) * number.sd / sqrt(num_seeds)
    return number.mean - half, number.mean + half


@cache
def _t(freedom: int) -> float:
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _signatures(runs: Sequence[Run], table: Table) -> dict[str, list[str]]:
    """By metric, what its numbers of these runs stand on, each once; nothing of runs of before there were any."""
    result: dict[str, list[str]] = {}
    for name in table.metrics:
        signed = [_signature(run.summary.metrics, table.task, name) for run in runs]
        if found := list(dict.fromkeys(text for text in signed if text)):
            result[name] = found
    return result


def _signature(metrics: Any, task: str, name: str) -> str | None:
    reader = next((prefix[:-1] for prefix in OF_OTHERS if name.startswith(prefix)), metrics["reader"])
    signatures = metrics["tasks"][task].get("signatures", {})
    return signatures.get(reader, {}).get(name.removeprefix(f"{reader}."))
