"""Trains on each dataset, tests on each, and makes one table of it:

    affect transfer dataset=[demo,ravdess,meld] label_space=four_emotions modalities=t model=tfidf
    affect transfer table FOLDER …       makes the table again, from run folders

python train.py -m sweep=transfer datasets=[…] is the same; sweep=leave_one_out trains on all datasets but one. Other
words are those of a training; those that begin with datasets.NAME. are for that dataset alone, and seed=1,2,3 gives
means. Given again with hydra.sweep.dir=FOLDER, or by affect sweep resume FOLDER, what is finished there is kept.

Each training is a multirun of its own in that folder (train_demo), and so is each test on another dataset
(demo_on_meld), so that they are continued, repeated and tabulated as all multiruns are.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from affect.baselines.reads import reads_feature_files
from affect.cli import multiruns
from affect.cli.checked import checked
from affect.cli.programs import TRANSFERS
from affect.config import (
    MODALITIES,
    Config,
    ConfigError,
    DataError,
    DatasetConfig,
    Kind,
    Task,
    label_maps,
    launch,
    near,
)
from affect.config.groups import choices
from affect.config.hydra_errors import REFUSALS, refusal
from affect.data import loading
from affect.data.files import write_atomic
from affect.data.part import Part
from affect.runs import sweep_file, sweep_points
from affect.runs.run_environment import start_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A transfer as the words of its command line have it."""

    kind: str
    names: list[str]
    """The datasets."""
    folder: Path
    common: list[str]
    """The words of every training."""
    of_dataset: dict[str, list[str]]
    """The words about each dataset."""

    @property
    def rows(self) -> list[list[str]]:
        """The datasets of each training."""
        if self.kind == "transfer":
            return [[name] for name in self.names]
        return [[name for name in self.names if name != left_out] for left_out in self.names]

    def training(self, row: Sequence[str]) -> list[str]:
        return [f"dataset=[{','.join(row)}]", *self.common, *(word for name in row for word in self.of_dataset[name])]

    def evaluation(self, name: str) -> list[str]:
        return [f"dataset=[{name}]", *multiruns.of_every_job(self.common), *self.of_dataset[name]]


def main() -> None:
    """Runs `affect transfer …`."""
    words = sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
    elif words[0] == "table":
        try:
            _show([Path(folder) for folder in words[1:]])
        except REFUSALS as error:
            sys.exit(refusal(error, words))
    else:
        kind = [] if asked(words) else ["sweep=transfer"]
        sys.argv = ["train.py", "-m", *kind, *words]
        import_module("affect.cli.train").main()


def asked(given: Sequence[str]) -> str | None:
    """The transfer that the words of a command line ask for, one of TRANSFERS."""
    return next((kind for kind in TRANSFERS if f"sweep={kind}" in given), None)


def run(given: Sequence[str], program: str) -> None:
    """Trains and tests as the words ask, after everything that can be refused beforehand; writes and prints the matrix.

    Raises ConfigError and DataError for what is refused, SystemExit where a cell is missing at the end, or the user
    stopped.
    """
    plan, configs, _ = _checked_plan(given, program)
    if configs[0].dry_run:
        for row in plan.rows:
            print(f"train on {'+'.join(row)}, test on {', '.join(plan.names)}")
        print("The configuration is sound; nothing was run.")
        return
    _check_data(plan, configs)
    sweep_file.begin(plan.folder, program, start_note(given), [])  # `affect sweep resume` starts the whole again
    print(f"{len(plan.rows)} trainings, each tested on {', '.join(plan.names)}, in {plan.folder}", flush=True)
    problems = [problem for row in plan.rows for problem in _cells(plan, row)]
    _show([plan.folder], plan.names, written=plan.folder)
    if problems:
        sys.exit("\n".join(problems))


def num_jobs(given: Sequence[str], program: str) -> tuple[int, str]:
    """The number of trainings and evaluations that the words ask for, and their output_root. Raises ConfigError for
    words that `run` refuses before it reads data."""
    plan, configs, seeds = _checked_plan(given, program)
    evaluations = [name for row in plan.rows for name in plan.names if name not in row]
    return seeds * (len(plan.rows) + len(evaluations)), configs[0].output_root


def _checked_plan(given: Sequence[str], program: str) -> tuple[Plan, list[Config], int]:
    """The plan, the configuration of each training, and the number of seeds."""
    plan, composer = _plan(given, program)
    configs = [_row(plan, row, composer) for row in plan.rows]
    _check_tasks({name: config for cfg in configs for name, config in cfg.datasets.items()}, configs[0])
    return plan, configs, len(composer.points())


def _plan(given: Sequence[str], program: str) -> tuple[Plan, sweep_points.Composer]:
    """The plan, and the composer of a joint training on all of its datasets."""
    kind = str(asked(given))
    if program != "train":
        raise ConfigError(f"sweep={kind} trains and tests: python train.py -m sweep={kind} datasets=[…]")
    words = [word for word in given if word not in ("-m", "--multirun", f"sweep={kind}")]
    if len(words) == len(given) - 1:
        raise ConfigError(f"sweep={kind} is a list of runs: add -m, or leave it out")
    if options := [word for word in words if word.startswith("-")]:
        raise ConfigError(
            f"{options[0]} cannot be given beside sweep={kind}, which begins several multiruns: leave it out"
        )
    if (place := launch.given()) is not None:
        raise ConfigError(
            f"sweep={kind} begins one multirun after another, and {place.started_by} has started {place.size}"
            " processes: start it as one process; trainer.devices=N gives every training N of its own"
        )
    chosen = [word for word in words if re.match(r"datasets?=", word)]
    names = [name.strip() for name in "".join(chosen).partition("=")[2].strip("[]'\"").split(",") if name.strip()]
    if len(chosen) != 1 or len(set(names)) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"sweep={kind} needs two datasets or more, each named once, in datasets=[demo,meld]; given"
            f" {' '.join(chosen) or 'none'}"
        )
    if unknown := [name for name in names if name not in choices("dataset")]:
        raise ConfigError(
            f"datasets=[{','.join(names)}] names {unknown[0]}, which is none{near(unknown[0], choices('dataset'))}"
            f" Datasets: {', '.join(choices('dataset'))}"
        )
    of_dataset: dict[str, list[str]] = {name: [] for name in names}
    common: list[str] = []
    for word in words:
        key = word.lstrip("+~").split("=", 1)[0]
        if key in ("run", "resume", "hydra.sweep.subdir"):
            raise ConfigError(f"{word} cannot be given beside sweep={kind}, which names runs itself: leave it out")
        if match := re.match(r"datasets\.([^.]+)\.", key):
            if match[1] not in names:
                raise ConfigError(f"{word}: {match[1]} is not one of datasets=[{','.join(names)}]: name it there too")
            if key.endswith(".exclude_overlap_with"):
                raise ConfigError(
                    f"{word} cannot be given beside sweep={kind}, where every dataset trains by itself: leave one of"
                    " the two datasets out"
                )
            of_dataset[match[1]].append(word)
        elif word not in chosen and key != "hydra.sweep.dir":
            common.append(word)
    composer = sweep_points.Composer([f"dataset=[{','.join(names)}]", *common])
    for key, override in composer.overrides().items():
        if override.is_sweep_override() and key != "seed":
            raise ConfigError(
                f"{override.input_line} has several values, and a transfer matrix is of one setting: begin one for each"
            )
    stated = [word.partition("=")[2].strip("'\"") for word in words if word.startswith("hydra.sweep.dir=")]
    folder = stated[-1] if stated else Path(composer.whole.output_root) / "sweeps" / os.environ["AFFECT_STAMP"]
    plan = Plan(kind=kind, names=names, folder=Path(folder).absolute(), common=common, of_dataset=of_dataset)
    return plan, composer


def _row(plan: Plan, row: Sequence[str], composer: sweep_points.Composer) -> Config:
    """The checked configuration of one training, with its first seed."""
    first = [word for word in composer.points()[0] if not word.startswith("dataset=")]
    words = [f"dataset=[{','.join(row)}]", *first, *(word for name in row for word in plan.of_dataset[name])]
    try:
        return checked(composer.compose(words), words, "train")
    except ConfigError as error:
        raise ConfigError(f"trained on {'+'.join(row)}: {error}") from error


def _check_tasks(datasets: dict[str, DatasetConfig], cfg: Config) -> None:
    """Raises ConfigError where the datasets do not have the same one task."""
    tasks = {name: [config.task_definitions[task] for task in config.tasks] for name, config in datasets.items()}
    if len({tuple(map(_meaning, those)) for those in tasks.values()}) == 1:
        return
    asks = "; ".join(
        f"{name} asks {' and '.join(f'{task.name} ({_meant(task)})' for task in those)}"
        for name, those in tasks.items()
    )
    several = [name for name, those in tasks.items() if len(those) > 1]
    if several:
        remedy = f"choose one task of {' and '.join(several)}, datasets.{several[0]}.tasks=[…]"
    else:
        spaces = label_maps.declared(cfg.label_maps).spaces_of(task for those in tasks.values() for task in those)
        remedy = f"give one, label_space={'|'.join(spaces)}" if spaces else "declare one in a file, label_maps=FILE"
    raise ConfigError(
        f"a model that answers one cannot be tested on another without a common label space: {asks}: {remedy}"
    )


def _meaning(task: Task) -> tuple:
    return task.name, task.kind, tuple(sorted(task.labels)), task.low, task.high


def _meant(task: Task) -> str:
    return f"{task.low:g} to {task.high:g}" if task.kind is Kind.intensity else ", ".join(task.labels)


def _check_data(plan: Plan, configs: Sequence[Config]) -> None:
    """Reads all datasets as if one run trained on them. Raises DataError where two share clips, where one cannot be
    read, and where it has no file for a modality."""
    datasets = {name: config for cfg in configs for name, config in cfg.datasets.items()}
    joint = replace(configs[0], datasets={name: datasets[name] for name in plan.names})
    parts = loading.read(joint, list(dict.fromkeys(["train", "val", joint.evaluation.split])))
    letters = "" if reads_feature_files(joint) else "".join(letter for letter in "av" if letter in joint.modalities)
    if letters and (lacking := list(_without_files(parts))):
        needs = " and ".join(MODALITIES[letter] for letter in letters)
        raise DataError("\n".join(f"modalities={joint.modalities} needs {needs}, but {each}" for each in lacking))


def _without_files(parts: Sequence[Part]) -> Iterator[str]:
    for name in dict.fromkeys(part.dataset for part in parts):
        records = [record for part in parts if part.dataset == name for record in part.records]
        if not any(record.media is not None and os.path.exists(record.media) for record in records):
            where = f", for example {records[0].media}" if records[0].media else ""
            yield (
                f"none of the {len(records):,} clips of {name} has a file{where}: leave {name} out of the datasets, set"
                f" modalities=t, or put the files where datasets.{name}.root finds them"
            )


def _cells(plan: Plan, row: Sequence[str]) -> Iterator[str]:
    """Trains one row and tests it on the datasets that it has not trained on; a sentence for each multirun that was not
    finished."""
    name = "+".join(row)
    training = plan.folder / f"train_{name}"
    if problem := multiruns.run("train", plan.training(row), training):
        yield f"trained on {name}: {problem}"
    for other in plan.names:
        if other not in row:
            words = plan.evaluation(other)
            if problem := multiruns.evaluate(training, words, plan.folder / f"{name}_on_{other}"):
                yield f"trained on {name}, tested on {other}: {problem}"


def _show(folders: Sequence[Path], names: Sequence[str] = (), written: Path | None = None) -> None:
    """Prints the matrix of the runs in folders, datasets in the order of `names`, and writes it to files in
    `written`."""
    from affect.reports import collect, transfer

    if not folders:
        raise ConfigError("no folder is named: affect transfer table outputs/sweeps/…")
    found, deeper = collect.find(folders)
    runs, damaged = collect.load(found)
    shown = transfer.matrix(runs, names)
    shown.notes.extend([*deeper, *(f"not in the table: {problem}" for problem in damaged)])
    transfer.print_matrix(shown)
    if written is not None:
        write_atomic(written / "transfer.csv", transfer.comma_separated(shown))
        write_atomic(written / "transfer.md", transfer.markdown(shown))
        print(f"{written / 'transfer.csv'} and transfer.md written")
