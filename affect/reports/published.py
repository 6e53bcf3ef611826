"""Numbers from publications, for a block beside those of runs. They enter no mean, comparison or test.

published.yaml holds them, with their sources; its head says how it is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from affect.config import ConfigError, Kind, near
from affect.config.groups import CONF, choices
from affect.config.tasks import DIALECTS, PLAIN
from affect.evaluation.metrics import registry
from affect.evaluation.metrics.registry import Metric
from affect.reports.rows import Published, Table
from affect.reports.settings import Run

SPLIT = "test"
"""The split that publications report."""

UNITS = {"1": 0, "100": -2}
"""By the number that a source prints for 1: the power of ten that its numbers are multiplied by."""

KEYS = {"source", "dataset", "task", "dialect", "metrics", "results", "clips"}

NO_NUMBER = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one source reports of one method."""

    dataset: str
    """Name of the reader."""
    task: str
    dialect: str | None
    """None for plain metrics."""
    method: str
    inputs: str
    """Modalities, features or language model; empty where the source says nothing of them."""
    clips: int | None
    """In the test split, where the source says so."""
    numbers: Mapping[str, Decimal]
    """By metric of the dialect, in its unit here, with the digits of the source."""
    source: str

    def metric(self, name: str, kind: Kind) -> Metric:
        return registry.METRICS[kind][name] if self.dialect is None else registry.DIALECTS[self.dialect][name]

    def qualified(self, name: str) -> str:
        return name if self.dialect is None else f"{self.dialect}.{name}"


@cache
def shipped() -> tuple[Result, ...]:
    """The results of published.yaml."""
    return read((files("affect.reports") / "published.yaml").read_text(encoding="utf-8"))


def read(text: str) -> tuple[Result, ...]:
    """The results in a text that is written like published.yaml. Raises ConfigError, with all that is wrong."""
    # Every scalar stays a text: 0.570 would lose its last digit as a number.
    blocks = yaml.load(text, Loader=yaml.BaseLoader)
    results: list[Result] = []
    problems: list[str] = []
    for number, block in enumerate(blocks, 1):
        try:
            results += _results(block)
        except ConfigError as error:
            problems += [f"block {number} of the published numbers: {line}" for line in str(error).splitlines()]
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(results)


def _results(block: Any) -> Iterator[Result]:
    if not isinstance(block, dict) or not {"dataset", "task", "metrics", "results"} <= block.keys() <= KEYS:
        raise ConfigError(
            f"it has to be a mapping with dataset, task, metrics and results, and may have no key but"
            f" {', '.join(sorted(KEYS))}"
        )
    source = " ".join(block.get("source", "").split())
    if not source:
        raise ConfigError("it has no source: say where the numbers are printed")
    kind = _kind(block["dataset"], block["task"])
    dialect, metrics, clips = block.get("dialect"), block["metrics"], block.get("clips")
    _check_metrics(kind, dialect, metrics)
    if clips is not None and not (clips.isdecimal() and int(clips)):
        raise ConfigError(f"clips={clips} has to be a number of clips, or left out")
    for method, (inputs, *values) in block["results"].items():
        if len(values) != len(metrics):
            raise ConfigError(f"'{method}' has {len(values)} numbers for {len(metrics)} metrics: {', '.join(metrics)}")
        yield Result(
            dataset=block["dataset"],
            task=block["task"],
            dialect=dialect,
            method=method,
            inputs=inputs,
            clips=None if clips is None else int(clips),
            numbers={
                metric: _number(value, unit, metric, method)
                for (metric, unit), value in zip(metrics.items(), values, strict=True)
                if value != NO_NUMBER
            },
            source=source,
        )


def _kind(dataset: str, task: str) -> Kind:
    """Of the task in the YAML of the dataset."""
    datasets = choices("dataset")
    if dataset not in datasets:
        raise ConfigError(f"dataset={dataset} is not in conf/dataset{near(dataset, datasets)}")
    definitions = _definitions(dataset)
    if task not in definitions:
        raise ConfigError(f"task={task} is not one of {dataset}{near(task, definitions)}")
    return Kind(definitions[task]["kind"])


def _check_metrics(kind: Kind, dialect: str | None, metrics: Mapping[str, str]) -> None:
    fitting = [name for name, each in DIALECTS.items() if each.kind is kind]
    if dialect is not None and dialect not in fitting:
        raise ConfigError(f"dialect={dialect} is no dialect of a task of kind {kind.value}{near(dialect, fitting)}")
    names = PLAIN[kind] if dialect is None else DIALECTS[dialect].metrics
    for metric, unit in metrics.items():
        if metric not in names:
            where = f"the dialect '{dialect}'" if dialect else f"the plain metrics of kind {kind.value}"
            raise ConfigError(f"'{metric}' is not one of {where}: {', '.join(names)}")
        if unit not in UNITS:
            raise ConfigError(
                f"the unit of '{metric}' is {unit}: write the number that the source prints for 1, 1 or 100"
            )


def _number(value: str, unit: str, metric: str, method: str) -> Decimal:
    try:
        number = Decimal(value).scaleb(UNITS[unit])
    except InvalidOperation:
        number = Decimal("nan")
    # All metrics but the error are shares or correlations.
    if not number.is_finite() or (metric != "mae" and abs(number) > 1) or (metric == "mae" and number < 0):
        raise ConfigError(f"'{method}' has {metric}={value}, where 1 is printed as {unit}: no such number is possible")
    return number


def attach(tables: Sequence[Table], runs: Sequence[Run], results: Sequence[Result]) -> None:
    """Adds to every table the published results for its task. A number stands in the column of its own dialect, or else
    in one that is computed by the same formula; so accuracies with and without zero stay apart. Notes say why a table
    has no such results, or not all."""
    for table in tables:
        config = runs[table.rows[0].runs[0] - 1].summary.config
        dataset, task = table.task.split(".", 1)
        reader, definition = (config["datasets"][dataset][key] for key in ("reader", "task_definitions"))
        fitting = [result for result in results if (result.dataset, result.task) == (reader, task)]
        if not fitting:
            table.notes.append(f"{table.task}: no published numbers are known")
        elif table.about["evaluation.split"] != SPLIT:
            table.notes.append(f"{table.task}: published numbers are of the {SPLIT} split, and not shown beside others")
        elif _scale(definition[task]) != _scale(_definitions(reader)[task]):
            table.notes.append(f"{table.task}: published numbers are of other labels or another range, and not shown")
        else:
            _attach(table, fitting, Kind(definition[task]["kind"]))


def _attach(table: Table, results: Sequence[Result], kind: Kind) -> None:
    elsewhere: dict[str, None] = {}
    for result in results:
        numbers = {
            column: str(result.numbers[name])
            for column, name in ((_column(table, result, name, kind), name) for name in result.numbers)
            if column is not None
        }
        if numbers:
            table.published.append(
                Published(
                    method=result.method,
                    inputs=result.inputs,
                    dialect=result.dialect,
                    clips=result.clips,
                    numbers=numbers,
                    source=result.source,
                )
            )
        else:
            elsewhere |= dict.fromkeys(map(result.qualified, result.numbers))
    if elsewhere:
        count = len(results) - len(table.published)
        table.notes.append(
            f"{table.task}: {count} published result{'' if count == 1 else 's'} only in {', '.join(elsewhere)}, which"
            " --metrics can show"
        )


def _column(table: Table, result: Result, name: str, kind: Kind) -> str | None:
    """The column of a table for a number of a published result."""
    if result.qualified(name) in table.metrics:
        return result.qualified(name)
    return next((each for each in table.metrics if _metric(each, kind) is result.metric(name, kind)), None)


def _metric(column: str, kind: Kind) -> Metric | None:
    """The metric of a column; None for those of the other reader and of the majority answer."""
    dialect, _, name = column.rpartition(".")
    return (registry.DIALECTS.get(dialect, {}) if dialect else registry.METRICS[kind]).get(name)


def _scale(definition: Mapping[str, Any]) -> tuple[Any, ...]:
    """Labels and range of a task, without regard to the order of the labels."""
    return sorted(definition.get("labels", [])), definition.get("low"), definition.get("high")


@cache
def _definitions(dataset: str) -> Mapping[str, Any]:
    """The tasks in a dataset's YAML, by name."""
    return yaml.safe_load((CONF / "dataset" / f"{dataset}.yaml").read_text(encoding="utf-8"))["task_definitions"]
