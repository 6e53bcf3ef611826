"""Running the jobs of a multirun."""

import contextlib
import gc
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins

from affect.config import Config, ConfigError, NothingAnswered, WriteError
from affect.config.hydra_errors import REFUSALS, refusal
from affect.config.launch import ProcessDied
from affect.data.files import write_json
from affect.runs import interrupts, locks, sweep_file
from affect.runs.identity import configuration_sha256
from affect.runs.interrupts import Interrupted
from affect.runs.jobs import attempts, jobs, print_table, write_table
from affect.runs.lifecycle import STALE, Pruned, is_there, now
from affect.runs.run_folder import Beginning, beginning
from affect.runs.sweep_file import Entry

LOCK = "job.lock"
"""File in a job's run folder whose lock its process holds."""

TABLE_LOCK = ".table.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One start of a multirun: plain values, which a launcher may hand to other processes."""

    folder: Path
    points: list[list[str]]
    """Those that are to be run; empty where a sweeper chooses them as it goes."""
    numbers: list[int] = field(default_factory=list)
    """The jobs that were asked for, with those that were finished before."""
    attempts: dict[str, int] = field(default_factory=dict)
    """How often each job had been begun before, by its folder."""
    retries: int = 0
    """How often a job that fails is begun again."""
    all_at_once: bool = True
    """The sweeper's own points are those of `points`."""


class JobFailed(Exception):
    """Raised to the launcher in place of a job's own exception. The launcher keeps it until the last job has ended, and
    the original would keep the model and everything else that its stack trace reaches."""


def launch(sweep: Sweep, start: Callable[[], None]) -> None:
    """Runs the jobs by `start`, Hydra's main; prints and writes their table whether it returns or not.

    Raises SystemExit where a job did not finish, and where the user stopped them.
    """
    stopped = None
    try:
        with _points_of(sweep), contextlib.suppress(JobFailed):  # which has been said when it happened
            if sweep.points or not sweep.all_at_once:
                start()
    except KeyboardInterrupt as interrupted:
        stopped = interrupted.signum if isinstance(interrupted, Interrupted) else signal.SIGINT
    finally:
        all_jobs = jobs(sweep.folder)
        if any(job.state != "not begun" for job in all_jobs):
            update_table(sweep.folder, wait=True)
            print_table(all_jobs, sweep.folder)
    if stopped is not None:
        print("Stopped; the jobs that were not begun are in the table.", file=sys.stderr)
        sys.exit(128 + stopped)  # what a shell expects of a program that a signal ended
    asked = [job for job in all_jobs if not sweep.numbers or job.number in sweep.numbers]
    # A full disk may have kept a job of this process from saying that it has ended.
    elsewhere = [
        f"#{job.number}"
        for job in asked
        if job.state == "running" and attempts(sweep.folder / str(job.folder))[-1]["pid"] != os.getpid()
    ]
    if elsewhere:
        print(
            f"Run by other processes, which go on: {', '.join(elsewhere)}. The table is made again when they end.",
            file=sys.stderr,
        )
    unfinished = [
        f"#{job.number}"
        for job in asked
        if job.state not in ("finished", "pruned") and f"#{job.number}" not in elsewhere
    ]
    if unfinished:
        sys.exit(f"Not finished, for the reason above: {', '.join(unfinished)}")


@contextlib.contextmanager
def _points_of(sweep: Sweep) -> Iterator[None]:
    """Gives Hydra's sweeper the points that are to be run. It would hand all of the command line's to the launcher, and
    compose every one before the first job, a third of a second each: sweep_points has checked them already."""
    # Hydra executes the module a second time when it looks for plugins, and uses that class.
    sweeper: Any = Plugins.instance().class_name_to_class[f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"]
    legal, split = sweeper.validate_batch_is_legal, sweeper.split_arguments

    def chunks(_: Any, size: int | None) -> list[list[list[str]]]:
        size = size or len(sweep.points)
        return [sweep.points[first : first + size] for first in range(0, len(sweep.points), size)]

    sweeper.validate_batch_is_legal, sweeper.split_arguments = lambda *_: None, staticmethod(chunks)
    try:
        yield
    finally:
        sweeper.validate_batch_is_legal, sweeper.split_arguments = legal, staticmethod(split)


def run_job(
    sweep: Sweep,
    entry: Entry,
    check: Callable[[Path | None], Config],
    do: Callable[[Config, Path], None],
    given: Sequence[str],
    keeps: bool = True,
) -> None:
    """Runs one job in its run folder, in whatever process a launcher gives it, and keeps the table and status.json up
    to date however it ends. What decides about it is read from its folder, whose lock is held: a job that is finished,
    or run by another process, is left as it is, and a training that was interrupted goes on.

    check: gives the configuration, as `resume=` does where it is given the folder. It raises refusals.
    do: may raise anything. Exceptions are printed and raised as JobFailed; others (Ctrl-C) are passed on and end the
        multirun.
    keeps: whether the program makes runs, whose numbers are kept.
    """
    assert entry.folder is not None
    folder = sweep.folder / entry.folder
    finished = False
    try:
        number = sweep_file.enlist(sweep.folder, entry)
        try:
            with locks.held(folder / LOCK):
                finished = _run(sweep, entry, number, check, do, given, keeps)
        except locks.Taken:
            print(f"#{number}: {_holder(folder)}", flush=True)
            finished = True
    except (ConfigError, WriteError) as error:
        print(f"{entry.folder}: {refusal(error, given)}", file=sys.stderr, flush=True)
    finally:
        update_table(sweep.folder)
    # Out here, where the job's exception is gone: raised while that is handled, this one would refer to it.
    if not finished:
        raise JobFailed(f"{entry.folder}: {' '.join(entry.words)}")


def _holder(folder: Path) -> str:
    """Why a job whose lock is taken is not run here."""
    last = (attempts(folder) or [{"pid": "?", "host": socket.gethostname()}])[-1]
    sentence = f"{folder} is being run by process {last['pid']} on {last['host']}, which holds its lock"
    if last["host"] != socket.gethostname():
        return (
            f"{sentence}. If that machine is gone, its file server gives the lock back when its lease has run out"
            " (NFSv4: 90 s by default): start the multirun again then"
        )
    if last["pid"] != "?" and not is_there(last["pid"]):
        return (
            f"{folder} was being run by process {last['pid']}, which has ended, but another process still holds its"
            f" lock, {folder / LOCK}: one that it started, or one that begins the job just now. Start the multirun"
            " again when that has ended"
        )
    return sentence


def _run(
    sweep: Sweep,
    entry: Entry,
    number: int,
    check: Callable[[Path | None], Config],
    do: Callable[[Config, Path], None],
    given: Sequence[str],
    keeps: bool,
) -> bool:
    """Runs a job whose lock is held. Gives whether it is finished, or left to another process."""
    folder = sweep.folder / str(entry.folder)
    for retries_left in range(sweep.retries, -1, -1):
        try:
            before = attempts(folder)
            cfg = check(None)
            how, sha256 = beginning(folder, cfg) if keeps else Beginning.anew, configuration_sha256(cfg)
            if how is Beginning.resumed:
                cfg = check(folder)
        except REFUSALS as error:
            # Nothing is written into a folder that may be another run's.
            sweep_file.refuse(sweep.folder, entry, f"{type(error).__name__}: {error}")
            print(f"#{number}: {refusal(error, given)}", file=sys.stderr, flush=True)
            return False
        if how in (Beginning.done, Beginning.done_by_other_code):
            print(f"#{number}: {folder} is finished, with this configuration: its numbers are kept", flush=True)
            return True
        if how is Beginning.running:
            print(
                f"#{number}: {folder} is running, says its status.json, though its lock is free: resume= continues it,"
                " or a machine runs it whose locks are not seen here. It is left to that process; where that has"
                f" ended without a word, it counts as killed after {STALE:g} s",
                flush=True,
            )
            return True
        others = len(before) > sweep.attempts.get(str(entry.folder), 0)
        if others and retries_left == sweep.retries and before[-1].get("state") == "failed":
            print(f"#{number}: another process has run {folder} meanwhile, and it failed", file=sys.stderr, flush=True)
            return False
        _remove_half_written(folder)
        if how is Beginning.resumed:
            print(f"#{number}: {folder} goes on from its checkpoint", flush=True)
        note = {"number": number, "words": entry.words, "configuration_sha256": sha256, "attempts": before}
        outcome = _attempt(sweep, folder, note, partial(do, cfg, folder), given)
        if outcome != "failed":
            return outcome != "refused"
        if retries_left:
            print(f"#{number}: tried again, {retries_left} more times at most", file=sys.stderr, flush=True)
    return False


def _remove_half_written(folder: Path) -> None:
    """Removes what a process that was killed while it wrote has left: files that would have been renamed, such as
    `.last.ckpt-PROCESS`, as large as a checkpoint."""
    for path in (*folder.glob(".*"), *folder.glob("checkpoints/.*")):
        if re.fullmatch(r"\..+-\d+(-[0-9a-f]+)?", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _attempt(sweep: Sweep, folder: Path, note: dict[str, Any], do: Callable[[], None], given: Sequence[str]) -> str:
    """Runs a job once. Gives finished, pruned, failed, or refused where another attempt would end in the same way."""
    process = {"started": now(), "pid": os.getpid(), "host": socket.gethostname()}
    before = note["attempts"]

    def end(state: str, error: BaseException | None = None) -> None:
        ended = {**process, "state": state, "ended": now()}
        said = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
        if not (folder / "status.json").is_file():  # the program has ended before its run had begun
            write_json(folder / "status.json", ended | said)
        write_json(folder / "job.json", note | {"attempts": [*before, ended]})

    write_json(folder / "job.json", note | {"attempts": [*before, process]})
    (folder / "status.json").unlink(missing_ok=True)  # of the attempt before
    update_table(sweep.folder)
    try:
        do()
        end("finished")
        return "finished"
    except Pruned as pruned:
        print(f"#{note['number']}: {pruned}", flush=True)
        end("pruned")
        return "pruned"
    except (Exception, SystemExit) as error:
        if interrupts.asked is not None:  # and a library has made something else of it
            end("stopped")
            raise Interrupted(interrupts.asked) from error
        refused = isinstance(error, REFUSALS)
        # Said here, since the launcher hands on only the first of all failures, and only at the end.
        message = refusal(error, given) if refused else "".join(traceback.format_exception(error))
        print(f"#{note['number']}: {message}", file=sys.stderr, flush=True)
        with contextlib.suppress(WriteError):  # a full disk, which is what was said
            end("failed", error)
        may_pass = isinstance(error, (NothingAnswered, ProcessDied)) or not (
            refused or isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        )
        return "failed" if may_pass else "refused"
    except BaseException:
        end("stopped")
        raise
    finally:
        _free_memory()


def update_table(folder: Path, wait: bool = False) -> None:
    """Writes the multirun's table. Where another process is writing it, that is waited for, or the table left to it."""
    try:
        with locks.held(folder / TABLE_LOCK, wait):
            write_table(jobs(folder), folder)
    except locks.Taken:
        pass
    except WriteError as error:
        # The jobs have their numbers in their folders, and may go on; the table is made from these.
        print(f"{error}", file=sys.stderr, flush=True)


def _free_memory() -> None:
    """Frees the memory of the previous job: a model and its optimiser refer to each other in circles."""
    gc.collect()
    # What is left is libraries and what jobs share; going through all of it again after every job took a third of a
    # second. It is still freed when nothing refers to it any more: pretrained models hold no circles.
    gc.freeze()
    torch = sys.modules.get("torch")  # a job that never came as far as importing it has nothing there
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
