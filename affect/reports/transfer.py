"""The transfer matrix: a number for every dataset trained on and every dataset tested on."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from affect.config import ConfigError
from affect.config.roles import differences, unused
from affect.data.escaping import escape_markdown
from affect.data.progress import terminal
from affect.data.tables import for_spreadsheets
from affect.reports.rows import Number
from affect.reports.sections import four
from affect.reports.settings import Run

ZERO_SHOT = "nothing (zero-shot)"
"""The row of a model as it comes."""

SETTING = ("model.name", "modalities", "label_space", "prompting.name", "knowledge.source", "evaluation.split")
"""Keys in which the runs of one matrix agree; what else differs is for `affect report`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A model trained on one dataset, or several, and tested on one; over seeds."""

    trained_on: str
    """Names of datasets, joined by +."""
    tested_on: str
    task: str
    metric: str
    number: Number
    majority: Number
    """The metric of always answering the most frequent gold label of the clips tested on."""
    scored: tuple[int, int]
    """Fewest and most clips with an answer and a gold label."""
    expected: int
    """Clips of the split in the annotations."""
    folders: list[Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    title: str
    split: str
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]
    notes: list[str]


def matrix(runs: Sequence[Run], names: Sequence[str] = ()) -> Matrix:
    """The matrix of trainings and evaluations. A training tests its own datasets; those of an evaluation are tested
    with the model of the training that it names. `names` is the order of the datasets.

    Raises ConfigError where there is nothing to show, and where runs differ in a key of SETTING, or in the task or the
    metric of a cell.
    """
    finished = [run for run in runs if run.counts]
    if not finished:
        states = ", ".join(f"{run.summary.folder} ({run.state})" for run in runs) or "none"
        raise ConfigError(f"no run has finished, so there is no matrix: {states}")
    setting = {key: list(dict.fromkeys(_value(run.summary.config, key) for run in finished)) for key in SETTING}
    if differing := [f"{key} ({', '.join(map(str, values))})" for key, values in setting.items() if len(values) > 1]:
        raise ConfigError(
            f"the runs differ in {' and '.join(differing)}, and a transfer matrix is of one setting: name the folders"
            " of one, or compare them with affect report"
        )
    chosen: dict[tuple[str, str], dict[Path, tuple[Run, str]]] = {}
    for run in finished:
        for task in run.summary.metrics["tasks"]:
            model = Path(run.summary.config["run"] or run.summary.folder).resolve()
            chosen.setdefault((trained_on(run), task.split(".")[0]), {}).setdefault(model, (run, task))
    cells = {place: _cell(*place, list(of_place.values())) for place, of_place in chosen.items()}
    columns = sorted(dict.fromkeys(column for _, column in cells), key=_by(names))
    # In the same order, so that what is tested on what it was trained on lies on the diagonal.
    rows = sorted(dict.fromkeys(row for row, _ in cells), key=_by(columns))
    has_no_effect = unused(finished[0].summary.config)
    title = ", ".join(
        f"{key.split('.')[0]} {values[0]}"
        for key, values in setting.items()
        if values[0] is not None and not has_no_effect(key) and key != "evaluation.split"
    )
    notes = [*_left_out(columns, finished), *_never_learnt(finished), *_unfinished(runs)]
    return Matrix(
        title=f"{title}, {setting['evaluation.split'][0]} split",
        split=str(setting["evaluation.split"][0]),
        rows=rows,
        columns=columns,
        cells=cells,
        notes=list(dict.fromkeys(notes)),
    )


def _by(names: Sequence[str]) -> Callable[[str], list[int]]:
    """The order of rows or columns: as `names` have it, others after them."""
    return lambda joined: [names.index(name) if name in names else len(names) for name in joined.split("+")]


def trained_on(run: Run) -> str:
    """The datasets that the model of a run was trained on."""
    return ZERO_SHOT if run.training is None else "+".join(run.training["datasets"])


def _value(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part)
    return value


def _cell(row: str, column: str, runs: Sequence[tuple[Run, str]]) -> Cell:
    results = [run.summary.metrics["tasks"][task] for run, task in runs]
    metrics = {numbers["headline"] for numbers in results}
    tasks = {task.partition(".")[2] for _, task in runs}
    if len(metrics) > 1 or len(tasks) > 1:
        raise ConfigError(
            f"trained on {row}, tested on {column}: the runs have {', '.join(sorted(tasks))} by"
            f" {', '.join(sorted(metrics))}, and a cell is of one task and one metric: name the folders of one"
        )
    first, *others = [run for run, _ in runs]
    if differing := {key for other in others for key in _differences(first, other)} - {"seed"}:
        raise ConfigError(
            f"trained on {row}, tested on {column}: {len(runs)} runs differ in {', '.join(sorted(differing))}, and a"
            " cell is over seeds alone: name the folders of one setting, or compare them with affect report"
        )
    [metric], [task] = metrics, tasks
    scored = [numbers["n_scored"] for numbers in results]
    return Cell(
        trained_on=row,
        tested_on=column,
        task=task,
        metric=metric,
        number=_over_seeds([numbers["value"] for numbers in results]),
        majority=_over_seeds([numbers["majority"].get(metric) for numbers in results]),
        scored=(min(scored), max(scored)),
        expected=max(numbers["expected"] for numbers in results),
        folders=[run.summary.folder for run, _ in runs],
    )


def _differences(one: Run, other: Run) -> dict[str, Any]:
    """Keys in which the trainings of two runs differ, where that may change a number."""
    configs = [run.training or run.summary.config for run in (one, other)]
    idle = [unused(config) for config in configs]
    return {key: pair for key, pair in differences(*configs).items() if not all(has_none(key) for has_none in idle)}


def _over_seeds(values: Sequence[float | None]) -> Number:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Number(mean=None, sd=None)
    return Number(mean=fmean(known), sd=stdev(known) if len(known) > 1 else None)


def _left_out(columns: Sequence[str], runs: Sequence[Run]) -> Iterator[str]:
    """A sentence for every dataset of whose tested clips some are left out, with the reasons."""
    for run in runs:
        split = run.summary.metrics["split"]
        parts = json.loads((run.summary.folder / "data.json").read_text(encoding="utf-8"))["parts"]
        for part in parts:
            if part["split"] == split and part["dataset"] in columns and part["excluded"]:
                reasons = "; ".join(f"{count:,} {reason}" for reason, count in part["reasons"].items())
                yield (
                    f"{part['dataset']} {split}: {part['excluded']:,} of {part['expected']:,} clips are left out"
                    f" ({reasons})"
                )


def _never_learnt(runs: Sequence[Run]) -> Iterator[str]:
    """A sentence for every training dataset of which no label becomes one of the common space."""
    for run in runs:
        for name, dataset in ({} if run.training is None else run.training["datasets"]).items():
            images = dataset.get("label_map", {}).get("to") or {}
            labels = dataset["task_definitions"][dataset["tasks"][0]]["labels"] if images else []
            if lacking := [label for label in labels if label not in images.values()]:
                yield f"no label of {name} becomes {' or '.join(lacking)}: a model of it alone does not learn that"


def _unfinished(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        if not run.counts:
            error = run.summary.status.get("error", "")
            yield f"{run.summary.folder} has no numbers: {run.state}{f' ({error})' if error else ''}"


def cells(shown: Matrix) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of all rows as text."""
    columns = [[cell for (_, tested), cell in shown.cells.items() if tested == name] for name in shown.columns]
    headings = ["trained on", *(f"{cells[0].tested_on} {cells[0].metric}" for cells in columns)]
    lines = [
        [row, *(_text(shown.cells[row, name].number) if (row, name) in shown.cells else "" for name in shown.columns)]
        for row in shown.rows
    ]
    lines.append(["majority answer", *(_text(cells[0].majority) for cells in columns)])
    lines.append(["clips scored", *(_count([n for cell in cells for n in cell.scored]) for cells in columns)])
    lines.append(["clips in the split", *(_count([cell.expected for cell in cells]) for cells in columns)])
    return headings, lines


def _text(number: Number) -> str:
    if number.mean is None:
        return "undefined"
    return four(number.mean) + ("" if number.sd is None else f" ± {number.sd:.4f}")


def _count(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _seeds(shown: Matrix) -> str:
    counts = [len(cell.folders) for cell in shown.cells.values()]
    return "" if max(counts) == 1 else f"Means and standard deviations over {_count(counts)} runs."


def markdown(shown: Matrix) -> str:
    """A GitHub table with the notes below it."""
    headings, lines = cells(shown)
    pipes = [f"| {' | '.join(map(escape_markdown, line))} |" for line in (headings, *lines)]
    rule = f"|---|{'---:|' * (len(headings) - 1)}"
    notes = [note for note in (_seeds(shown), *shown.notes) if note]
    blocks = [f"**Transfer: {escape_markdown(shown.title)}**", "\n".join([pipes[0], rule, *pipes[1:]])]
    return (
        "\n\n".join([*blocks, *(["\n".join(f"- {escape_markdown(note)}" for note in notes)] if notes else [])]) + "\n"
    )


def comma_separated(shown: Matrix) -> str:
    """A row for every cell, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = ("n_seeds", "scored_min", "scored_max", "expected")
    writer.writerow(
        ("trained_on", "tested_on", "task", "split", "metric", "mean", "sd", "majority", *counts, "folders")
    )
    places = [(row, column) for row in shown.rows for column in shown.columns]
    for cell in (shown.cells[place] for place in places if place in shown.cells):
        numbers = (cell.number.mean, cell.number.sd, cell.majority.mean, len(cell.folders), *cell.scored, cell.expected)
        first = (cell.trained_on, cell.tested_on, cell.task, shown.split, cell.metric)
        folders = ";".join(map(str, cell.folders))
        writer.writerow(map(for_spreadsheets, (*first, *("" if n is None else n for n in numbers), folders)))
    return out.getvalue()


def print_matrix(shown: Matrix) -> None:
    headings, lines = cells(shown)
    table = Table(title=Text(f"Transfer: {shown.title}"), title_justify="left", box=box.SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if number else "left", vertical="bottom", overflow="fold")
    for number, line in enumerate(lines):
        table.add_row(*map(Text, line), end_section=number == len(shown.rows) - 1)
    console = terminal()
    console.print(table)
    for note in (_seeds(shown), *shown.notes):
        if note:
            console.out(note, highlight=False)
