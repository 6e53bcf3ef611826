"""Prints the ledger of test splits: how often, when and by which run each test set was evaluated.

    affect ledger outputs

Every evaluation of a test split by train.py, evaluate.py or affect score is a line of OUTPUT_ROOT/test_ledger.jsonl. A
test set is a set of clips: another subset of a split is another one."""

import argparse
import sys
from pathlib import Path

from affect.config import ConfigError
from affect.runs import ledger


def main() -> None:
    """`affect ledger OUTPUT_ROOT …`"""
    parser = argparse.ArgumentParser(
        prog="affect ledger", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="+", metavar="OUTPUT_ROOT", type=Path, help="an output root, or its ledger")
    given = parser.parse_args(sys.argv[1:])
    damaged: list[str] = []
    try:
        for place in given.places:
            lines, problems = ledger.read(place / ledger.FILE if place.is_dir() else place)
            _print(lines)
            damaged += problems
    except ConfigError as error:
        sys.exit(str(error))
    if damaged:
        sys.exit("\n".join(damaged))


def _print(lines: list[ledger.Opening]) -> None:
    from rich.table import Table
    from rich.text import Text

    from affect.data.progress import terminal

    sets: dict[tuple[str, str, str], list[ledger.Opening]] = {}
    for line in lines:
        sets.setdefault((line.dataset, line.split, line.ids_sha256), []).append(line)
    console = terminal()
    for (dataset, split, ids), own in sorted(sets.items()):
        settings = len({line.configuration_sha256 for line in own})
        table = Table(
            title=Text(
                f"{dataset}, split {split}, {own[0].clips:,} clips ({ids[:8]}): evaluated"
                f" {len(own):,} {'time' if len(own) == 1 else 'times'}, by {settings:,}"
                f" {'configuration' if settings == 1 else 'configurations'} (seeds included)"
            ),
            title_justify="left",
        )
        for heading in ("#", "time", "by", "predictions", "folder"):
            table.add_column(heading, overflow="fold", justify="right" if heading == "#" else "left")
        for number, line in enumerate(own, 1):
            cells = (str(number), line.time, line.program, line.predictions_sha256[:8], line.folder)
            table.add_row(*map(Text, cells))
        console.print(table)
    if not lines:
        console.print("No test split has been evaluated.")
