"""Describes the clips of datasets and keeps what was said, for every run that shows it:

    affect knowledge dataset=meld knowledge=cues
    affect knowledge -m dataset=meld knowledge=mllm knowledge.shard=0/4,1/4,2/4,3/4

Only what the store lacks is made, so a run that was stopped goes on where it was. What could not be described is
counted, listed in a file and exits with 1. knowledge.shard=i/n takes a share, for several machines.

    affect knowledge ls             the generators, and what each has said
    affect knowledge show ID        all that is said about one clip
    affect knowledge verify         reads everything; exits with 1 where something is wrong
    affect knowledge export FILE    one table, .jsonl, .csv or .parquet

These take --store FOLDER; without it, it is `knowledge` in the folder for derived files (AFFECT_CACHE)."""

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType

from affect.cli.program import entry
from affect.config import Config

REPORT_EVERY = 60.0
"""Seconds between two lines about the progress where there is no terminal for a bar."""


@entry("knowledge", __doc__)
def describe(cfg: Config, job_folder: str | None) -> None:
    from affect.config import DataError
    from affect.data import duplicates, loading
    from affect.knowledge.fill import clip_hashes, described, fill, loaded, share, sources_of
    from affect.knowledge.store import folder_of

    signal.signal(signal.SIGTERM, _end)
    parts = loading.read(cfg, cfg.knowledge.splits)
    if cfg.knowledge.mllm_run is not None:
        duplicates.compare_contents(parts, cfg)
    problems = []
    for source in sources_of(cfg):
        describer = loaded(cfg, source, parts)
        modalities = {name: described(describer, dataset.modalities) for name, dataset in cfg.datasets.items()}
        for name, names in modalities.items():
            what = " and ".join(names) or "nothing, since it does not have what is described"
            print(f"{name}: {source.value} describes {what}")
        everything = [record for part in parts for record in part.records if modalities[record.dataset]]
        records = share(everything, cfg.knowledge.shard)
        if cfg.knowledge.shard is not None:
            print(f"knowledge.shard={cfg.knowledge.shard}: {len(records):,} of {len(everything):,} clips")
        hashes = clip_hashes(records, cfg)
        with Meter(cfg.trainer.progress) as meter:
            filled = fill(cfg, parts, source, records, modalities, hashes, begin=meter.begin, progress=meter.advance)
        rate = f", {filled.made / filled.seconds:.1f} a second" if filled.made and filled.seconds else ""
        print(
            f"{filled.known:,} descriptions were there, {filled.made:,} made in {filled.seconds:.0f} s{rate},"
            f" {len(filled.failures):,} failed\nby {filled.generator}\nin {folder_of(cfg)}"
        )
        if filled.failures:
            first = filled.failures[0]
            problems.append(
                f"{len(filled.failures):,} descriptions could not be made by {filled.generator}; the first, of"
                f" {first.id}, {first.modality}: {first.reason}\nAll are listed in {filled.listed}; what was made is"
                " kept, and the same command tries the others again"
            )
    if problems:
        raise DataError("\n".join(problems))


def _end(signum: int, frame: FrameType | None) -> None:
    # An exception, so that what is described and not yet written is.
    sys.exit(128 + signum)


class Meter:
    """Progress on the error stream: a bar in a terminal, a line a minute elsewhere."""

    def __init__(self, enabled: bool) -> None:
        from rich.progress import TextColumn

        from affect.data.progress import progress

        self.enabled = enabled
        self.bar = progress(enabled, TextColumn("{task.fields[rate]:.1f}/s, {task.fields[failed]:,} failed"))
        self.total = self.made = self.failed = 0

    def begin(self, known: int, missing: int) -> None:
        self.total = missing
        self.started = self.said = time.monotonic()
        print(f"{known:,} descriptions are there, {missing:,} are missing", file=sys.stderr, flush=True)
        self.task = self.bar.add_task("describing", total=missing, rate=0.0, failed=0)

    def advance(self, made: int, failed: int) -> None:
        self.made += made
        self.failed += failed
        now = time.monotonic()
        rate = (self.made + self.failed) / max(now - self.started, 1e-9)
        self.bar.update(self.task, advance=made + failed, rate=rate, failed=self.failed)
        if self.enabled and not self.bar.console.is_terminal and now - self.said >= REPORT_EVERY:
            self.said = now
            left = (self.total - self.made - self.failed) / rate
            print(
                f"{self.made:,} of {self.total:,} made, {self.failed:,} failed, {rate:.1f} a second,"
                f" {left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "Meter":
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)


# ---------------------------------------------------------------- what a store holds


def look(arguments: list[str]) -> None:
    """ls, show, verify and export."""
    from affect.config import DataError

    parser = argparse.ArgumentParser(
        prog="affect knowledge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=sorted(COMMANDS))
    parser.add_argument("of", nargs="?", metavar="ID|FILE", help="show: id of a record. export: the file to write")
    parser.add_argument("--store", type=Path, help="folder of the store")
    parser.add_argument("--generator", default="", help="export: only generators that begin with this")
    for word in arguments:
        if word.startswith("knowledge.store="):
            parser.error(f"{word}: here it is --store {word.partition('=')[2]}")
    given = parser.parse_args(arguments)
    if (given.of is not None) != (given.what in ("show", "export")):
        parser.error(
            f"{given.what} takes {'an ID' if given.what == 'show' else 'a FILE' if given.of is None else 'no word'}"
        )
    try:
        COMMANDS[given.what](given, given.store if given.store is not None else _default_store())
    except DataError as error:
        sys.exit(str(error))


def _default_store() -> Path:
    from omegaconf import OmegaConf

    return Path(OmegaConf.structured(Config).cache_root).expanduser() / "knowledge"


def _ls(given: argparse.Namespace, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from affect.knowledge.store_admin import generators

    found = generators(folder)
    if not found:
        print(f"the store {folder} has no descriptions")
        return
    table = Table("generator", "clips", "descriptions", "tokens", "seconds each", "first made", "last made")
    for name, one in sorted(found.items()):
        kinds = "\n".join(f"{count:,} {modality}" for modality, count in sorted(one.modalities.items()))
        each = f"{one.seconds / one.rows:.3f}"
        table.add_row(printable(name), f"{len(one.clips):,}", kinds, f"{one.tokens:,}", each, one.first, one.last)
    console = Console()
    console.print(f"{folder}", soft_wrap=True, markup=False, highlight=False)
    console.print(table)


def _show(given: argparse.Namespace, folder: Path) -> None:
    from affect.config import DataError
    from affect.knowledge.store_admin import of_record

    found = of_record(folder, given.of)
    if not found:
        raise DataError(
            f"the store {folder} says nothing about '{given.of}': an id is as affect show prints it, DATASET/SPLIT/…"
        )
    for row in found:
        tokens = "" if row.tokens is None else f", {row.tokens} tokens"
        print(f"{row.modality}, by {printable(row.generator)}, {row.time}, {row.seconds:.3f} s{tokens}")
        print(f"of a clip with the content {row.sha256}")
        print("".join(f"  {line}\n" for line in printable(row.text).split("\n")))


def printable(text: str) -> str:
    """`text` with control characters spelt out: a terminal would obey them."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _verify(given: argparse.Namespace, folder: Path) -> None:
    from affect.knowledge.store_admin import verify

    found = verify(folder)
    for problem in found.problems:
        print(problem)
    for left in found.leftovers:
        state = "complete but not renamed" if left.complete else "torn"
        print(
            f"{left.path}: {state}, {left.num_bytes:,} bytes, written to {left.seconds:,.0f} s ago: delete it when the"
            " process in its name no longer runs; what was in it is made again"
        )
    print(
        f"{found.shards:,} shards, {found.rows:,} rows, {found.num_bytes / 2**20:,.1f} MiB; {found.duplicates:,}"
        f" duplicates, {found.disagreeing:,} of them with another text; {len(found.leftovers):,} unfinished shards;"
        f" {len(found.problems):,} problems"
    )
    if found.problems:
        sys.exit(1)


def _export(given: argparse.Namespace, folder: Path) -> None:
    from affect.knowledge.store_admin import export

    path = Path(given.of).expanduser()
    print(f"{path}: {export(folder, path, given.generator):,} descriptions")


COMMANDS = {"ls": _ls, "show": _show, "verify": _verify, "export": _export}


def main() -> None:
    """Runs a command on a store, or fills it."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        look(sys.argv[1:])
    else:
        describe()
