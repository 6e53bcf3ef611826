"""Which clips an intervention is made in, and which other clips it takes sound or picture from."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from affect.config import Kind, Task, Value
from affect.data.record import Record


def dropped(ids: Iterable[str], share: float, seed: int) -> frozenset[str]:
    """A share of some clips, to the nearest whole clip. Those of a share are among those of every larger one."""
    order = sorted(ids, key=lambda id: (_drawn(id, seed), id))
    return frozenset(order[: nearest(share * len(order))])


def partners(records: Sequence[Record], tasks: Sequence[Task], seed: int) -> dict[str, Record]:
    """By id, another record with another label, drawn from all such. A record without one is not among the keys.

    Of several tasks, the two have another label in every task for which both are labelled, and there has to be such a
    task. Labels of an intensity are others where one is below the middle of its range and one is not, or one above and
    one not.
    """
    alike: dict[tuple, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.id):
        alike[tuple(_class(record.labels.get(task.name), task) for task in tasks)].append(record)
    chosen = {}
    for classes, own in alike.items():
        others = [each for other, members in alike.items() if _differ(classes, other) for each in members]
        if others:
            chosen |= {record.id: others[_drawn(record.id, seed) % len(others)] for record in own}
    return chosen


def nearest(number: float) -> int:
    """The nearest whole number, of two the larger one.

    >>> nearest(0.5), nearest(1.5), nearest(1.4)
    (1, 2, 1)
    """
    return int(number + 0.5)


def _class(value: Value | None, task: Task) -> Any:
    """What has to differ between two records; None without a label."""
    if value is None or task.kind is not Kind.intensity:
        return value
    middle = (task.low + task.high) / 2
    return (value > middle) - (value < middle)


def _differ(one: Sequence[Any], other: Sequence[Any]) -> bool:
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return bool(both) and all(a != b for a, b in both)


def _drawn(id: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{id}".encode()).digest()[:16], "big")
