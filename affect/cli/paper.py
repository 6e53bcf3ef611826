"""`affect paper FOLDER …`: the pack for a paper on run folders, or the run folders inside a folder.

Tables (LaTeX, Markdown, CSV), figures (PDF, PNG), datasets, how often test sets were opened, methods, every number with
its run and signature, and a script that runs everything again and compares."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from affect.config import ConfigError
from affect.reports.collect import check_metrics
from affect.reports.settings import HEADLINE, where
from affect.reports.tables import loaded, report


def main() -> None:
    """Runs `affect paper …`."""
    given = _parser().parse_intermixed_args(sys.argv[1:])
    from affect.reports.paper import best, numbers, pack

    try:
        pack.check(given.folder)
        source = loaded([Path(folder) for folder in given.folders])
        runs = where(source.runs, given.where)
        metrics = given.metrics.split(",")
        check_metrics(runs, metrics)
        made, refused = report(runs, source, metrics=metrics, compared_with=given.against, published=given.published)
        notes = made.notes
        for table in made.tables:
            untold, damaged = best.mark(table, runs)
            notes, refused = [*notes, *untold], [*refused, *damaged]
        of_runs = pack.write(given.folder, replace(made, notes=notes), runs, refused)
        print(f"{given.folder} written, with {len(of_runs):,} numbers: begin with its README.md")
        if given.expect is not None:
            equal, different = numbers.compare(of_runs, given.expect)
            print(f"{equal:,} of {equal + len(different):,} numbers are those of {given.expect}.")
            refused += different
    except ConfigError as error:
        sys.exit(str(error))
    if refused:
        sys.exit("\n".join(dict.fromkeys(refused)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="affect paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, or folders with run folders in them")
    parser.add_argument("--folder", type=Path, default=Path("paper"), help="the new folder of the pack (paper)")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="as in affect report")
    parser.add_argument("--metrics", default=HEADLINE, metavar="NAME,…", help="as in affect report")
    parser.add_argument("--against", action="append", default=[], metavar="KEY=VALUE", help="as in affect report")
    parser.add_argument("--published", action="store_true", help="as in affect report")
    parser.add_argument(
        "--expect", type=Path, metavar="NUMBERS.CSV", help="also compare all numbers with those of another pack"
    )
    return parser
