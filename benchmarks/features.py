"""How fast the features of clips are read, and whether memory stays as it is.

    python benchmarks/features.py [FOLDER] [--clips 10000] [--gigabytes 2]

FOLDER is where files are made, a temporary folder unless it is given; delete it afterwards. Two sources:

computed  the cache of features that affect computes: 50 steps of 576 numbers (text), 512 (audio) and 64 (video), those
          of a clip of ten seconds; filled, and read in random order
mmsa      a feature file in the layout and widths of MOSEI's unaligned_50.pkl, cut to so many gigabytes: converted, and
          read in random order

Each is measured in a process of its own, reading three epochs: clips a second by the clock, the same by processor
time, which says more where the cores are shared, and the memory that is the process's own (anonymous pages) after each
epoch, in MiB. The conversion of a feature file maps it, so its pages in memory are those of the system's file cache.
"""

import argparse
import json
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

# A benchmark is started from any folder, and by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.data import Record
from affect.data.features.mmsa import MmsaFeatures
from affect.data.features.store import CachedFeatures, open_files

EPOCHS = 3
WIDTHS = {"text": 576, "audio": 512, "video": 64}
STEPS = 50
MOSEI = {"text": (50, 768), "audio": (500, 74), "vision": (500, 35)}
"""Steps and width in unaligned_50.pkl."""
PROTOCOL = 4
"""MMSA's data/getLengths.py writes MOSEI's with it."""


def own_memory() -> float:
    """MiB of anonymous pages of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no RssAnon: this needs Linux")


class Peak(threading.Thread):
    """The most memory of its own that this process had while the thread ran."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.ended = own_memory(), threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            self.most = max(self.most, own_memory())


def timed(name: str, count: int, work: Callable[[], object]) -> None:
    clock, processor = time.perf_counter(), time.process_time()
    peak = Peak()
    peak.start()
    before = own_memory()
    work()
    peak.ended.set()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(
        f"  {name}: {count / clock:,.0f} clips a second by the clock, {count / processor:,.0f} by processor time"
        f" ({clock:.1f} and {processor:.1f} s); own memory {before:.0f} MiB before, {own_memory():.0f} after,"
        f" {peak.most:.0f} at most",
        flush=True,
    )


def epochs(source: CachedFeatures | MmsaFeatures, records: Sequence[Record]) -> None:
    chance = random.Random(0)
    order = list(records)
    for epoch in range(1, EPOCHS + 1):
        chance.shuffle(order)

        def read() -> None:
            for record in order:
                for sequence in source.of(record).values():
                    assert len(sequence)

        timed(f"epoch {epoch}", len(order), read)


def record(number: int, split: str = "train") -> Record:
    return Record(
        id=f"mosei/{split}/video{number // 10}/{number % 10}", dataset="mosei", split=split, text="", group=""
    )


def computed(folder: Path, clips: int) -> None:
    import torch

    records = [record(number) for number in range(clips)]
    keys = {each.id: {modality: json.dumps([modality, each.id]) for modality in WIDTHS} for each in records}
    source = CachedFeatures(open_files(folder, 1000, print), keys, WIDTHS, {modality: {} for modality in WIDTHS})

    def fill() -> None:
        for modality, absent in source.missing(records).items():
            for each in absent:
                source.put(each, modality, torch.randn(STEPS, WIDTHS[modality]))

    timed("filled", clips, fill)
    print(f"  {source.files.size() / 10**9:.2f} GB in {len(WIDTHS) * clips:,} files")
    epochs(source, records)


def make(path: Path, gigabytes: float) -> int:
    """A feature file of random numbers; how many clips it has."""
    clips = int(gigabytes * 10**9 / sum(4 * steps * width for steps, width in MOSEI.values()))
    chance = np.random.default_rng(0)
    fields: dict[str, object] = {
        "id": [record(number).id.split("/", 2)[2].replace("/", "$_$") for number in range(clips)],
        "regression_labels": np.zeros(clips, np.float32),
    }
    noise = chance.standard_normal(2**22).astype(np.float32)
    for name, (steps, width) in MOSEI.items():
        lengths = chance.integers(steps // 5, steps, clips)
        array = np.zeros((clips, steps, width), np.float32)
        for row, length in enumerate(lengths):
            start = int(chance.integers(len(noise) - steps * width))
            array[row, :length] = noise[start : start + length * width].reshape(length, width)
        fields[name] = array
        if name == "text":
            bert = np.zeros((clips, 3, steps), np.float32)
            bert[:, 1] = np.arange(steps) < lengths[:, None]
            fields["text_bert"] = bert
        else:
            fields[f"{name}_lengths"] = lengths.tolist()
    with path.open("wb") as file:
        pickle.dump({"train": fields}, file, PROTOCOL)
    return clips


def mmsa(folder: Path, clips: int) -> None:
    path = folder / "unaligned_50.pkl"
    print(f"  {path.stat().st_size / 10**9:.2f} GB, {clips:,} clips")
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    timed("hashed and converted", clips, lambda: MmsaFeatures(path, cache, WIDTHS))
    size = sum(file.stat().st_size for file in (cache / "features").glob("*/*"))
    print(f"  {size / 10**9:.2f} GB are kept")
    found: list[MmsaFeatures] = []
    import torch  # noqa: F401  (so that the first epoch is not the one that loads it)

    timed("opened again", clips, lambda: found.append(MmsaFeatures(path, cache, WIDTHS)))
    epochs(found[0], [record(number) for number in range(clips)])


def in_own_process(*words: object) -> None:
    subprocess.run([sys.executable, __file__, *map(str, words)], check=True)


def main(folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    print(f"computed: {options.clips:,} clips of {STEPS} steps", flush=True)
    in_own_process(folder, "--clips", options.clips, "--only", "computed")
    print("mmsa:", flush=True)
    in_own_process(folder, "--gigabytes", options.gigabytes, "--only", "make")
    in_own_process(folder, "--gigabytes", options.gigabytes, "--only", "mmsa")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "computed":
        computed(options.folder, options.clips)
    elif options.only == "make":
        (options.folder / "clips").write_text(str(make(options.folder / "unaligned_50.pkl", options.gigabytes)))
    elif options.only == "mmsa":
        mmsa(options.folder, int((options.folder / "clips").read_text()))
    elif options.folder:
        main(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made), options)
