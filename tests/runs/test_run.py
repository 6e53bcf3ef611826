"""The run folder: unique, never half written, true about its state, and enough to compute every number again."""

import csv
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from affect import config
from affect.config import ConfigError, DataError, logs
from affect.config.hydra_errors import REFUSALS, refusal
from affect.data import Prediction, Record, files
from affect.data.part import Part
from affect.data.problems import Excluded
from affect.evaluation.metrics.summary import summarise
from affect.runs import lifecycle, run_folder, run_results, run_summary


@pytest.fixture
def cfg(configure, tmp_path):
    return configure(
        "dataset=demo", "datasets.demo.tasks=[emotion,sentiment]", "modalities=t", f"output_root={tmp_path / 'out'}"
    )


def prediction(number: int, task: str = "emotion", **changes) -> Prediction:
    fields = {
        "id": f"demo/test/{number}",
        "dataset": "demo",
        "split": "test",
        "task": task,
        "group": f"speaker{number % 2}",
        "target": "joy",
        "answer": "Joy.",
        "exact": None,
        "lenient": "joy",
        "outcome": "valid",
        "readout": "generate",
    }
    return Prediction(**fields | changes)


PREDICTIONS = [
    prediction(1),
    prediction(2, target="anger", lenient="joy", exact="joy", answer="joy"),
    prediction(3, target="neutral", lenient=None, outcome="refusal", answer="I cannot say."),
    prediction(4, target=None, lenient="anger"),
    prediction(
        5,
        target="sadness",
        answer=None,
        exact="sadness",
        lenient="sadness",
        readout="score",
        scores={"sadness": -0.1, "joy": -2.5},
    ),
    prediction(6, target="joy", answer=None, lenient=None, outcome="error", error="demo/6.mp4: no audio"),
    prediction(1, "sentiment", target=-1.5, answer="-1", exact=-1.0, lenient=-1.0),
    prediction(2, "sentiment", target=2.0, answer="about 1.5", exact=None, lenient=1.5),
    prediction(3, "sentiment", target=0.5, answer="??", exact=None, lenient=None, outcome="no_label"),
]


def part(name: str = "demo") -> Part:
    records = [Record(id=f"{name}/test/{i}", dataset=name, split="test", text="x", group="g") for i in range(1, 7)]
    excluded = [Excluded(id=f"{name}/test/9", split="test", reason="no audio", source="index.csv, row 9")]
    return Part(dataset=name, split="test", expected=10, outside_subset=3, records=records, excluded=excluded)


def finished(cfg) -> Path:
    """The folder of an evaluation that ended well."""
    folder = run_folder.create(cfg, "evaluate", None)
    with lifecycle.running(folder):
        summary = summarise(PREDICTIONS, cfg.datasets, cfg.evaluation)
        run_results.write_results(folder, cfg, [part()], PREDICTIONS, summary, {"demo/test/6": "demo/6.mp4: no audio"})
    return folder


# ---------------------------------------------------------------- names


def _create(cfg) -> str:
    return run_folder.create(cfg, "train", None).name


def test_runs_of_the_same_second_get_different_folders(cfg, tmp_path):
    spawn = multiprocessing.get_context("fork")
    with ThreadPoolExecutor(8) as threads, spawn.Pool(2) as processes:
        asynchronous = processes.map_async(_create, [cfg] * 12)
        names = [*threads.map(_create, [cfg] * 24), *asynchronous.get(timeout=60)]
    folders = sorted((tmp_path / "out").glob("*/"))
    assert len(set(names)) == 36
    assert sorted(names) == [folder.name for folder in folders]
    assert all(
        (folder / "config.yaml").stat().st_size and (folder / "environment.json").stat().st_size for folder in folders
    )


def test_the_name_says_what_and_on_what(configure, tmp_path):
    cfg = configure("dataset=[meld,demo]", "modalities=tv", "seed=5", f"output_root={tmp_path}")
    assert run_folder.create(cfg, "train", None).name.endswith("_train_meld+demo_smollm2_tv_s5")


def test_a_job_of_a_multirun_uses_the_folder_it_is_given(cfg, tmp_path):
    folder = run_folder.create(cfg, "train", str(tmp_path / "sweeps" / "0_t"))
    assert folder == tmp_path / "sweeps" / "0_t"
    assert (folder / "config.yaml").is_file()
    assert not (tmp_path / "out").exists()


def test_an_output_root_that_is_a_file_is_refused(cfg, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(
        ConfigError, match=r"output_root=.*out cannot be written .*: set output_root to a folder that can"
    ):
        run_folder.create(cfg, "train", None)


def test_an_output_root_without_the_right_to_write_is_refused(cfg, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere, so nothing can be refused.")
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(
        ConfigError, match=r"cannot be written \(Permission denied\): set output_root to a folder that can"
    ):
        run_folder.create(cfg, "train", None)


# ---------------------------------------------------------------- writing


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "metrics.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        files.write_atomic(path, "half \ud800 a character")
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_before_the_renaming_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    files.write_atomic(path, "old")

    def killed(source, target):
        assert Path(source).read_text() == "new", "renamed before all of it was written"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_meets_half_a_file(tmp_path):
    path = tmp_path / "file"
    texts = ["a" * 200_000, "b" * 200_000]
    files.write_atomic(path, texts[0])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [files.write_atomic(path, texts[i % 2]) for i in range(60)])
        while not writing.done():
            assert path.read_text() in texts
        writing.result()


# ---------------------------------------------------------------- status


def test_the_status_is_running_and_then_finished(cfg):
    folder = run_folder.create(cfg, "train", None)
    with lifecycle.running(folder):
        status = json.loads((folder / "status.json").read_text())
        assert (status["state"], status["pid"]) == ("running", os.getpid())
        assert run_summary.read(folder).metrics is None
    status = run_summary.read(folder).status
    assert status["state"] == "finished"
    assert status["started"] <= status["ended"]


@pytest.mark.parametrize("error", [ValueError("the loss is nan"), KeyboardInterrupt(), SystemExit("enough")])
def test_the_status_of_a_run_that_ends_early_says_why_and_where(cfg, error):
    folder = run_folder.create(cfg, "train", None)
    with pytest.raises(type(error)), lifecycle.running(folder):
        raise error
    status = run_summary.read(folder).status
    assert status["state"] == "failed"
    assert status["error"] == f"{type(error).__name__}: {error}"
    assert status["where"].startswith("test_run.py:")


def test_a_run_that_was_killed_at_once_can_be_read(cfg):
    summary = run_summary.read(run_folder.create(cfg, "train", None))
    assert summary.status == {"state": "not begun"}
    assert summary.metrics is None


def test_a_run_whose_process_ended_and_is_still_listed_is_killed(cfg):
    folder = run_folder.create(cfg, "train", None)
    with lifecycle.running(folder):
        begun = json.loads((folder / "status.json").read_text())
    # As where a notebook has started it: nobody asks what became of it.
    child = subprocess.Popen(["sleep", "60"])
    of_child = begun | {"pid": child.pid, "pid_started": lifecycle._process_start(child.pid)}
    assert lifecycle.state(of_child) == "running"
    child.kill()
    while not Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
        time.sleep(0.01)
    assert lifecycle.state(of_child) == "killed"
    child.wait()
    assert lifecycle.state(of_child) == "killed"


@pytest.mark.parametrize("full", [False, True])
def test_a_disk_that_is_full_is_what_is_reported(cfg, monkeypatch, capsys, full):
    folder = run_folder.create(cfg, "train", None)
    write = Path.write_text

    def no_room(path, *args, **kwargs):
        if full or path.name.startswith(".predictions"):
            raise OSError(28, "No space left on device")
        return write(path, *args, **kwargs)

    with pytest.raises(config.WriteError) as raised, lifecycle.running(folder):
        monkeypatch.setattr(Path, "write_text", no_room)
        if full:
            [log] = [each for each in logs.LOG.handlers if isinstance(each, lifecycle._RunLog)]
            log.setStream(open("/dev/full", "w")).close()  # noqa: SIM115
            logs.LOG.info("what cannot be kept")
        run_results.write_predictions(folder, PREDICTIONS)
    assert "Traceback" not in capsys.readouterr().err
    # Also where status.json cannot be written any more.
    assert str(raised.value).startswith(
        f"{folder / 'predictions.jsonl'} could not be written (No space left on device): make room, or"
    )
    monkeypatch.setattr(Path, "write_text", write)
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == ("running" if full else "failed")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert refusal(raised.value, []) == str(raised.value) and isinstance(raised.value, REFUSALS)


def test_a_line_is_said_once_where_the_root_logger_prints_too(cfg, monkeypatch, capsys):
    # Hydra's prints what reaches the root, in programs without a run folder too.
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stdout)])
    logs.LOG.info("outside")
    folder = run_folder.create(cfg, "train", None)
    with lifecycle.running(folder):
        logs.LOG.info("inside")
    said = capsys.readouterr().out
    assert said.count("outside") == said.count("inside") == 1
    assert "inside" in (folder / "log" / "run.log").read_text()


# ---------------------------------------------------------------- what is kept


def test_the_folder_says_what_its_numbers_depend_on(cfg):
    folder = finished(cfg)
    there = {path.name for path in folder.iterdir()}
    assert there == {
        "config.yaml",
        "config.json",
        "status.json",
        "environment.json",
        "data.json",
        "exclusions.csv",
        "predictions.jsonl",
        "metrics.json",
        "log",
    }
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["affect"] and environment["command"] and environment["versions"]["torch"]
    assert {"commit", "dirty"} <= environment.keys()
    data = json.loads((folder / "data.json").read_text())
    (account,) = data["parts"]
    assert (account["expected"], account["outside_subset"], account["excluded"], account["used"]) == (10, 3, 1, 6)
    assert account["reasons"] == {"no audio": 1}
    assert data["lost_during_the_run"] == {"demo/test/6": "demo/6.mp4: no audio"}
    rows = list(csv.DictReader((folder / "exclusions.csv").open(encoding="utf-8")))
    assert [(row["id"], row["reason"], row["count"]) for row in rows] == [
        ("demo/test/9", "no audio", "1"),
        ("demo/test/6", "lost during the run", "1"),
    ]


def test_the_hash_of_the_ids_tells_different_sets_apart():
    one, other = part(), part()
    other.records = other.records[:-1]
    shuffled = part()
    shuffled.records = shuffled.records[::-1]
    assert one.account()["ids_sha256"] == shuffled.account()["ids_sha256"] != other.account()["ids_sha256"]


def test_predictions_come_back_as_they_were(tmp_path):
    odd = [
        prediction(7, answer='a "quoted"\nanswer, 中文 🙂'),
        # Characters that Python's splitlines takes for the end of a line.
        prediction(8, answer="one\u2028two\x85three\x0bfour\x1cfive\rsix\r\nseven"),
    ]
    run_results.write_predictions(tmp_path, [*PREDICTIONS, *odd])
    assert run_results.read_predictions(tmp_path) == [*PREDICTIONS, *odd]
    run_results.write_predictions(tmp_path, [])
    assert run_results.read_predictions(tmp_path) == []


@pytest.mark.parametrize(
    "broken", ['{"id": "x"', '{"id": "x"}', "[1, 2]", "", '{"id": 1, "unknown": 2}', "null"], ids=repr
)
def test_a_broken_line_of_predictions_is_named(tmp_path, broken):
    run_results.write_predictions(tmp_path, PREDICTIONS)
    path = tmp_path / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[3] = broken
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"predictions.jsonl, line 4 is not a prediction \(.+\): restore the file, or evaluate again"
    ):
        run_results.read_predictions(tmp_path)


def test_predictions_that_are_no_text_or_not_there_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"cannot be read \(No such file or directory\): is .* the folder of a finished run"
    ):
        run_results.read_predictions(tmp_path)
    (tmp_path / "predictions.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(DataError, match=r"predictions.jsonl is not UTF-8 \(.+\): restore the file, or evaluate again"):
        run_results.read_predictions(tmp_path)


def test_every_number_can_be_computed_again_from_the_folder(cfg):
    from omegaconf import OmegaConf

    from affect.runs.inherit import run_config

    folder = finished(cfg)
    kept = json.loads((folder / "metrics.json").read_text())
    assert set(kept["tasks"]) == {"demo.emotion", "demo.sentiment"}
    assert kept["tasks"]["demo.emotion"]["n_scored"] == 5 and kept["tasks"]["demo.emotion"]["used"] == 6
    own = OmegaConf.to_object(run_config(folder))
    again = json.loads(json.dumps(summarise(run_results.read_predictions(folder), own.datasets, own.evaluation)))
    for name, numbers in again["tasks"].items():
        counts = {key: kept["tasks"][name].pop(key) for key in ("expected", "outside_subset", "excluded", "used")}
        assert counts == {"expected": 10, "outside_subset": 3, "excluded": 1, "used": 6}
        assert kept["tasks"][name] == numbers
    assert kept["selection"] == again["selection"] is not None


# ---------------------------------------------------------------- reading folders back


def test_what_is_no_run_folder_is_refused(cfg, tmp_path):
    folder = finished(cfg)
    said = rf"typo does not exist: name a run folder \({folder.parent} has {folder.name}"
    with pytest.raises(ConfigError, match=said):
        run_summary.read(folder.parent / "typo")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.yaml").write_text("lr: 3\n")
    with pytest.raises(
        ConfigError, match="is not the configuration of a run of affect, it has no evaluation, finetuning"
    ):
        run_summary.read(tmp_path / "foreign")
    (tmp_path / "foreign" / "config.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="holds a list, and a configuration is keys and values"):
        run_summary.read(tmp_path / "foreign")
    for damaged in ("status.json", "metrics.json"):
        before = (folder / damaged).read_text()
        (folder / damaged).write_text(before[:20])
        with pytest.raises(
            ConfigError, match=rf"{damaged} cannot be read \(.+\): restore the file, or delete .* and run again"
        ):
            run_summary.read(folder)
        (folder / damaged).write_text(before)


def test_the_results_of_a_run_are_a_report_on_it_alone(cfg, capsys):
    from affect.reports.console import print_results

    folder = finished(cfg)
    print_results(folder)
    printed = capsys.readouterr().out
    emotion, sentiment = printed.split("Results, demo.sentiment: ")
    assert emotion.startswith("Results, demo.emotion: split test") and "weighted_f1" in emotion and "mae" in sentiment
    assert any(line.split()[3:8] == ["10", "6", "5", "0", "60.0%"] for line in emotion.splitlines())
    assert f"1 {cfg.model.name}, {folder}" in printed.splitlines()
    kept = json.loads((folder / "metrics.json").read_text())["tasks"]["demo.emotion"]
    assert f"{kept['lenient']['weighted_f1']:.4f}" in emotion


def test_a_list_of_exclusions_has_no_formulas(tmp_path):
    row = {"id": "=1+1", "split": "test", "reason": "no label", "source": "a.csv, row 3", "count": 1}
    run_results.write_exclusions(tmp_path, [row])
    with (tmp_path / "exclusions.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [row | {"id": "'=1+1", "count": "1"}]


@pytest.mark.parametrize("name", ["status.json", "predictions.jsonl"])
def test_json_that_is_nested_without_end_is_refused_with_its_file(tmp_path, name):
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises((ConfigError, DataError), match=re.escape(name)):
        (run_summary.read if name == "status.json" else run_results.read_predictions)(tmp_path)
