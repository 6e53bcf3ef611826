"""Confusion matrices of all runs."""

from collections.abc import Sequence
from typing import Any

from affect.reports.settings import Run


def confusion(runs: Sequence[Run]) -> dict[str, Any]:
    """The value of the block `confusion`: by task, the distinct lists of `labels`, and in `runs`, by number of a run,
    which list it has and its matrix of counts: a row a gold label, a column an answer, of the lenient reader; the last
    column is answers that could not be read."""
    tasks: dict[str, dict[str, Any]] = {}
    for number, run in enumerate(runs, 1):
        for task, numbers in (run.summary.metrics["tasks"] if run.counts else {}).items():
            if "confusion" not in numbers or not numbers["n_scored"]:
                continue
            of_task = tasks.setdefault(task, {"labels": [], "runs": {}})
            if numbers["labels"] not in of_task["labels"]:
                of_task["labels"].append(numbers["labels"])
            of_task["runs"][number] = [of_task["labels"].index(numbers["labels"]), numbers["confusion"]]
    return tasks
