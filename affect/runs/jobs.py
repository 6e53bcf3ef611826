"""State and results of the jobs of a multirun, and their table."""

import csv
import io
import json
import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from affect.config import ConfigError, NothingAnswered, WriteError
from affect.config.hydra_errors import REFUSALS
from affect.config.roles import NEUTRAL, is_one_of
from affect.data.files import write_atomic, write_json
from affect.data.tables import for_spreadsheets
from affect.runs import sweep_file
from affect.runs.lifecycle import is_there, state
from affect.runs.sweep_file import Entry
from affect.runs.sweep_points import distinct


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    number: int
    state: str
    """finished, failed, refused (configuration or data), stopped, killed, running, not begun."""
    words: list[str]
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By task, as `meld.emotion`: the headline's `metric` and its `value`, None where that is undefined."""
    split: str | None = None
    """Split of `metrics`."""
    validation: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Likewise, of the validation by which a training chose its checkpoint."""
    selection: float | None = None
    """The validation metrics in one number; higher is better."""
    seconds: float | None = None
    folder: str | None = None
    """Inside the multirun's."""
    error: str | None = None
    """Its first line."""
    reused: str | None = None
    """The run folder elsewhere whose numbers these are."""
    attempts: int = 0
    """How often it was begun."""


def jobs(folder: Path) -> list[Job]:
    """The jobs of the multirun in `folder` by number."""
    all_jobs = []
    for number, entry in enumerate(sweep_file.entries(folder)):
        try:
            all_jobs.append(_job(number, entry, folder))
        except (ConfigError, LookupError, TypeError, AttributeError, ValueError) as error:
            # One damaged folder must not end the other jobs, each of which has the table written.
            why = str(error)
            if not isinstance(error, ConfigError):
                why = f"a file of {entry.folder} is damaged ({type(error).__name__}: {why}): delete the folder"
            all_jobs.append(Job(number=number, state="failed", words=entry.words, folder=entry.folder, error=why))
    return all_jobs


def _about_choosing(all_jobs: Sequence[Job], folder: Path) -> list[str]:
    """Which of the numbers a setting may be chosen by; nothing where only seeds differ."""
    words = distinct([job.words for job in all_jobs])
    keys = dict.fromkeys(word.lstrip("+~").split("=", 1)[0] for own in words for word in own)
    keys = ", ".join(key for key in keys if key not in ("seed", "sweep", "launcher") and not is_one_of(key, NEUTRAL))
    splits = " and ".join(sorted({job.split for job in all_jobs if job.split is not None}))
    if len(all_jobs) < 2 or not keys or not splits:
        return []
    if splits == "val" or any(job.validation for job in all_jobs):
        return [f"Points differ in {keys}. For a choice by validation alone: affect sweep best {folder}"]
    return [
        f"Points differ in {keys}, and all numbers are of the {splits} split: who chooses a point by them chooses on"
        " the test data. For numbers to choose by give evaluation.split=val."
    ]


def _job(number: int, entry: Entry, sweep: Path) -> Job:
    folder = sweep / entry.folder if entry.folder is not None else None
    if entry.refused is not None:
        error = entry.refused.splitlines()[0]
        return Job(number=number, state="refused", words=entry.words, folder=entry.folder, error=error)
    begun = folder is not None and any((folder / name).is_file() for name in ("job.json", "status.json", "config.yaml"))
    if folder is None or not begun:
        return Job(number=number, state="not begun", words=entry.words)
    tried = attempts(folder)
    if (folder / "status.json").is_file():
        status = read_note(folder / "status.json")
        now = state(status)
    else:
        status = {}
        # A job that has not begun its run. On another machine its process is assumed to exist.
        alive = tried and (tried[-1]["host"] != socket.gethostname() or is_there(tried[-1]["pid"]))
        now = "running" if alive else "killed"
    error = None
    if now == "failed":
        error = (status["error"].splitlines() or [""])[0]
        if error.split(":", 1)[0] in _refusal_names():
            now = "refused"
    seconds = None
    if "ended" in status and "started" in status:
        # The run's own beginning is later than the job's: it comes after annotations were read and libraries imported.
        # Of a run that was stopped, and continued by another process, it is the time of the latter.
        same = tried and tried[-1]["pid"] == status["pid"]
        began = (tried[-1] if same else status)["started"]
        seconds = (datetime.fromisoformat(status["ended"]) - datetime.fromisoformat(began)).total_seconds()
    results: dict[str, Any] = {}
    if now == "finished" and (folder / "metrics.json").is_file():
        results = read_note(folder / "metrics.json")
    validation = results.get("validation") or {}
    return Job(
        number=number,
        state=now,
        words=entry.words,
        metrics=_headlines(results),
        split=results.get("split"),
        validation=_headlines(validation),
        selection=validation.get("selection"),
        seconds=seconds,
        folder=entry.folder,
        error=error,
        reused=os.path.realpath(folder) if folder.is_symlink() else None,
        attempts=len(tried),
    )


def attempts(folder: Path) -> list[dict[str, Any]]:
    """How often the job of a run folder was begun: for each time when it started, process and machine, and unless it
    was killed its `state` and when it `ended`."""
    if not (folder / "job.json").is_file():
        return []
    note = read_note(folder / "job.json")
    return note.get("attempts", [note])  # as older versions wrote it


def _headlines(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tasks = results.get("tasks", {}).items()
    return {task: {"metric": numbers["headline"], "value": numbers["value"]} for task, numbers in tasks}


def read_note(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): restore the file, or delete {path.parent}") from error


def _refusal_names() -> set[str]:
    """Names of the exceptions for unusable configuration or data."""
    kinds = [kind for kind in REFUSALS if kind not in (WriteError, NothingAnswered)]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__ for kind in kinds}


LAST_COLUMNS = ("seconds", "attempts", "folder", "reused", "error")


def write_table(all_jobs: Sequence[Job], folder: Path) -> None:
    """Writes jobs.json and jobs.csv. In the latter `words` are quoted for a shell, and every headline metric of a task
    has a column, those of the validation first, e.g. `val meld.emotion weighted_f1` and `test meld.emotion
    weighted_f1`."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = _metric_columns(all_jobs)
    out = io.StringIO()
    writer = csv.writer(out)
    first = ["number", "state", "words", "val selection"]
    writer.writerow([*first, *(" ".join(column) for column in columns), *LAST_COLUMNS])
    for job in all_jobs:
        first = [job.number, job.state, shlex.join(job.words)]
        numbers = [job.selection, *(_value(job, *column) for column in columns)]
        last = [getattr(job, name) for name in LAST_COLUMNS]
        writer.writerow(map(for_spreadsheets, [*first, *numbers, *last]))
    write_json(folder / "jobs.json", [asdict(job) for job in all_jobs])
    write_atomic(folder / "jobs.csv", out.getvalue())


def _metric_columns(all_jobs: Sequence[Job]) -> list[tuple[str, str, str]]:
    """(split, task, metric) of all jobs, the validation first: a point may have a task, or a headline, that others have
    not."""
    validation = [("val", task, numbers["metric"]) for job in all_jobs for task, numbers in job.validation.items()]
    results = [
        (job.split or "test", task, numbers["metric"]) for job in all_jobs for task, numbers in job.metrics.items()
    ]
    return list(dict.fromkeys([*validation, *sorted(results, key=lambda column: column[0] != "val")]))


def _value(job: Job, split: str, task: str, metric: str) -> float | str | None:
    numbers = (
        job.metrics if split == (job.split or "test") and job.metrics else job.validation if split == "val" else {}
    )
    if task not in numbers or numbers[task]["metric"] != metric:
        return None
    value = numbers[task]["value"]
    return "undefined" if value is None else value


WIDEST_WORD = 32
"""Columns that a single word is given in a table where it would be broken else."""


def longest_word(words_of_jobs: Sequence[Sequence[str]]) -> int:
    """Columns in which none of the words of some jobs is broken, as far as WIDEST_WORD allows: modalities=t at the end
    of a line and a at the beginning of the next read as another setting."""
    return min(WIDEST_WORD, max((len(word) for words in words_of_jobs for word in words), default=1))


def print_table(all_jobs: Sequence[Job], folder: Path) -> None:
    """Prints the table. Of every job's words it shows those that not all jobs have."""
    from rich.table import Table
    from rich.text import Text

    from affect.data.progress import terminal

    columns = _metric_columns(all_jobs)
    table = Table(title="Jobs")
    words_of_jobs = distinct([job.words for job in all_jobs])
    errors = ["error"] if any(job.error for job in all_jobs) else []
    for heading in ("#", "state", "words", *(" ".join(column) for column in columns), "seconds", *errors):
        right = heading in ("#", "seconds") or " " in heading
        least = longest_word(words_of_jobs) if heading == "words" else None
        table.add_column(heading, justify="right" if right else "left", overflow="fold", min_width=least)
    for job, own_words in zip(all_jobs, words_of_jobs, strict=True):
        numbers = [_value(job, *column) for column in columns]
        cells = [
            str(job.number),
            job.state,
            " ".join(own_words),
            *("" if n is None else n if isinstance(n, str) else f"{n:.4f}" for n in numbers),
            "" if job.seconds is None else f"{job.seconds:.0f}",
            *([job.error or ""] if errors else []),
        ]
        # Text, since rich takes [a,b] of a list for a style.
        table.add_row(*(Text(cell) for cell in cells))
    console = terminal()
    console.print(table)
    taken_over = [f"#{job.number} was not run: its numbers are those of {job.reused}" for job in all_jobs if job.reused]
    for line in (*taken_over, *_about_choosing(all_jobs, folder), f"{folder / 'jobs.csv'}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
