"""Run status, logging and signal handling."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affect.config.logs import LOG, is_first
from affect.data.files import write_json

LOG_LINES = 20
"""Number of last lines of the log that status.json of a failed run repeats."""

HEARTBEAT = 10.0
"""Seconds between two heartbeats."""

STALE = 120.0
"""Seconds without a heartbeat after which a run on another machine counts as killed: clocks differ, file systems are
slow."""


NOTICES = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals of a queue some time before it ends the process."""


class Stopped(BaseException):
    """The run was asked to end (Ctrl-C, SIGTERM). Not an Exception, so that it is not handled as the failure of one
    job, after which the next one starts."""

    def __init__(self, signum: int, folder: Path) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.folder = signum, folder


class Pruned(Exception):
    """A search ended this training early, because others were better after as many epochs."""


class Stop:
    """Handler of Ctrl-C and SIGTERM. They raise Stopped at once, or, while `deferred` is set, only set `requested`,
    which training looks at after every step; a second signal raises in any case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deferred = False
        self.requested: int | None = None
        self.asked: int | None = None
        """The signal that came last, whether it was deferred or not."""
        self.progress: dict[str, Any] = {}
        """How far the run is, as status.json says it with the next heartbeat: the run puts another one in its place."""
        self.pid = os.getpid()

    def __call__(self, signum: int, _: Any) -> None:
        if os.getpid() != self.pid:
            return  # a worker, which Ctrl-C in a terminal reaches too: it ends with the process that started it
        self.asked = signum
        # What a queue sends in advance follows a SIGTERM, and does not mean that nobody wants to wait.
        hurried = self.requested is not None and signum not in NOTICES
        if not self.deferred or hurried:
            raise Stopped(signum, self.folder)
        self.requested = signum
        # Whoever read this may have been ended by the same Ctrl-C (`… | tee log`), or a line may be half printed just
        # now, into which Python does not print another one. Nothing of that may keep the run from being saved.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            print("\nStopping after this step; once more stops at once.", file=sys.stderr, flush=True)

    def take_signals(self) -> dict[int, Any]:
        """Makes this the handler of Ctrl-C and SIGTERM and returns the previous ones. Does nothing outside of the main
        thread, where Python does not allow it."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        asked = [signal.SIGINT, signal.SIGTERM]
        if "SLURM_JOB_ID" in os.environ:
            asked.append(signal.SIGUSR1)  # what `sbatch --signal=USR1@120` sends before the time is up
        if "SUBMITIT_EXECUTOR" in os.environ:
            asked.append(signal.SIGUSR2)  # what submitit has SLURM send then
        return {signum: signal.signal(signum, self) for signum in asked}

    def check(self) -> None:
        """Raises Stopped where it was asked for."""
        if self.requested is not None:
            self.asked = self.requested
            raise Stopped(self.requested, self.folder)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stop]:
    """Keeps status.json up to date while the block runs: running, then finished, stopped, pruned, or failed with the
    reason; and writes messages to log/run.log."""
    stop = Stop(folder)
    if not is_first():
        with _signals(stop):
            yield stop
        return
    status: dict[str, Any] = {
        "state": "running",
        "pid": os.getpid(),
        "pid_started": _process_start(os.getpid()),
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "started": now(),
        "heartbeat": now(),
    }
    write_json(folder / "status.json", status)
    over = threading.Event()

    def progress() -> dict[str, Any]:
        return {"progress": stop.progress} if stop.progress else {}

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            # A full disk is met, and reported, by those who have something to say; a missed beat is no reason to end.
            with contextlib.suppress(OSError):
                write_json(folder / "status.json", status | {"heartbeat": now(), **progress()})

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()

    def end(state: str, **more: Any) -> None:
        over.set()
        heart.join()
        # Where a full disk is what ended it, this must not take that error's place: without a status it was killed.
        with contextlib.nullcontext() if state == "finished" else contextlib.suppress(OSError):
            ended = {"state": state, "heartbeat": now(), "ended": now()}
            write_json(folder / "status.json", status | progress() | ended | more)

    with _log_file(folder), _signals(stop):
        try:
            yield stop
        except Stopped as asked:
            end("stopped", by=str(asked))
            raise
        except Pruned as pruned:
            LOG.info(str(pruned))
            end("pruned", error=str(pruned))
            raise
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            LOG.error("".join(traceback.format_exception(error)).rstrip())
            end(
                "failed",
                error=f"{type(error).__name__}: {error}",
                where=f"{Path(last.filename).name}:{last.lineno}",
                log=(folder / "log" / "run.log").read_text(encoding="utf-8").splitlines()[-LOG_LINES:],
                **({} if stop.asked is None else {"by": signal.Signals(stop.asked).name}),
            )
            if stop.asked is None or not isinstance(error, Exception):
                raise
            # What failed while the run was being stopped must not look like one failed job, after which comes the next.
            LOG.warning(f"While the run was being stopped: {type(error).__name__}: {error}")
            raise Stopped(stop.asked, folder) from error
    end("finished")


class _RunLog(logging.FileHandler):
    """Log file that ignores a full disk, which is reported where results are written."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _log_file(folder: Path) -> Iterator[None]:
    (folder / "log").mkdir(exist_ok=True)
    handler = _RunLog(folder / "log" / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    # Of everybody, not of affect alone: what a library warns of is often the first sign of what ends a run. A root
    # without handlers prints warnings; one with a file does not, unless it is told to.
    root = logging.getLogger()
    added = [handler] if root.handlers or logging.lastResort is None else [handler, logging.lastResort]
    for each in added:
        root.addHandler(each)
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        for each in added:
            root.removeHandler(each)
        handler.close()


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    before = stop.take_signals()
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _boot_id() -> str | None:
    """Identifier of this boot of the machine; None where the system has none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else None


def _process_start(pid: int) -> str | None:
    """When a process began, in the kernel's ticks, since numbers of processes are used again; None where it does not
    exist, or has ended and is still listed (a zombie, whose parent has not asked), or the system does not say."""
    try:
        # The name, in parentheses, may hold spaces: the 3rd field is the first behind it, the 22nd the 20th.
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in ("Z", "X") else others[18]


def state(status: dict[str, Any]) -> str:
    """running, finished, stopped, pruned, failed or "not begun", as status.json has it, but killed for one that says
    running and is not."""
    if status["state"] != "running":
        return status["state"]
    if status["host"] == socket.gethostname():
        alive = status["boot_id"] == _boot_id() and is_there(status["pid"], status["pid_started"])
    else:
        silent = datetime.now(UTC) - datetime.fromisoformat(status["heartbeat"])
        alive = silent.total_seconds() < STALE
    return "running" if alive else "killed"


def is_there(pid: int, started: str | None = None) -> bool:
    """Whether this machine has a process of this number; with `started`, one that began then."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user, but there
    return started is None or _process_start(pid) == started
