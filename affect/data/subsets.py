"""Reproducible subsets of a split: a number of records, or a share of it in whole groups."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from affect.config import DataError, DatasetConfig, Kind, SubsetClasses, Task
from affect.data.record import Record

WINDOW = 32
"""Number of groups that are compared for each one drawn. More follow the strata more closely and take longer. With 32,
a tenth of MELD's 1,038 dialogues takes 0.02 s and has every emotion within 0.4 % of its share; ordering 10,600 groups
takes 1.6 s."""


def draw(config: DatasetConfig, split: str, records: Sequence[Record]) -> tuple[list[Record], dict[str, Any] | None]:
    """The records of a split that `fraction` or `subset` leave, and the counts of the fraction (None without).

    Stratified by the first of the dataset's tasks. Raises DataError as `subset` and `whole_groups` do.
    """
    task = config.task_definitions[config.tasks[0]]
    if split == "train" and config.fraction is not None:
        return whole_groups(records, task, config.fraction, config.subset_seed)
    count = getattr(config.subset, split)
    if split == "train" and config.subset_classes is SubsetClasses.balanced:
        return balanced_subset(records, task, count, config.subset_seed), None
    return subset(records, task, count, config.subset_seed), None


def subset(records: Sequence[Record], task: Task, count: int | None, seed: int) -> list[Record]:
    """`count` of the records in their order, stratified by the label of `task`; all records if count is None.

    Every stratum (label, or all labels that apply; sign of an intensity; unlabelled) gets its proportional share,
    rounded by largest remainder. Within a stratum, records are ranked by sha256 of "seed:id", so a smaller subset lies
    inside a larger one up to that rounding, and the choice depends neither on the order of the file nor on the machine.
    Raises DataError if there are fewer than `count` records.
    """
    if count is None:
        return list(records)
    if not 1 <= count <= len(records):
        raise DataError(
            f"a subset of {count:,} records out of {len(records):,} cannot be drawn: set subset to null or to less"
        )
    strata: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        strata[_stratum(record, task)].append(record)
    # Integers throughout, so that equal remainders are equal; ties go to the first stratum by name.
    shares = {key: divmod(count * len(strata[key]), len(records)) for key in sorted(strata)}
    left = count - sum(quotient for quotient, _ in shares.values())
    rounded_up = set(sorted(shares, key=lambda key: -shares[key][1])[:left])
    chosen: set[str] = set()
    for key, (quotient, _) in shares.items():
        ranked = sorted(strata[key], key=lambda record: _rank(seed, record.id))
        chosen.update(record.id for record in ranked[: quotient + (key in rounded_up)])
    return [record for record in records if record.id in chosen]


def balanced_subset(records: Sequence[Record], task: Task, count: int, seed: int) -> list[Record]:
    """`count` of the records in their order, as many of every label of `task` (sign of an intensity), one more of the
    first labels by name where `count` is no multiple of their number. Records without a label are not drawn.

    Ranked within a label as in `subset`, so that a smaller subset lies inside a larger one. Raises DataError where a
    label has too few records.
    """
    strata: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if task.name in record.labels:
            strata[_stratum(record, task)].append(record)
    if count < len(strata) or not strata:
        raise DataError(
            f"a balanced subset of {count:,} records cannot have each of the {len(strata)} labels: set subset.train to"
            " more"
        )
    quotient, left = divmod(count, len(strata))
    chosen: set[str] = set()
    for place, key in enumerate(sorted(strata)):
        wanted = quotient + (place < left)
        if len(strata[key]) < wanted:
            most = min(map(len, strata.values())) * len(strata)
            raise DataError(
                f"a balanced subset of {count:,} records needs {wanted:,} of {key}, and there are"
                f" {len(strata[key]):,}: set subset.train to at most {most:,}"
            )
        ranked = sorted(strata[key], key=lambda record: _rank(seed, record.id))
        chosen.update(record.id for record in ranked[:wanted])
    return [record for record in records if record.id in chosen]


def whole_groups(
    records: Sequence[Record], task: Task, fraction: float, seed: int
) -> tuple[list[Record], dict[str, Any]]:
    """A share (or, above 1, a number) of the records in their order, in whole groups, and the resulting counts.

    All groups are put in an order that does not depend on `fraction`. The first are taken, up to the number of records
    nearest to the requested one (the smaller of two that are equally near, but at least one group). So 10 % lies inside
    20 %, whatever the sizes of the groups. They are ranked by sha256 of "seed:id", with their alphabetically first id.
    The next in the order is that of the WINDOW highest ranked which leaves the strata of `task` (see `subset`) nearest
    to their shares, in chi-square distance. The number of groups counts as one more stratum; otherwise small groups,
    which disturb the shares least, would come first.

    The counts: `fraction` and `asked` (records), `drawn` (records) `of` all, `groups` `of_groups`, and `strata` with
    `drawn` and `of` for each. Raises DataError if `fraction` is neither a share nor a number of these records, or there
    are no records.
    """
    if not is_share_or_count(fraction) or fraction > max(len(records), 1) or not records:
        raise DataError(
            f"fraction={fraction:g} of {len(records):,} training records cannot be drawn: give a share above 0 and up"
            " to 1, a number of records that there are, or null for all"
        )
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[record.group].append(record)
    totals = Counter(_stratum(record, task) for record in records)
    asked = fraction * len(records) if fraction <= 1 else fraction
    chosen: set[str] = set()
    groups = 0
    for group in _balanced(list(members.values()), task, totals, seed):
        if groups and asked - len(chosen) <= len(chosen) + len(group) - asked:
            break
        chosen.update(record.id for record in group)
        groups += 1
    drawn = [record for record in records if record.id in chosen]
    realised = Counter(_stratum(record, task) for record in drawn)
    return drawn, {
        "fraction": fraction,
        "asked": round(asked),
        "drawn": len(drawn),
        "of": len(records),
        "groups": groups,
        "of_groups": len(members),
        "strata": {key: {"drawn": realised[key], "of": totals[key]} for key in sorted(totals)},
    }


def is_share_or_count(fraction: float) -> bool:
    """Whether this is a share, above 0 and up to 1 (all), or a whole number from 2."""
    return 0 < fraction <= 1 or (fraction > 1 and float(fraction).is_integer())


def _balanced(groups: list[list[Record]], task: Task, totals: Counter[str], seed: int) -> Iterator[list[Record]]:
    """All groups, in the order of `whole_groups`."""
    strata = sorted(totals)
    expected = [*(totals[key] for key in strata), len(groups)]
    size = sum(totals.values())
    # By id, not by name of the group, which may be a path and differ between machines.
    waiting = sorted(groups, key=lambda group: _rank(seed, min(record.id for record in group)), reverse=True)
    window: list[tuple[list[int], list[Record]]] = []
    taken, total = [0] * len(expected), 0
    while waiting or window:
        while waiting and len(window) < WINDOW:
            counts = Counter(_stratum(record, task) for record in waiting[-1])
            window.append(([*(counts[key] for key in strata), 1], waiting.pop()))
        costs = []
        for counts, group in window:
            share = (total + len(group)) / size
            costs.append(sum((t + c - share * e) ** 2 / e for t, c, e in zip(taken, counts, expected, strict=True)))
        counts, group = window.pop(costs.index(min(costs)))
        taken = [t + c for t, c in zip(taken, counts, strict=True)]
        total += len(group)
        yield group


def _rank(seed: int, identifier: str) -> bytes:
    return hashlib.sha256(f"{seed}:{identifier}".encode()).digest()


def _stratum(record: Record, task: Task) -> str:
    if task.name not in record.labels:
        return "unlabelled"
    label = record.labels[task.name]
    if isinstance(label, tuple):
        return f"label {'|'.join(label) or 'none'}"
    if task.kind is Kind.classification:
        return f"label {label}"
    value = float(label)
    return "negative" if value < 0 else "positive" if value > 0 else "zero"
