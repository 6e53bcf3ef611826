"""`affect paper FOLDER …`: the pack for a paper on run folders, or the run folders inside a folder.

Tables (LaTeX, Markdown, CSV), figures (PDF, PNG), datasets, how often test sets were opened, methods, every number with
its run and signature, and a script that runs everything again and compares."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from affect.config import ConfigError
from affect.reports.gather import Request, gather
from affect.reports.settings import HEADLINE


def main() -> None:
    """Runs `affect paper …`."""
    given = _parser().parse_intermixed_args(sys.argv[1:])
    from affect.reports.paper import best, numbers, pack

    try:
        pack.check(given.folder)
        request = Request(
            folders=[Path(folder) for folder in given.folders],
            where=given.where,
            metrics=given.metrics.split(","),
            against=given.against,
            published=given.published,
        )
        gathered = gather(request)
        runs, notes, refused = gathered.runs, gathered.report.notes, gathered.refused
        for table in gathered.report.tables:
            untold, damaged = best.mark(table, runs)
            notes, refused = [*notes, *untold], [*refused, *damaged]
        of_runs = pack.write(given.folder, replace(gathered.report, notes=notes), runs, refused)
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
