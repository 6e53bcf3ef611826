"""Counts of records by class, and totals of published counts."""

from collections import Counter
from collections.abc import Sequence

from affect.config import Kind, Task
from affect.data.facts import Published
from affect.data.record import SPLITS, Record


def classes(records: Sequence[Record], task: Task) -> dict[str, int]:
    """Records by class of `task`: its labels (a multi-label record counts for each of its labels), or the sign of an
    intensity: negative, zero, positive. Classes without a record have 0; records without a label are not counted."""
    counts: Counter[str] = Counter()
    for record in records:
        if task.name not in record.labels:
            continue
        value = record.labels[task.name]
        if isinstance(value, tuple):
            counts.update(value)
        elif task.kind is Kind.intensity:
            counts["negative" if float(value) < 0 else "positive" if float(value) > 0 else "zero"] += 1
        else:
            counts[str(value)] += 1
    order = ["negative", "zero", "positive"] if task.kind is Kind.intensity else list(task.labels)
    return {name: counts[name] for name in [*order, *sorted(counts.keys() - set(order))]}


def total(published: Sequence[Published]) -> Published | None:
    """The published count of all splits together: as published, or the sum where every split is counted. None where a
    part of the set is unknown. A task's classes are there where every part has them."""
    for counts in published:
        if set(counts.splits) == set(SPLITS):
            return counts
    parts: list[Published] = []
    for counts in sorted(published, key=lambda counts: -len(counts.splits)):
        if not any(set(counts.splits) & set(part.splits) for part in parts):
            parts.append(counts)
    if {split for part in parts for split in part.splits} != set(SPLITS):
        return None
    tasks = set.intersection(*(set(part.classes) for part in parts))
    return Published(
        count=sum(part.count for part in parts),
        classes={task: dict(sum((Counter(part.classes[task]) for part in parts), Counter())) for task in tasks},
        exact=all(part.exact for part in parts),
    )
