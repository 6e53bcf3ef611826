"""kill -9 at random moments while three processes fill one store, and what is left of it.

    python benchmarks/knowledge_kills.py [--kills 20] [--rows 2000] [--seed 1]

Each process fills in a share (knowledge.shard=i/3) from a source that answers after a few milliseconds, in small
shards, so that writing is a good part of its time. One of them is killed at a time and started again, until there were
as many kills as were asked for; then all are left to finish, and the store is verified: nothing torn, nothing missing,
nothing twice. A killed process leaves its unfinished shard under a name with its number, which tells where the kill
landed.
Prints one JSON object; exits with 1 where the store is not as it should be.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

# A benchmark is started from any folder, and by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.config import KnowledgeConfig, Source
from affect.data import Record
from affect.knowledge import Description, fill
from affect.knowledge.store import Writer, shards
from affect.knowledge.store_admin import leftovers, verify
from affect.knowledge.store_lookup import look_up

NUM_PROCESSES = 3
ROWS_PER_SHARD = 5
SECONDS_PER_DESCRIPTION = 0.003
LONGEST_LIFE = 0.4
"""Seconds from a process's begin to its end; the moment is drawn from 0 to this."""


class Trivial:
    """Says the id of every clip."""

    fingerprint = "trivial"
    modalities = ("audio",)

    def request(self, record: Record, modality: str) -> str:
        return ""

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description]:
        for record in records:
            time.sleep(SECONDS_PER_DESCRIPTION)
            yield Description(
                id=record.id,
                sha256=hashes[record.id],
                modality="audio",
                generator=self.fingerprint,
                text=f"what is heard in {record.id}",
                tokens=None,
                seconds=SECONDS_PER_DESCRIPTION,
                time="2026-01-01T00:00:00+00:00",
            )


def records(count: int) -> list[Record]:
    return [
        Record(id=f"corpus/train/{i}", dataset="corpus", split="train", text="", group=str(i)) for i in range(count)
    ]


def hashes(some: Sequence[Record]) -> dict[str, str]:
    return {record.id: hashlib.sha256(record.id.encode()).hexdigest() for record in some}


def one_process(folder: Path, rows: int, shard: str, begun: Connection) -> None:
    """Fills its share, as affect.knowledge does; `begun` hears how many descriptions are missing."""
    cfg = SimpleNamespace(knowledge=KnowledgeConfig(source=Source.cues, store=str(folder)), cache_root=str(folder))
    fill.loaded = lambda *_: Trivial()
    fill.Writer = partial(Writer, rows=ROWS_PER_SHARD)
    fill.note_generator = lambda *_: None  # asks for the environment of a run, which takes longer than all the rest
    mine = fill.share(records(rows), shard)
    fill.fill(
        cfg,
        [],
        Source.cues,
        mine,
        {"corpus": ["audio"]},
        hashes(mine),
        begin=lambda known, missing: begun.send(missing),
    )


# The server imports what takes long once; a process forked from it starts at once.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["affect.knowledge.fill", "affect.knowledge.store_admin"])


def start(folder: Path, rows: int, number: int) -> tuple[BaseProcess, Connection]:
    begun, sender = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=one_process, args=(folder, rows, f"{number}/{NUM_PROCESSES}", sender))
    process.start()
    sender.close()
    return process, begun


def run(folder: Path, rows: int, kills: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    processes = [start(folder, rows, number) for number in range(NUM_PROCESSES)]
    landed = {"between write and rename": 0, "while writing": 0, "elsewhere": 0}
    without_work = 0
    while sum(landed.values()) < kills:
        number = chance.randrange(NUM_PROCESSES)
        process, begun = processes[number]
        begun.recv()  # it has read the store, and begins
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            mine = [left for left in leftovers(folder) if f"-{process.pid}-" in left.path.name]
            complete = any(left.complete for left in mine)
            landed["between write and rename" if complete else "while writing" if mine else "elsewhere"] += 1
        else:
            without_work += 1  # it was done before
            assert without_work < 10 * kills, "the store was full before there were enough kills: ask for more rows"
        processes[number] = start(folder, rows, number)
    for process, _ in processes:
        process.join(timeout=600)
        assert process.exitcode == 0, process.exitcode
    verdict = verify(folder)
    found = look_up(folder, Trivial.fingerprint, hashes(records(rows)), ("audio",))
    right = sum(row.text == f"what is heard in {key}" for (key, _), row in found.descriptions.items())
    return {
        "kills": kills,
        **landed,
        "shards": len(shards(folder)),
        "rows": verdict.rows,
        "problems": len(verdict.problems),
        "missing": rows - right,
        "twice": verdict.duplicates,
        "unfinished shards left": len(verdict.leftovers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), given.rows, given.kills, given.seed)
    print(json.dumps(result))
    if result["problems"] or result["missing"] or result["twice"] or result["rows"] != given.rows:
        sys.exit(1)


if __name__ == "__main__":
    main()
