"""Running the jobs of a multirun."""

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from affect.config import ConfigError
from affect.config.hydra_errors import REFUSALS, refusal
from affect.data.files import write_json
from affect.runs import interrupts
from affect.runs.interrupts import Interrupted
from affect.runs.jobs import jobs, print_table, read_note, write_table


@dataclass(slots=True)
class Sweep:
    """A multirun that is under way."""

    folder: Path
    points: list[list[str]]
    """Empty where a sweeper chooses them as it goes."""
    taken: dict[Path, int] = field(default_factory=dict)
    """Run folders of the jobs that were begun, with their numbers."""
    failed: list[int] = field(default_factory=list)


class JobFailed(Exception):
    """Raised to the launcher in place of a job's own exception. The launcher keeps it until the last job has ended, and
    the original would keep the model and everything else that its stack trace reaches."""


def launch(sweep: Sweep, start: Callable[[], None]) -> None:
    """Runs the jobs by `start`, Hydra's main; prints and writes their table whether it returns or not.

    Raises SystemExit where a job did not finish, and where the user stopped them.
    """
    stopped = None
    try:
        with _checked_once(), contextlib.suppress(JobFailed):  # which has been said when it happened
            start()
    except KeyboardInterrupt as interrupted:
        stopped = interrupted.signum if isinstance(interrupted, Interrupted) else signal.SIGINT
    finally:
        all_jobs = jobs(sweep.folder, sweep.points)
        if any(job.state != "not begun" for job in all_jobs):
            write_table(all_jobs, sweep.folder)
            print_table(all_jobs, sweep.folder)
    if stopped is not None:
        print("Stopped; the jobs that were not begun are in the table.", file=sys.stderr)
        sys.exit(128 + stopped)  # what a shell expects of a program that a signal ended
    unfinished = {job.number for job in all_jobs if job.state not in ("finished", "not begun")} | {*sweep.failed}
    if unfinished:
        sys.exit(f"Not finished, for the reason above: {', '.join(f'#{number}' for number in sorted(unfinished))}")


@contextlib.contextmanager
def _checked_once() -> Iterator[None]:
    """Keeps Hydra's sweeper from composing every point before the first job, a third of a second each: sweep_points has
    checked them already."""
    theirs = BasicSweeper.validate_batch_is_legal
    BasicSweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        BasicSweeper.validate_batch_is_legal = theirs  # type: ignore[method-assign]


def run_job(
    sweep: Sweep,
    folder: Path,
    number: int,
    words: list[str],
    do: Callable[[], None],
    given: Sequence[str],
    claim: Callable[[], bool] = lambda: False,
) -> None:
    """Runs one job in its run folder, and keeps the table and status.json up to date however it ends.

    `do` may raise anything. Exceptions are printed and raised as JobFailed; others (Ctrl-C) are passed on and end the
    multirun. `claim` returns whether the job is done already, and raises ConfigError where the folder belongs to
    another run, which stays as it is.
    """
    process = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "pid": os.getpid()}
    try:
        if sweep.taken.setdefault(folder, number) != number:
            raise ConfigError(
                f"{folder} is the run folder of #{sweep.taken[folder]} already: let hydra.sweep.subdir tell jobs apart"
            )
        done = claim()
    except ConfigError as error:
        print(f"#{number}: {refusal(error, given)}", file=sys.stderr, flush=True)
        sweep.failed.append(number)
        raise JobFailed(f"#{number}: {' '.join(words)}") from None
    note = {"number": number, "words": words, **process, "host": socket.gethostname()}
    if done:
        print(f"#{number}: {folder} is finished, with this configuration and code: its numbers are kept", flush=True)
        before = read_note(folder / "job.json") if (folder / "job.json").is_file() else {}
        write_json(folder / "job.json", note | before | {"number": number, "words": words})
        write_table(jobs(sweep.folder, sweep.points), sweep.folder)
        return
    write_json(folder / "job.json", note)
    (folder / "status.json").unlink(missing_ok=True)  # of an attempt that had saved nothing
    write_table(jobs(sweep.folder, sweep.points), sweep.folder)
    failed = False
    try:
        do()
        _end(folder, {"state": "finished", **process})
    except (Exception, SystemExit) as error:
        if interrupts.asked is not None:  # and a library has made something else of it
            _end(folder, {"state": "stopped", **process})
            raise Interrupted(interrupts.asked) from error
        failed = True
        refused = isinstance(error, REFUSALS)
        # Said here, since the launcher hands on only the first of all failures, and only at the end.
        message = refusal(error, given) if refused else "".join(traceback.format_exception(error))
        print(f"#{number}: {message}", file=sys.stderr, flush=True)
        _end(folder, {"state": "failed", **process, "error": f"{type(error).__name__}: {error}"})
    except BaseException:
        _end(folder, {"state": "stopped", **process})
        raise
    finally:
        _free_memory()
        write_table(jobs(sweep.folder, sweep.points), sweep.folder)
    # Out here, where the job's exception is gone: raised while that is handled, this one would refer to it.
    if failed:
        raise JobFailed(f"#{number}: {' '.join(words)}")


def _end(folder: Path, status: dict[str, Any]) -> None:
    """Writes status.json for a program that ended before its run had begun."""
    if not (folder / "status.json").is_file():
        write_json(folder / "status.json", status | {"ended": datetime.now(UTC).isoformat(timespec="seconds")})


def _free_memory() -> None:
    """Frees the memory of the previous job: a model and its optimiser refer to each other in circles."""
    gc.collect()
    # What is left is libraries and what jobs share; going through all of it again after every job took a third of a
    # second. It is still freed when nothing refers to it any more: pretrained models hold no circles.
    gc.freeze()
    torch = sys.modules.get("torch")  # a job that never came as far as importing it has nothing there
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
