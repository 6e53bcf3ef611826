"""Watching the processes of a run: why one of them ended, and ending the others with that reason.

Every follower holds a connection to the first process and reports over it how its run ended. A connection that breaks
without a report means that the process is gone. Then the whole run ends within seconds, with the reason.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from affect.config import ConfigError
from affect.config.launch import PLACE, Place, ProcessDied
from affect.data.files import write_json
from affect.runs.lifecycle import Stopped, now

CALL = "AFFECT_CALL"
"""Environment variable with the Call that the first process gives to those it starts."""

PATIENCE = 20.0
"""Seconds the other processes are given to end by themselves after a run."""

GRACE = 10.0
"""Seconds that a process has to leave the run after another one died. A thread that waits inside a collective operation
cannot be interrupted; its process is ended then."""

DEAF = 60.0
"""Seconds after SIGTERM or Ctrl-C in which the main thread has to run Python code. It never does while it waits in a
collective operation for a process that hangs."""

SETTLE = 1.0
"""Seconds in which further reports are waited for before one is named as the cause: where a process dies, the others
fail too, because they lose their connection to it."""

ARRIVAL = 600.0
"""Seconds in which all processes that srun or torchrun started have to arrive."""

lost: list[str] = []
"""Processes that srun or torchrun started and that are gone: no further job of a multirun can begin."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a follower needs to take part in a run."""

    folder: str
    host: str
    port: int
    """Where the first process listens."""
    store_port: int
    token: str
    """Proves that a connection comes from a process of the run."""


class Watch(threading.Thread):
    """Watches the connections to other processes, and ends this one when the run cannot go on."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.main = threading.main_thread().ident
        self.reason: Exception | None = None
        """Why the run cannot go on."""
        self.left = threading.Event()
        """Set when the main thread has left the run."""
        self.heard = threading.Event()
        """Set when the main thread has run Python code since it was asked to."""
        self.woken, self.waking = socket.socketpair()
        """The first is readable when a signal has come, whatever the main thread is busy with."""
        self.waking.setblocking(False)

    def interrupt(self, reason: Exception) -> None:
        """Raises `reason` in the main thread; where that does not react, ends the process."""
        self.reason = reason
        if distributed.is_initialized() and distributed.get_backend() == "nccl":
            # Otherwise the main thread waits for the device, which waits for a process that is gone.
            with contextlib.suppress(RuntimeError):
                distributed.group.WORLD.abort()
        signal.pthread_kill(self.main, signal.SIGUSR2)
        if not self.left.wait(GRACE):
            self.last_words(str(reason))
            os._exit(1)

    def last_words(self, reason: str) -> None:
        print(reason, file=sys.stderr, flush=True)


class Followers(Watch):
    """The first process's view of the others."""

    def __init__(
        self, listening: socket.socket, call: Call, place: Place, children: dict[int, subprocess.Popen]
    ) -> None:
        super().__init__()
        self.listening, self.call, self.place, self.children = listening, call, place, children
        self.lines: dict[socket.socket, bytes] = {}
        self.ranks: dict[socket.socket, int] = {}
        self.who: dict[int, str] = {}
        self.done: set[int] = set()
        self.reports: list[dict[str, Any]] = []
        self.stopped: tuple[float, dict[str, Any]] | None = None
        """When a process was asked to stop, and its report. Usually all are asked, and leave together."""
        self.signals: list[tuple[float, int]] = []
        """When this process was asked to stop, and by which signal."""

    def run(self) -> None:
        noticed, begun = None, time.monotonic()
        while not self.left.is_set():
            readable, _, _ = select.select([self.listening, self.woken, *self.lines], [], [], 0.2)
            for connection in readable:
                if connection is self.listening:
                    self.lines[connection.accept()[0]] = b""
                elif connection is self.woken:
                    self._note_signals()
                else:
                    self._read(connection)
            self._end_if_deaf()
            if time.monotonic() - begun > ARRIVAL:
                for rank in set(range(1, self.place.size)) - self.who.keys() - self.done:
                    self._ended(rank, f"has not come within {ARRIVAL:.0f} s")
            for rank, process in self.children.items():
                if process.poll() is not None and rank not in self.done:
                    self._ended(rank)
            if self.stopped and time.monotonic() - self.stopped[0] > PATIENCE:
                self.reports.append(self.stopped[1])
            if self.reports and noticed is None:
                noticed = time.monotonic()
            if noticed is not None and time.monotonic() - noticed >= SETTLE and not self.left.is_set():
                self.interrupt(self._worst())
                return

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            del self.lines[connection]
            connection.close()
            rank = self.ranks.pop(connection, None)
            if rank is not None and rank not in self.done:
                self._ended(rank)
            return
        *lines, self.lines[connection] = (self.lines[connection] + data).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
                ours = message["token"] == self.call.token
            except (ValueError, KeyError, TypeError):
                ours = False
            if not ours:  # somebody else's, who looks for open ports
                del self.lines[connection]
                connection.close()
                return
            self.ranks[connection] = rank = message["rank"]
            self.who[rank] = f"process {rank} of {self.place.size} (pid {message['pid']} on {message['host']})"
            if "done" in message:
                self.done.add(rank)
            if "stopped" in message:
                self.done.add(rank)
                self.stopped = self.stopped or (
                    time.monotonic(),
                    message | {"failed": f"was stopped by {message['stopped']}"},
                )
            if "failed" in message:
                self.done.add(rank)
                self.reports.append(message)

    def _note_signals(self) -> None:
        stopping = [number for number in self.woken.recv(1024) if number in (signal.SIGTERM, signal.SIGINT)]
        if stopping:
            self.heard.clear()
            self.signals += [(time.monotonic(), number) for number in stopping]

    def _end_if_deaf(self) -> None:
        """Ends the process where the main thread does not do what signals ask for."""
        if not self.signals:
            return
        if not self.heard.is_set():
            signal.pthread_kill(self.main, signal.SIGUSR2)  # its handler sets it
        (first, number), (second, _) = self.signals[0], self.signals[min(1, len(self.signals) - 1)]
        patience = GRACE if len(self.signals) > 1 else DEAF
        if self.left.is_set() or self.heard.is_set() or time.monotonic() - max(first, second) < patience:
            return
        name = signal.Signals(number).name
        self.last_words(f"Stopped by {name} while it waited for another process.", "stopped", by=name)
        os._exit(128 + number)

    def _ended(self, rank: int, how: str = "is gone without a word") -> None:
        """Notes that a process has ended without a report."""
        self.done.add(rank)
        last = ""
        if self.place.started_by != "affect":
            lost.append(f"process {rank} of {self.place.size} {how}")
        process = self.children.get(rank)
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(GRACE)
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        log = Path(self.call.folder) / "log" / f"process_{rank}.log"
        with contextlib.suppress(OSError):
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            last = f"; the last line of its log: {lines[-1].strip()}" if lines else "; its log is empty"
        self.reports.append({"rank": rank, "failed": f"{how}{last}", "log": str(log), "symptom": False})

    def _worst(self) -> Exception:
        """The cause among all reports: one that is not the consequence of another process's end."""
        report = next((report for report in self.reports if not report["symptom"]), self.reports[0])
        if report.get("refused"):
            return ConfigError(report["failed"])
        rank = report["rank"]
        who = self.who.get(rank, f"process {rank} of {self.place.size}")
        log = Path(self.call.folder) / "log" / f"process_{rank}.log"
        return ProcessDied(f"The run ended because {who} {report['failed']} ({log})")

    def cause(self, error: BaseException) -> BaseException | None:
        """Why the block of the first process was left by `error`: the end of another process, or None."""
        if self.reason is not None:
            return self.reason
        if not is_symptom(error):
            return None
        # What this process met may be known to the thread in a moment.
        patience = time.monotonic() + GRACE
        while not self.reports and time.monotonic() < patience:
            if self.stopped:
                self.reports.append(self.stopped[1])
            time.sleep(0.05)
        while self.reason is None and self.reports and time.monotonic() < patience + GRACE:
            with contextlib.suppress(ProcessDied, ConfigError):  # which the thread may raise here
                time.sleep(0.05)
        return self.reason

    def leave(self, reason: str | None) -> None:
        """Ends the watch; tells the others the `reason` if the run has failed."""
        self.left.set()
        if threading.current_thread() is not self:
            self.join()
        words = str(self.reason or reason) if reason is not None else None
        for connection in self.lines:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps({"end": words} if words else {"over": True}).encode() + b"\n")
            connection.close()

    def last_words(self, reason: str, state: str = "failed", **more: str) -> None:
        """Writes status.json in place of the main thread, which cannot."""
        super().last_words(reason)
        more = more or {"error": reason}
        path = Path(self.call.folder) / "status.json"
        with contextlib.suppress(OSError, ValueError):
            status = json.loads(path.read_text(encoding="utf-8"))
            write_json(path, status | {"state": state, "ended": now(), "heartbeat": now(), **more})
        for process in self.children.values():
            process.kill()


def is_symptom(error: BaseException) -> bool:
    """Whether an error may come of another process's end: collective operations raise RuntimeErrors."""
    return isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)


class Leader(Watch):
    """A follower's view of the first process: whether it is there."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self.connection = connection
        self.parent = os.getppid()

    def run(self) -> None:
        while not self.left.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.5)
            message: dict[str, Any] = {}
            if readable:
                try:
                    line = self.connection.makefile("rb").readline()
                except OSError:
                    line = b""
                message = json.loads(line) if line else {"end": "the first process is gone"}
            elif CALL in os.environ and os.getppid() != self.parent:
                message = {"end": "the first process is gone"}
            if "over" in message:
                return
            if "end" in message and not self.left.is_set():
                self.interrupt(ProcessDied(message["end"]))
                return


def report(error: BaseException, tell: Callable[..., None]) -> None:
    if isinstance(error, SystemExit) and not error.code:
        tell(done=True)
    elif isinstance(error, ConfigError):
        tell(failed=str(error), refused=True, symptom=False)
    elif isinstance(error, Stopped):
        tell(stopped=str(error), symptom=False)
    elif isinstance(error, ProcessDied):
        tell(done=True)  # which the first process knows
    else:
        message = str(error.code) if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
        tell(failed=f"failed: {message.strip()}", symptom=is_symptom(error))


@contextlib.contextmanager
def interruptible(watch: Watch) -> Iterator[None]:
    """Lets `watch` raise its reason in the main thread while the block runs."""

    def give_up(*_: Any) -> None:
        watch.heard.set()
        if watch.reason is not None and not watch.left.is_set():
            raise watch.reason

    if threading.current_thread() is not threading.main_thread():  # which alone may take signals
        yield
        return
    before = signal.signal(signal.SIGUSR2, give_up)
    woken_before = signal.set_wakeup_fd(watch.waking.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken_before)
        signal.signal(signal.SIGUSR2, before)
        watch.woken.close()
        watch.waking.close()


def _forget_signals() -> None:
    """In a process that was forked off, say one that makes batches: its signals are not the run's."""
    if PLACE in os.environ:
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_signals)
