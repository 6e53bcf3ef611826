"""Datasets. A dataset is a module here with one function,

    records(root, split, *, …) -> Iterator[Record | Excluded]

whose keyword-only parameters are the `options` of its YAML, and the module's name is that YAML's `reader`. It may also
have `prepare(root)`, which makes a dataset that can be made on the spot and is called when its root does not exist.
Modules without that function hold what readers and the rest share: `subsets` and `overlap` choose among records.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from inspect import Parameter, signature
from itertools import combinations
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from affect.config import NO_VALUE, ConfigError, DataError, DatasetConfig, Kind, OnBadRows, Task, Value
from affect.config.tasks import problems as task_problems
from affect.data import labels
from affect.data.overlap import Contents, same_clips, window
from affect.data.record import SPLITS, Record
from affect.data.subsets import is_share_or_count, subset, whole_groups
from affect.data.tables import Excluded, Problems, RowErrors, RowProblem, did_you_mean


def read(name: str, config: DatasetConfig, split: str) -> tuple[list[Record], list[Excluded]]:
    """The records of one split (train, val or test) of the dataset called `name`, and what its reader left out.

    Labels come checked: a string out of `Task.labels` (any string where those are empty, see `infer_labels`), a finite
    float from low to high, or the sorted tuple of all labels that apply. Raises ConfigError for options the reader does
    not have, DataError for the data; what is wrong with single rows is reported together, and with
    on_bad_rows=exclude these rows are left out: each is one Excluded, in the split that it belongs to, or in every
    split where the row does not say.
    """
    assert split in SPLITS, split
    reader = check_options(config)
    root = Path(config.root).expanduser()
    if hasattr(reader, "prepare") and not root.exists():
        reader.prepare(root)
    problems = Problems(split)
    records: list[Record] = []
    excluded: list[Excluded] = []
    seen: dict[str, str] = {}
    try:
        for item in reader.records(root, split, **config.options):
            if isinstance(item, Excluded):
                excluded.append(replace(item, id=name + item.id.removeprefix(config.reader)))
                continue
            # Two datasets can have the same reader (two manifests), and only the configuration knows the language.
            own_id = name + item.id.removeprefix(item.dataset)
            record = replace(
                item,
                id=own_id,
                source=item.source or own_id,
                dataset=name,
                language=config.language,
                audio_track=config.audio_track,
                labels=_checked_labels(name, config.language, item, config.task_definitions, problems),
            )
            if record.id in seen:
                problems.add(
                    record.source, f"has the id '{record.id}' of {seen[record.id]}: give every clip an id of its own"
                )
            seen[record.id] = record.source
            records.append(record)
    except RowErrors as errors:
        problems.found[:0] = errors.problems
    if config.on_bad_rows is OnBadRows.refuse:
        problems.check(
            f"Remedy: correct these rows, or leave them out, listed and counted, with"
            f" datasets.{name}.on_bad_rows={OnBadRows.exclude.value}"
        )
    records, bad = _without_bad_rows(name, split, records, problems)
    excluded += bad
    if not records:
        reasons = f" ({'; '.join(item.reason for item in excluded[:3])})" if excluded else ""
        raise DataError(
            f"{root}: dataset '{name}' has no clip in split '{split}'{reasons}: complete it, or choose another split"
        )
    return records, excluded


def check_options(config: DatasetConfig) -> ModuleType:
    """The reader's module, if `config.options` fit its `records`; else ConfigError. Call it before anything heavy."""
    modules = [module.name for module in iter_modules(__path__)]
    reader = import_module(f"{__name__}.{config.reader}") if config.reader in modules else None
    if not hasattr(reader, "records"):
        readers = [name for name in sorted(modules) if hasattr(import_module(f"{__name__}.{name}"), "records")]
        hint = did_you_mean(config.reader, readers)
        what = "is not a module of affect/data/readers" if reader is None else "is not a reader but what readers share"
        raise ConfigError(f"reader={config.reader} {what}{hint}: choose from {', '.join(readers)}")
    assert reader is not None
    kinds = get_type_hints(reader.records)
    known = {p.name: p for p in signature(reader.records).parameters.values() if p.kind is Parameter.KEYWORD_ONLY}
    wrong = []
    for option, value in config.options.items():
        if option not in known:
            wrong.append(
                f"options.{option} is not an option of the reader '{config.reader}'{did_you_mean(option, known)}:"
                f" choose from {', '.join(known) or 'none, it has no options'}"
            )
        elif known[option].default is None and isinstance(value, str) and NO_VALUE.fullmatch(value):
            wrong.append(
                f"options.{option}={value} is a text: what is not there is written null, options.{option}=null"
            )
        elif not _fits(value, kinds[option]):
            kind = str(kinds[option]) if get_args(kinds[option]) else kinds[option].__name__
            wrong.append(
                f"options.{option}={value!r} of the reader '{config.reader}' has to be of type"
                f" {kind.replace('typing.', '')}: correct the value"
            )
    for option, parameter in known.items():
        if parameter.default is Parameter.empty and option not in config.options:
            wrong.append(f"options.{option} of the reader '{config.reader}' is not set: give it a value")
    if config.fraction is not None and not is_share_or_count(config.fraction):
        wrong.append(
            f"fraction={config.fraction:g} is neither a share of the training clips, above 0 and up to 1, nor a number"
            " of them, 2 or more: give one of these, or null for all"
        )
    if config.fraction is not None and config.subset.train is not None:
        wrong.append(
            f"fraction={config.fraction:g} and subset.train={config.subset.train} both say how many training clips are"
            " used: set one of them to null"
        )
    if wrong:
        raise ConfigError("\n".join(wrong))
    return reader


def infer_labels(records: Sequence[Record], task: Task) -> list[str]:
    """The distinct labels of `task` in `records` (those of the training split), sorted: for a task that declares none.
    Spellings of one number, like 1 and 1.0, are one label (see labels.closed_set).

    Raises DataError where they cannot be a closed set, e.g. one label only, or two that differ in upper and lower case.
    """
    values = [record.labels[task.name] for record in records if task.name in record.labels]
    own = labels.closed_set({str(one) for value in values for one in (value if isinstance(value, tuple) else (value,))})
    found = list(task_problems(replace(task, labels=own)))
    if not own:
        found = [f"task '{task.name}' declares no labels and no record has one"]
    if found:
        raise DataError(
            f"the labels cannot be taken from the {len(records):,} training records: {'; '.join(found)}. Correct the"
            f" rows, or declare the set under task_definitions.{task.name}.labels"
        )
    return own


def draw(config: DatasetConfig, split: str, records: Sequence[Record]) -> tuple[list[Record], dict[str, Any] | None]:
    """What `fraction` or `subset` leave of the records of a split, and the counts of the fraction (None without).

    Stratified by the first of the dataset's tasks. Raises DataError as `subset` and `whole_groups` do.
    """
    first = config.task_definitions[config.tasks[0]]
    if split == "train" and config.fraction is not None:
        return whole_groups(records, first, config.fraction, config.subset_seed)
    return subset(records, first, getattr(config.subset, split), config.subset_seed), None


def check_disjoint(
    by_split: Mapping[str, Sequence[Record]],
    *,
    speaker_independent: bool,
    duplicates: bool = False,
    contents: Contents | None = None,
) -> None:
    """Raises DataError where a clip is in two splits, unless `duplicates` may be there, or a speaker if
    `speaker_independent`. `contents` are what is known of the records' files: see overlap.same_clips."""
    problems = Problems()
    known = contents or {}
    for (first, earlier), (second, later) in combinations(by_split.items(), 2):
        told = set()
        for one, record in [] if duplicates else same_clips(earlier, later, (known, known)):
            if record.id in told:  # one line a row, also where many are the same
                continue
            told.add(record.id)
            problems.add(
                record.source or record.id,
                f"split '{second}' has the clip of {one.source or one.id} in split '{first}'"
                f" ({_the_same(one, record)}): leave it in one of them, or set"
                f" datasets.{record.dataset}.cross_split_duplicates to exclude (the copy in '{first}' is left out) or"
                " allow",
            )
        if speaker_independent:
            spoken = [Counter(r.speaker for r in side if r.speaker is not None) for side in (earlier, later)]
            for speaker in sorted(spoken[0].keys() & spoken[1].keys()):
                problems.add(
                    f"speaker '{speaker}'",
                    f"has {spoken[0][speaker]:,} clips in split '{first}' and {spoken[1][speaker]:,} in split"
                    f" '{second}', but the splits are to be speaker-independent: leave the speaker in one of them",
                )
    problems.check()


def _without_bad_rows(
    name: str, split: str, records: Sequence[Record], problems: Problems
) -> tuple[list[Record], list[Excluded]]:
    """The records whose row has no problem, and an Excluded for each row of the split that has."""
    by_source: dict[str, list[RowProblem]] = {}
    for problem in problems.found:
        by_source.setdefault(problem.source, []).append(problem)
    kept = [record for record in records if record.source not in by_source]
    used = {record.id for record in kept}
    ids = {record.source: record.id for record in records if record.id not in used}
    bad = []
    for source, found in by_source.items():
        known = next((problem.split for problem in found if problem.split is not None), None)
        if known not in (None, split):
            continue
        reason = "; ".join(dict.fromkeys(problem.sentence for problem in found))
        bad.append(
            Excluded(
                id=ids.get(source, f"{name}/{split}/{source}"),
                split=split,
                reason=reason if known else f"{reason} (which split the row is of is not known: it counts in each)",
                source=source,
                count=max(problem.count for problem in found),
                bad_row=True,
            )
        )
    return kept, bad


def _the_same(first: Record, second: Record) -> str:
    """`a.mp4`, or how two clips that are the same differ: in their windows, or in what their files are called."""
    if first.media != second.media:
        return f"{second.media} holds what {first.media} does"
    windows = ["{:g} to {:g} s".format(*window(record)) for record in (first, second)]
    return f"{second.media}" + ("" if windows[0] == windows[1] else f", {windows[1]} and {windows[0]}")


def _checked_labels(
    dataset: str, language: str, record: Record, tasks: Mapping[str, Task], problems: Problems
) -> dict[str, Value]:
    checked: dict[str, Value] = {}
    for name, label in record.labels.items():
        if name not in tasks:
            raise ConfigError(
                f"dataset '{dataset}' has labels for the task '{name}'{did_you_mean(name, tasks)}, which is not"
                f" under its task_definitions ({', '.join(tasks)}): define it, or take its column out of the options"
            )
        task = tasks[name]
        if task.kind is Kind.intensity:
            checked[name] = _intensity(label, name, task, record.source, problems)
            continue
        several = task.kind is Kind.multi_label
        applying = labels.several(label, task, language) if several and isinstance(label, str) else label
        if applying is None:
            continue
        given = applying if isinstance(applying, tuple) else (str(applying),)
        # Undeclared labels are any string, but not what a program writes for none at all.
        spelled = [labels.in_spelling_of(one, task.labels) if task.labels else one for one in given]
        wrong = [
            one
            for one, same in zip(given, spelled, strict=True)
            if same is None or (not task.labels and labels.is_missing(one))
        ]
        if wrong and labels.is_missing(wrong[0]):
            problems.add(
                record.source,
                f"the label '{wrong[0]}' of task '{name}' is what pandas and spreadsheets write for an empty cell:"
                f" {labels.without_label(wrong[0], task)}",
            )
        elif wrong:
            problems.add(
                record.source,
                f"the label '{wrong[0]}' of task '{name}' is not one of {', '.join(task.labels)}"
                f"{did_you_mean(wrong[0], task.labels)}: correct it, or declare it under"
                f" task_definitions.{name}.labels",
            )
        else:
            checked[name] = tuple(sorted({str(one) for one in spelled})) if several else str(spelled[0])
    return checked


def _intensity(label: Value, name: str, task: Task, source: str, problems: Problems) -> float:
    assert task.low is not None and task.high is not None, f"task '{name}' has no range"
    try:
        value = math.nan if isinstance(label, tuple) else float(label)
    except ValueError:
        value = math.nan
    if not task.low <= value <= task.high:  # also true of NaN
        remedy = f"correct it, or the range under task_definitions.{name}"
        if isinstance(label, str) and labels.is_missing(label):
            remedy = labels.without_label(label, task)
        elif isinstance(label, str) and re.fullmatch(r"[+-]?\d*,\d+", label.strip()):
            remedy = f"write it with a decimal point, {label.strip().replace(',', '.')}"
        problems.add(
            source,
            f"the label '{label}' of task '{name}' is not a number from {task.low:g} to {task.high:g}: {remedy}",
        )
    return value


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value out of YAML is of the annotated type; as much of `typing` as options need."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(k, arguments[0]) and _fits(v, arguments[1]) for k, v in value.items()
        )
    if isinstance(value, bool):  # a bool is an int to isinstance, but context=true is a mistake
        return kind is bool
    if kind is float:
        return isinstance(value, (int, float))
    return isinstance(value, NoneType if kind is None else kind)
