"""`python -m affect.report FOLDER …`: a table for each task, over run folders or the run folders inside a folder."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from affect.atomic import write_atomic
from affect.config import ConfigError
from affect.report.against import against
from affect.report.aggregate import numbers, table, tasks
from affect.report.compare import RESAMPLES
from affect.report.formats import FORMATS, Report
from affect.report.knowledge import tell
from affect.report.rows import Table
from affect.report.settings import ALL, HEADLINE, Run, where
from affect.report.table import as_text, bad_rows, print_report
from affect.run import RunSummary, program_of, read

DEPTH = 3
"""Levels below a folder at which run folders are looked for."""


def main(arguments: list[str]) -> None:
    given = _parser().parse_intermixed_args(arguments)
    try:
        folders, deeper = find([Path(folder) for folder in given.folders])
        runs, damaged = load(folders)
        chosen = where(runs, given.where)
        metrics = given.metrics.split(",")
        check_metrics(chosen, metrics)
        if given.against and given.each:
            raise ConfigError("--against compares settings, and --each shows single runs: leave one out")
        if given.resamples < 1:
            raise ConfigError(f"--resamples {given.resamples} has to be at least 1")
    except ConfigError as error:
        sys.exit(str(error))
    tables: list[Table] = []
    refused = []
    for task in tasks(chosen):
        try:
            tables.append(table(chosen, task, metrics=metrics, per_class=given.per_class, each=given.each))
        except ConfigError as error:
            refused.append(str(error))
    try:
        refused += against(tables, chosen, given.against, given.resamples) if given.against else []
    except ConfigError as error:
        sys.exit(str(error))
    refused += tell(tables, chosen)
    notes = [
        *_unfinished(chosen),
        *(note for made in tables for note in made.notes),
        *(f"{number} {line}" for number, run in enumerate(chosen, 1) for line in bad_rows(run.summary)),
        *_lost(chosen),
        *deeper,
        *(f"not in the table: {problem}" for problem in damaged),
    ]
    report = Report(
        tables=[made for made in tables if made.rows],
        runs=[(run.summary.model, str(run.folder)) for run in chosen],
        notes=notes,
    )
    try:
        _give(report, given.format, given.output)
    except ConfigError as error:
        sys.exit(str(error))
    if damaged:
        refused.append(f"{len(damaged)} of {len(folders)} run folders could not be read, for the reasons above.")
    if refused:
        sys.exit("\n".join(refused))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m affect.report",
        description=__doc__,
        epilog="Numbers of different splits, readers or definitions of a task do not share a table: --where chooses.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, or folders with run folders in them")
    parser.add_argument("--format", choices=("table", *FORMATS), default="table")
    parser.add_argument("--each", action="store_true", help="one row a run, instead of the mean over the seeds")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this in their configuration (or tuning=zero-shot, training.modalities=tav); several on one"
        " key are alternatives",
    )
    parser.add_argument(
        "--metrics",
        default=HEADLINE,
        metavar="NAME,…",
        help="headline (the default: with that of the majority answer beside it), all, or names as in metrics.json:"
        " uar,majority.uar,DIALECT.NAME",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="how every row differs from the one that has this in its setting (prompting=plain) and is else the same,"
        " with a 95 %% interval by paired bootstrap; several keys together choose one reference",
    )
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, metavar="N", help=f"of that bootstrap; {RESAMPLES:,} by default"
    )
    parser.add_argument("--per-class", action="store_true", help="of classifications, also the recall of each class")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write to a file")
    return parser


def find(named: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Run folders that are named or lie in a named folder, each once, by name; and a note for each folder whose run
    folders lie deeper than DEPTH. Raises ConfigError where a folder is none and holds none."""
    found: dict[Path, Path] = {}
    deeper: list[str] = []
    for folder in named:
        try:
            inside = list(_inside(folder, DEPTH))
            below = list(_inside(folder, DEPTH + 1))
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read ({error.strerror}): name a folder that can") from error
        if not below:
            read(folder)  # says what is wrong with it
        for path in inside:
            found.setdefault(path.resolve(), path)
        parents = dict.fromkeys(path.parent for path in below if path not in inside)
        deeper += [f"{parent} has runs too, which are not in the table: name it beside {folder}" for parent in parents]
    return list(found.values()), deeper


def _inside(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.yaml").is_file():
        yield folder
    elif depth and folder.is_dir():
        for path in sorted(folder.iterdir(), key=_natural):
            if path.is_dir():
                yield from _inside(path, depth - 1)


def _natural(path: Path) -> list[str | int]:
    """The order of names in which job 2 of a sweep comes before job 10."""
    # Every second part is digits, so that words are compared with words and numbers with numbers.
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", path.name))]


def load(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs, and a sentence for each folder that is damaged."""
    runs, damaged = [], []
    for folder in folders:
        try:
            runs.append(_load(folder))
        except ConfigError as error:
            damaged.append(str(error))
    return runs, damaged


def _load(folder: Path) -> Run:
    try:
        summary = read(folder)
        what = summary.status["state"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Valid JSON without what a state is told by: `read` reports all else itself.
        raise _broken(folder / "status.json", f"it lacks {error}") from error
    if what != "finished":
        return Run(summary=summary, state=what)
    if summary.metrics is None:
        raise _broken(folder / "metrics.json", "it is not there, and the run finished")
    lacking = list(_lacking(summary.metrics))
    if lacking:
        raise _broken(folder / "metrics.json", f"it lacks {', '.join(lacking)}")
    try:
        parts = json.loads((folder / "data.json").read_text(encoding="utf-8"))["parts"]
        clips = {part["dataset"]: part["ids_sha256"] for part in parts if part["split"] == summary.metrics["split"]}
        for task in summary.metrics["tasks"]:
            clips[task.split(".")[0]]
    except OSError as error:
        raise _broken(folder / "data.json", error.strerror or str(error)) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise _broken(folder / "data.json", str(error)) from error
    except KeyError as error:
        raise _broken(folder / "data.json", f"it lacks {error}") from error
    # Said by the run itself. Which splits it has read says nothing: an evaluation with few-shot examples reads two.
    if program_of(folder) == "train":
        return Run(summary=summary, state=what, training=summary.config, clips=clips)
    if summary.config["run"] is None:
        return Run(summary=summary, state=what, clips=clips)
    training = _training(Path(summary.config["run"]), folder)
    return Run(
        summary=summary,
        state=what,
        training=summary.config if training is None else training.config,
        training_lost=training is None,
        clips=clips,
    )


def _broken(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be used ({why}): restore the file, or delete {path.parent} and run again")


def _lacking(metrics: Any) -> Iterator[str]:
    """What a metrics.json has to have, and this one has not."""
    if not isinstance(metrics, dict):
        yield "keys and values"
        return
    yield from (key for key in ("split", "readout", "intensity_readout", "reader", "tasks") if key not in metrics)
    if "tasks" not in metrics:
        return
    own = ("headline", "value", "n_scored", "expected", "used", "n_readable_exact", "n_readable_lenient")
    for task, numbers_of_task in metrics["tasks"].items():
        needed = (*own, "exact", "lenient", "majority", *(["recall_per_class"] if "labels" in numbers_of_task else []))
        yield from (f"tasks.{task}.{key}" for key in needed if key not in numbers_of_task)


def _training(run: Path, evaluation: Path) -> RunSummary | None:
    """The run that an evaluation names. Its path is as it was given then; when both have been moved it may still lie
    beside the evaluation."""
    for folder in (run, evaluation.parent / run.name):
        if (folder / "config.yaml").is_file():
            return read(folder)
    return None


def check_metrics(runs: Sequence[Run], metrics: Sequence[str]) -> None:
    """Raises ConfigError for a metric that no task of any run has."""
    known = {name for run in runs if run.counts for task in run.summary.metrics["tasks"] for name in numbers(run, task)}
    for name in metrics:
        if known and name not in (known | {HEADLINE, ALL}):
            raise ConfigError(
                f"--metrics {name}: no run has this metric: choose of {HEADLINE}, {ALL}, {', '.join(sorted(known))}"
            )


def _unfinished(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs, 1):
        if not run.counts:
            status = run.summary.status
            why = f" ({status['error']}, {status['where']})" if {"error", "where"} <= status.keys() else ""
            yield f"{number} has no numbers: {run.state}{why}"


def _lost(runs: Sequence[Run]) -> Iterator[str]:
    for number, run in enumerate(runs, 1):
        if run.training_lost:
            yield (
                f"{number} evaluates {run.summary.config['run']}, which is not there: what that was trained with is not"
                " known, so it is a setting of its own"
            )


def _give(report: Report, how: str, output: Path | None) -> None:
    if output is None and how == "table":
        print_report(report)
        return
    written = as_text(report) if how == "table" else FORMATS[how](report)
    if output is None:
        print(written, end="")
    else:
        try:
            write_atomic(output, written)
        except OSError as error:
            raise ConfigError(
                f"--output {output} cannot be written ({error.strerror or error}): name a file in a folder that can"
            ) from error
        count = len(report.tables)
        print(f"{output} written: {count} table{'' if count == 1 else 's'}")
    if how == "csv":
        # There is no place for them in a file that other programs read.
        footnotes = [f"{letter}: {note}" for made in report.tables for letter, note in made.footnotes.items()]
        for note in [*footnotes, *report.notes]:
            print(note, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
