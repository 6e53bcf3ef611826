"""Cost and leak audit of descriptions, from run folders to table rows.

knowledge.json   tokens they add and seconds they took, by split and dataset (affect.knowledge.cost)
leak.json        how often they name labels, and how well labels are predicted from them alone, by task
                 (affect.knowledge.leak_audit): of a training over all its splits, of an evaluation over its own
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
    "cost of descriptions: tokens of text they add to a prompt, their share of its text, and the seconds that making"
    " those of a clip took, once"
)
AUDIT = (
    "leak audit: share of descriptions that name words of the right label alone (gold), of others too (both), of others"
    " alone (other), of none; in brackets, how well labels are predicted from those (accuracy, or mean absolute error);"
    " then from all descriptions, from all with label words masked, and without looking, by a bag of words"
)


def tell(tables: Sequence[Table], runs: Sequence[Run]) -> list[str]:
    """Puts cost and audit into the rows whose prompts show descriptions, as means over their runs, and into the notes
    what they are. Gives a sentence for every file that is missing or damaged; its row then goes without."""
    damaged: dict[str, None] = {}

    def of_all(told: Sequence[Run], read: Callable[[Run, str], T], task: str) -> list[T]:
        found = []
        for run in told:
            try:
                found.append(read(run, task))
            except ConfigError as error:
                damaged[str(error)] = None
        return found if len(found) == len(told) else []

    for table in tables:
        for row in table.rows:
            told = [runs[number - 1] for number in row.runs]
            if not describes(told[0].summary.config):
                continue
            if costs := of_all(told, _cost, table.task):
                row.cost = Cost(**{key: _mean([getattr(cost, key) for cost in costs]) for key in COST_KEYS})
            row.audits = [_mean_audit(kinds) for kinds in zip(*of_all(told, _audits, table.task), strict=True)]
        if any(row.cost is not None for row in table.rows):
            table.notes.append(COST)
        if any(row.audits for row in table.rows):
            table.notes.append(AUDIT)
    return list(damaged)


COST_KEYS = ("tokens_per_prompt", "share_of_text_tokens", "seconds_per_clip")

NAMED = ("gold", "both", "other", "none")

MEASURES = ("uar", "macro_f1", "mae")
"""What predictions are told in: the first of these that a task has."""


def _cost(run: Run, task: str) -> Cost:
    split, dataset = run.summary.config["evaluation"]["split"], task.split(".")[0]
    return _out_of(
        run, "knowledge.json", lambda found: Cost(**{k: found["cost"][split][dataset][k] for k in COST_KEYS})
    )


def _audits(run: Run, task: str) -> list[Audit]:
    def read(found: Any) -> list[Audit]:
        clips, baseline = found[task]["clips"], found[task]["baseline"]
        return [_audit(of, told, clips, baseline) for of, told in found[task]["descriptions"].items()]

    return _out_of(run, "leak.json", read)


def _audit(of: str, told: dict[str, Any], clips: int, baseline: dict[str, Any] | None) -> Audit:
    named = {what: told["named"][what] for what in NAMED}
    if baseline is None:  # clips of a single group, from which nothing is predicted
        nothing: dict[str, Any] = {"right": dict.fromkeys(NAMED), "predicted": None, "masked": None, "baseline": None}
        return Audit(of=of, clips=(clips, clips), named=named, measure="uar", **nothing)
    measure = next(name for name in MEASURES if name in baseline)
    right = "mae" if measure == "mae" else "accuracy"
    return Audit(
        of=of,
        clips=(clips, clips),
        named=named,
        right={what: told["by_named"][what][right] for what in NAMED},
        measure=measure,
        predicted=told["predicted"][measure],
        masked=told["masked"][measure],
        baseline=baseline[measure],
    )


def _mean_audit(audits: Sequence[Audit]) -> Audit:
    ends = [end for audit in audits for end in audit.clips]
    return Audit(
        of=audits[0].of,
        clips=(min(ends), max(ends)),
        named={what: _mean([audit.named[what] for audit in audits]) for what in NAMED},
        right={what: _mean([audit.right[what] for audit in audits]) for what in NAMED},
        measure=audits[0].measure,
        predicted=_mean([audit.predicted for audit in audits]),
        masked=_mean([audit.masked for audit in audits]),
        baseline=_mean([audit.baseline for audit in audits]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    return summarised(values).mean


def _out_of(run: Run, name: str, read: Callable[[Any], T]) -> T:
    """What `read` makes of a JSON file of the run folder. Raises ConfigError where it is not what a run writes."""
    path = run.folder / name
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        why = error.strerror or str(error)
    except KeyError as error:
        why = f"it lacks {error}"
    except (AttributeError, RecursionError, StopIteration, TypeError, ValueError) as error:
        why = str(error) or "it is not what a run writes"
    raise ConfigError(
        f"{path} cannot be used ({why}), so its row does not tell what its descriptions cost and give away: restore the"
        " file, or run again"
    )
