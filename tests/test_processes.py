"""A run on several processes: every clip is scored once, and as one process scores it."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_manifest, tiny_words

import evaluate
import train
from affect import processes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def words(root: Path) -> list[str]:
    table = tiny_manifest(root / "corpus", train=9)
    return [*tiny_words(root, "composed"), "dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def losses(folder: Path) -> list[float]:
    with (folder / "log" / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def test_two_processes_find_what_one_finds(root: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Nine clips to train on and three batches to evaluate are not divisible by two.
    batches = ("trainer.batch_size=2", "trainer.max_epochs=1", "evaluation.batch_size=2", "model.max_seconds=5")
    two, one = root / "two", root / "one"
    command = [sys.executable, str(processes.PROGRAMS / "train.py"), *words, *batches, "trainer=ddp"]
    command += ["trainer.progress=false", f"output_root={two}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    [spread] = two.glob("*")  # the second process has made no folder of its own
    assert read(spread, "status.json")["state"] == "finished"
    assert (spread / "log" / "process_1.log").is_file()

    again = [f"run={spread}", "trainer=default", "trainer.progress=false", "evaluation.batch_size=2"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *again, f"cache_root={root / 'cache'}", f"output_root={one}"])
    monkeypatch.chdir(root)
    evaluate.main()
    [alone] = one.glob("*")
    predictions = (spread / "predictions.jsonl").read_text(encoding="utf-8")
    assert predictions == (alone / "predictions.jsonl").read_text(encoding="utf-8")
    assert len({json.loads(line)["id"] for line in predictions.splitlines()}) == len(predictions.splitlines()) == 6
    found = read(spread, "metrics.json")
    found.pop("validation")  # which an evaluation has not
    assert found == read(alone, "metrics.json")


def test_a_step_of_two_processes_is_that_of_one(root: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table = tiny_manifest(root / "unlike", train=8, labels=("a", "b b b", "c, c and once more c"), media=False)
    shared = [*words, f"datasets.manifest.root={table}", "datasets.manifest.options.require_clips=false"]
    shared += ["modalities=t", "trainer.log_every=1", "trainer.max_epochs=2", "finetuning.learning_rate=1e-2"]
    command = [sys.executable, str(processes.PROGRAMS / "train.py"), *shared, "trainer=ddp", "trainer.batch_size=2"]
    command += ["trainer.progress=false", f"output_root={root / 'spread'}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["train.py", *shared, "trainer.batch_size=4", f"output_root={root / 'together'}"])
    train.main()
    [spread], [together] = (root / "spread").glob("*"), (root / "together").glob("*")
    # Answers of different length: the mean of the processes' means would be another number.
    assert len(losses(together)) == 4
    assert losses(spread) == pytest.approx(losses(together), rel=1e-4)
