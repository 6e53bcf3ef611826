"""Which rows of a table are compared: --against, with everything else equal."""

from collections.abc import Mapping, Sequence

from affect.config import ConfigError, Control, DataError, Task
from affect.config.tasks import HEADLINES
from affect.evaluation.metrics import headline_metric
from affect.evaluation.metrics.registry import Metric
from affect.evaluation.significance import LEVEL, holm
from affect.reports.paired_runs import Scored, compare, scored, task_of_run
from affect.reports.rows import Difference, Row, Table
from affect.reports.sections import heading, numbered
from affect.reports.selection import parsed, same
from affect.reports.settings import CONTROL, NAMES, ZERO_SHOT, Run


def against(tables: Sequence[Table], runs: Sequence[Run], conditions: Sequence[str]) -> list[str]:
    """Puts into the rows of all tables by how much their first metric differs from that of their reference, the row of
    which all `conditions` `KEY=VALUE` are true and that is else like them; and into the notes what that is, and which
    rows have no difference, and why. Rows with descriptions are compared with their controls too. Gives a sentence for
    everything that is damaged.

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
        task = task_of(table, runs)
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
            f" minus that of the row with {words} that is else the same; then its {LEVEL:.0%} interval over groups of"
            " clips and seeds (jackknife, Student's t), and its p-value, adjusted for all differences of the column"
            " (Holm)"
        )
        comparison = _Comparison(table, runs, task, metric, damaged)
        for row in others:
            row.difference = comparison.of(row, references, wanted)
        comparison.judge([row.difference for row in others if row.difference is not None])
        if CONTROL not in wanted:
            _against_controls(comparison)
    return list(damaged)


def _against_controls(comparison: "_Comparison") -> None:
    """Puts into the rows with descriptions how they differ from the same rows with a control in their place."""
    table = comparison.table
    described = [row for row in table.rows if row.whole.get(CONTROL) == Control.none.value]
    controls = [
        control.value
        for control in Control
        if control is not Control.none and any(row.whole.get(CONTROL) == control.value for row in table.rows)
    ]
    if described and Control.shuffled.value not in controls:
        table.notes.append(
            f"difference of {table.task}: it may come from longer prompts alone. Whether it comes from what the"
            " descriptions say is told by the difference to those of other clips, of which there is no row: run the"
            " same with knowledge.control=shuffled"
        )
    for control in controls:
        references = [row for row in table.rows if row.whole.get(CONTROL) == control]
        for row in described:
            difference = comparison.of(row, references, {CONTROL: control})
            if difference is not None:
                row.controls[control] = difference
    comparison.judge([difference for row in table.rows for difference in row.controls.values()])
    if any(row.controls for row in table.rows):
        table.notes.append(
            f"difference of {table.task} to controls: {table.compared} of descriptions minus that of the row with the"
            " control that is else the same, with an interval as above. What descriptions say helps where they are"
            f" better than control shuffled with a p-value (Holm) of at most {1 - LEVEL:.0%}; that they differ from"
            " plain prompts and the control does not, does not show it. uncertain: a single seed of what was trained"
        )


class _Comparison:
    """Differences between rows of one table."""

    def __init__(self, table: Table, runs: Sequence[Run], task: Task, metric: Metric, damaged: dict[str, None]) -> None:
        self.table, self.runs, self.task, self.metric = table, runs, task, metric
        self.damaged = damaged
        """Sentences about what is damaged, in the order in which they came up."""
        self.scored: dict[int, Scored] = {}
        """By number of a run."""

    def of(self, row: Row, references: Sequence[Row], wanted: Mapping[str, str]) -> Difference | None:
        """The difference of `row` to the one of `references`, which have `wanted`, that is else the same; a note of the
        table where there is none, and for what has to be known beside it."""
        words = " and ".join(f"{heading(key)} {value}" for key, value in wanted.items())
        notes, who = self.table.notes, f"{numbered(row.runs)} against"
        reference = _reference(row, references, self.table, wanted)
        if isinstance(reference, str):
            notes.append(f"{who} {words}: not compared, since {reference}")
            return None
        who += f" {numbered(reference.runs)}"
        pairs, alone = pairs_of_seeds(row, reference)
        if alone:
            notes.append(f"{who}: left out is {alone}, of seeds that only one side has")
        if not pairs:
            notes.append(f"{who}: not compared, since they have no seed in common: run both with the same")
            return None
        try:
            for number in {number for pair in pairs for number in pair} - self.scored.keys():
                self.scored[number] = scored(self.runs[number - 1], self.table.task, self.task, self.metric)
            found, said = compare(
                [(self.scored[one], self.scored[other]) for one, other in pairs], self.task, self.metric
            )
        except DataError as error:
            self.damaged[str(error)] = None
            return None
        notes += [f"{who}: {note}" for note in said]
        return Difference(
            against=reference.runs,
            num_seeds=len(pairs),
            clips=found.clips,
            groups=found.groups,
            mean=found.mean,
            low=found.low,
            high=found.high,
            p=found.p,
            effect=found.effect,
            one_seed=len(pairs) == 1 and row.whole["tuning"] != ZERO_SHOT,
        )

    def judge(self, differences: Sequence[Difference]) -> None:
        """Adjusts the p-values of one family of comparisons, and says which of them are shown."""
        for difference, adjusted in zip(differences, holm([each.p for each in differences]), strict=True):
            difference.holm = adjusted
            if adjusted is None:
                continue
            gain = difference.mean if self.metric.higher_is_better else -difference.mean
            shown = gain > 0 and adjusted <= 1 - LEVEL
            difference.better = ("uncertain" if difference.one_seed else "yes") if shown else "not shown"


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
        options = sorted({row.whole[key] for row in left if key in row.whole})
        left = [row for row in left if key in row.whole and same(row.whole[key], value)]
        if rows and not left:
            more = " beside the others" if len(wanted) > 1 else ""
            raise ConfigError(
                f"--against {key}={value}: no row has that{more}: choose of {', '.join(options) or 'another key'}"
            )
    if rows and len(left) == len(rows):
        raise ConfigError(
            f"--against {' '.join(conditions)}: every row has that, so that none is left to compare: name what rows"
            f" differ in ({columns}), or more runs"
        )
    return wanted


def task_of(table: Table, runs: Sequence[Run], metric: str | None = None) -> Task:
    """The task of a table, as far as metrics need it, with a metric, by default the table's first, as its headline."""
    run = runs[table.rows[0].runs[0] - 1]
    return task_of_run(run, table.task, metric or next(iter(table.metrics), ""))


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


def pairs_of_seeds(row: Row, reference: Row) -> tuple[list[tuple[int, int]], str]:
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
