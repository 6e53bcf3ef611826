"""Makes text descriptions of clips and keeps them in a store for all runs:

    affect knowledge dataset=meld knowledge=cues
    affect knowledge -m dataset=meld knowledge=mllm knowledge.shard=0/4,1/4,2/4,3/4

Only missing descriptions are made, so an interrupted command goes on where it stopped. Failures are counted and listed
in a file, and the exit status is then 1. knowledge.shard=i/n makes a share, for several machines.

    affect knowledge ls             lists generators with their numbers of descriptions
    affect knowledge show ID        prints all descriptions of one clip
    affect knowledge verify         reads the whole store; exits with 1 where something is wrong
    affect knowledge export FILE    writes one table, .jsonl, .csv or .parquet
    affect knowledge quality …      holds descriptions against measurements (--help explains it)

The first four take --store FOLDER; the default is `knowledge` in the folder for derived files (AFFECT_CACHE)."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from affect.cli.entry import entry
from affect.config import Config


@entry("knowledge", __doc__)
def describe(cfg: Config, job_folder: str | None) -> None:
    """Fills the store. Raises DataError, after all sources, where descriptions could not be made."""
    from affect.cli.meter import Meter
    from affect.config import DataError
    from affect.data import duplicates, loading
    from affect.knowledge import transcripts
    from affect.knowledge.fill import clip_hashes, described, fill, loaded, share, sources_of
    from affect.knowledge.store import folder_of

    signal.signal(signal.SIGTERM, end_on_signal)
    parts = loading.read(cfg, cfg.knowledge.splits)
    if cfg.knowledge.mllm_run is not None:
        duplicates.compare_contents(parts, cfg)
    if transcripts.shown_to_generators(cfg):
        transcripts.attach(parts, cfg)
    problems = []
    for source in sources_of(cfg):
        describer = loaded(cfg, source, parts)
        modalities = {name: described(describer, dataset.modalities) for name, dataset in cfg.datasets.items()}
        for name, names in modalities.items():
            described_here = " and ".join(names) or "nothing, since the dataset lacks these modalities"
            print(f"{name}: {source.value} describes {described_here}")
        all_records = [record for part in parts for record in part.records if modalities[record.dataset]]
        records = share(all_records, cfg.knowledge.shard)
        if cfg.knowledge.shard is not None:
            print(f"knowledge.shard={cfg.knowledge.shard}: {len(records):,} of {len(all_records):,} clips")
        hashes = clip_hashes(records, cfg)
        with Meter(cfg.trainer.progress) as meter:
            filled = fill(cfg, parts, source, records, modalities, hashes, begin=meter.begin, progress=meter.advance)
        rate = f", {filled.made / filled.seconds:.1f} a second" if filled.made and filled.seconds else ""
        print(
            f"{filled.known:,} descriptions were in the store, {filled.made:,} made in {filled.seconds:.0f} s{rate},"
            f" {len(filled.failures):,} failed\nby {filled.generator}\nin {folder_of(cfg)}"
        )
        if filled.failures:
            first = filled.failures[0]
            problems.append(
                f"{len(filled.failures):,} descriptions could not be made by {filled.generator}; the first, of"
                f" {first.id}, {first.modality}: {first.reason}\nAll are listed in {filled.listed}; finished"
                " descriptions are kept, and the same command tries the others again"
            )
    if problems:
        raise DataError("\n".join(problems))


def end_on_signal(signum: int, frame: FrameType | None) -> None:
    """What SIGTERM does: an exception, so that buffered descriptions are written."""
    sys.exit(128 + signum)


# ---------------------------------------------------------------- contents of a store


def look(arguments: list[str]) -> None:
    """Runs ls, show, verify or export."""
    from affect.config import DataError

    parser = argparse.ArgumentParser(
        prog="affect knowledge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("of", nargs="?", metavar="ID|FILE", help="show: id of a record. export: the file to write")
    parser.add_argument("--store", type=Path, help="folder of the store")
    parser.add_argument("--generator", default="", help="export: only generators whose fingerprint begins with this")
    for word in arguments:
        if word.startswith("knowledge.store="):
            parser.error(f"{word} is for filling the store: write --store {word.partition('=')[2]}")
    given = parser.parse_args(arguments)
    needed = {"show": "an ID", "export": "a FILE"}.get(given.command)
    if (given.of is None) != (needed is None):
        parser.error(f"{given.command} takes {needed or 'no further word'}")
    try:
        COMMANDS[given.command](given, given.store if given.store is not None else _default_store())
    except DataError as error:
        sys.exit(str(error))


def _default_store() -> Path:
    from omegaconf import OmegaConf

    return Path(OmegaConf.structured(Config).cache_root).expanduser() / "knowledge"


def _ls(given: argparse.Namespace, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from affect.knowledge.store_admin import generators

    by_fingerprint = generators(folder)
    if not by_fingerprint:
        print(f"the store {folder} has no descriptions")
        return
    table = Table("generator", "clips", "descriptions", "tokens", "seconds each", "first made", "last made")
    for name, generator in sorted(by_fingerprint.items()):
        table.add_row(
            printable(name),
            f"{len(generator.clips):,}",
            "\n".join(f"{count:,} {modality}" for modality, count in sorted(generator.modalities.items())),
            f"{generator.tokens:,}",
            f"{generator.seconds / generator.rows:.3f}",
            generator.first,
            generator.last,
        )
    console = Console()
    console.print(f"{folder}", soft_wrap=True, markup=False, highlight=False)
    console.print(table)


def _show(given: argparse.Namespace, folder: Path) -> None:
    from affect.config import DataError
    from affect.knowledge.store_admin import of_record

    descriptions = of_record(folder, given.of)
    if not descriptions:
        raise DataError(
            f"the store {folder} has no description of '{given.of}': write the id as affect show prints it,"
            " DATASET/SPLIT/…"
        )
    for row in descriptions:
        tokens = "" if row.tokens is None else f", {row.tokens} tokens"
        print(f"{row.modality}, by {printable(row.generator)}, {row.time}, {row.seconds:.3f} s{tokens}")
        print(f"of a clip with the content hash {row.sha256}")
        print("".join(f"  {line}\n" for line in printable(row.text).split("\n")))


def printable(text: str) -> str:
    """`text` with control characters escaped, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _verify(given: argparse.Namespace, folder: Path) -> None:
    from affect.knowledge.store_admin import verify

    verdict = verify(folder)
    for problem in verdict.problems:
        print(problem)
    for left in verdict.leftovers:
        state = "complete but not renamed" if left.complete else "torn"
        print(
            f"{left.path}: {state}, {left.num_bytes:,} bytes, last written {left.seconds:,.0f} s ago: delete it"
            " when the process in its name no longer runs; its descriptions are made again"
        )
    print(
        f"{verdict.shards:,} shards, {verdict.rows:,} rows, {verdict.num_bytes / 2**20:,.1f} MiB;"
        f" {verdict.duplicates:,} duplicates, {verdict.disagreeing:,} of them with another text;"
        f" {len(verdict.leftovers):,} unfinished shards; {len(verdict.problems):,} problems"
    )
    if verdict.problems:
        sys.exit(1)


def _export(given: argparse.Namespace, folder: Path) -> None:
    from affect.knowledge.store_admin import export

    path = Path(given.of).expanduser()
    print(f"{path}: {export(folder, path, given.generator):,} descriptions")


COMMANDS = {"ls": _ls, "show": _show, "verify": _verify, "export": _export}


def main() -> None:
    """Fills a store, or runs a command on it."""
    if sys.argv[1:2] == ["quality"]:
        from affect.cli import quality

        sys.argv = ["affect knowledge quality", *sys.argv[2:]]
        quality.main()
    elif sys.argv[1:2] and sys.argv[1] in COMMANDS:
        look(sys.argv[1:])
    else:
        describe()
