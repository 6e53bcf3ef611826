"""The ledger of test splits: every evaluation of one is a line, whatever else writes to it, is damaged or is full."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import make_run

from affect.cli.validate import conflicts
from affect.config import WriteError
from affect.runs import ledger

ADD = """
import resource, signal, sys
from pathlib import Path
from affect.config import WriteError
from affect.runs import ledger

root, name, count, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
line = ledger.Opening(time="t", program="train", folder=name * 200, dataset="demo", split="test", ids_sha256="i",
                      clips=1, configuration_sha256="c", predictions_sha256="p")
for _ in range(count):
    try:
        ledger.append(root, [line, line])
    except WriteError as error:
        sys.exit(str(error))
"""


def add(root: Path, name: str, count: int, most: int = 10**9) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", ADD, str(root), name, str(count), str(most)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def line(**values: object) -> ledger.Opening:
    given = {"time": "2026-01-01", "program": "train", "folder": "/a", "dataset": "demo", "split": "test", "clips": 3}
    hashes = {"ids_sha256": "i", "configuration_sha256": "c", "predictions_sha256": "p"}
    return ledger.Opening(**given | hashes | values)  # type: ignore[arg-type]


def test_two_processes_add_to_one_ledger(tmp_path):
    processes = [add(tmp_path / "out", name, 30) for name in "ab"]
    assert [process.communicate()[1] for process in processes] == ["", ""]
    lines, damaged = ledger.read(tmp_path / "out" / ledger.FILE)
    assert damaged == []
    assert [sum(each.folder == name * 200 for each in lines) for name in "ab"] == [60, 60]


def test_a_full_disk_leaves_all_of_an_entry_or_nothing(tmp_path):
    _, said = (process := add(tmp_path, "a", 50, most=10_000)).communicate()
    assert process.returncode == 1
    assert f"{tmp_path / ledger.FILE} could not be written (" in said and "make room" in said
    lines, damaged = ledger.read(tmp_path / ledger.FILE)
    assert damaged == [] and lines and len(lines) % 2 == 0


def test_damaged_lines_are_named_and_the_others_count(tmp_path):
    path = tmp_path / ledger.FILE
    ledger.append(tmp_path, [line(folder="/a")])
    with path.open("a") as file:
        file.write('[]\n{"time": "t"}\n\n{"time": "2026-01-01", "prog')  # killed in the middle of a line
    ledger.append(tmp_path, [line(folder="/b")])
    lines, damaged = ledger.read(path)
    assert [each.folder for each in lines] == ["/a", "/b"]
    assert [each.split(" is damaged")[0] for each in damaged] == [f"{path}, line {n}" for n in (2, 3, 5)]
    assert "missing 8 required keyword-only arguments: 'program'" in damaged[1]


@pytest.mark.parametrize("evaluate", [False, True])
def test_a_run_that_is_evaluated_on_the_test_split_is_noted(configure, tmp_path, evaluate):
    out = tmp_path / "out"
    folder = make_run(configure, out, "one", "datasets.demo.tasks=[emotion]", evaluate=evaluate)
    make_run(configure, out, "other", "evaluation.split=val")
    [noted], damaged = ledger.read(out / ledger.FILE)
    assert damaged == [] and noted.folder == str(folder) and noted.program == ("evaluate" if evaluate else "train")
    [test] = [part for part in json.loads((folder / "data.json").read_text())["parts"] if part["split"] == "test"]
    assert (noted.dataset, noted.split, noted.clips) == ("demo", "test", 10)
    assert noted.ids_sha256 == test["ids_sha256"]
    assert noted.predictions_sha256 == hashlib.sha256((folder / "predictions.jsonl").read_bytes()).hexdigest()
    assert noted.configuration_sha256 == json.loads((folder / "environment.json").read_text())["configuration_sha256"]


def test_a_ledger_that_cannot_be_written_is_refused_before_the_run(configure, tmp_path):
    (tmp_path / ledger.FILE).mkdir()
    cfg = configure("experiment=demo", "modalities=t")
    cfg.output_root = str(tmp_path)
    [sentence] = conflicts(cfg, "train")
    assert sentence.startswith(f"{tmp_path / ledger.FILE} cannot be written, and every evaluation of a test split is")
    cfg.evaluation.split = "val"
    assert list(conflicts(cfg, "train")) == []
    with pytest.raises(WriteError, match=r"cannot be written \(Is a directory\): set output_root"):
        ledger.append(tmp_path, [line()])


def test_the_ledger_of_a_run_moves_with_it(tmp_path):
    ledger.append(tmp_path / "then", [line()])
    assert ledger.of_run(tmp_path / "moved" / "run", str(tmp_path / "then")) == tmp_path / "then" / ledger.FILE
    ledger.append(tmp_path / "moved", [line()])
    assert ledger.of_run(tmp_path / "moved" / "sweeps" / "s" / "run", str(tmp_path / "then")) == (
        tmp_path / "moved" / ledger.FILE
    )
    assert ledger.of_run(tmp_path / "nowhere", str(tmp_path / "never")) is None
