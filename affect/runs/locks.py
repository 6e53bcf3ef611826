"""Locks that belong to a process and end with it.

`flock` of an open file, which the kernel releases when the process ends, however it ends. Between machines it holds
where the file system has it:

- local disks, and NFS since Linux 2.6.12: the client hands it to the server as a lock of the whole file. Not with the
  mount options `nolock` and `local_lock=flock`, with which it holds on one machine alone.
- when a machine dies or loses its network, an NFS server keeps its locks until their lease has run out: NFSv4, 90 s by
  default. NFSv3 keeps them until that machine is back, or the server is restarted.
- Lustre wants the mount option `flock`, BeeGFS `tuneUseGlobalFileLocks=true`; without, they hold on one machine alone.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from affect.config import WriteError


class Taken(Exception):
    """Another process holds the lock."""


_open: set[int] = set()
"""Descriptors of the locks of this process."""


def _leave_to_the_parent() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


# A child that is forked, such as a worker that reads clips, would keep its parent's locks when that is killed.
os.register_at_fork(after_in_child=_leave_to_the_parent)


@contextlib.contextmanager
def held(path: Path, wait: bool = False) -> Iterator[None]:
    """Holds the lock of the file `path`, which is made, while the block runs. Where another process holds it, waits for
    it, or raises Taken. Raises WriteError where the file cannot be made, or its file system has no locks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        reason = error.strerror or error
        raise WriteError(f"{path} cannot be written ({reason}): set output_root to a folder that can", error) from error
    _open.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Taken(path) from None
        except OSError as error:
            raise WriteError(
                f"{path} cannot be locked ({error.strerror or error}): set output_root to a folder whose file"
                " system has locks (NFS: without the mount option nolock)",
                error,
            ) from error
        yield
    finally:
        # In a forked child it is not ours any more.
        if descriptor in _open:
            _open.remove(descriptor)
            os.close(descriptor)
