"""Runs on several devices: the first process starts the others.

Either the first process starts the others on its own machine, or srun or torchrun has started all of them, on one
machine or several that share a file system. Both kinds of followers take their configuration from the run folder, write
nothing but log/process_N.log, and hold a connection to the first process. Over it a failure is told, and where a
process ends without a word, the connection ends with it: then the whole run ends, with the reason, within seconds.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from affect.config import Config, ConfigError, launch
from affect.config.groups import PACKAGE
from affect.config.launch import PLACE, Place, ProcessDied
from affect.config.logs import FOLLOWED, LOG, is_first
from affect.data.files import write_json
from affect.runs.lifecycle import Stopped, now
from affect.runs.run_folder import program_of

OMP = "OMP_NUM_THREADS"

CALL = "AFFECT_CALL"
"""Environment variable by which the first process tells those it starts where it can be reached."""

PATIENCE = 20.0
"""Seconds the other processes are given to end by themselves after a run."""

GRACE = 10.0
"""Seconds that a process has to leave the run after another one died. A thread that waits inside a collective operation
cannot be interrupted; its process is ended then."""

DEAF = 60.0
"""Seconds after SIGTERM or Ctrl-C in which the main thread has to run Python code. One that waits in a collective
operation for a process that is there, but does nothing, never hears a signal."""

SETTLE = 1.0
"""Seconds in which further reports are waited for before one is named as the cause: where a process dies, the others
fail too, because they lose their connection to it."""

ARRIVAL = 600.0
"""Seconds in which all processes that srun or torchrun started have to arrive."""

_lost: list[str] = []
"""Processes that srun or torchrun started and that are gone: no further job of a multirun can begin."""

_store: distributed.Store | None = None
"""Through which the processes of the present run find each other."""


# ---------------------------------------------------------------- the first process


@contextlib.contextmanager
def spread(cfg: Config, folder: Path) -> Iterator[None]:
    """Runs the block in trainer.devices processes.

    Raises ProcessDied in the first one where another one ends before its time, ConfigError where that one refused.
    """
    global _store
    if cfg.trainer.devices == 1 or not is_first():
        yield
        return
    given = launch.given()
    if _lost:
        raise ProcessDied(f"No further run can begin here, because {_lost[0]}: start the program again")
    size = cfg.trainer.devices
    place = given or Place(size=size, local_size=size)
    host = launch.meeting_point()[0] if given else "127.0.0.1"
    (folder / "log").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("" if given else host, 0)))
        _store = distributed.TCPStore(host, 0, size, is_master=True, wait_for_workers=False)
        call = _Call(
            folder=str(folder.resolve()),
            host=host,
            port=listening.getsockname()[1],
            store_port=_store.port,
            token=secrets.token_hex(16),
        )
        children: dict[int, subprocess.Popen] = {}
        if given is None:
            children = {rank: _start(place, rank, call, stack) for rank in range(1, size)}
        else:
            step = f"{cfg.trainer.batch_size} × {cfg.trainer.accumulate} × {size}"
            LOG.info(f"{given.started_by} started {size} processes: an optimiser step sees {step} clips")
            _announce(json.dumps(call.__dict__))
        others = _Others(listening, call, place, children)
        stack.enter_context(_placed(place))
        stack.enter_context(_interruptible(others))
        others.start()
        failed = True
        try:
            yield
            failed = False
        except BaseException as error:
            cause = others.cause(error)
            if cause is None or cause is error:
                raise
            raise cause from error
        finally:
            others.leave("the first process ended" if failed else None)
            # In this order: one that waits for us would wait in vain.
            _leave_group(failed)
            for process in children.values():
                try:
                    process.wait(GRACE if failed else PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What a process needs to know to take part in a run."""

    folder: str
    host: str
    port: int
    """Where the first process listens."""
    store_port: int
    token: str
    """Shows that a connection is from one of the run's processes."""


def _start(place: Place, rank: int, call: _Call, stack: contextlib.ExitStack) -> subprocess.Popen:
    log = stack.enter_context((Path(call.folder) / "log" / f"process_{rank}.log").open("a", encoding="utf-8"))
    own = Place(rank=rank, size=place.size, local_rank=rank, local_size=place.local_size)
    return subprocess.Popen(
        [sys.executable, "-m", "affect", program_of(Path(call.folder))],
        env=os.environ
        | {PLACE: own.as_variable(), FOLLOWED: call.folder, CALL: json.dumps(call.__dict__)}
        # The others run the code that this process runs, whatever else is installed.
        | {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))},
        stdout=log,
        stderr=log,
        # Ctrl-C in a terminal goes to all processes of its group: it is the first that decides what it means.
        start_new_session=True,
    )


class _Watch(threading.Thread):
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


class _Others(_Watch):
    """What the first process knows of the others."""

    def __init__(
        self, listening: socket.socket, call: _Call, place: Place, children: dict[int, subprocess.Popen]
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
                known = message["token"] == self.call.token
            except (ValueError, KeyError, TypeError):
                known = False
            if not known:  # somebody else's, who looks for open ports
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
        """Notes that a process is gone that had not said that it would go."""
        self.done.add(rank)
        last = ""
        if self.place.started_by != "affect":
            _lost.append(f"process {rank} of {self.place.size} {how}")
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
        """The reason to be told, of all reports: one that is not the consequence of another process's end."""
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
        if not _is_symptom(error):
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
        """Leaves the run folder as it would be had the main thread been able to."""
        super().last_words(reason)
        more = more or {"error": reason}
        path = Path(self.call.folder) / "status.json"
        with contextlib.suppress(OSError, ValueError):
            status = json.loads(path.read_text(encoding="utf-8"))
            write_json(path, status | {"state": state, "ended": now(), "heartbeat": now(), **more})
        for process in self.children.values():
            process.kill()


def _is_symptom(error: BaseException) -> bool:
    """Whether an error may come of another process's end: collective operations raise RuntimeErrors."""
    return isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)


# ---------------------------------------------------------------- the others


def follows() -> bool:
    """Whether this process follows another one, which leads."""
    if not is_first():
        return True
    given = launch.given()
    return given is not None and given.rank > 0


def follow(start: Callable[[], None]) -> None:
    """Runs `start` for every run that the first process begins: one where that started this process, all of a multirun
    where srun or torchrun did. Raises SystemExit."""
    if not is_first():
        with _placed(launch.place()), _connected(_Call(**json.loads(os.environ[CALL]))):
            start()
        return
    failed = False
    for call in _calls():
        with _into_log(call), _following(call), _placed(launch.given()):
            try:
                with _connected(call):
                    start()
            except (Exception, SystemExit) as error:
                failed = True
                if not isinstance(error, SystemExit):
                    traceback.print_exc()
                elif error.code:
                    print(error.code, file=sys.stderr)
    sys.exit(1 if failed else 0)


def _calls() -> Iterator[_Call]:
    store = _meeting()
    for number in count(1):
        try:
            while not store.check([f"run/{number}"]):
                time.sleep(0.2)
            message = json.loads(store.get(f"run/{number}"))
            if not message:
                store.add("left", 1)
                return
        except RuntimeError as error:
            sys.exit(f"process {launch.given().rank}: the first process is gone ({str(error).splitlines()[0]})")
        yield _Call(**message)


@contextlib.contextmanager
def _following(call: _Call) -> Iterator[None]:
    """Makes the block that of a follower, without the words of the command line, which the run folder stands for."""
    words = sys.argv
    os.environ[FOLLOWED], sys.argv = call.folder, words[:1]
    try:
        yield
    finally:
        sys.argv = words
        del os.environ[FOLLOWED]


@contextlib.contextmanager
def _into_log(call: _Call) -> Iterator[None]:
    """Sends what is printed in the block to the log of this process in the run folder."""
    path = Path(call.folder) / "log" / f"process_{launch.given().rank}.log"
    patience = time.monotonic() + 60
    while not path.parent.is_dir():  # a network file system may need a moment
        if time.monotonic() > patience:
            sys.exit(
                f"{call.folder} is not there on {socket.gethostname()}: output_root has to be on a file system that"
                " all machines of a run share"
            )
        time.sleep(0.5)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, number)
            os.close(kept)


class _First(_Watch):
    """What a follower knows of the first process: whether it is there."""

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


@contextlib.contextmanager
def _connected(call: _Call) -> Iterator[None]:
    """Holds a connection to the first process for the block, and tells it how the block ended."""
    global _store
    place = launch.place()
    _store = distributed.TCPStore(call.host, call.store_port, place.size, is_master=False, wait_for_workers=False)
    with socket.create_connection((call.host, call.port), timeout=60) as connection:
        connection.settimeout(None)
        me = {"token": call.token, "rank": place.rank, "pid": os.getpid(), "host": socket.gethostname()}

        def tell(**message: Any) -> None:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(me | message).encode() + b"\n")

        tell()
        watch = _First(connection)
        with _interruptible(watch):
            watch.start()
            try:
                yield
                tell(done=True)
            except BaseException as error:
                if _is_symptom(error):
                    with contextlib.suppress(ProcessDied):  # which the watch may raise here
                        watch.join(GRACE)
                    if watch.reason is not None:
                        raise watch.reason from error
                _report(error, tell)
                raise
            finally:
                watch.left.set()
                watch.join()
                _leave_group()


def _report(error: BaseException, tell: Callable[..., None]) -> None:
    if isinstance(error, SystemExit) and not error.code:
        tell(done=True)
    elif isinstance(error, ConfigError):
        tell(failed=str(error), refused=True, symptom=False)
    elif isinstance(error, Stopped):
        tell(stopped=str(error), symptom=False)
    elif isinstance(error, ProcessDied):
        tell(done=True)  # which the first process knows
    else:
        said = str(error.code) if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
        tell(failed=f"failed: {said.strip()}", symptom=_is_symptom(error))


# ---------------------------------------------------------------- both


@contextlib.contextmanager
def _placed(place: Place) -> Iterator[None]:
    """Sets the place of this process, and its share of the machine's cores, for the block."""
    before, threads = {name: os.environ.get(name) for name in (PLACE, OMP)}, torch.get_num_threads()
    os.environ[PLACE] = place.as_variable()
    # torchrun sets 1 where nothing is set.
    if OMP not in os.environ or (place.started_by == "torchrun" and os.environ[OMP] == "1"):
        os.environ[OMP] = str(launch.cores())
        torch.set_num_threads(launch.cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interruptible(watch: _Watch) -> Iterator[None]:
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


def _leave_group(failed: bool = False) -> None:
    global _store
    if distributed.is_initialized():
        if failed and distributed.get_backend() == "nccl":
            # Destroying it would wait for operations that the others take no part in any more.
            with contextlib.suppress(RuntimeError):
                distributed.group.WORLD.abort()
        distributed.destroy_process_group()
    _store = None


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Where srun or torchrun started several processes: tells the others, after the block, that nothing more comes.

    Raises ConfigError where they do not arrive.
    """
    if launch.given() is None:
        yield
        return
    store = _meeting()
    try:
        yield
    finally:
        _announce("{}")
        patience = time.monotonic() + PATIENCE
        while store.add("left", 0) < launch.given().size - 1 and time.monotonic() < patience:
            time.sleep(0.1)


def _announce(message: str) -> None:
    store = _meeting()
    store.set(f"run/{store.add('runs', 1)}", message)


@cache
def _meeting() -> distributed.Store:
    """The store through which processes that srun or torchrun started hear of runs. Raises ConfigError."""
    place, (host, port) = launch.given(), launch.meeting_point()
    hosts = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = distributed.TCPStore(
            host, port, place.size, hosts, timeout=timedelta(seconds=ARRIVAL), wait_for_workers=False
        )
    except RuntimeError as error:
        raise ConfigError(
            f"process {place.rank} of the {place.size} that {place.started_by} started cannot reach the meeting point"
            f" {host}:{port} ({str(error).splitlines()[0]}): set MASTER_ADDR to the first machine and MASTER_PORT to a"
            " free port, the same for all processes"
        ) from error
    store.set_timeout(timedelta(seconds=ARRIVAL))
    store = distributed.PrefixStore(f"affect/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    store.add("here", 1)
    begun = time.monotonic()
    said = False
    while place.rank == 0 and (here := store.add("here", 0)) < place.size:
        waited = time.monotonic() - begun
        if waited > 20 and not said:
            said = True
            print(f"Waiting for {place.size - here} of the {place.size} processes that {place.started_by} starts.")
        if waited > ARRIVAL:
            raise ConfigError(
                f"only {here} of {place.size} processes arrived in {ARRIVAL:.0f} s: where SLURM gave"
                f" {place.size} tasks, start the program with srun; or ask for one task and set"
                f" trainer.devices={place.size}"
            )
        time.sleep(0.1)
    return store


class Ranks(ClusterEnvironment):
    """The place of this process, for Lightning. To it every process is a node with a single device, so that any number
    of processes can be on any machine, and each may see all of its machine's devices or its own alone."""

    creates_processes_externally = True
    main_address = "127.0.0.1"
    main_port = 0

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return launch.place().size

    def set_world_size(self, size: int) -> None:
        assert size == self.world_size()

    def global_rank(self) -> int:
        return launch.place().rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.global_rank()

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return launch.place().rank


class Joined(DDPStrategy):
    """Data-parallel training in the process group of `spread`."""

    def setup_distributed(self) -> None:
        if not distributed.is_initialized():
            place, device = launch.place(), self.root_device
            assert _store is not None, "a run of several processes is made inside of processes.spread"
            distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=distributed.PrefixStore("group", _store),
                rank=place.rank,
                world_size=place.size,
                timeout=self._timeout,
                device_id=device if device.type == "cuda" else None,
            )
        super().setup_distributed()  # which leaves a group alone that is there
