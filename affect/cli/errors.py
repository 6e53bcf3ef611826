"""`affect errors RUN …`: what the runs of one setting get wrong: confusion, slices, clips, calibration, changes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from affect.cli.output import give
from affect.config import ConfigError, DataError, near
from affect.reports.aggregate import tasks
from affect.reports.collect import find, load, unfinished
from affect.reports.console import bad_rows, unanswered
from affect.reports.drawing import draw
from affect.reports.errors.analysis import SLICES, analyse
from affect.reports.errors.charts import charts
from affect.reports.errors.formats import FORMATS, Analyses, print_analyses
from affect.reports.errors.results import ErrorAnalysis
from affect.reports.selection import where
from affect.reports.settings import Run


def main(arguments: list[str] | None = None) -> None:
    """`arguments` are those of the command line unless given."""
    given = _parser().parse_intermixed_args(sys.argv[1:] if arguments is None else arguments)
    try:
        analyses = _analyses(given)
        give(analyses, given.format, FORMATS, print_analyses, given.output)
        if given.output is not None:
            print(f"{given.output} written")
        if given.charts is not None:
            _draw(analyses.tasks, given.charts)
    except (ConfigError, DataError) as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="affect errors",
        description=__doc__,
        epilog="Slices that need speakers, transcripts or clips read the dataset of the run again; measurements are"
        " kept in the folder for derived files. What is not available is listed with the reason.",
    )
    parser.add_argument("folders", nargs="+", metavar="RUN", help="run folders of one setting, or folders of them")
    parser.add_argument("--task", metavar="DATASET.TASK", help="this task alone; otherwise every task of the runs")
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only runs with this in their configuration"
    )
    parser.add_argument(
        "--against",
        metavar="RUN|KEY=VALUE",
        help="what these runs have right that others have wrong, and the reverse: a run folder or a folder of them, or"
        " those of the named runs with this in their configuration",
    )
    parser.add_argument(
        "--single",
        nargs="+",
        default=[],
        metavar="RUN",
        help="runs of one modality each, for slices by their agreement",
    )
    parser.add_argument("--metric", metavar="NAME", help="of slices; accuracy, mae or subset_accuracy unless given")
    parser.add_argument("--by", default=",".join(SLICES), metavar="NAME,…", help=f"slices: {','.join(SLICES)}")
    parser.add_argument("--clips", type=int, default=10, metavar="N", help="clips of a list (10)")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="draw charts there, as .pdf and .png")
    parser.add_argument("--data-root", metavar="DIR", help="where datasets lie; as in the run unless given")
    parser.add_argument("--cache-root", metavar="DIR", help="where derived files lie; as in the run unless given")
    parser.add_argument("--format", choices=("table", *FORMATS), default="table")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write to a file")
    return parser


def _analyses(given: argparse.Namespace) -> Analyses:
    by = given.by.split(",")
    if unknown := [name for name in by if name not in SLICES]:
        raise ConfigError(f"--by {unknown[0]} is no slice{near(unknown[0], SLICES)} Choose from {', '.join(SLICES)}")
    if given.clips < 0:
        raise ConfigError(f"--clips {given.clips} is below 0: give the number of clips to list")
    runs, notes = _loaded(given.folders)
    chosen = where(runs, given.where)
    others = _others(given.against, chosen, notes)
    if given.against is not None and "=" in given.against and not Path(given.against).exists():
        chosen = [run for run in chosen if all(run is not other for other in others)]
    singles, more = _loaded(given.single) if given.single else ([], [])
    every = [*chosen, *others, *singles]
    places = [range(1, len(chosen) + 1)]
    places.append(range(len(chosen) + 1, len(chosen) + len(others) + 1))
    places.append(range(len(every) - len(singles) + 1, len(every) + 1))
    named = tasks(chosen)
    if not named:
        raise ConfigError("\n".join(["no run has results to analyse", *unfinished(chosen)]))
    if given.task is not None and given.task not in named:
        raise ConfigError(
            f"--task {given.task}: no run has results of it{near(given.task, named)} Tasks: {', '.join(named)}"
        )
    roots = {key: value for key in ("data_root", "cache_root") if (value := getattr(given, key)) is not None}
    analyses = [
        analyse(every, name, places[0], against=places[1], singles=places[2], metric=given.metric, by=by, roots=roots)
        for name in (named if given.task is None else [given.task])
    ]
    notes += [*more, *unfinished(every)]
    for number, run in enumerate(every, 1):
        notes += [f"{number} {line}" for line in (*bad_rows(run.summary), *unanswered(run.summary))]
    folders = [(run.summary.model, str(run.folder)) for run in every]
    return Analyses(tasks=analyses, runs=folders, notes=notes, most=given.clips)


def _loaded(folders: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs, and what is to be said of folders. Raises ConfigError where a folder is damaged: a missing seed would
    change every number."""
    found, deeper = find([Path(folder) for folder in folders])
    runs, damaged = load(found)
    if damaged:
        raise ConfigError("\n".join(damaged))
    return runs, deeper


def _others(against: str | None, chosen: Sequence[Run], notes: list[str]) -> list[Run]:
    """The runs of the other setting."""
    if against is None:
        return []
    if "=" not in against or Path(against).exists():
        runs, deeper = _loaded([against])
        notes += deeper
        return runs
    others = where(chosen, [against])
    if len(others) == len(chosen):
        raise ConfigError(f"--against {against}: all runs have that, so that none is left to analyse: name more runs")
    return others


def _draw(analyses: Sequence[ErrorAnalysis], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for analysis in analyses:
            for name, chart in charts(analysis):
                for suffix in (".pdf", ".png"):
                    draw(chart, folder / f"{analysis.task}_{name}{suffix}")
    except OSError as error:
        raise ConfigError(
            f"--charts {folder} cannot be written ({error.strerror or error}): name a folder that can"
        ) from error
    print(f"charts written to {folder}", file=sys.stderr)
