"""Which rows of a table are the best in a metric, and which are not shown to be worse."""

from collections.abc import Sequence

from affect.config import DataError
from affect.config.tasks import HEADLINES
from affect.evaluation.metrics import headline_metric
from affect.evaluation.significance import LEVEL, holm
from affect.reports.comparison import pairs_of_seeds, task_of
from affect.reports.paired_runs import Scored, compare, scored
from affect.reports.rows import Row, Table
from affect.reports.sections import numbered
from affect.reports.settings import ZERO_SHOT, Run

TESTED = (
    f"Bold: the best mean, and what is not shown to be worse (paired differences over groups of clips and seeds,"
    f" jackknife, adjusted by Holm for the column, p above {1 - LEVEL:.0%})"
)
PARTLY = f"{TESTED}; rows that could not be compared with the best are not bold"
UNTESTED = "Bold: the best mean; whether other rows are worse could not be tested"


def mark(table: Table, runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Fills `Row.best` of the rows, and `Table.bold`. Gives notes on rows that could not be compared, and a sentence
    for everything that is damaged.

    Best is the best mean. Every other row is held against that row as --against does it, and is best too where its
    difference is not significant at 5 % after Holm's adjustment over the rows of the column. Rows that were scored on
    other clips than most are never best. Where no difference can be tested, as with a single seed, the best mean alone
    is marked.
    """
    notes: list[str] = []
    damaged: dict[str, None] = {}
    results: list[float | str] = []
    for metric in table.metrics:
        task = task_of(table, runs, metric)
        if metric in HEADLINES[task.kind]:
            of_metric, said = _mark(table, runs, metric, damaged)
            results, notes = [*results, *of_metric], [*notes, *said]
    if any(row.best for row in table.rows):
        untested = sum(isinstance(result, str) for result in results)
        table.bold = TESTED if not untested else PARTLY if untested < len(results) else UNTESTED
    return notes, list(damaged)


def _mark(
    table: Table, runs: Sequence[Run], metric: str, damaged: dict[str, None]
) -> tuple[list[float | str], list[str]]:
    """The p-values of the rows against the best, or why there is none; and notes."""
    task = task_of(table, runs, metric)
    sign = 1 if headline_metric(task).higher_is_better else -1
    means = [
        (sign * row.numbers[metric].mean, row)
        for row in table.rows
        if row.numbers[metric].mean is not None and not row.mark
    ]
    if len(means) < 2:
        return [], []
    highest = max(mean for mean, _ in means)
    first, *ties = [row for mean, row in means if mean == highest]
    for row in (first, *ties):
        row.best.append(metric)
    known: dict[int, Scored] = {}

    def p_value(row: Row) -> float | str:
        """Of no difference to the best row, or why there is none."""
        pairs, _ = pairs_of_seeds(row, first)
        if not pairs:
            return "no seed in common with the best"
        if len(pairs) == 1 and {row.whole["tuning"], first.whole["tuning"]} != {ZERO_SHOT}:
            return "a single seed, which does not tell how much others would differ"
        try:
            for number in {number for pair in pairs for number in pair} - known.keys():
                known[number] = scored(runs[number - 1], table.task, task, headline_metric(task))
            found, _ = compare([(known[one], known[other]) for one, other in pairs], task, headline_metric(task))
        except DataError as error:
            damaged[str(error)] = None
            return "damaged predictions"
        return found.reason if found.p is None else found.p

    others = [row for mean, row in means if mean != highest]
    results = [p_value(row) for row in others]
    adjusted = holm([None if isinstance(result, str) else result for result in results])
    for row, p in zip(others, adjusted, strict=True):
        if p is not None and p > 1 - LEVEL:
            row.best.append(metric)
    untold: dict[str, list[int]] = {}
    for row, result in zip(others, results, strict=True):
        if isinstance(result, str):
            untold.setdefault(result, []).extend(row.runs)
    return results, [
        f"{metric} of {table.task}: whether {numbered(numbers)} is worse than the best, {numbered(first.runs)}, is not"
        f" known ({reason}), so that it is not bold"
        for reason, numbers in untold.items()
    ]
