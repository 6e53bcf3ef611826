"""Chooses the best setting of a sweep by validation, and evaluates the test split for it alone:

    affect sweep best outputs/sweeps/…
    affect sweep best outputs/sweeps/… --no-test                       chooses, and leaves the test split closed
    affect sweep best outputs/sweeps/… trainer.accelerator=cpu         words for the evaluation

The choice is the setting with the greatest mean over seeds of the validation number (evaluation.selection). Then the
runs of that setting are evaluated on the test split; numbers that they have already are taken. A sweep leaves the test
split closed with evaluation.split=val.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from affect.cli.best_setting import candidates, say, seeds
from affect.config import ConfigError
from affect.data.progress import terminal
from affect.reports import aggregate, openings
from affect.reports.choice import Choice, choose
from affect.reports.collect import load
from affect.reports.console import print_report
from affect.reports.formats import Report
from affect.reports.sections import aligned, heading
from affect.reports.settings import Run
from affect.runs.jobs import read_note
from affect.runs.ledger import SPLIT
from affect.runs.sweep_points import quoted

SHOWN = 10
"""Settings that are shown, unless all are asked for."""


def main(arguments: Sequence[str]) -> None:
    """Runs `affect sweep best ARGUMENTS`."""
    parser = argparse.ArgumentParser(
        prog="affect sweep best", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder of a sweep, or any other with runs in it")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="words for the evaluation of the test split")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="as in affect report")
    parser.add_argument("--finished", action="store_true", help="choose although some jobs have not finished")
    parser.add_argument("--no-test", action="store_true", help="leave the test split closed")
    parser.add_argument("--all", action="store_true", help=f"show all settings, not the best {SHOWN}")
    given = parser.parse_intermixed_args(arguments)
    try:
        runs = candidates(given.folder, given.where, given.finished)
        choice = choose(runs)
    except ConfigError as error:
        sys.exit(str(error))
    _print(choice, len(choice.points) if given.all else SHOWN)
    if given.no_test:
        return
    try:
        tested = [_tested(run, given.folder, given.words) for run in choice.points[0].runs]
    except ConfigError as error:
        sys.exit(str(error))
    evaluated_all = {run.summary.metrics["split"] for run in runs if run.summary.metrics is not None} == {SPLIT}
    if evaluated_all and len(choice.points) > 1:
        say(
            f"The numbers of the test split below are those that its runs have already. All {len(choice.points):,}"
            " settings have opened it, not this one alone: a sweep with evaluation.split=val leaves it closed."
        )
    _report(tested)


def _print(choice: Choice, most: int) -> None:
    shown, within = choice.points[:most], choice.within_spread()
    table = Table(title="Settings by validation", title_justify="left")
    headings = ["", *map(heading, choice.keys), "seeds", "val selection"]
    headings += [f"val {task} {metric}" for task, metric in choice.headlines.items()]
    for name in [*headings, "to the best"]:
        table.add_column(Text(name), overflow="fold", justify="right" if name == "seeds" else "left")
    best = choice.points[0]
    columns = [aligned([point.selection for point in shown])]
    columns += [aligned([point.headlines[task] for point in shown]) for task in choice.headlines]
    for place, (point, *cells) in enumerate(zip(shown, *columns, strict=True)):
        distance = point.selection.mean - best.selection.mean  # type: ignore[operator]
        told = "" if point is best else f"{distance:+.4f}{', within the spread' if point in within else ''}"
        values = ["-" if value is None else value for value in point.setting.values()]
        table.add_row(*map(Text, ["*" if place == 0 else "", *values, str(len(point.runs)), *cells, told]))
    terminal().print(table)
    if hidden := len(choice.points) - len(shown):
        say(f"{hidden:,} more settings are worse: --all shows them.")
    for note in choice.notes:
        say(note)
    if len(choice.points) == 1:
        say("All runs have one setting, so that there was nothing to choose.")
        return
    say(f"Best by validation, mean over {seeds(best)}: {best.name}")
    if within:
        say(
            f"{len(within):,} of the others {'is' if len(within) == 1 else 'are'} within the spread: the distance to"
            " the best is not greater than a standard deviation over seeds, so that other seeds may choose another one."
        )
    elif len(best.runs) == 1:
        say("With one seed a setting the spread is not known: small differences may be chance.")


def _tested(run: Run, sweep: Path, words: Sequence[str]) -> Run:
    """The run with the test numbers of a chosen run: itself, one that was made before, or a new evaluation. Raises
    ConfigError where it cannot be made."""
    assert run.summary.metrics is not None
    if run.summary.metrics["split"] == SPLIT:
        return run
    # Not inside: what lies there are the sweep's own jobs.
    best = sweep.absolute().with_name(f"{sweep.absolute().name}_best")
    folder = best / run.folder.name
    if (before := _finished_in(folder)) is not None:
        say(f"{before.folder} has the test numbers of {run.folder} already.")
        return before
    say(f"Evaluating {run.folder} on the test split.")
    from affect.cli import evaluate

    places = {
        "hydra.sweep.dir": best,
        "hydra.sweep.subdir": run.folder.name,
        "output_root": run.summary.config["output_root"],
    }
    given = [*words, f"evaluation.split={SPLIT}", *(f"{key}={quoted(str(place))}" for key, place in places.items())]
    sys.argv[:] = ["evaluate.py", "-m", *_words(run), *given]
    evaluate.main()
    made = _finished_in(folder)
    if made is None:
        raise ConfigError(f"{folder} has no finished evaluation of {run.folder}: see the reason above, and try again")
    return made


def _finished_in(folder: Path) -> Run | None:
    runs, _ = load([folder] if (folder / "config.yaml").is_file() else [])
    finished = [run for run in runs if run.counts and run.summary.metrics["split"] == SPLIT]  # type: ignore[index]
    return finished[-1] if finished else None


def _words(run: Run) -> list[str]:
    """The words by which evaluate.py evaluates the model of a run."""
    if run.training is run.summary.config:
        return [f"run={quoted(str(run.folder.absolute()))}"]
    path = run.folder / "job.json"
    if not path.is_file():
        raise ConfigError(
            f"{run.folder} is an evaluation that is no job of a multirun, so that its command is not known: evaluate it"
            f" again with evaluation.split={SPLIT}"
        )
    return [word for word in read_note(path)["words"] if word.split("=")[0] != "evaluation.split"]


def _report(runs: Sequence[Run]) -> None:
    tables = [aggregate.table(runs, task) for task in aggregate.tasks(runs)]
    notes = [*openings.attach(tables, runs), *(note for table in tables for note in table.notes)]
    report = Report(tables=tables, runs=[(run.summary.model, str(run.folder)) for run in runs], notes=notes)
    print_report(report, terminal())
