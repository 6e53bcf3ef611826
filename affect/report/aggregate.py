"""Runs to the rows of a table: which settings there are, and the mean of every metric over the seeds of each.

Only numbers of one split, one definition of the task, one reader of generated text and one metric come into a column;
what else differs between runs, the readout too, is a column of the table, so that no two settings look alike.
"""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from affect.config import ConfigError, near
from affect.run import RunSummary

ZERO_SHOT, FINE_TUNED = "zero-shot", "fine-tuned"

# Where things are, how a run is watched, and what it is called: none of it changes a number.
PLACES = {
    *("output_root", "cache_root", "data_root", "run", "resume", "clip", "dry_run", "evaluation.name"),
    *("export_as", "export_folder", "model.licence"),
    *("trainer.progress", "trainer.num_workers", "trainer.check_workers", "trainer.log_every"),
}
PLACE_PREFIXES = ("logger.", "trainer.save_every_")

# Of the trainer's keys, those that an evaluation without training has a use for.
EVALUATED_WITH = {"trainer.max_batches", "trainer.accelerator", "trainer.devices"}

# The key that stands for the others of its group, wherever it decides them.
NAMES = {
    **{f"{group}.": f"{group}.name" for group in ("model", "prompting", "finetuning", "trainer")},
    "training.datasets.": "training.datasets",
}

# What `mixed` keeps apart; the rows of a table have it in common.
SIGNED = {"evaluation.split", "evaluation.reader"}

READOUTS = ("evaluation.readout", "evaluation.intensity_readout")
"""How answers are obtained: of a task with labels, and of one with a range. In the heading, or a column."""

SCORED_WITH = {"length_normalised": "false", "calibration": "none", "logit_adjustment": "0.0"}
"""Keys of `evaluation` that change scores alone, and what they are where the heading need not name them."""

READ_WITH = {"evaluation.max_new_tokens", *(f"evaluation.{key}" for key in SCORED_WITH)}
"""What only some readouts have a use for: the others have no value of it that could differ."""

LEADING = ("model.name", "tuning", "modalities")
"""What a reader looks for first: leading columns where it varies, part of the heading where it does not."""

COUNTS = {"expected": "expected", "used": "used", "scored": "n_scored"}
"""The columns that say what a number stands on, and the key of metrics.json that has it."""

HEADLINE, ALL = "headline", "all"
"""What `metrics` may be beside names of metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder, and what its numbers belong to."""

    summary: RunSummary
    state: str
    """As affect.run.state says."""
    training: Mapping[str, Any] | None = None
    """The configuration of the training that made the model: the run's own, or that of the run it evaluates. None is
    zero-shot."""
    training_lost: bool = False
    """The run it evaluates is not there any more; `training` is then what the evaluation knows of it."""
    clips: Mapping[str, str] = field(default_factory=dict)
    """By dataset, the hash of the ids that were used of the evaluated split."""

    @property
    def counts(self) -> bool:
        """Whether it has numbers that will not change any more."""
        return self.state == "finished" and self.summary.metrics is not None

    @property
    def tuning(self) -> str:
        return ZERO_SHOT if self.training is None else FINE_TUNED

    @property
    def seed(self) -> int:
        """The seed that made the model, which that of a later evaluation does not change."""
        return (self.summary.config if self.training is None else self.training)["seed"]

    @property
    def folder(self) -> Path:
        return self.summary.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    mean: float | None
    """None where the metric is undefined for one of the runs."""
    sd: float | None
    """Sample standard deviation (n - 1); None for a single run."""


@dataclass(slots=True, kw_only=True)
class Row:
    runs: list[int]
    """Numbers of the runs it is made of, in the order of the seeds."""
    setting: dict[str, str | None]
    """By column of Table.settings; None where a key does not apply."""
    seeds: list[int]
    counts: dict[str, tuple[int, int]]
    """Smallest and greatest of expected, used and scored."""
    readable: float
    """Share of the scored clips whose answer could be read, mean over the runs."""
    numbers: dict[str, Number]
    """By column of Table.metrics and Table.classes."""
    clips: list[str]
    """Hashes of the sets of clips, each once."""
    mark: str = ""
    """Letter of a footnote."""


@dataclass(slots=True, kw_only=True)
class Table:
    """All that is known of one task."""

    task: str
    about: dict[str, str]
    """What all rows have in common."""
    settings: list[str]
    metrics: list[str]
    classes: list[str]
    """Labels whose recall (of the lenient reader) is asked for, as `recall.LABEL`."""
    each: bool
    """One row a run, instead of one a setting."""
    rows: list[Row]
    footnotes: dict[str, str]
    notes: list[str]


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration under its key with dots; lists are values.

    >>> dict(leaves({"seed": 1, "model": {"name": "x", "targets": [1, 2]}}))
    {'seed': 1, 'model.name': 'x', 'model.targets': [1, 2]}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text(value: Any) -> str:
    """A value as it is written on the command line.

    >>> text(None), text(True), text(0.5), text(["a", "b"])
    ('null', 'true', '0.5', '[a,b]')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    return str(value).replace("\n", "\\n")


def _plain(config: Mapping[str, Any]) -> dict[str, str]:
    """`leaves` as text, with the roots of datasets relative to the places that this machine keeps them in."""
    found = {key: text(value) for key, value in leaves(config)}
    for name, dataset in config["datasets"].items():
        for place in ("data_root", "cache_root"):
            if Path(dataset["root"]).is_relative_to(config[place]):
                found[f"datasets.{name}.root"] = f"{place}/{Path(dataset['root']).relative_to(config[place])}"
    return found


def _no_matter(key: str) -> bool:
    return key in PLACES or key.startswith(PLACE_PREFIXES)


def _learns(key: str) -> bool:
    """Whether a key says how a model is trained: it then applies to fine-tuned models alone."""
    return key.startswith(("finetuning.", "training.", "trainer.")) and key not in EVALUATED_WITH


def settings(run: Run, task: str) -> dict[str, str]:
    """By key, all that a number of this task depends on, other than the seed and what `signature` has.

    Keys under `training.` are those of the training that made the model, which an evaluation may have changed since:
    modalities, datasets, readout of the validation.
    """
    dataset, name = task.split(".", 1)
    definition = f"datasets.{dataset}.task_definitions."
    split = run.summary.config["evaluation"]["split"]
    found = {"tuning": run.tuning}
    for key, value in _plain(run.summary.config).items():
        if _no_matter(key) or _learns(key) or key in SIGNED or key in ("seed", "evaluation.selection"):
            continue
        if key in READOUTS and key != _readout_key(run, task):
            continue
        if key == "evaluation.max_new_tokens" and not _generates(run, task):
            continue
        if key.removeprefix("evaluation.") in SCORED_WITH and not _scores(run, task):
            continue
        if key.startswith("datasets."):
            other_task = key.startswith(definition) and not key.startswith(f"{definition}{name}.")
            other_split = ".subset." in key and not key.endswith(f".subset.{split}")
            # The headline and the dialects say what is reported, and change no number.
            reported = key in (f"{definition}{name}.headline", f"{definition}{name}.dialects")
            if not key.startswith(f"datasets.{dataset}.") or key == f"datasets.{dataset}.tasks":
                continue
            if other_task or other_split or reported:
                continue
        found[key] = value
    if run.training is not None:
        found |= _trained(run.training)
        if run.training_lost:
            found["training.run"] = text(run.summary.config["run"])
    return found


def _trained(config: Mapping[str, Any]) -> dict[str, str]:
    found = {"training.datasets": "+".join(config["datasets"])}
    for key, value in _plain(config).items():
        first, *rest = key.split(".")
        if _no_matter(key) or key.startswith(("model.", "prompting.", "knowledge.")) or key == "seed":
            continue  # an evaluation cannot change model and prompting, so that they are settings already
        if first == "datasets":
            is_definition = rest[1] == "task_definitions"
            if is_definition and (rest[2] not in config["datasets"][rest[0]]["tasks"] or rest[3] == "dialects"):
                continue
            if rest[1:] == ["subset", "test"]:
                continue
        if key in ("evaluation.split", "evaluation.batch_size"):
            continue
        found[key if _learns(key) else f"training.{key}"] = value
    return found


def facts(run: Run) -> dict[str, str]:
    """By key, all that `where` can ask about."""
    found = {"dataset": "+".join(run.summary.config["datasets"])}
    found |= _plain(run.summary.config)
    if run.counts:
        found["tuning"] = run.tuning
        if run.training is not None:
            found["training.datasets"] = "+".join(run.training["datasets"])
            found |= {f"training.{key}": value for key, value in _plain(run.training).items()}
    return found


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs of which all conditions `KEY=VALUE` are true; of several conditions on one key one has to be.

    A group stands for its name (evaluation=score). What an unfinished run was trained with is not known, so conditions
    on that leave it in. Raises ConfigError where a condition has no =, a key is in no run, or no run is left.
    """
    if not conditions:
        return list(runs)
    known = [facts(run) for run in runs]
    keys = {key for each in known for key in each}
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where {condition} has no =: write --where KEY=VALUE, as in evaluation.split=test")
        if key not in keys and f"{key}.name" in keys:
            key = f"{key}.name"
        if key not in keys:
            raise ConfigError(
                f"--where {condition}: no run has the key '{key}'{near(key, keys)} The config.yaml of a run folder"
                " has all of them"
            )
        wanted.setdefault(key, []).append(value)
    left = list(zip(runs, known, strict=True))
    for key, values in wanted.items():
        there = sorted({each[key] for _, each in left if key in each})
        left = [
            (run, each)
            for run, each in left
            if (key in each and any(_same(each[key], value) for value in values))
            or (key not in each and not run.counts and key.startswith(("tuning", "training.")))
        ]
        if not left:
            raise ConfigError(
                f"no run has {' or '.join(f'{key}={value}' for value in values)}: choose of {', '.join(there)}"
            )
    return [run for run, _ in left]


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)  # 5e-4 is 0.0005
    except ValueError:
        return one.replace(", ", ",") == other.replace(", ", ",")


def tasks(runs: Sequence[Run]) -> list[str]:
    """The tasks that have numbers, in the order they are met in."""
    return list(dict.fromkeys(task for run in runs if run.counts for task in run.summary.metrics["tasks"]))


def signature(run: Run, task: str, *, headline: bool) -> dict[str, str]:
    """By key, what has to be the same for numbers of a task to stand in one column."""
    dataset, name = task.split(".", 1)
    metrics, config = run.summary.metrics, run.summary.config
    assert metrics is not None
    found = {"evaluation.split": metrics["split"]}
    prefix = f"datasets.{dataset}.task_definitions.{name}"
    definition = config["datasets"][dataset]["task_definitions"][name]
    found[f"{prefix}.kind"] = text(definition["kind"])
    if "labels" in metrics["tasks"][task]:
        found[f"{prefix}.labels"] = text(definition["labels"])
    else:
        found |= {f"{prefix}.{end}": text(definition[end]) for end in ("low", "high")}
    if _generates(run, task):
        found["evaluation.reader"] = metrics["reader"]
    if headline:
        found[f"{prefix}.headline"] = metrics["tasks"][task]["headline"]
    return found


def _readout_key(run: Run, task: str) -> str:
    assert run.summary.metrics is not None
    return READOUTS[0 if "labels" in run.summary.metrics["tasks"][task] else 1]


def _scores(run: Run, task: str) -> bool:
    """Whether the task is a classification whose labels were scored."""
    metrics = run.summary.metrics
    assert metrics is not None
    return "labels" in metrics["tasks"][task] and metrics["readout"] == "score"


def _generates(run: Run, task: str) -> bool:
    """Whether answers are text, which the two readers may read differently."""
    metrics = run.summary.metrics
    assert metrics is not None
    if "readout" in metrics["tasks"][task]:
        return "generate" in metrics["tasks"][task]["readout"].split("+")
    return metrics[_readout_key(run, task).removeprefix("evaluation.")] == "generate"


def mixed(runs: Sequence[Run], task: str, metrics: Sequence[str]) -> str | None:
    """The sentence that refuses to put these runs into one table, None where they may stand in one. `metrics` are those
    asked for."""
    found = [signature(run, task, headline=bool({HEADLINE, ALL} & set(metrics))) for run in runs]
    compared = [_comparable(each) for each in found]
    keys = list(dict.fromkeys(key for each in found for key in each))
    # A key that only one readout has (the reader, say) adds nothing to the difference between the readouts.
    differing = [key for key in keys if len({each[key] for each in compared if key in each}) > 1]
    if not differing:
        return None
    parts = []
    for key in differing:
        values = dict.fromkeys(each[key] for each in found if key in each)
        holders = {
            value: _some(
                [str(r.folder) for r, each in zip(runs, found, strict=True) if key in each and each[key] == value]
            )
            for value in values
        }
        parts.append(f"{key} ({'; '.join(f'{value} in {named}' for value, named in holders.items())})")
    combinations = Counter(tuple(each.get(key) for key in differing) for each in found)
    [(commonest, _)] = combinations.most_common(1)
    words = [f"{key}={value}" for key, value in zip(differing, commonest, strict=True) if value is not None]
    remedy = f"choose with {' '.join(f'--where {shlex.quote(word)}' for word in words)} or the like"
    if any(key.endswith(".headline") for key in differing):
        remedy += ", or name metrics that all of them have with --metrics"
    return f"{task} gets no table, since its runs differ in {' and in '.join(parts)}: {remedy}"


def _comparable(found: dict[str, str]) -> dict[str, str]:
    # The order of the labels changes the question, not what a number means.
    return {
        key: ",".join(sorted(value[1:-1].split(","))) if key.endswith(".labels") else value
        for key, value in found.items()
    }


def _some(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def numbers(run: Run, task: str) -> dict[str, float | None]:
    """Every metric of a run by its name in tables: those of the run's reader by their own name (of a dialect:
    DIALECT.NAME), those of the other reader and of the majority answer as `exact.NAME`, `majority.NAME`."""
    metrics = run.summary.metrics
    assert metrics is not None
    found = metrics["tasks"][task]
    own = metrics["reader"]
    result = {}
    for source in (own, *(other for other in ("exact", "lenient", "majority") if other != own)):
        prefix = "" if source == own else f"{source}."
        result |= {f"{prefix}{name}": value for name, value in found[source].items()}
        if "dialects" in found:
            result |= {f"{prefix}{name}": value for name, value in leaves(found["dialects"][source])}
    result[found["headline"]] = found["value"]
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
            generated = any(_generates(run, task) for run in runs)
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
                f"{task} gets no table, since {_some(without)} has no {word} and others have: evaluate again with this"
                " version of affect, or name another metric with --metrics"
            )
        else:
            notes.append(f"{task} has no metric {word}; it has {', '.join(anywhere)}")
    return list(dict.fromkeys(chosen)), notes


def _columns(found: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that tell the settings apart, without those that others decide."""
    keys = dict.fromkeys(key for each in found for key in each)

    def applies(key: str, each: Mapping[str, str]) -> bool:
        if key in READ_WITH:
            return key in each
        return each["tuning"] == FINE_TUNED or not _learns(key)

    def value(key: str, each: Mapping[str, str]) -> str | None:
        return each.get(key)

    varied = [key for key in keys if len({value(key, each) for each in found if applies(key, each)}) > 1]

    def decided(key: str) -> bool:
        names = [name for prefix, name in NAMES.items() if key.startswith(prefix)]
        dataset, is_definition, _ = key.partition(".task_definitions.")
        if is_definition:
            names.append(f"{dataset}.tasks")
        for name in names:
            if key != name and name in varied:
                pairs = {(value(name, each), value(key, each)) for each in found if applies(key, each)}
                if len({first for first, _ in pairs}) == len(pairs):
                    return True
        twin = key.removeprefix("training.")
        return twin != key and all(value(twin, each) == each[key] for each in found if key in each)

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
    made = Table(
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
        return made
    scored = [run for _, run in entries]
    refusal = mixed(scored, task, metrics)
    if refusal is not None:
        raise ConfigError(refusal)
    made.metrics, said = _named(scored, task, metrics)
    made.notes += said
    first = scored[0].summary.metrics["tasks"][task]
    made.classes = [f"recall.{label}" for label in first["labels"]] if per_class and "labels" in first else []
    if not made.metrics and not made.classes:
        return made

    found = {n: settings(run, task) for n, run in entries}
    groups: dict[Any, list[tuple[int, Run]]] = {}
    for n, run in entries:
        groups.setdefault(n if each else tuple(sorted(found[n].items())), []).append((n, run))
    kept = [_newest(group, task, made.notes) for group in groups.values()]

    columns = _columns([found[n] for group in kept for n, _ in group])
    common = found[kept[0][0][0]]
    made.settings = columns or ["model.name"]
    # Only those that generate have a reader, which is one.
    signed = {key: value for run in scored for key, value in signature(run, task, headline=False).items()}
    usual = {f"evaluation.{key}": value for key, value in SCORED_WITH.items()}
    for key in ("evaluation.split", *READOUTS, "evaluation.reader", *usual, *LEADING):
        value = signed[key] if key in signed else common.get(key)
        if key not in made.settings and value is not None and value != usual.get(key):
            made.about[key] = value
    made.rows = [_row(group, made, found[group[0][0]]) for group in kept]
    _mark_clips(made)
    for name in (*made.metrics, *made.classes):
        undefined = [n for row in made.rows for n in row.runs if _number(runs[n - 1], task, name) is None]
        if undefined:
            made.notes.append(
                f"{name} of {task} is undefined in {', '.join(map(str, undefined))}, and so is a mean with it"
            )
    return made


def _newest(group: Sequence[tuple[int, Run]], task: str, notes: list[str]) -> list[tuple[int, Run]]:
    """The newest run of every seed, by seed; a note for each of the others."""
    by_seed: dict[int, list[tuple[int, Run]]] = {}
    for entry in group:
        by_seed.setdefault(entry[1].seed, []).append(entry)
    kept = []
    for seed in sorted(by_seed):
        *others, newest = sorted(by_seed[seed], key=_age)
        kept.append(newest)
        notes += [
            f"{n} is not counted for {task}: {newest[0]} has the same configuration and seed and is newer"
            for n, _ in others
        ]
    return kept


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


def _row(group: Sequence[tuple[int, Run]], made: Table, found: Mapping[str, str]) -> Row:
    runs = [run for _, run in group]
    results = [run.summary.metrics["tasks"][made.task] for run in runs]
    readers = [run.summary.metrics["reader"] for run in runs]
    counts = {name: [result[key] for result in results] for name, key in COUNTS.items()}
    return Row(
        runs=[n for n, _ in group],
        setting={key: found.get(key) for key in made.settings},
        seeds=[run.seed for run in runs],
        counts={name: (min(values), max(values)) for name, values in counts.items()},
        readable=fmean(
            result[f"n_readable_{reader}"] / result["n_scored"] for result, reader in zip(results, readers, strict=True)
        ),
        numbers={
            name: summarised([_number(run, made.task, name) for run in runs]) for name in (*made.metrics, *made.classes)
        },
        clips=list(dict.fromkeys(run.clips[made.task.split(".")[0]] for run in runs)),
    )


def _mark_clips(made: Table) -> None:
    """A footnote for every set of clips but the commonest."""
    sets = Counter(clips for row in made.rows for clips in row.clips)
    commonest = sets.most_common(1)[0][0]
    letters: dict[tuple[str, ...], str] = {}
    for row in made.rows:
        if row.clips == [commonest]:
            continue
        key = tuple(sorted(row.clips))
        if key not in letters:
            letters[key] = _letter(len(letters))
            made.footnotes[letters[key]] = (
                "the runs of this row were scored on different clips, so that its mean is not over seeds alone"
                if len(key) > 1
                else "scored on other clips than the rows without this mark, so that the numbers cannot be compared"
            )
        row.mark = letters[key]


def _letter(index: int) -> str:
    """a … z, then aa, ab, …"""
    return chr(ord("a") + index) if index < 26 else _letter(index // 26 - 1) + _letter(index % 26)
