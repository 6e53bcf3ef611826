"""What joining the descriptions of a run costs: the 50,000 of a run out of a store of a million.

    python benchmarks/knowledge_store.py [FOLDER]

FOLDER is where the stores are made, a temporary folder unless it is given; those that are there already are used again.
The run asks for two descriptions, of audio and of video, of 25,000 clips. Two stores:

as filled   two generators described 250,000 clips of several datasets, one dataset after the other, as
            affect.knowledge does: most shards can be passed over by their bounds
shuffled    one generator described 500,000 clips in random order: every shard has some of what is asked for, and all
            have to be read. Nothing fills a store so; it is the worst case

The join is measured in a process of its own, cold and warm, with the memory it needed at its peak above that of the
imports, the answer itself included. Where the cores are shared, processor time says more than the clock.
"""

import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A benchmark is started from any folder, and by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.knowledge import Description
from affect.knowledge.store import Writer, shards
from affect.knowledge.store_lookup import look_up

NUM_WANTED = 25_000
GENERATORS = ("model-a-" + "0" * 56, "model-b-" + "1" * 56)
WORDS = ["calm", "voice", "low", "high", "pitch", "a", "short", "pause", "then", "laughter", "looks", "away", "nods"]
STORES = {"as filled": (GENERATORS, 250_000), "shuffled": (GENERATORS[:1], 500_000)}


def name(number: int) -> str:
    return f"corpus{number // 25_000:02}/train/{number // 100 % 250}/{number % 100}"


def content(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def fill(folder: Path, kind: str) -> None:
    chance = random.Random(1)
    generators, num_clips = STORES[kind]
    order = list(range(num_clips))
    if kind == "shuffled":
        chance.shuffle(order)
    for generator in generators:
        with Writer(folder, seconds=1e9) as writer:
            for number in order:
                for modality in ("audio", "video"):
                    writer.add(
                        Description(
                            id=name(number),
                            sha256=content(number),
                            modality=modality,
                            generator=generator,
                            text=" ".join(chance.choices(WORDS, k=40)),
                            tokens=50,
                            seconds=0.5,
                            time="2026-01-01T00:00:00+00:00",
                        )
                    )


def join(folder: Path, kind: str) -> None:
    num_clips = STORES[kind][1]
    chosen = random.Random(2).sample(range(num_clips), NUM_WANTED) if kind == "shuffled" else range(60_000, 85_000)
    hashes = {name(number): content(number) for number in chosen}
    assert len(hashes) == NUM_WANTED
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, processor = [], []
    for _ in range(3):
        start, start_of_processor = time.perf_counter(), time.process_time()
        found = look_up(folder, GENERATORS[0], hashes, ("audio", "video"))
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_of_processor)
        assert len(found.descriptions) == 2 * NUM_WANTED and not found.changed
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "processor": processor, "peak_mib": peak}))


def main(root: Path) -> None:
    for kind in STORES:
        folder = root / kind.replace(" ", "_")
        if not shards(folder):
            start = time.perf_counter()
            fill(folder, kind)
            print(f"{kind}: filled in {time.perf_counter() - start:.0f} s")
        size = sum(path.stat().st_size for path in shards(folder)) / 2**20
        print(f"{kind}: 1,000,000 rows in {len(shards(folder))} shards, {size:.0f} MiB")
        words = [sys.executable, __file__, "--join", str(folder), kind]
        result = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        clock, processor = (" ".join(f"{s:.2f}" for s in result[key]) for key in ("seconds", "processor"))
        print(f"  {2 * NUM_WANTED:,} joined in {clock} s by the clock, {processor} s of processor time")
        print(f"  peak memory {result['peak_mib']:.0f} MiB above the imports")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--join"]:
        join(Path(sys.argv[2]), sys.argv[3])
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
