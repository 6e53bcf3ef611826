"""Runs on several devices.

Either the first process starts the others on its own machine, or srun or torchrun has started all of them, on one
machine or several that share a file system. Both kinds of followers take their configuration from the run folder and
write nothing but log/process_N.log. watch.py ends the run where one of them ends early.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from affect.config import Config, ConfigError, launch
from affect.config.groups import PACKAGE
from affect.config.launch import PLACE, Place, ProcessDied
from affect.config.logs import FOLLOWED, LOG, is_first
from affect.runs.run_environment import program_of
from affect.training.watch import (
    ARRIVAL,
    CALL,
    GRACE,
    PATIENCE,
    Call,
    Followers,
    Leader,
    interruptible,
    is_symptom,
    lost,
    report,
)

OMP = "OMP_NUM_THREADS"


@contextlib.contextmanager
def spread(cfg: Config, folder: Path) -> Iterator[None]:
    """Runs the block in trainer.devices processes.

    Raises ProcessDied in the first one where another one ends before its time, ConfigError where that one refused.
    """
    if cfg.trainer.devices == 1 or not is_first():
        yield
        return
    given = launch.given()
    if lost:
        raise ProcessDied(f"No further run can begin here, because {lost[0]}: start the program again")
    size = cfg.trainer.devices
    place = given or Place(size=size, local_size=size)
    host = launch.meeting_point()[0] if given else "127.0.0.1"
    (folder / "log").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("" if given else host, 0)))
        # Kept by this variable while the run goes on; ranks.Joined connects to it.
        store = distributed.TCPStore(host, 0, size, is_master=True, wait_for_workers=False)
        call = Call(
            folder=str(folder.resolve()),
            host=host,
            port=listening.getsockname()[1],
            store_port=store.port,
            token=secrets.token_hex(16),
        )
        children: dict[int, subprocess.Popen] = {}
        if given is None:
            children = {rank: _start(place, rank, call, stack) for rank in range(1, size)}
        else:
            step = f"{cfg.trainer.batch_size} × {cfg.trainer.accumulate} × {size}"
            LOG.info(f"{given.started_by} started {size} processes: an optimiser step sees {step} clips")
            _announce(json.dumps(call.__dict__))
        others = Followers(listening, call, place, children)
        stack.enter_context(_placed(place, call))
        stack.enter_context(interruptible(others))
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


def _start(place: Place, rank: int, call: Call, stack: contextlib.ExitStack) -> subprocess.Popen:
    log = stack.enter_context((Path(call.folder) / "log" / f"process_{rank}.log").open("a", encoding="utf-8"))
    follower = Place(rank=rank, size=place.size, local_rank=rank, local_size=place.local_size)
    return subprocess.Popen(
        [sys.executable, "-m", "affect", program_of(Path(call.folder))],
        env=os.environ
        | {PLACE: follower.as_variable(), FOLLOWED: call.folder, CALL: json.dumps(call.__dict__)}
        # The others run the code that this process runs, whatever else is installed.
        | {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))},
        stdout=log,
        stderr=log,
        # Ctrl-C in a terminal goes to all processes of its group: it is the first that decides what it means.
        start_new_session=True,
    )


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
        call = Call(**json.loads(os.environ[CALL]))
        with _placed(launch.place(), call), _connected(call):
            start()
        return
    failed = False
    for call in _calls():
        with _into_log(call), _following(call), _placed(launch.given(), call):
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


def _calls() -> Iterator[Call]:
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
        yield Call(**message)


@contextlib.contextmanager
def _following(call: Call) -> Iterator[None]:
    """Makes the block that of a follower, without the words of the command line, which the run folder stands for."""
    words = sys.argv
    os.environ[FOLLOWED], sys.argv = call.folder, words[:1]
    try:
        yield
    finally:
        sys.argv = words
        del os.environ[FOLLOWED]


@contextlib.contextmanager
def _into_log(call: Call) -> Iterator[None]:
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
        for number, saved in zip((1, 2), before, strict=True):
            os.dup2(saved, number)
            os.close(saved)


@contextlib.contextmanager
def _connected(call: Call) -> Iterator[None]:
    """Holds a connection to the first process for the block, and tells it how the block ended."""
    place = launch.place()
    with socket.create_connection((call.host, call.port), timeout=60) as connection:
        connection.settimeout(None)
        me = {"token": call.token, "rank": place.rank, "pid": os.getpid(), "host": socket.gethostname()}

        def tell(**message: Any) -> None:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(me | message).encode() + b"\n")

        tell()
        watch = Leader(connection)
        with interruptible(watch):
            watch.start()
            try:
                yield
                tell(done=True)
            except BaseException as error:
                if is_symptom(error):
                    with contextlib.suppress(ProcessDied):  # which the watch may raise here
                        watch.join(GRACE)
                    if watch.reason is not None:
                        raise watch.reason from error
                report(error, tell)
                raise
            finally:
                watch.left.set()
                watch.join()
                _leave_group()


# ---------------------------------------------------------------- both


@contextlib.contextmanager
def _placed(place: Place, call: Call) -> Iterator[None]:
    """Sets the place of this process in the run of `call`, and its share of the machine's cores, for the block."""
    before, threads = {name: os.environ.get(name) for name in (PLACE, OMP)}, torch.get_num_threads()
    os.environ[PLACE] = replace(place, store=f"{call.host}:{call.store_port}").as_variable()
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


def _leave_group(failed: bool = False) -> None:
    if distributed.is_initialized():
        if failed and distributed.get_backend() == "nccl":
            # Destroying it would wait for operations that the others take no part in any more.
            with contextlib.suppress(RuntimeError):
                distributed.group.WORLD.abort()
        distributed.destroy_process_group()


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
    start = time.monotonic()
    announced = False
    while place.rank == 0 and (here := store.add("here", 0)) < place.size:
        waited = time.monotonic() - start
        if waited > 20 and not announced:
            announced = True
            print(f"Waiting for {place.size - here} of the {place.size} processes that {place.started_by} starts.")
        if waited > ARRIVAL:
            raise ConfigError(
                f"only {here} of {place.size} processes arrived in {ARRIVAL:.0f} s: where SLURM gave"
                f" {place.size} tasks, start the program with srun; or ask for one task and set"
                f" trainer.devices={place.size}"
            )
        time.sleep(0.1)
    return store
