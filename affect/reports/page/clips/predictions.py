"""The predictions of runs as columns: one list a run and task, in the order of the run's clips.

Runs of one sweep predict the same clips with the same labels in the same order, so that order and gold values are kept
once. All of it is plain lists and numbers, as the page's JSON needs them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affect.config import Kind
from affect.data import Prediction
from affect.evaluation.parsing import OUTCOMES
from affect.reports.page.clips.texts import NONE, Texts

MAX_SCORES = 5_000_000
"""Label scores that a page holds, of all runs together. Later runs are shown without."""

MAX_BARS = 20
"""Bars of one prediction. Neighbouring values of an intensity share a bar where there are more."""

THOUSANDTHS = 1000

DIGITS = {outcome: str(place) for place, outcome in enumerate(OUTCOMES)}
"""How parsing ended, a letter a clip."""


@dataclass(slots=True, kw_only=True)
class Clips:
    """The clips that any run predicts, numbered in the order in which they first come."""

    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    """By dataset (see `dataset_key`) and id."""
    first: list[Prediction] = field(default_factory=list)
    """The first prediction for each clip, which has its dataset, split and group."""

    def number(self, dataset: str, prediction: Prediction) -> int:
        key = dataset, prediction.id
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = len(self.first)
            self.first.append(prediction)
        return number


def dataset_key(name: str, config: Mapping[str, Any]) -> str:
    """What tells a dataset of a run's configuration from another one of that name: of a manifest, its table."""
    dataset = config["datasets"][name]
    return f"{name}\0{dataset['root']}" if dataset["reader"] == "manifest" else name


@dataclass(slots=True, kw_only=True)
class TaskColumns:
    """One task, with what every run that has it predicts."""

    name: str
    kind: Kind
    low: float | None
    high: float | None
    values: list[Any] = field(default_factory=list)
    """What codes stand for: labels of a classification, sorted lists of labels of a multi-label task. An intensity has
    no codes."""
    golds: list[list[Any]] = field(default_factory=list)
    """Gold values in the order of clips; runs share them."""
    bars: list[list[str]] = field(default_factory=list)
    """What bars stand for; runs share them."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    _codes: dict[Any, int] = field(default_factory=lambda: {None: NONE})

    def numbers(self, values: Sequence[Any]) -> list[Any]:
        """`values` as numbers: codes (NONE for None), or the numbers themselves, rounded (None for None)."""
        if self.kind is Kind.intensity:
            return [None if value is None else round(float(value), 3) for value in values]
        codes = self._codes
        return [codes[value] if value in codes else self._new(value) for value in values]

    def _new(self, value: Any) -> int:
        self._codes[value] = len(self.values)
        self.values.append(list(value) if isinstance(value, tuple) else value)
        return self._codes[value]

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind.value,
            "low": self.low,
            "high": self.high,
            "values": self.values,
            "golds": self.golds,
            "bars": self.bars,
            "runs": self.runs,
        }


@dataclass(slots=True, kw_only=True)
class Columns:
    """The predictions of all runs of a page."""

    texts: Texts
    clips: Clips = field(default_factory=Clips)
    orders: list[list[int]] = field(default_factory=list)
    """Numbers of clips; runs share them."""
    tasks: dict[tuple[str, Kind], TaskColumns] = field(default_factory=dict)
    num_scores: int = 0
    without_scores: list[int] = field(default_factory=list)
    """Numbers of the runs whose scores are left out (MAX_SCORES)."""
    _orders: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, number: int, config: Mapping[str, Any], reader: str, predictions: Sequence[Prediction]) -> None:
        """Adds the predictions of run `number`. config: of the run; reader: exact or lenient, whose values count.

        Raises KeyError, ValueError, TypeError or AttributeError for predictions that are not of this configuration, and
        has then added nothing.
        """
        for name in ("id", "split", "group", "readout"):
            if {type(getattr(each, name)) for each in predictions} - {str}:
                raise TypeError(f"some {name} is no text")
        by_task: dict[tuple[str, str], list[Prediction]] = {}
        for prediction in predictions:
            by_task.setdefault((prediction.dataset, prediction.task), []).append(prediction)
        columns: list[tuple[TaskColumns, str, list[Prediction], dict[str, Any]]] = []
        for (dataset, name), those in by_task.items():
            task = self._task(dataset, config["datasets"][dataset]["task_definitions"][name], name)
            golds = task.numbers([each.target for each in those])
            column = {
                "run": number,
                "gold": _place(golds, task.golds),
                "value": task.numbers([getattr(each, reader) for each in those]),
                "outcome": "".join(DIGITS[each.outcome] for each in those),
                "readout": self.texts.number(those[0].readout),
            }
            if any(each.answer is not None for each in those):
                column["answer"] = [self.texts.number(each.answer) for each in those]
            if any(each.error is not None for each in those):
                column["error"] = [self.texts.number(each.error) for each in those]
            columns.append((task, dataset_key(dataset, config), those, column | self._scores(number, task, those)))
        for task, dataset, those, column in columns:
            task.runs.append({**column, "order": self._order(dataset, those)})

    def _task(self, dataset: str, defined: Mapping[str, Any], name: str) -> TaskColumns:
        kind = Kind(defined["kind"])
        key = f"{dataset}.{name}", kind
        if key not in self.tasks:
            bounds = {key: defined[key] if kind is Kind.intensity else None for key in ("low", "high")}
            self.tasks[key] = TaskColumns(name=key[0], kind=kind, **bounds)
            if kind is Kind.classification:
                self.tasks[key].numbers(defined["labels"])
        return self.tasks[key]

    def _order(self, dataset: str, predictions: Sequence[Prediction]) -> int:
        ids = (dataset, *(each.id for each in predictions))
        if ids not in self._orders:
            self._orders[ids] = len(self.orders)
            self.orders.append([self.clips.number(dataset, each) for each in predictions])
        return self._orders[ids]

    def _scores(self, number: int, task: TaskColumns, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """`bars` and `score` of a run, where its predictions have scores."""
        names = next((list(each.scores) for each in predictions if each.scores), [])
        if not names:
            return {}
        per_bar = math.ceil(len(names) / MAX_BARS) if task.kind is Kind.intensity else 1
        shown = [_ends(names[at : at + per_bar]) for at in range(0, len(names), per_bar)]
        self.num_scores += len(shown) * len(predictions)
        if self.num_scores > MAX_SCORES:
            self.without_scores.append(number)
            return {}
        unknown = dict.fromkeys(names, np.nan)
        rows = np.array([_values(each.scores or unknown, names) for each in predictions])
        shares = np.add.reduceat(probabilities(rows), range(0, len(names), per_bar), axis=1)
        return {"bars": _place(shown, task.bars), "score": np.rint(shares * THOUSANDTHS).astype(int).ravel().tolist()}


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax of float[clips, labels], log-likelihoods in nats. A row with a score that is not finite becomes 0."""
    known = np.isfinite(scores).all(axis=1, keepdims=True)
    safe = np.where(known, scores, 0.0)
    powers = np.exp(safe - safe.max(axis=1, keepdims=True))
    return np.where(known, powers / powers.sum(axis=1, keepdims=True), 0.0)


def _values(scores: Mapping[str, float], names: Sequence[str]) -> list[float]:
    # Those of a run have one order, which is looked at and not sought again.
    return list(scores.values()) if list(scores) == names else [scores.get(name, np.nan) for name in names]


def _ends(names: Sequence[str]) -> str:
    """What a bar over the values `names` is called.

    >>> _ends(["-3.0", "-2.8", "-2.6"]), _ends(["joy"])
    ('-3.0 to -2.6', 'joy')
    """
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _place(item: list, listed: list[list]) -> int:
    """The place of an equal list in `listed`, to which it is added where there is none."""
    if item not in listed:
        listed.append(item)
    return listed.index(item)
