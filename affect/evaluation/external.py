"""Scores predictions made by other software."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affect import __version__
from affect.config import Config, ConfigError, DataError, DatasetConfig, Kind, Task, Value
from affect.config.tasks import dialects_of
from affect.config.tasks import problems as task_problems
from affect.data import Prediction, Record, labels, loading
from affect.data.part import ids_sha256
from affect.data.problems import Excluded, Problems, did_you_mean
from affect.data.tables import Row, read_table
from affect.evaluation import metrics, parsing
from affect.evaluation.metrics.signature import signatures
from affect.evaluation.metrics.summary import combined

READOUT = "file"
"""What signatures name as readout: how the predictions were obtained is not known here."""


def score(predictions_file: Path, cfg: Config, split: str) -> dict[str, Any]:
    """Every number of the predictions in a file, each with its signature; plain types for strict JSON.

    file, dataset, split, affect
    clips, ids_sha256   number of scored and unlabelled clips, and the hash of their ids as data.json has it
    notes      sentences about what the numbers cannot show: records without a row, answers that name no label
    combined   as in `metrics.summary.combined`
    tasks      {task: {headline, value, signature, dialects, reader, ledger, policies, …}}: `value` is of policy strict,
               `ledger` has counts and the ids of what could not be read, `policies` is {policy: {"n": rows,
               metric: {value, signature}}}, and the rest is from `metrics.compute`

    Raises DataError where the file cannot be used, naming the row; ConfigError where the configuration has not exactly
    one dataset; and what reading the dataset raises.
    """
    name, dataset = _only_dataset(cfg)
    rows = _rows(predictions_file)
    problems = Problems()
    by_task = _rows_by_task(rows, name, dataset, predictions_file, problems)
    left_out: list[Excluded] = []
    if "target" in rows[0].cells:
        gold = {
            task: _own_targets(mine, dataset.task_definitions[task], dataset.language, predictions_file, problems)
            for task, mine in by_task.items()
        }
        problems.check()
        expected = None
    else:
        parts = [part for part in loading.read(cfg, [split]) if part.dataset == name]
        expected = sum(part.expected for part in parts)
        records = [record for part in parts for record in part.records]
        left_out = [item for part in parts for item in part.excluded]
        gold = {task: {record.id: _Gold.of(record, task) for record in records} for task in by_task}

    notes = [
        f"task '{task}' of {name} has no row in {predictions_file.name}: it is not scored"
        for task in dataset.tasks
        if task not in by_task
    ]
    num_bad_rows = sum(item.count for item in left_out if item.bad_row)
    if num_bad_rows:
        notes.append(
            f"{num_bad_rows:,} of {expected:,} rows of {name}, split '{split}', are wrong and left out, with the"
            f" predictions of their records (datasets.{name}.on_bad_rows=exclude)"
        )
    made: list[Prediction] = []
    for task_name, mine in by_task.items():
        task = dataset.task_definitions[task_name]
        prefix = f"{name}/{split}/"
        ignored = {item.id for item in left_out}
        matched = _matched(mine, gold[task_name], prefix, predictions_file, expected is not None, ignored, problems)
        made += _predictions(matched, gold[task_name], task, name, split, dataset, predictions_file, problems)
        problems.check()
        missing = len(gold[task_name]) - len(matched)
        if missing:
            notes.append(
                f"{missing:,} of {len(gold[task_name]):,} records of {name}, split '{split}', have no row for task"
                f" '{task_name}' in {predictions_file.name}: they count as unreadable (outcome `error`)"
            )
        notes += _unread(made, matched, task)
    # A file with gold labels may have ids without dataset and split, which are the same clips.
    ids = {f"{name}/{split}/{p.id.removeprefix(f'{name}/{split}/')}" for p in made}
    reader = cfg.evaluation.reader.value
    tasks = {
        task_name: _result(
            [p for p in made if p.task == task_name],
            dataset.task_definitions[task_name],
            reader,
            expected,
            num_bad_rows,
        )
        for task_name in by_task
    }
    return {
        "file": str(predictions_file),
        "dataset": name,
        "split": split,
        "clips": len(ids),
        "ids_sha256": ids_sha256(ids),
        "affect": __version__,
        "notes": notes,
        "combined": combined(made, {name: dataset}, reader),
        "tasks": tasks,
    }


@dataclass(frozen=True, slots=True)
class _Gold:
    target: Value | None
    group: str
    language: str | None
    """None is the dataset's."""

    @classmethod
    def of(cls, record: Record, task: str) -> "_Gold":
        return cls(record.labels.get(task), record.group, record.language)


def _only_dataset(cfg: Config) -> tuple[str, DatasetConfig]:
    if len(cfg.datasets) != 1:
        raise ConfigError(
            f"dataset={'+'.join(cfg.datasets) or 'none'} is {len(cfg.datasets)} datasets, but a file has the"
            " predictions of one: name it, dataset=NAME, and score each file by itself"
        )
    return next(iter(cfg.datasets.items()))


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise DataError(f"{path} does not exist: name the table of predictions, predictions=FILE")
    problems = Problems()
    rows = read_table(path, (), problems, lists=("prediction", "target"))
    problems.check()
    columns = list(rows[0].cells)
    lacking = [f"'{name}'{did_you_mean(name, columns)}" for name in ("id", "prediction") if name not in columns]
    if lacking:
        raise DataError(
            f"{path} has no column {' and no '.join(lacking)}; it has: {', '.join(columns)}. Remedy: rename the columns"
            " to id, prediction and, where the file has the gold labels, target"
        )
    return rows


def _rows_by_task(
    rows: Sequence[Row], name: str, dataset: DatasetConfig, path: Path, problems: Problems
) -> dict[str, list[Row]]:
    if "task" not in rows[0].cells:
        if len(dataset.tasks) != 1:
            raise DataError(
                f"{path} has no column 'task', and {len(dataset.tasks)} tasks are chosen ({', '.join(dataset.tasks)}):"
                f" add the column, or name the task, datasets.{name}.tasks=[{dataset.tasks[0]}]"
            )
        return {dataset.tasks[0]: list(rows)}
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        task = row.cells["task"].strip()
        if task in dataset.tasks:
            by_task.setdefault(task, []).append(row)
        else:
            problems.add(
                row.source,
                f"the task '{task}' is not one of {', '.join(dataset.tasks)}{did_you_mean(task, dataset.tasks)}:"
                f" correct it, or choose it in datasets.{name}.tasks",
            )
    problems.check()
    return by_task


def _own_targets(rows: Sequence[Row], task: Task, language: str, path: Path, problems: Problems) -> dict[str, _Gold]:
    """The gold labels of the file by id. A task that declares no labels gets those of the file."""
    cells = [(row, row.cells["id"].strip(), row.cells["target"].strip()) for row in rows]
    for row, _, target in cells:
        known = (*task.labels, *([task.word_for_none(language), "none"] if task.kind is Kind.multi_label else []))
        if task.kind is not Kind.intensity and labels.is_missing(target) and target not in known:
            problems.add(
                row.source,
                f"the target '{target}' is what pandas and spreadsheets write for an empty cell:"
                f" {labels.without_label(target, task)}",
            )
    problems.check()
    if task.kind is Kind.classification and not task.labels:
        task.labels = labels.closed_set({target for _, _, target in cells if target})
        found = [f"{path}: with the labels in its column 'target' {problem}" for problem in task_problems(task)]
        if not task.labels:
            found = [f"{path}: task '{task.name}' declares no labels and no row has one in column 'target': fill it in"]
        if found:
            raise DataError("\n".join(found))
    gold = {}
    for row, identifier, target in cells:
        value: Value | None = None
        if target and task.kind is Kind.intensity:
            value = labels.number(target)
            if value is None or not math.isfinite(value):
                problems.add(row.source, f"the target '{target}' is not a number: correct it, or leave the cell empty")
        elif target and task.kind is Kind.multi_label:
            value = _several(target, task, language)
            if value is None:
                value = parsing.exact(target, task, language).value
            if value is None:
                problems.add(
                    row.source,
                    f"the target '{target}' is not a list of {', '.join(task.labels)}: part the labels by commas, or"
                    f" write {task.word_for_none(language)}",
                )
        elif target:
            value = labels.in_spelling_of(target, task.labels)
            if value is None:
                problems.add(
                    row.source,
                    f"the target '{target}' is not one of {', '.join(task.labels)}{did_you_mean(target, task.labels)}:"
                    " correct it, or leave the cell empty",
                )
        gold[identifier] = _Gold(value, identifier, None)
    return gold


def _matched(
    rows: Sequence[Row],
    gold: Mapping[str, _Gold],
    prefix: str,
    path: Path,
    from_dataset: bool,
    ignored: Collection[str],
    problems: Problems,
) -> dict[str, Row]:
    """The rows by the id of their record, without those of `ignored` records. Raises DataError for ids that are no
    record's, and for those given twice."""
    short = {identifier.removeprefix(prefix): identifier for identifier in gold}
    found: dict[str, Row] = {}
    unknown = []
    for row in rows:
        given = row.cells["id"].strip()
        identifier = given if given in gold else short.get(given)
        if identifier is None and {given, f"{prefix}{given}"} & set(ignored):
            continue
        if identifier is None:
            unknown.append((row, given))
        elif identifier in found:
            problems.add(
                row.source, f"has the id '{given}' of {found[identifier].source}: keep one prediction for each record"
            )
        else:
            found[identifier] = row
    if unknown:
        assert from_dataset, "targets of the file are by its own ids"
        row, given = unknown[0]
        raise DataError(
            f"{path.name}: {len(unknown):,} of {len(rows):,} ids are no record's of {prefix.rstrip('/')}, the first in"
            f" row {row.number}: '{given}'{did_you_mean(given, [*short, *gold])}: ids look like '{next(iter(gold))}' or"
            f" '{next(iter(short))}'; correct them, or choose their split with evaluation.split"
        )
    problems.check()
    return found


def _predictions(
    rows: Mapping[str, Row],
    gold: Mapping[str, _Gold],
    task: Task,
    dataset: str,
    split: str,
    config: DatasetConfig,
    path: Path,
    problems: Problems,
) -> list[Prediction]:
    """One prediction for every record of `gold`; those without a row are errors."""
    made = []
    for identifier, wanted in gold.items():
        answer, exact, lenient, error = None, None, None, None
        if identifier not in rows:
            outcome, error = "error", f"no row in {path.name}"
        else:
            row = rows[identifier]
            answer = row.cells["prediction"]
            number = labels.number(answer) if task.kind is Kind.intensity else None
            label: Value | None = None
            if task.kind is Kind.classification and labels.number(answer) is not None:
                label = labels.in_spelling_of(answer.strip(), task.labels)  # 1.0 for 1, as pandas writes it
            elif task.kind is Kind.multi_label:
                label = _several(answer, task, wanted.language or config.language)
            if number is not None and not math.isfinite(number):
                problems.add(
                    row.source,
                    f"the prediction '{answer.strip()}' is not a finite number: leave the cell empty where there is no"
                    " answer, which then counts as unreadable",
                )
                continue
            if number is not None:
                # A number as programs write it, which may have an exponent; the readers are for prose, where 1e3 is a
                # word.
                assert task.low is not None and task.high is not None
                exact, lenient = number, number
                outcome = "valid" if task.low <= number <= task.high else "out_of_range"
            elif label is not None:
                exact, lenient, outcome = label, label, "valid"
            else:
                language = wanted.language or config.language
                exact = parsing.exact(answer, task, language).value
                reading = parsing.lenient(answer, task, language)
                lenient, outcome, error = reading.value, reading.outcome, reading.reason
        made.append(
            Prediction(
                id=identifier,
                dataset=dataset,
                split=split,
                task=task.name,
                group=wanted.group,
                target=wanted.target,
                answer=answer,
                exact=exact,
                lenient=lenient,
                outcome=outcome,
                readout=READOUT,
                error=error,
            )
        )
    return made


def _several(cell: str, task: Task, language: str) -> tuple[str, ...] | None:
    """The labels of a cell that is written as annotations are, joy|fear, ["joy"] or []; None where it is not."""
    named = labels.several(cell, task, language)
    spelled = [labels.in_spelling_of(label, task.labels) for label in named or ()]
    return None if named is None or None in spelled else tuple(sorted(map(str, spelled)))


def _unread(made: Sequence[Prediction], rows: Mapping[str, Row], task: Task) -> list[str]:
    """A sentence about answers in which no label or number was found, since a slip in a label's spelling looks like
    a model that does not answer."""
    silent = [p for p in made if p.task == task.name and p.outcome == "no_label"]
    if not silent:
        return []
    first = silent[0]
    text = (first.answer or "").strip()
    if task.kind is Kind.intensity:
        what = "have no number that can be read"
    else:
        what = f"name no label of task '{task.name}' ({', '.join(task.labels)})"
    hint = did_you_mean(text, task.labels)
    reasons = Counter(p.error for p in silent if p.error is not None)
    return [
        f"{len(silent):,} predictions {what}, the first in {rows[first.id].source}: '{text}'{hint}: they count as"
        " unreadable",
        *(f"{count:,} of them have no answer: {reason}" for reason, count in reasons.items()),
    ]


def _result(
    made: Sequence[Prediction], task: Task, reader: str, expected: int | None, num_bad_rows: int
) -> dict[str, Any]:
    numbers = metrics.compute(made, task, reader)
    num_rows = len(made) if expected is None else expected
    used = sum(prediction.outcome != "error" for prediction in made)
    signed = signatures(numbers, expected=num_rows, used=used, version=__version__)["policies"]
    unreadable: dict[str, list[str]] = {}
    for prediction in made:
        if prediction.target is not None and prediction.lenient is None:
            unreadable.setdefault(prediction.outcome, []).append(prediction.id)
    ledger = {
        "expected": num_rows,
        "bad_rows": num_bad_rows,
        "used": used,
        "scored": numbers["n_scored"],
        "unlabelled": numbers["n_unlabelled"],
        "outcomes": numbers["outcomes"],
        "errors": numbers["errors"],
        "readable_exact": numbers["n_readable_exact"],
        "readable_lenient": numbers["n_readable_lenient"],
        "unreadable_ids": unreadable,
    }
    policies = {
        policy: {
            "n": values["n"],
            **{name: {"value": values[name], "signature": text} for name, text in signed[policy].items()},
        }
        for policy, values in numbers["policies"].items()
    }
    kept = ("fallback_answer", "majority", "majority_answer", "labels", "confusion", "f1_per_class", "n_per_class")
    return {
        "headline": task.headline,
        **policies["strict"][task.headline],
        "dialects": dialects_of(task),
        "reader": reader,
        "ledger": ledger,
        "policies": policies,
        **{key: numbers[key] for key in kept if key in numbers},
    }
