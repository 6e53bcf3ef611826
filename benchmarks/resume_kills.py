"""Kills a tiny training at random moments with SIGKILL, resumes and evaluates it, and holds everything against an
uninterrupted one: python benchmarks/resume_kills.py [--kills 20] [--seed 0]"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # tiny models gain nothing from a second thread

from test_resume import WORDS, assert_same_run
from tiny_models import tiny_manifest, tiny_words

import evaluate
import train
from affect.runs import run_summary
from affect.training import checkpointing


def quietly(program: str, *words: str, place: Path) -> None:
    """Runs train.py or evaluate.py in this process, with `place` as the working directory."""
    os.chdir(place)  # so that output_root, which is part of the configuration, is the same for all
    sys.argv = [f"{program}.py", *words]
    os.environ.pop("AFFECT_STAMP", None)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        {"train": train.main, "evaluate": evaluate.main}[program]()


def made(place: Path, program: str) -> list[Path]:
    """The folders that a program has made."""
    return list((place / "outputs").glob(f"*_{program}_*"))


def killed(place: Path, words: list[str], seconds: float) -> Path | None:
    """A run killed that long after it had a folder; None where it was over before."""
    child = os.fork()
    if child == 0:
        quietly("train", *words, place=place)
        os._exit(0)
    while not list(place.glob("outputs/*/status.json")):
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    [folder] = made(place, "train")
    return folder if run_summary.read(folder).status["state"] == "killed" else None


def evaluation(place: Path, folder: Path) -> tuple[str, dict]:
    """Predictions and metrics of evaluate.py run=…"""
    quietly("evaluate", f"run={folder}", "trainer.progress=false", place=place)
    [found] = made(place, "evaluate")
    return (found / "predictions.jsonl").read_text(), json.loads((found / "metrics.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="affect-kills-") as temporary:
        root = Path(temporary)
        table = tiny_manifest(root / "corpus", train=9)
        data = ["dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]
        words = [*tiny_words(root, "composed"), *data, *WORDS, "trainer.max_epochs=4"]
        places = (root / str(number) for number in itertools.count())

        def place() -> Path:
            new = next(places)
            new.mkdir()
            return new

        quietly("train", *words, place=place())  # the corpus is checked, libraries are imported
        first, started = place(), time.monotonic()
        quietly("train", *words, place=first)
        seconds = time.monotonic() - started
        [whole] = made(first, "train")
        expected = evaluation(first, whole)
        print(f"uninterrupted: {seconds:.1f} s", flush=True)
        done = 0
        while done < options.kills:
            there, begun, moment = place(), time.monotonic(), moments.uniform(0, seconds)
            folder = killed(there, words, moment)
            if folder is None:
                continue  # it had finished: not a kill
            step = checkpointing.position(folder).step
            quietly("train", f"resume={folder}", place=there)
            assert_same_run(whole, folder)
            assert evaluation(there, folder) == expected
            done += 1
            print(
                f"{done}: killed after {moment:.2f} s, resumed from step {step}: same weights, optimiser, log,"
                f" predictions and metrics; {time.monotonic() - begun:.0f} s in all",
                flush=True,
            )


if __name__ == "__main__":
    main()
