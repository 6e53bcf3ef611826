"""What a run says of itself: configuration, environment, end of the log, training curves, exclusions, ledger.

What cannot be read is a sentence in `problems` of its run, and never stops the page.
"""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from affect.config import ConfigError
from affect.config.roles import NEUTRAL, is_one_of, leaves
from affect.data.tables import from_spreadsheets
from affect.reports.settings import Run, idle, text
from affect.runs import ledger

LOG_LINES = 200
"""Last lines of a log that are shown."""

LONGEST_LINE = 2_000
"""Letters of a line of the log that are shown."""

MOST_EXCLUSIONS = 1_000
"""Exclusions of a run that are listed; the others are counted."""

UNKNOWN = {"known": False, "rows": [], "more": 0}
"""Exclusions of a run that has not finished, or whose file cannot be read."""

MOST_POINTS = 300
"""Points of a training curve; of a longer one every second, third, … is taken, and the last."""


def configurations(runs: Sequence[Run]) -> dict[str, Any]:
    """The value of the block `configurations`: the `first` run's configuration by key, and for every run, by number,
    what differs from it (null: the key is absent), and the keys that have no effect in it. `neutral` are the keys that
    change no number."""
    flat = [{key: text(value) for key, value in leaves(run.summary.config)} for run in runs]
    first = flat[0] if flat else {}
    keys = dict.fromkeys(key for each in flat for key in each)
    return {
        "first": first,
        "neutral": [key for key in keys if is_one_of(key, NEUTRAL)],
        "runs": {
            number: {
                "differs": {key: each.get(key) for key in keys if each.get(key) != first.get(key)},
                "idle": _idle(run, list(each)),
            }
            for number, (run, each) in enumerate(zip(runs, flat, strict=True), 1)
        },
    }


def _idle(run: Run, keys: Sequence[str]) -> list[str]:
    without_effect = idle(run)
    return [key for key in keys if without_effect(key)]


def about(run: Run) -> dict[str, Any]:
    """The value of the block `run/N`."""
    folder, problems = run.folder, list[str]()
    environment = _json(folder / "environment.json", problems)
    data = _json(folder / "data.json", problems) if run.counts else {}
    return {
        "status": run.summary.status,
        "environment": {key: text(value) for key, value in leaves(environment) if key != "resumed"},
        "resumed": [str(each.get("time")) for each in environment.get("resumed", [])],
        "parts": data.get("parts", []),
        "log": _log(folder / "log" / "run.log", problems),
        "curves": _curves(folder / "log" / "metrics.csv", problems),
        "exclusions": _exclusions(folder / "exclusions.csv", problems) if run.counts else UNKNOWN,
        "clips": dict(run.clips),
        "problems": problems,
    }


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path} cannot be read ({_why(error)}): restore the file, or run again")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path} is no list of keys and values: restore the file, or run again")
        return {}
    return value


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _log(path: Path, problems: list[str]) -> dict[str, Any]:
    """The last lines, and how many there are before them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        problems.append(f"{path} cannot be read ({_why(error)}): there is no log to show")
        return {"lines": [], "before": 0}
    shown = [
        line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}… ({len(line):,} letters)"
        for line in lines[-LOG_LINES:]
    ]
    return {"lines": shown, "before": max(0, len(lines) - LOG_LINES)}


def _curves(path: Path, problems: list[str]) -> dict[str, dict[str, Any]]:
    """By name, what was logged during training: `steps`, `values` and the number of `points` that they are taken
    from. Nothing where the run has trained nothing."""
    if not path.is_file():
        return {}
    curves: dict[str, tuple[list[int], list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name, cell in row.items():
                    if cell and name not in ("step", "epoch"):
                        steps, values = curves.setdefault(name, ([], []))
                        steps.append(int(row["step"]))
                        values.append(float(cell))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        problems.append(f"{path} cannot be read ({_why(error)}): there are no curves to show")
        return {}
    return {
        name: {"points": len(steps), "steps": _thinned(steps), "values": [_finite(value) for value in _thinned(values)]}
        for name, (steps, values) in curves.items()
    }


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _thinned(points: list[Any]) -> list[Any]:
    """
    >>> _thinned(list(range(5))), len(_thinned(list(range(10_000)))), _thinned(list(range(10_000)))[-1]
    ([0, 1, 2, 3, 4], 296, 9999)
    """
    stride = math.ceil(len(points) / MOST_POINTS)
    if stride <= 1:
        return points
    return points[::stride] + ([] if (len(points) - 1) % stride == 0 else points[-1:])


def _exclusions(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = [
                {key: from_spreadsheets(cell or "") for key, cell in row.items() if key} for row in csv.DictReader(file)
            ]
    except (OSError, csv.Error) as error:
        problems.append(f"{path} cannot be read ({_why(error)}): it listed what was left out")
        return UNKNOWN
    return {"known": True, "rows": rows[:MOST_EXCLUSIONS], "more": max(0, len(rows) - MOST_EXCLUSIONS)}


def ledgers(runs: Sequence[Run]) -> dict[str, Any]:
    """The value of the block `ledger`: by hash of the ids, the evaluations of these clips of a test split in the order
    in which they were made, as the ledgers of these runs have them; and `problems`."""
    problems: dict[str, None] = {}
    wanted = {clips for run in runs for clips in run.clips.values()}
    result: dict[str, list[dict[str, Any]]] = {}
    for path in dict.fromkeys(_ledgers_of(runs)):
        try:
            lines, damaged = ledger.read(path)
        except ConfigError as error:
            lines, damaged = [], [str(error)]
        problems.update(dict.fromkeys(damaged))
        for line in lines:
            if line.ids_sha256 in wanted:
                result.setdefault(line.ids_sha256, []).append(asdict(line) | {"ledger": str(path)})
    return {"evaluations": result, "problems": list(problems)}


def _ledgers_of(runs: Sequence[Run]) -> Iterator[Path]:
    @cache
    def of(parent: Path, output_root: str) -> Path | None:
        return ledger.of_run(parent / "run", output_root)

    for run in runs:
        if run.counts and run.summary.metrics["split"] == ledger.SPLIT:
            path = of(run.folder.parent, run.summary.config["output_root"])
            if path is not None:
                yield path
