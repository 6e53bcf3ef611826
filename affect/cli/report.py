"""`affect report FOLDER …`: a table for each task, over run folders or the run folders inside a folder."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from affect.cli.output import give
from affect.config import ConfigError
from affect.reports.console import print_report
from affect.reports.formats import FORMATS, Report
from affect.reports.gather import Request, gather
from affect.reports.settings import ALL, HEADLINE

HTML = "html"
"""The format that is a page, and not text."""

LOCAL = "127.0.0.1"

PAGE = "affect_report.html"
"""Name of the page in the first folder, unless --output names another."""


def main(arguments: list[str] | None = None) -> None:
    """`arguments` are those of the command line unless given."""
    given = _parser().parse_intermixed_args(sys.argv[1:] if arguments is None else arguments)
    metrics = given.metrics.split(",")
    is_page = given.format == HTML or given.live
    if given.embed and not is_page:
        sys.exit("--embed puts clips into a page: add --format html, or leave it out")
    if not given.live and (given.address != LOCAL or given.port):
        sys.exit("--address and --port say where a live page is served: add --live, or leave them out")
    request = Request(
        folders=[Path(folder) for folder in given.folders],
        where=given.where,
        # On a page columns are chosen by who looks at it.
        metrics=[*metrics, ALL] if is_page else metrics,
        per_class=given.per_class or is_page,
        each=given.each,
        against=given.against,
        published=given.published,
    )
    try:
        if given.live:
            _serve(request, metrics, given)
            return
        gathered = gather(request)
        if is_page:
            from affect.reports.page import pages  # a third of a second, which other formats do not need

            path = given.output or request.folders[0] / PAGE
            _say_written(*pages.write(gathered, metrics, path, embed=given.embed))
        else:
            _give(gathered.report, given.format, given.output)
    except ConfigError as error:
        sys.exit(str(error))
    if gathered.refused:
        sys.exit("\n".join(gathered.refused))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="affect report",
        description=__doc__,
        epilog="Numbers of different splits, readers or definitions of a task do not share a table: --where chooses.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, or folders with run folders in them")
    parser.add_argument("--format", choices=("table", *FORMATS, HTML), default="table")
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
        " with a 95 %% interval and a p-value; several keys together choose one reference",
    )
    parser.add_argument("--per-class", action="store_true", help="of classifications, also the recall of each class")
    parser.add_argument(
        "--published",
        action="store_true",
        help="also what publications report for these tasks, with dialect and source, in a block of its own that enters"
        " no mean and no comparison",
    )
    parser.add_argument(
        "--embed",
        action="store_true",
        help="with --format html, put small previews of the clips into the page, which has links to their files"
        " otherwise",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="serve the page on this machine and keep it up to date while the runs of FOLDER go on, until Ctrl-C",
    )
    parser.add_argument(
        "--address",
        default=LOCAL,
        help="with --live, where to listen; another than this machine's own gets a token (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=0, help="with --live; 0, the default, takes a free one")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write to a file")
    return parser


def _serve(request: Request, metrics: Sequence[str], given: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C."""
    from affect.reports.page.live import Live
    from affect.reports.page.server import PageServer

    if given.format not in ("table", HTML) or given.output is not None or given.embed:
        raise ConfigError("--live serves a page and writes nothing: leave --format, --output and --embed out")
    if not 0 <= given.port < 2**16:
        raise ConfigError(f"--port {given.port}: name a port from 1 to 65535, or 0 for a free one")
    for folder in request.folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder: name the folder of a multirun, or of runs")
    with PageServer(Live(request, metrics), given.address, given.port) as server:
        print(f"{server.url} has the page of {', '.join(map(str, request.folders))} until Ctrl-C", flush=True)
        if server.token is not None:
            print("Whoever has this address can see the page, and so can who listens to the network", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _say_written(written: Sequence[Path], notes: Sequence[str]) -> None:
    page, *folder = written
    size = sum(path.stat().st_size for path in (folder[0].rglob("*") if folder else [page])) / 2**20
    print(f"{page} written: open it in a browser ({size:.1f} MB)")
    if folder:
        print(f"It is large, and so {folder[0]} is a folder: hand all of it on, not the page alone")
    for note in notes:
        print(note)


def _give(report: Report, how: str, output: Path | None) -> None:
    give(report, how, FORMATS, print_report, output)
    if output is not None:
        count = len(report.tables)
        print(f"{output} written: {count} table{'' if count == 1 else 's'}")
    if how == "csv":
        # There is no place for them in a file that other programs read.
        footnotes = [f"{letter}: {note}" for each in report.tables for letter, note in each.footnotes.items()]
        for note in [*footnotes, *report.notes]:
            print(note, file=sys.stderr)
