"""How much faster two processes score than one, and how much memory each has for itself.

    python benchmarks/two_processes.py

`affect evaluate` on SmolLM2-135M (CPU, float32), MELD's seven emotions, transcripts of the lengths that those of a
series have, readout by likelihood. Three kinds of run take turns, so that what else the machine does falls on all: one
process on one core, one on all cores, and trainer.devices=2. The time is that between the first batch and the last
prediction gathered, without starting and loading; the whole command's is printed beside. The predictions of all runs
have to be the same clips with the same answers. Needs two free cores; where they are not free, the CPU time of the
busiest process says how long it would have taken.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from everyday_talk import LINES

ROOT = Path(__file__).resolve().parents[1]
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

HOOK = """
import json, os, sys, time
if "AFFECT_BENCHMARK_NOTES" in os.environ and not any("resource_tracker" in word for word in sys.orig_argv):
    from affect.training.module import Supervised
    start, end = Supervised.on_test_epoch_start, Supervised.on_test_epoch_end

    def started(self):
        start(self)
        self.began = time.perf_counter(), time.process_time()

    def ended(self):
        cpu = time.process_time() - self.began[1]
        end(self)
        seconds = time.perf_counter() - self.began[0]
        with open("/proc/self/smaps_rollup") as file:
            sizes = dict(line.split(":") for line in file if ":" in line)
        private = sum(int(sizes[f"Private_{kind}"].split()[0]) for kind in ("Clean", "Dirty")) / 1e6
        note = {"rank": self.global_rank, "seconds": seconds, "cpu": cpu, "gigabytes": private}
        with open(os.environ["AFFECT_BENCHMARK_NOTES"], "a") as file:
            file.write(json.dumps(note) + chr(10))

    Supervised.on_test_epoch_start, Supervised.on_test_epoch_end = started, ended
"""
"""Runs as sitecustomize in every process of a run."""


def corpus(folder: Path, count: int) -> Path:
    """A table of `count` transcripts for the reader `manifest`."""
    table = folder / "clips.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", "text", "label"])
        for i in range(count):
            rows.writerow(
                [i, "test", f"{LINES[i % len(LINES)]} {LINES[i // len(LINES) % len(LINES)]}", EMOTIONS[i % 7]]
            )
    return table


def run(
    folder: Path, table: Path, cache: Path, name: str, devices: int, threads: int | None
) -> tuple[list[dict], float, bytes]:
    """The notes of all processes, the seconds of the whole command, and the predictions."""
    notes, out = folder / f"{name}.jsonl", folder / name
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env |= {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "AFFECT_BENCHMARK_NOTES": str(notes)}
    env |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    words = ["model=smollm2", "modalities=t", "dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]
    words += ["datasets.manifest.options.require_clips=false", "trainer.accelerator=cpu", "trainer.progress=false"]
    words += [f"datasets.manifest.task_definitions.label.labels=[{','.join(EMOTIONS)}]", "evaluation=score"]
    words += [f"trainer.devices={devices}", f"output_root={out}", f"cache_root={cache}"]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *words], env=env, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    [predictions] = out.glob("*/predictions.jsonl")
    return [json.loads(line) for line in notes.read_text().splitlines()], seconds, predictions.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=161, help="an odd number does not divide evenly")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="a folder that has SmolLM2 already; by default it is prepared anew")
    options = parser.parse_args()
    kinds = {"one process, one core": (1, 1), "one process, all cores": (1, None), "two processes": (2, None)}
    scoring: dict[str, list[float]] = {kind: [] for kind in kinds}
    busy: dict[str, list[float]] = {kind: [] for kind in kinds}
    whole: dict[str, list[float]] = {kind: [] for kind in kinds}
    memory: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    answers: dict[str, list] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(HOOK)
        table, cache = corpus(folder, options.clips), options.cache or folder / "cache"
        for turn in range(options.rounds):
            print(f"round {turn + 1}: load of the machine {os.getloadavg()[0]:.1f}", flush=True)
            for kind, (devices, threads) in kinds.items():
                notes, seconds, predictions = run(folder, table, cache, f"{turn}_{devices}_{threads}", devices, threads)
                [first] = [note for note in notes if note["rank"] == 0]
                scoring[kind].append(first["seconds"])
                busy[kind].append(max(note["cpu"] for note in notes))
                whole[kind].append(seconds)
                memory[kind].append([note["gigabytes"] for note in sorted(notes, key=lambda note: note["rank"])])
                read = [(p["id"], p["exact"]) for p in map(json.loads, predictions.splitlines())]
                assert len(read) == options.clips, f"{kind}: {len(read)} predictions for {options.clips} clips"
                assert answers.setdefault("first", read) == read, f"{kind}: other clips or answers"
                times = f"scoring {first['seconds']:6.1f} s, at most {busy[kind][-1]:5.1f} s of CPU in a process"
                print(f"  {kind:<24} {times}, command {seconds:6.1f} s", flush=True)
    for kind in kinds:
        private = " and ".join(f"{median(each):.2f}" for each in zip(*memory[kind], strict=True))
        rate = options.clips / median(scoring[kind])
        print(f"{kind:<24} {rate:6.2f} clips/s, command {median(whole[kind]):.1f} s, private memory {private} GB")
    for kind in list(kinds)[:2]:
        ratios = sorted(a / b for a, b in zip(scoring[kind], scoring["two processes"], strict=True))
        print(f"two processes over {kind}: {median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    one, two = (busy[kind] for kind in ("one process, one core", "two processes"))
    print(f"by the CPU time of the busiest process: {median(a / b for a, b in zip(one, two, strict=True)):.2f} times")


if __name__ == "__main__":
    main()
