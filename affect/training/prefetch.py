"""A DataLoader that prepares its next batches in a thread."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


_END = object()


class Prefetching(DataLoader):
    """A DataLoader that keeps up to `ahead` batches ready, in their usual order; 0 turns this off.

    Decoding, transforms and reading files release the GIL, so a thread suffices: no second process has to start and
    hold memory. An error is raised when the batch that caused it is requested.
    """

    def __init__(self, *args: Any, ahead: int, **options: Any) -> None:
        self.ahead = ahead  # before super().__init__, after which a DataLoader restricts attributes
        super().__init__(*args, **options)

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        return batches if self.num_workers or not self.ahead else _ahead(batches, self.ahead)


def _ahead(batches: Iterator[Any], count: int) -> Iterator[Any]:
    ready: queue.Queue[Any] = queue.Queue()
    free = threading.Semaphore(count)
    stopped = threading.Event()

    def make() -> None:
        while True:
            free.acquire()
            if stopped.is_set():
                return
            try:
                made = next(batches, _END)
            except BaseException as error:
                made = _Raised(error)
            ready.put(made)
            if made is _END or isinstance(made, _Raised):
                return

    # A daemon: a program that ends in the middle of an epoch does not wait for a batch that nobody wants.
    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while (made := ready.get()) is not _END:
            if isinstance(made, _Raised):
                raise made.error
            free.release()
            yield made
    finally:
        stopped.set()
        free.release()
        # What was left in the middle may be collected by any thread, this one too.
        if thread is not threading.current_thread():
            thread.join()
