"""Ctrl-C, SIGTERM and closed output streams.

Programs import this module before all others, which take a second: from then on Ctrl-C is a sentence.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

BROKEN = (errno.EPIPE, errno.EIO, errno.EBADF)
"""Errors of a stream that nobody will read again: its reader ended, its terminal is gone, or it was closed."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM outside of a run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


asked: int | None = None
"""The last signal outside of a run, in this call of `taken`."""


def _interrupt(signum: int, _: Any) -> None:
    global asked
    asked = signum
    raise Interrupted(signum)


@contextlib.contextmanager
def taken() -> Iterator[None]:
    """While the block runs, Ctrl-C and SIGTERM raise Interrupted, and printing to a closed stream is ignored. A run
    takes over the signals and gives them back."""
    global asked
    asked = None
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {signum: signal.signal(signum, _interrupt) for signum in (signal.SIGINT, signal.SIGTERM)}
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_lasting, streams, (1, 2))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Lasting):
                stream.flush()
        sys.stdout, sys.stderr = streams
        for signum, handler in before.items():
            signal.signal(signum, handler)


class Lasting:
    """A text stream that ignores writing after its reader has ended (`… | tee log`, where Ctrl-C ends tee first) or its
    disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._lose(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if isinstance(error, ValueError) and not self._stream.closed:
            raise error  # a character that the encoding does not have
        # Also for those who write to the file descriptor themselves, and for Python, which flushes at its end.
        if isinstance(error, OSError) and error.errno in BROKEN:
            with contextlib.suppress(OSError, ValueError):
                _to_nowhere(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _lasting(stream: TextIO | None, descriptor: int) -> Any:
    if stream is None:
        # Closed by whoever started us: the next file that is opened would get its number, and what libraries print.
        try:
            os.fstat(descriptor)
        except OSError:
            _to_nowhere(descriptor)
        return None
    return Lasting(stream)


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # A library that is being imported may have put an error of its own around the signal.
    root: BaseException | None = error
    while root is not None and not isinstance(root, KeyboardInterrupt):
        root = root.__cause__ or root.__context__
    if root is None:
        sys.__excepthook__(kind, error, trace)
        return
    signum = root.signum if isinstance(root, Interrupted) else signal.SIGINT
    cause = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
    with contextlib.suppress(Exception):
        print(f"Stopped by {cause} before anything was begun.", file=sys.stderr, flush=True)
    # Python ends as a shell expects it of a signal for KeyboardInterrupt itself alone.
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


sys.excepthook = _uncaught
