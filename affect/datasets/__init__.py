"""Datasets. A dataset is a module here with one function,

    records(root, split, *, …) -> Iterator[Record | Excluded]

whose keyword-only parameters are the `options` of its YAML, and the module's name is that YAML's `reader`. It may also
have `prepare(root)`, which makes a dataset that can be made on the spot and is called when its root does not exist.
Modules without that function hold what readers and the rest share: `subsets` and `overlap` choose among records.
"""

import math
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

from affect.config import ConfigError, DatasetConfig
from affect.datasets.overlap import file_and_window
from affect.datasets.subsets import is_share_or_count, subset, whole_groups
from affect.record import SPLITS, DataError, Record, Value
from affect.tables import Excluded, Problems, RowErrors, did_you_mean
from affect.tasks import Kind, Task
from affect.tasks import problems as task_problems


def read(name: str, config: DatasetConfig, split: str) -> tuple[list[Record], list[Excluded]]:
    """The records of one split (train, val or test) of the dataset called `name`, and what its reader left out.

    Labels come checked: a string out of `Task.labels` (any string where those are empty, see `infer_labels`), a finite
    float from low to high, or the sorted tuple of all labels that apply. Raises ConfigError for options the reader does
    not have, DataError for the data; what is wrong with single rows is reported together.
    """
    assert split in SPLITS, split
    reader = check_options(config)
    root = Path(config.root).expanduser()
    if hasattr(reader, "prepare") and not root.exists():
        reader.prepare(root)
    problems = Problems()
    records: list[Record] = []
    excluded: list[Excluded] = []
    seen: dict[str, str] = {}
    try:
        for item in reader.records(root, split, **config.options):
            if isinstance(item, Excluded):
                excluded.append(replace(item, id=name + item.id.removeprefix(config.reader)))
                continue
            # Two datasets can have the same reader (two manifests), and only the configuration knows the language.
            record = replace(
                item,
                id=name + item.id.removeprefix(item.dataset),
                dataset=name,
                language=config.language,
                audio_track=config.audio_track,
                labels=_checked_labels(name, item, config.task_definitions, problems),
            )
            if record.id in seen:
                problems.add(
                    record.source, f"has the id '{record.id}' of {seen[record.id]}: give every clip an id of its own"
                )
            seen[record.id] = record.source
            records.append(record)
    except RowErrors as found:
        problems.sentences[:0] = found.sentences
    problems.check()
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
        what = "is not a module of affect/datasets" if reader is None else "is not a reader but what readers share"
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

    Raises DataError where they cannot be a closed set, e.g. one label only, or two that differ in upper and lower case.
    """
    labels = sorted({str(record.labels[task.name]) for record in records if task.name in record.labels})
    found = list(task_problems(replace(task, labels=labels)))
    if not labels:
        found = [f"task '{task.name}' declares no labels and no record has one"]
    if found:
        raise DataError(
            f"the labels cannot be taken from the {len(records):,} training records: {'; '.join(found)}. Correct the"
            f" rows, or declare the set under task_definitions.{task.name}.labels"
        )
    return labels


def draw(config: DatasetConfig, split: str, records: Sequence[Record]) -> tuple[list[Record], dict[str, Any] | None]:
    """What `fraction` or `subset` leave of the records of a split, and the counts of the fraction (None without).

    Stratified by the first of the dataset's tasks. Raises DataError as `subset` and `whole_groups` do.
    """
    first = config.task_definitions[config.tasks[0]]
    if split == "train" and config.fraction is not None:
        return whole_groups(records, first, config.fraction, config.subset_seed)
    return subset(records, first, getattr(config.subset, split), config.subset_seed), None


def check_disjoint(by_split: Mapping[str, Sequence[Record]], *, speaker_independent: bool) -> None:
    """Raises DataError where a clip (file, start, end) is in two splits, or a speaker if `speaker_independent`."""
    problems = Problems()
    for (first, earlier), (second, later) in combinations(by_split.items(), 2):
        clips = {clip: record for record in earlier if (clip := file_and_window(record))}
        for record in later:
            if clip := file_and_window(record):
                if clip not in clips:
                    continue
                problems.add(
                    record.source or record.id,
                    f"split '{second}' has the clip of {clips[clip].source or clips[clip].id} in split '{first}'"
                    f" ({record.media}): leave it in one of them",
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


def _checked_labels(dataset: str, record: Record, tasks: Mapping[str, Task], problems: Problems) -> dict[str, Value]:
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
        # A table has them in one cell: joy|surprise.
        applying = tuple(part.strip() for part in label.split("|")) if several and isinstance(label, str) else label
        unknown = [one for one in (applying if isinstance(applying, tuple) else (applying,)) if one not in task.labels]
        if task.labels and unknown:
            problems.add(
                record.source,
                f"the label '{unknown[0]}' of task '{name}' is not one of {', '.join(task.labels)}"
                f"{did_you_mean(str(unknown[0]), task.labels)}: correct it, or declare it under"
                f" task_definitions.{name}.labels",
            )
            continue
        checked[name] = tuple(sorted(set(applying))) if isinstance(applying, tuple) else applying
    return checked


def _intensity(label: Value, name: str, task: Task, source: str, problems: Problems) -> float:
    assert task.low is not None and task.high is not None, f"task '{name}' has no range"
    try:
        value = math.nan if isinstance(label, tuple) else float(label)
    except ValueError:
        value = math.nan
    if not task.low <= value <= task.high:  # also true of NaN
        problems.add(
            source,
            f"the label '{label}' of task '{name}' is not a number from {task.low:g} to {task.high:g}: correct it, or"
            f" the range under task_definitions.{name}",
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
