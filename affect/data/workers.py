"""Threads that work on clips in parallel."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def workers(num_workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads. On Ctrl-C it does not finish what is waiting, as `with ThreadPoolExecutor` would."""
    pool = ThreadPoolExecutor(max(1, num_workers))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_parallel(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Mapping[str, Item]
) -> Iterator[tuple[str, Result]]:
    """Name and result of each item, in the order in which they are ready."""
    futures = {pool.submit(function, item): name for name, item in items.items()}
    for future in as_completed(futures):
        yield futures[future], future.result()


def ahead(function: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> Iterator[tuple[Item, Result]]:
    """Each item with the result of `function`, in order. While the caller uses one, threads work on as many of the next
    as there are threads."""
    with workers(num_threads) as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > num_threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
