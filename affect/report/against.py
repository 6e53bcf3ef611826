"""Which row of a table is compared with which: with the one that has what --against names and is else the same, so that
zero-shot is compared with zero-shot and fine-tuned with fine-tuned."""

from collections.abc import Mapping, Sequence

from affect.config import ConfigError
from affect.metrics import headline_metric
from affect.record import DataError
from affect.report.compare import LEVEL, RESAMPLES, Scored, compare, scored
from affect.report.rows import Difference, Row, Table
from affect.report.sections import heading, numbered
from affect.report.settings import CONTROL, NAMES, ZERO_SHOT, Run, parsed, same
from affect.tasks import HEADLINES, Kind, Task


def against(
    tables: Sequence[Table], runs: Sequence[Run], conditions: Sequence[str], resamples: int = RESAMPLES
) -> list[str]:
    """Puts into the rows of all tables by how much their first metric differs from that of their reference, the row of
    which all `conditions` `KEY=VALUE` are true and that is else like them; and into the notes what that is, and which
    rows have no difference, and why. Gives a sentence for everything that is damaged.

    Raises ConfigError where a condition cannot be, and where it is true of no row, or of all.
    """
    wanted = _wanted(tables, conditions)
    words = " and ".join(f"{heading(key)} {value}" for key, value in wanted.items())
    damaged: dict[str, None] = {}
    for table in tables:
        for row in table.rows:
            row.is_reference = all(key in row.whole and same(row.whole[key], v) for key, v in wanted.items())
        references = [row for row in table.rows if row.is_reference]
        others = [row for row in table.rows if not row.is_reference]
        if not references or not others:
            table.notes.append(
                f"{table.task} has no differences: {'no row has' if others else 'all rows have'} {words}"
            )
            continue
        task = _task(table, runs)
        if task.headline not in HEADLINES[task.kind]:
            table.notes.append(
                f"{table.task} has no differences: {task.headline or 'a recall'} is not compared; give one of"
                f" {', '.join(HEADLINES[task.kind])} first in --metrics"
            )
            continue
        metric = headline_metric(task)
        table.compared = task.headline
        table.notes.append(
            f"difference of {table.task}: {task.headline}{'' if metric.higher_is_better else ' (lower is better)'}"
            f" minus that of the row with {words} that is else the same; then its {LEVEL:.0%} interval, by"
            f" {resamples:,} bootstrap resamples of groups of clips and of seeds, the same for both"
        )
        known: dict[int, Scored] = {}
        for row in others:
            who = f"{numbered(row.runs)} against"
            reference = _reference(row, references, table, wanted)
            if isinstance(reference, str):
                table.notes.append(f"{who} {words}: not compared, since {reference}")
                continue
            who += f" {numbered(reference.runs)}"
            pairs, alone = _pairs(row, reference)
            if alone:
                table.notes.append(f"{who}: left out is {alone}, of seeds that only one side has")
            if not pairs:
                table.notes.append(f"{who}: not compared, since they have no seed in common: run both with the same")
                continue
            try:
                for number in {number for pair in pairs for number in pair} - known.keys():
                    known[number] = scored(runs[number - 1], table.task, task, metric)
                found = compare([(known[one], known[other]) for one, other in pairs], task, metric, resamples)
            except DataError as error:
                damaged[str(error)] = None
                continue
            table.notes += [f"{who}: {note}" for note in found.notes]
            row.difference = Difference(
                against=reference.runs,
                num_seeds=len(pairs),
                clips=found.clips,
                groups=found.groups,
                mean=found.mean,
                low=found.low,
                high=found.high,
            )
    return list(damaged)


def _wanted(tables: Sequence[Table], conditions: Sequence[str]) -> dict[str, str]:
    rows = [row for table in tables for row in table.rows]
    columns = ", ".join(dict.fromkeys(key for table in tables for key in table.settings))
    wanted: dict[str, str] = {}
    for condition in conditions:
        key, value = parsed(
            "--against", condition, {key for row in rows for key in row.whole}, f"Rows differ in {columns}"
        )
        if key in wanted:
            raise ConfigError(f"--against has {key} twice, and a reference has one value of it: leave one out")
        wanted[key] = value
    left = rows
    for key, value in wanted.items():
        there = sorted({row.whole[key] for row in left if key in row.whole})
        left = [row for row in left if key in row.whole and same(row.whole[key], value)]
        if rows and not left:
            more = " beside the others" if len(wanted) > 1 else ""
            raise ConfigError(
                f"--against {key}={value}: no row has that{more}: choose of {', '.join(there) or 'another key'}"
            )
    if rows and len(left) == len(rows):
        raise ConfigError(
            f"--against {' '.join(conditions)}: every row has that, so that none is left to compare: name what rows"
            f" differ in ({columns}), or more runs"
        )
    return wanted


def _task(table: Table, runs: Sequence[Run]) -> Task:
    """The task of a table, as far as metrics need it, with the table's first metric as its headline."""
    dataset, name = table.task.split(".", 1)
    config = runs[table.rows[0].runs[0] - 1].summary.config
    defined = config["datasets"][dataset]["task_definitions"][name]
    own = {key: defined[key] for key in ("labels", "low", "high")}
    return Task(name=name, kind=Kind(defined["kind"]), headline=next(iter(table.metrics), ""), **own)


def _reference(row: Row, references: Sequence[Row], table: Table, wanted: Mapping[str, str]) -> Row | str:
    """The reference of a row, or why it has none."""
    # What the name of a group decides goes with it, and a key that one side has no use for does not part them; but a
    # model whose training is not known is like no other.
    groups = tuple(prefix for prefix, name in NAMES.items() if name in wanted)
    held = [key for key in table.settings if key not in wanted and (key == CONTROL or not key.startswith(groups))]

    def parting(reference: Row) -> list[str]:
        values = {key: (row.setting[key], reference.setting[key]) for key in held}
        return [
            key
            for key, (one, other) in values.items()
            if one != other and (None not in (one, other) or key == "training.run")
        ]

    fitting = [reference for reference in references if not parting(reference)]
    if not fitting:
        nearest = min(references, key=lambda reference: len(parting(reference)))
        missed = " and ".join(f"{heading(key)} {row.setting[key] or '-'}" for key in parting(nearest))
        return f"no such row has {missed}"
    shared = [sum(row.setting[key] == each.setting[key] for key in table.settings) for each in fitting]
    best = [each for each, n in zip(fitting, shared, strict=True) if n == max(shared)]
    if len(best) > 1:
        key = next(key for key in table.settings if len({each.setting[key] for each in best}) > 1)
        return (
            f"{' and '.join(numbered(each.runs) for each in best)} are equally like it: add --against"
            f" {key}={best[0].setting[key]} or the like"
        )
    return best[0]


def _pairs(row: Row, reference: Row) -> tuple[list[tuple[int, int]], str]:
    """Runs of one seed on both sides, and those that are left out, in words."""
    sides = [dict(zip(each.seeds, each.runs, strict=True)) for each in (row, reference)]
    ours, theirs = sides
    # A model that was not trained has the seed of nothing: its run goes with every seed of the other side.
    if len(ours) == 1 and row.whole["tuning"] == ZERO_SHOT:
        return [(row.runs[0], number) for number in reference.runs], ""
    if len(theirs) == 1 and reference.whole["tuning"] == ZERO_SHOT:
        return [(number, reference.runs[0]) for number in row.runs], ""
    common = [seed for seed in ours if seed in theirs]
    alone = [number for side in sides for seed, number in side.items() if seed not in common]
    return [(ours[seed], theirs[seed]) for seed in common], numbered(alone)
