"""Watching a multirun: its states and the time left, from files alone, while other processes write them."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from affect.cli import sweep_status
from affect.config import ConfigError
from affect.runs import lifecycle, run_environment, sweep_file
from affect.runs.sweep_status import look

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
            content = json.loads((sweep / sweep_file.FILE).read_text())
            content["starts"][-1]["pid"] = 2**22 + 1  # no process has this number
            (sweep / sweep_file.FILE).write_text(json.dumps(content))

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
