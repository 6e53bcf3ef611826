"""`affect attribution FOLDER …`: what text, audio and video contribute to a model's answers (Shapley values), from the
runs with every subset of its modalities; whether a modality reaches the answers at all; and how clips fare on which the
modalities disagree.

    python evaluate.py -m run=outputs/my_run modalities=t,a,v,ta,tv,av     one model, evaluated on subsets
    python train.py -m modalities=t,a,v,ta,tv,av,tav seed=1,2,3 …          a model trained on each subset
    affect attribution outputs
"""

import argparse
import sys
from pathlib import Path

from affect.cli.output import give, write_output
from affect.config import ConfigError
from affect.data.escaping import one_line
from affect.reports.attribution.gather import gather
from affect.reports.attribution.tables import FORMATS, AttributionReport, charts, clips_csv, print_tables
from affect.reports.collect import find, load, unfinished
from affect.reports.drawing import SUFFIXES
from affect.reports.selection import where


def main(arguments: list[str] | None = None) -> None:
    """`arguments` are those of the command line unless given."""
    given = _parser().parse_intermixed_args(sys.argv[1:] if arguments is None else arguments)
    try:
        folders, deeper = find([Path(folder) for folder in given.folders])
        runs, damaged = load(folders)
        chosen = where(runs, given.where)
        gathered = gather(chosen, given.metric)
        found, refused = gathered.found, gathered.refused
        if not found and not refused:
            refused = [_nothing(given.folders)]
        of_classes = [note for each in found for note in each.class_notes] if given.per_class else []
        notes = [*gathered.notes, *of_classes, *unfinished(chosen), *deeper]
        notes += [f"not in the tables: {problem}" for problem in damaged]
        report = AttributionReport(
            found=found,
            runs=[(run.summary.model, str(run.folder)) for run in chosen],
            notes=[one_line(note) for note in notes],
            per_class=given.per_class,
        )
        if found:
            _give(report, given)
    except ConfigError as error:
        sys.exit(str(error))
    if damaged:
        refused.append(f"{len(damaged)} of {len(folders)} run folders could not be read: {'; '.join(damaged)}")
    if refused:
        sys.exit("\n".join(refused))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="affect attribution", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, or folders with run folders in them")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="as in affect report")
    parser.add_argument("--metric", metavar="NAME", help="uar, DIALECT.NAME, …; the task's headline unless given")
    parser.add_argument(
        "--per-class", action="store_true", help="of classifications, also what each class owes to each"
    )
    parser.add_argument("--format", choices=("table", *FORMATS), default="table")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write to a file")
    parser.add_argument("--clips", metavar="FILE.csv", type=Path, help="also write the values of every clip")
    parser.add_argument(
        "--figure",
        metavar="FILE",
        type=Path,
        help=f"also draw the contributions ({', '.join(SUFFIXES)}); further figures get a number",
    )
    return parser


def _nothing(folders: list[str]) -> str:
    return (
        f"{', '.join(folders)}: no finished run has two modalities or more, and a single one's contribution is the"
        " metric itself: name runs of a model that takes several"
    )


def _give(report: AttributionReport, given: argparse.Namespace) -> None:
    give(report, given.format, FORMATS, print_tables, given.output)
    if given.output is not None:
        print(f"{given.output} written", file=sys.stderr)
    if given.format == "csv":
        # There is no place for them in a file that other programs read.
        for note in report.notes:
            print(note, file=sys.stderr)
    if given.clips is not None:
        write_output(given.clips, clips_csv(report), "--clips")
        print(f"{given.clips} written", file=sys.stderr)
    if given.figure is not None:
        _draw(report, given.figure)


def _draw(report: AttributionReport, path: Path) -> None:
    from affect.reports.drawing import draw

    for number, chart in enumerate(charts(report.found), 1):
        own = path if number == 1 else path.with_stem(f"{path.stem}_{number}")
        draw(chart, own)
        print(f"{own} written", file=sys.stderr)
