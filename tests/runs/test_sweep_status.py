"""Watching a multirun: its states and the time left, from files alone, while other processes write them."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from affect.cli import sweep as sweep_command
from affect.cli import sweep_status
from affect.config import ConfigError
from affect.runs import lifecycle, run_environment, sweep_file
from affect.runs.sweep_status import look, look_all

TRAINING = {"stage": "training", "epoch": 2, "epochs": 8, "step": 25, "steps": 100, "selection": 0.4321}


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Five jobs: finished in 100 s, running since 50 s, failed, and two that have not begun."""
    folder = tmp_path / "sweep"
    entries = [sweep_file.Entry([f"seed={i}"], f"{i}_job", f"c{i}") for i in range(5)]
    sweep_file.begin(folder, "train", run_environment.start_note(["seed=range(0,5)"]), entries)
    with lifecycle.running(made(folder, 0)):
        pass
    state(folder, 0, started=ago(200), ended=ago(100))
    with pytest.raises(RuntimeError), lifecycle.running(made(folder, 2)):
        raise RuntimeError("no room\nat all")
    with lifecycle.running(made(folder, 1)) as stop:
        stop.progress = TRAINING
        state(folder, 1, started=ago(50), progress=TRAINING)
        running = (folder / "1_job" / "status.json").read_text()
    (folder / "1_job" / "status.json").write_text(running)
    return folder


def made(folder: Path, number: int) -> Path:
    job = folder / f"{number}_job"
    job.mkdir()
    return job


def state(folder: Path, number: int, **values: Any) -> None:
    path = folder / f"{number}_job" / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def end_process(folder: Path) -> None:
    content = json.loads((folder / sweep_file.FILE).read_text())
    content["starts"][-1]["pid"] = 2**22 + 1  # no process has this number
    (folder / sweep_file.FILE).write_text(json.dumps(content))


def states(folder: Path) -> list[str]:
    return [each.job.state for each in look(folder).jobs]


def test_states_progress_and_time_left(sweep, capsys):
    status = look(sweep)
    assert states(sweep) == ["finished", "running", "failed", "not begun", "not begun"] and not status.ended
    [running] = status.of("running")
    assert running.left == pytest.approx(150, rel=0.2)  # 50 s for a quarter of its steps
    assert status.left == pytest.approx(150 + 2 * 100, rel=0.2)  # one job at a time goes on with the other two
    sweep_status.main([str(sweep)])
    said = capsys.readouterr().out
    assert "5 jobs: 1 finished, 1 running, 2 not begun, 1 failed" in said
    assert "training │ 2 of 8 │ 25 of 100 │ 0.4321" in said and re.search(r"about 0:0[23]:", said)
    assert "RuntimeError: no room" in said and "2_job/log/run.log" in said.replace("\n", "")
    assert re.search(r"Time left: about 0:0[56]:", said) and "free" in said


def test_without_a_finished_job_the_pace_of_the_running_one_tells(sweep):
    state(sweep, 0, state="failed", error="x")
    assert look(sweep).left == pytest.approx(150 + 2 * 200, rel=0.2)
    state(sweep, 1, progress=TRAINING | {"step": 50, "first_step": 25})
    assert look(sweep).of("running")[0].left == pytest.approx(100, rel=0.2)  # a third of what it had to do
    state(sweep, 1, progress={})
    assert look(sweep).left is None
    state(sweep, 1, progress={"stage": "test", "batch": 3, "batches": 9})
    assert look(sweep).left is None


def test_what_a_search_has_pruned_is_over(sweep, capsys):
    for number in (1, 2):
        state(sweep, number, state="pruned")
    for number in (3, 4):
        with lifecycle.running(made(sweep, number)):
            pass
    assert states(sweep) == ["finished", "pruned", "pruned", "finished", "finished"]
    sweep_status.main([str(sweep)])
    said = capsys.readouterr().out
    assert "5 jobs: 3 finished, 2 pruned" in said and "Not finished" not in said


def test_a_run_on_another_machine_is_killed_when_its_heart_has_stopped(sweep, capsys):
    state(sweep, 1, host="elsewhere", heartbeat=ago(5))
    assert states(sweep)[1] == "running"
    state(sweep, 1, heartbeat=ago(lifecycle.STALE + 5))
    assert states(sweep)[1] == "killed"
    sweep_status.main([str(sweep)])
    assert "25 of 100 │ 0.4321" in capsys.readouterr().out  # how far it had come


@pytest.mark.parametrize("content", ["", '{"state": "runn', "[]", "{}", '{"state": "failed"}', '{"state": "running"}'])
def test_a_half_written_file_ends_nothing(sweep, capsys, content):
    (sweep / "1_job" / "status.json").write_text(content)
    sweep_status.main([str(sweep)])
    assert "5 jobs: 1 finished, 2 not begun, 2 failed" in capsys.readouterr().out
    assert look(sweep).jobs[1].job.error is not None


def test_live_ends_with_the_last_job_and_when_nobody_goes_on(sweep, capsys, monkeypatch):
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        state(sweep, 1, state="finished", ended=ago(0))
        if len(looks) == 2:
            end_process(sweep)

    monkeypatch.setattr("time.sleep", sleep)
    sweep_status.main([str(sweep), "--live"])
    assert looks == [sweep_status.EVERY] * 2
    assert f"No job is running; run the other 3: affect sweep resume {sweep}" in capsys.readouterr().out.replace(
        "\n", ""
    )

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    state(sweep, 1, state="running")
    sweep_status.main([str(sweep), "--live"])


def test_a_folder_that_is_no_multirun_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"is not the folder of a multirun, it has no sweep.json: name one of"):
        look(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(SystemExit, match=r"sweep.json cannot be read"):
        sweep_status.main([str(tmp_path)])


@pytest.fixture
def study(sweep, tmp_path) -> Path:
    """A study of three multiruns, whose process is gone: one half done, a matrix of one finished training, and one that
    has not begun."""
    folder = tmp_path / "study"
    start = run_environment.start_note(["robustness"]) | {"multiruns": {"trained": 5, "matrix": 1, "missing": 45}}
    sweep_file.begin(folder, "study", start, [])
    sweep.rename(folder / "trained")
    note = run_environment.start_note(["sweep=transfer"])
    sweep_file.begin(folder / "matrix", "train", note | {"time": ago(-5)}, [])
    entry = sweep_file.Entry(["seed=1"], "0_job", "c")
    sweep_file.begin(folder / "matrix" / "train_a", "train", note | {"time": ago(-6)}, [entry])
    with lifecycle.running(made(folder / "matrix" / "train_a", 0)):
        pass
    for each in (folder, folder / "trained", folder / "matrix" / "train_a"):
        end_process(each)
    return folder


def test_the_multiruns_of_a_study_are_shown_one_after_the_other(study, capsys, monkeypatch):
    sweep_status.main([str(study)])
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if re.search(r"\d jobs: ", line)]
    assert lines == [
        "trained: 5 jobs: 1 finished, 1 running, 2 not begun, 1 failed",
        "matrix/train_a: 1 jobs: 1 finished",
        "missing: 45 jobs: 45 not begun",
    ]
    assert "training │ 2 of 8 │ 25 of 100 │ 0.4321" in said and "RuntimeError: no room" in said
    assert re.search(r"Time left: about 0:0\d:\d\d, and that of the multiruns that have not begun", said)

    def sleep(_: float) -> None:
        state(study / "trained", 1, state="finished", ended=ago(0))

    monkeypatch.setattr("time.sleep", sleep)
    sweep_status.main([str(study), "--live"])
    said = capsys.readouterr().out.replace("\n", "")
    assert f"No job is running; run the other 48: affect sweep resume {study}" in said


def test_a_study_that_goes_on_has_not_ended_between_two_multiruns(study):
    state(study / "trained", 1, state="finished", ended=ago(0))
    assert look_all(study).ended
    sweep_file.begin(study, "study", run_environment.start_note(["robustness"]) | {"multiruns": {"trained": 5}}, [])
    assert not look_all(study).ended and look_all(study).to_come == {}


def test_a_study_of_which_nothing_has_begun_shows_what_is_to_come(tmp_path, capsys):
    start = run_environment.start_note(["benchmark"]) | {"multiruns": {"zero_shot": 4}}
    sweep_file.begin(tmp_path / "study", "study", start, [])
    sweep_status.main([str(tmp_path / "study")])
    assert "zero_shot: 4 jobs: 4 not begun" in capsys.readouterr().out


def test_the_table_of_a_study_has_those_of_its_multiruns(study, capsys):
    sweep_command.tabulate([str(study)])
    said = capsys.readouterr().out
    assert re.findall(r"(?m)^(?:trained|matrix/train_a)$", said) == ["trained", "matrix/train_a"]
    assert said.count("Jobs") == 2 and not (study / "jobs.json").exists()
    assert len(json.loads((study / "trained" / "jobs.json").read_text())) == 5
