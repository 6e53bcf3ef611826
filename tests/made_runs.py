"""Folders of finished runs, written as train.py and evaluate.py write them, with answers that a test chooses."""

import copy
import csv
import io
import itertools
import json
import shutil
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from affect.cli.report import main
from affect.config import Config, Kind, read_yaml
from affect.data import Prediction, Record
from affect.data.part import Part
from affect.evaluation.metrics.summary import summarise
from affect.runs import lifecycle, run_folder, run_results, run_summary

Make = Callable[..., Path]

# Of runs alike the newest counts, and a second holds many runs of tests: each begins a second after the one before.
_BEGINNINGS = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in itertools.count(1))


def part(split: str, ids: list[int], dataset: str = "demo") -> Part:
    records = [Record(id=f"{dataset}/{split}/{i}", dataset=dataset, split=split, text="x", group="g") for i in ids]
    return Part(dataset=dataset, split=split, expected=len(ids) + 1, outside_subset=1, records=records)


def make_run(
    configure: Callable[..., Config],
    out: Path,
    name: str,
    *words: str,
    dataset: str = "demo",
    correct: int | Collection[int] = 6,
    num: int = 10,
    groups: int = 1,
    evaluate: bool = False,
    labelled: bool = True,
    constant: bool = False,
    started: str | None = None,
) -> Path:
    """The folder of a finished run: of a training, or of an evaluation with `evaluate`.

    The first half of `num` clips has the first label, the rest the second; clip i is of group i % groups. Those of
    `correct` (the first so many, or these) are answered rightly; all others with the third label, or with a number that
    is 1 too high. It is newer than the runs made before it, unless `started` says when it began.
    """
    cfg = configure(
        "experiment=demo",
        f"output_root={out}",
        "cache_root=/derived",
        "modalities=t",
        f"dataset={dataset}",
        *words,
        program="evaluate" if evaluate else "train",
    )
    split = cfg.evaluation.split
    right = range(correct) if isinstance(correct, int) else correct
    predictions = []
    for task_name in cfg.datasets[dataset].tasks:
        task = cfg.datasets[dataset].task_definitions[task_name]
        classes = task.kind is Kind.classification
        for i in range(num):
            gold = task.labels[0 if i < num // 2 else 1] if classes else float(i % 3 - 1)
            wrong = task.labels[2] if classes else 0.0 if constant else gold + 1
            value = gold if i in right and not constant else wrong
            predictions.append(
                Prediction(
                    id=f"{dataset}/{split}/{i}",
                    dataset=dataset,
                    split=split,
                    task=task_name,
                    group=f"g{i % groups}",
                    target=gold if labelled else None,
                    answer=None,
                    exact=value,
                    lenient=value,
                    outcome="valid",
                    readout=(cfg.evaluation.readout if classes else cfg.evaluation.intensity_readout).value,
                )
            )
    shutil.rmtree(out / name, ignore_errors=True)  # a test may make a run of the same name again, with other words
    folder = run_folder.create(cfg, "evaluate" if evaluate else "train", str(out / name))
    with lifecycle.running(folder):
        parts = [part(split, list(range(num)), dataset)]
        if not evaluate:
            parts += [part(other, [1], dataset) for other in ("train", "val") if other != split]
        run_results.write_results(
            folder, cfg, parts, predictions, summarise(predictions, cfg.datasets, cfg.evaluation), {}
        )
    beginning = started or next(_BEGINNINGS).isoformat()
    change(folder / "status.json", lambda status: status | {"started": beginning})
    return folder


def change(path: Path, how: Callable[[dict], dict]) -> None:
    path.write_text(json.dumps(how(json.loads(path.read_text()))))


def remember_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration takes a tenth of a second to read, and tests of reports read the same ones again and again."""
    known: dict[bytes, dict] = {}

    def remembered(path: Path) -> dict:
        content = path.read_bytes()
        if content not in known:
            known[content] = read_yaml(path)
        return copy.deepcopy(known[content])

    monkeypatch.setattr(run_summary, "read_yaml", remembered)


def report(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[str, str, str]:
    """What affect.reports prints, what it complains of on stderr, and what it says at its end ("" where it ended
    well)."""
    try:
        main([str(word) for word in words])
        end = ""
    except SystemExit as stop:
        end = str(stop.code)
    said = capsys.readouterr()
    return said.out, said.err, end


def records(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[dict[str, str]]:
    """The rows of its CSV."""
    out, _, end = report(capsys, *words, "--format", "csv")
    assert end == ""
    return list(csv.DictReader(io.StringIO(out)))
