"""Cost and leak audit of descriptions, from run folders to table rows.

knowledge.json   added tokens and generation time, by split and dataset (affect.knowledge.audit)
leak.json        how often descriptions name labels, and how well they alone predict them, by task
                 (affect.knowledge.leak_audit): over all splits of a training, or the split of an evaluation
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from affect.config import ConfigError
from affect.reports.aggregate import summarised
from affect.reports.rows import Audit, Cost, Table
from affect.reports.settings import Run, describes

T = TypeVar("T")

COST = (
    "cost of descriptions: text tokens added to a prompt, their share of its text, and seconds to generate those of a"
    " clip, once"
)
AUDIT = (
    "leak audit: share of descriptions that name only the right label (gold), others too (both), only others (other),"
    " or none; in brackets, how well a bag of words predicts labels from those (accuracy, or mean absolute error); then"
    " from all descriptions, from all with label words masked, and by a constant answer"
)


def tell(tables: Sequence[Table], runs: Sequence[Run]) -> list[str]:
    """Adds cost and audit, as means over the runs of a row, to the rows whose prompts show descriptions, and their
    explanation to the notes. Gives a sentence for every file that is missing or damaged; its row is left without."""
    damaged: dict[str, None] = {}

    def of_all(runs_of_row: Sequence[Run], read: Callable[[Run, str], T], task: str) -> list[T]:
        values = []
        for run in runs_of_row:
            try:
                values.append(read(run, task))
            except ConfigError as error:
                damaged[str(error)] = None
        return values if len(values) == len(runs_of_row) else []

    for table in tables:
        for row in table.rows:
            runs_of_row = [runs[number - 1] for number in row.runs]
            if not describes(runs_of_row[0].summary.config):
                continue
            if costs := of_all(runs_of_row, _cost, table.task):
                row.cost = Cost(**{key: _mean([getattr(cost, key) for cost in costs]) for key in COST_KEYS})
            row.audits = [_mean_audit(kinds) for kinds in zip(*of_all(runs_of_row, _audits, table.task), strict=True)]
        if any(row.cost is not None for row in table.rows):
            table.notes.append(COST)
        if any(row.audits for row in table.rows):
            table.notes.append(AUDIT)
    return list(damaged)


COST_KEYS = ("tokens_per_prompt", "share_of_text_tokens", "seconds_per_clip")

NAMED = ("gold", "both", "other", "none")

MEASURES = ("uar", "macro_f1", "mae")
"""Predictions are reported in the first of these that a task has."""


def _cost(run: Run, task: str) -> Cost:
    split, dataset = run.summary.config["evaluation"]["split"], task.split(".")[0]
    return _out_of(
        run, "knowledge.json", lambda content: Cost(**{k: content["cost"][split][dataset][k] for k in COST_KEYS})
    )


def _audits(run: Run, task: str) -> list[Audit]:
    def read(content: Any) -> list[Audit]:
        clips, baseline = content[task]["clips"], content[task]["baseline"]
        return [_audit(kind, results, clips, baseline) for kind, results in content[task]["descriptions"].items()]

    return _out_of(run, "leak.json", read)


def _audit(kind: str, results: dict[str, Any], clips: int, baseline: dict[str, Any] | None) -> Audit:
    named = {which: results["named"][which] for which in NAMED}
    if baseline is None:  # all clips are of one group, so nothing is predicted
        nothing: dict[str, Any] = {"right": dict.fromkeys(NAMED), "predicted": None, "masked": None, "baseline": None}
        return Audit(of=kind, clips=(clips, clips), named=named, measure="uar", **nothing)
    measure = next(name for name in MEASURES if name in baseline)
    right = "mae" if measure == "mae" else "accuracy"
    return Audit(
        of=kind,
        clips=(clips, clips),
        named=named,
        right={which: results["by_named"][which][right] for which in NAMED},
        measure=measure,
        predicted=results["predicted"][measure],
        masked=results["masked"][measure],
        baseline=baseline[measure],
    )


def _mean_audit(audits: Sequence[Audit]) -> Audit:
    ends = [end for audit in audits for end in audit.clips]
    return Audit(
        of=audits[0].of,
        clips=(min(ends), max(ends)),
        named={which: _mean([audit.named[which] for audit in audits]) for which in NAMED},
        right={which: _mean([audit.right[which] for audit in audits]) for which in NAMED},
        measure=audits[0].measure,
        predicted=_mean([audit.predicted for audit in audits]),
        masked=_mean([audit.masked for audit in audits]),
        baseline=_mean([audit.baseline for audit in audits]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    return summarised(values).mean


def _out_of(run: Run, name: str, read: Callable[[Any], T]) -> T:
    """`read` of the content of a JSON file of the run folder. Raises ConfigError where the file is missing or
    damaged."""
    path = run.folder / name
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        reason = error.strerror or str(error)
    except KeyError as error:
        reason = f"it lacks {error}"
    except (AttributeError, RecursionError, StopIteration, TypeError, ValueError) as error:
        reason = str(error) or "its structure is not that of a run"
    raise ConfigError(
        f"{path} cannot be used ({reason}), so its row has no cost and audit of descriptions: restore the file, or run"
        " again"
    )
