"""Processes that begin with everything imported.

A Python process that imports torch, transformers, Lightning and peft takes seven CPU seconds before it does anything,
and tests start dozens of them. Here one process for each test worker imports all modules of affect, once, and forks
itself for each program that is started: `Popen` and `run` are used as those of subprocess. What such a program starts
in turn, as the first of several processes starts the others, is forked too.

A forked program differs from a started one in what is imported, in its parent, and in that it has the hash seed of the
others. Tests of just that (the first seconds, what a command imports, the entry point, and one run each of processes
that affect, torchrun and srun start) start real ones, and so does `Popen` here where the environment sets SETTLED
differently, or Python gets options of its own.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
real_popen = subprocess.Popen
SETTLED = ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PYTHONHASHSEED", "PYTHONSAFEPATH")
"""Environment variables that Python and libraries read once, when they are imported."""
address: str | None = None
"""The socket of the process that forks; "" in that process itself, which forks nothing for its own use."""


class Popen(subprocess.Popen):
    """subprocess.Popen, or a `Program` where that is possible."""

    def __new__(cls, args: Any, **how: Any) -> Any:
        environment = how.get("env") or os.environ
        python, *words = map(str, args) if isinstance(args, list | tuple) else [args]
        forks = python == sys.executable and bool(words) and address != ""
        forks = forks and (not words[0].startswith("-") or words[0] in ("-m", "-c"))
        forks = forks and all(environment.get(name) == os.environ.get(name) for name in SETTLED)
        known = {"cwd", "env", "stdin", "stdout", "stderr", "text", "start_new_session"}
        return Program(words, **how) if forks and how.keys() <= known else super().__new__(cls)


def run(args: list[str], *, timeout: float, **how: Any) -> subprocess.CompletedProcess[str]:
    """subprocess.run with capture_output=True and text=True."""
    with Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        try:
            said = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, *said)


class Program:
    """A forked program, with what tests use of subprocess.Popen."""

    def __init__(self, words: list[str], *, text: bool = False, start_new_session: bool = False, **how: Any) -> None:
        self.args, self.text, self.returncode = words, text, None
        order = {"words": words, "cwd": str(how.get("cwd") or os.getcwd()), "session": start_new_session}
        message = json.dumps(order | {"env": dict(how.get("env") or os.environ)}).encode()
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(address or _server())
        with contextlib.ExitStack() as theirs:
            self.stdin, read = _ends(how.get("stdin"), 0, text, theirs)
            self.stdout, write = _ends(how.get("stdout"), 1, text, theirs)
            self.stderr, write_errors = _ends(how.get("stderr"), 2, text, theirs)
            streams = [read, write, write if how.get("stderr") == subprocess.STDOUT else write_errors]
            socket.send_fds(self.connection, [len(message).to_bytes(8)], streams)
        self.connection.sendall(message)
        self.pid = int.from_bytes(_exactly(self.connection, 8), signed=True)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int.from_bytes(_exactly(self.connection, 8), signed=True)
            self.connection.close()
        return self.returncode

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[Any, Any]:
        end = None if timeout is None else time.monotonic() + timeout
        said = {stream: b"" for stream in (self.stdout, self.stderr) if stream is not None}
        unread = list(said)
        while unread:
            readable = select.select(unread, [], [], None if end is None else max(0.0, end - time.monotonic()))[0]
            if not readable:
                raise subprocess.TimeoutExpired(self.args, timeout)
            for stream in readable:
                said[stream] += (new := os.read(stream.fileno(), 65536))
                if not new:
                    unread.remove(stream)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        if not self.text:
            return said.get(self.stdout), said.get(self.stderr)
        texts = {stream: io.TextIOWrapper(io.BytesIO(content)).read() for stream, content in said.items()}
        return texts.get(self.stdout), texts.get(self.stderr)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _ends(given: Any, number: int, text: bool, theirs: contextlib.ExitStack) -> tuple[IO[Any] | None, int]:
    """Our end of a standard stream where it is a pipe, and the descriptor for the program, which `theirs` closes where
    it is not ours as well."""
    if given == subprocess.PIPE:
        read, write = os.pipe()
        mine, their, mode = (write, read, "w") if number == 0 else (read, write, "r")
        theirs.callback(os.close, their)
        return os.fdopen(mine, mode) if text else os.fdopen(mine, f"{mode}b", 0), their
    if given == subprocess.DEVNULL:
        their = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, their)
        return None, their
    if given is None or given == subprocess.STDOUT:
        return None, number
    return None, given if isinstance(given, int) else given.fileno()


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        new = connection.recv(count - len(content))
        if not new:
            raise ConnectionError("the process that forks is gone")
        content += new
    return content


@cache
def _server() -> str:
    """Starts the process that forks, and gives the address of its socket. It ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="forks-")
    path = f"{folder.name}/socket"
    lives, mine = os.pipe()
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    code = f"import sys; sys.path.append({str(ROOT / 'tests')!r}); import forked_starts as f; "
    code += "f.begin(f.serve(*sys.argv[1:]))"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    process = real_popen(
        [sys.executable, "-c", code, path, str(listening.fileno()), str(lives)],
        env=os.environ | {"PYTHONPATH": paths},
        pass_fds=[listening.fileno(), lives],
        start_new_session=True,
    )
    os.close(lives)
    listening.close()

    def end() -> None:
        os.close(mine)  # as the system does where this process is killed
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return path


# ---------------------------------------------------------------- the process that forks


def serve(path: str, listening: str, parent: str) -> dict[str, Any]:
    """Forks whenever it is asked to. Returns in the children alone, with what each is to run."""
    global address
    address = ""
    subprocess.Popen = Popen  # before it is imported by name elsewhere
    import affect

    for module in pkgutil.walk_packages(affect.__path__, "affect."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    import peft  # noqa: F401
    import wandb  # noqa: F401

    gc.collect()
    gc.freeze()  # otherwise a collection in a child copies all of it
    server, lives = socket.socket(fileno=int(listening)), int(parent)
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for ready in select.select([server, lives, *running], [], [])[0]:
            if ready is server:
                connection = server.accept()[0]
                size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
                order = json.loads(_exactly(connection, int.from_bytes(size)))
                if (pid := os.fork()) == 0:
                    for each in (server, connection, *(other for _, other in running.values())):
                        each.close()
                    for each in (lives, *running):
                        os.close(each)
                    address = path
                    return order | {"streams": descriptors}
                for each in descriptors:
                    os.close(each)
                running[os.pidfd_open(pid)] = pid, connection
                connection.sendall(pid.to_bytes(8, signed=True))
            elif ready == lives:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            else:
                pid, connection = running.pop(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError), connection:
                    connection.sendall(code.to_bytes(8, signed=True))


def begin(order: dict[str, Any]) -> None:
    """Makes this process the program of an order."""
    if order["session"]:
        os.setsid()
    for number, given in enumerate(order["streams"]):
        os.dup2(given, number)
        os.close(given)
    os.chdir(order["cwd"])
    paths_before = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ.clear()
    os.environ.update(order["env"])
    paths = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    first, *rest = order["words"]
    kind, what, sys.argv = ("", first, order["words"]) if first[0] != "-" else (first, rest[0], [first, *rest[1:]])
    sys.path[:] = [
        "" if kind else str(Path(what).resolve().parent),
        *paths,
        *(path for path in sys.path[1:-1] if path not in paths_before),
    ]
    if "PYTHONUNBUFFERED" in os.environ:
        sys.stdout.reconfigure(write_through=True)
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("sitecustomize")
    if kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")
