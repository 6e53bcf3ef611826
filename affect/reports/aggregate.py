"""Runs to table rows: the mean of every metric over the seeds of each setting.

Only numbers of one split, one definition of the task, one reader of generated text and one metric come into a column;
what else differs between runs, the readout too, is a column of the table, so that no two settings look alike.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from affect.config import ConfigError, Control
from affect.config.roles import default_of, leaves
from affect.reports.rows import COUNTS, Number, Row, Table
from affect.reports.settings import (
    ALL,
    CONTROL,
    GENERATED_WITH,
    HEADLINE,
    LEADING,
    NAMES,
    READOUTS,
    SCORED_WITH,
    ZERO_SHOT,
    Run,
    generates,
    grouped_by,
    idle,
    learns,
    mixed,
    settings,
    signature,
    some,
    text,
)


def tasks(runs: Sequence[Run]) -> list[str]:
    """The tasks that have numbers, in the order they are met in."""
    return list(dict.fromkeys(task for run in runs if run.counts for task in run.summary.metrics["tasks"]))


def numbers(run: Run, task: str) -> dict[str, float | None]:
    """Every metric of a run by its name in tables: those of the run's reader by their own name (of a dialect:
    DIALECT.NAME), those of the other reader and of the majority answer as `exact.NAME`, `majority.NAME`."""
    metrics = run.summary.metrics
    assert metrics is not None
    of_task = metrics["tasks"][task]
    reader = metrics["reader"]
    result = {}
    for source in (reader, *(other for other in ("exact", "lenient", "majority") if other != reader)):
        prefix = "" if source == reader else f"{source}."
        result |= {f"{prefix}{name}": value for name, value in of_task[source].items()}
        if "dialects" in of_task:
            result |= {f"{prefix}{name}": value for name, value in leaves(of_task["dialects"][source])}
    result[of_task["headline"]] = of_task["value"]
    return result


def _named(runs: Sequence[Run], task: str, asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns for the metrics asked for, and notes. Raises ConfigError where some of the runs lack one."""
    have = [numbers(run, task) for run in runs]
    anywhere = list(dict.fromkeys(name for each in have for name in each))
    everywhere = [name for name in anywhere if all(name in each for each in have)]
    chosen: list[str] = []
    notes = []
    for word in asked:
        assert runs[0].summary.metrics is not None
        headline = runs[0].summary.metrics["tasks"][task]["headline"]
        if word == HEADLINE:
            generated = any(generates(run, task) for run in runs)
            references = ("exact.", "lenient.", "majority.") if generated else ("majority.",)
            chosen += [headline, *(name for ref in references if (name := f"{ref}{headline}") in everywhere)]
        elif word == ALL:
            rest = [n for n in everywhere if n.split(".")[0] not in ("exact", "lenient", "majority")]
            chosen += [headline, *rest]
            lacking = [name for name in anywhere if name not in everywhere]
            if lacking:
                notes.append(f"{task}: not every run has {', '.join(lacking)}, so that there is no column of it")
        elif word in everywhere:
            chosen.append(word)
        elif word in anywhere:
            without = [str(run.folder) for run, each in zip(runs, have, strict=True) if word not in each]
            raise ConfigError(
                f"{task} gets no table, since {some(without)} has no {word} and others have: evaluate again with this"
                " version of affect, or name another metric with --metrics"
            )
        else:
            notes.append(f"{task} has no metric {word}; it has {', '.join(anywhere)}")
    return list(dict.fromkeys(chosen)), notes


def columns(settings_by_run: Sequence[Mapping[str, str]], idle_by_run: Sequence[Callable[[str], bool]]) -> list[str]:
    """Keys that tell these settings apart, without those that others decide; `idle_by_run` says of each run which keys
    had no effect in it."""
    keys = dict.fromkeys(key for each in settings_by_run for key in each)

    without_effect = {id(each): is_idle for each, is_idle in zip(settings_by_run, idle_by_run, strict=True)}

    def applies(key: str, each: Mapping[str, str]) -> bool:
        if without_effect[id(each)](key):
            return False
        if key in (*SCORED_WITH, *GENERATED_WITH):
            return key in each
        return each["tuning"] != ZERO_SHOT or not learns(key)

    def value(key: str, each: Mapping[str, str]) -> str | None:
        return each.get(key)

    several = [key for key in keys if len({value(key, each) for each in settings_by_run}) > 1]
    varied = [key for key in several if len({value(key, each) for each in settings_by_run if applies(key, each)}) > 1]

    def decided(key: str) -> bool:
        if key == CONTROL:
            return all(value(key, each) in (None, Control.none.value) for each in settings_by_run)
        names = [name for prefix, name in NAMES.items() if key.startswith(prefix)]
        dataset, is_definition, _ = key.partition(".task_definitions.")
        if is_definition:
            names.append(f"{dataset}.tasks")
        for name in names:
            if key != name and name in varied:
                pairs = {(value(name, each), value(key, each)) for each in settings_by_run if applies(key, each)}
                if len({first for first, _ in pairs}) == len(pairs):
                    return True
        twin = key.removeprefix("training.")
        return twin != key and all(value(twin, each) == each[key] for each in settings_by_run if key in each)

    return sorted(
        (key for key in varied if not decided(key)),
        key=lambda key: LEADING.index(key) if key in LEADING else len(LEADING),
    )


def table(
    runs: Sequence[Run], task: str, *, metrics: Sequence[str] = (HEADLINE,), per_class: bool = False, each: bool = False
) -> Table:
    """The table of one task over all runs that have it; a run's number is its place in `runs`, from 1. It has no rows
    where no run has anything to score, or any of the metrics.

    Numbers are means over the seeds of a setting, with the sample standard deviation (n - 1). Of several runs of one
    configuration and seed the newest counts; `each` shows all of them, one row a run. Raises ConfigError where runs may
    not stand in one table (`mixed`) and where some of them lack a metric that was asked for.
    """
    of_task = [(n, run) for n, run in enumerate(runs, 1) if run.counts and task in run.summary.metrics["tasks"]]
    entries = [(n, run) for n, run in of_task if run.summary.metrics["tasks"][task]["n_scored"]]
    result = Table(
        task=task,
        about={},
        settings=[],
        metrics=[],
        classes=[],
        each=each,
        rows=[],
        footnotes={},
        notes=[
            f"{n} has no number of {task}: none of its clips is labelled for it"
            for n, run in of_task
            if not run.summary.metrics["tasks"][task]["n_scored"]
        ],
    )
    if not entries:
        return result
    scored = [run for _, run in entries]
    refusal = mixed(scored, task, metrics)
    if refusal is not None:
        raise ConfigError(f"{task} gets no table, since {refusal}")
    result.metrics, notes = _named(scored, task, metrics)
    result.notes += notes
    first = scored[0].summary.metrics["tasks"][task]
    result.classes = [f"recall.{label}" for label in first["labels"]] if per_class and "labels" in first else []
    if not result.metrics and not result.classes:
        return result

    settings_of = {n: settings(run, task) for n, run in entries}
    idle_in = {n: idle(run) for n, run in entries}
    groups: dict[Any, list[tuple[int, Run]]] = {}
    for n, run in entries:
        groups.setdefault(n if each else grouped_by(settings_of[n], idle_in[n]), []).append((n, run))
    kept = [newest(group, task, result.notes) for group in groups.values()]

    counted = [entry for group in kept for entry in group]
    varied = columns([settings_of[n] for n, _ in counted], [idle_in[n] for n, _ in counted])
    result.settings = varied or ["model.name"]
    # Only those that generate have a reader, which is one.
    signed = {key: value for run in scored for key, value in signature(run, task, headline=False).items()}
    usual = {key: text(default_of(key)) for key in SCORED_WITH}
    for key in ("evaluation.split", *READOUTS, "evaluation.reader", *usual, *LEADING):
        # A setting without effect in some of the runs is told as the others have it.
        in_effect = (settings_of[n].get(key) for n, _ in counted if not idle_in[n](key))
        value = signed[key] if key in signed else next(in_effect, None)
        if key not in result.settings and value is not None and value != usual.get(key):
            result.about[key] = value
    result.rows = [_row(group, result, settings_of[group[0][0]]) for group in kept]
    _mark_clips(result)
    for name in (*result.metrics, *result.classes):
        undefined = [n for row in result.rows for n in row.runs if _number(runs[n - 1], task, name) is None]
        if undefined:
            result.notes.append(
                f"{name} of {task} is undefined in {', '.join(map(str, undefined))}, and so is a mean with it"
            )
    return result


def newest(group: Sequence[tuple[int, Run]], task: str, notes: list[str]) -> list[tuple[int, Run]]:
    """The newest run of every seed, by seed; a note for each of the others."""
    by_seed: dict[int, list[tuple[int, Run]]] = {}
    for entry in group:
        by_seed.setdefault(entry[1].seed, []).append(entry)
    entries = []
    for seed in sorted(by_seed):
        *others, last = sorted(by_seed[seed], key=_age)
        entries.append(last)
        notes += [
            f"{n} is not counted for {task}: {last[0]} has the same configuration and seed and is newer"
            for n, _ in others
        ]
    return entries


def _age(entry: tuple[int, Run]) -> tuple[str, int]:
    # ISO 8601 in UTC: the order of the texts is that of time.
    return entry[1].summary.status["started"], entry[0]


def _number(run: Run, task: str, name: str) -> float | None:
    if name.startswith("recall."):
        assert run.summary.metrics is not None
        return run.summary.metrics["tasks"][task]["recall_per_class"][name.removeprefix("recall.")]
    return numbers(run, task)[name]


def summarised(values: Sequence[float | None]) -> Number:
    """Mean and sample standard deviation (n - 1) of a metric over runs.

    >>> summarised([0.5, 0.7]).mean, round(summarised([0.5, 0.7]).sd, 6), summarised([0.5]).sd
    (0.6, 0.141421, None)
    """
    defined = [value for value in values if value is not None]
    # The mean of those that are defined would be one over fewer seeds than the row says.
    if len(defined) < len(values):
        return Number(mean=None, sd=None)
    return Number(mean=fmean(defined), sd=stdev(defined) if len(defined) > 1 else None)


def _row(group: Sequence[tuple[int, Run]], of_table: Table, setting: Mapping[str, str]) -> Row:
    runs = [run for _, run in group]
    results = [run.summary.metrics["tasks"][of_table.task] for run in runs]
    readers = [run.summary.metrics["reader"] for run in runs]
    counts = {name: [result[key] for result in results] for name, key in COUNTS.items()}
    return Row(
        runs=[n for n, _ in group],
        setting={key: setting.get(key) for key in of_table.settings},
        whole=dict(setting),
        seeds=[run.seed for run in runs],
        counts={name: (min(values), max(values)) for name, values in counts.items()},
        readable=fmean(
            result[f"n_readable_{reader}"] / result["n_scored"] for result, reader in zip(results, readers, strict=True)
        ),
        numbers={
            name: summarised([_number(run, of_table.task, name) for run in runs])
            for name in (*of_table.metrics, *of_table.classes)
        },
        clips=list(dict.fromkeys(run.clips[of_table.task.split(".")[0]] for run in runs)),
    )


def _mark_clips(of_table: Table) -> None:
    """A footnote for every set of clips but the commonest."""
    sets = Counter(clips for row in of_table.rows for clips in row.clips)
    commonest = sets.most_common(1)[0][0]
    letters: dict[tuple[str, ...], str] = {}
    for row in of_table.rows:
        if row.clips == [commonest]:
            continue
        key = tuple(sorted(row.clips))
        if key not in letters:
            letters[key] = _letter(len(letters))
            of_table.footnotes[letters[key]] = (
                "the runs of this row were scored on different clips, so that its mean is not over seeds alone"
                if len(key) > 1
                else "scored on other clips than the rows without this mark, so that the numbers cannot be compared"
            )
        row.mark = letters[key]


def _letter(index: int) -> str:
    """a … z, then aa, ab, …"""
    return chr(ord("a") + index) if index < 26 else _letter(index // 26 - 1) + _letter(index % 26)
