"""What starts the jobs of a multirun: joblib, submitit, SLURM and Ray, and what is refused before they are asked."""

import csv
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from affect.cli.entry import Main, entry

# ---------------------------------------------------------------- refused before the first job


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-m", "launcher=torque"], "launcher=torque does not exist. Choices: joblib, local_gpus, ray"),
        (["-m", "hydra/launcher=torque"], "hydra/launcher=torque does not exist, or its plugin is not installed"),
        (["launcher=joblib"], "launcher=joblib starts the jobs of a multirun: add -m, or leave it out"),
        (["-m", "launcher=ray,joblib"], "launcher=ray,joblib: one launcher starts all jobs of a multirun: name one"),
        (["-m", "launcher=joblib", "hydra.launcher.partition=a"], "'hydra.launcher.partition' is not one of this l"),
        (
            ["-m", "launcher=slurm", "hydra.launcher.nodes=2"],
            "hydra.launcher.nodes=2 and hydra.launcher.tasks_per_node=1 would run every job several times: leave both",
        ),
    ],
)  # fmt: skip
def test_a_launcher_that_cannot_be_meant_is_refused(command, words, sentence):
    configs, said = command(*words, "seed=1,2") if words[0] == "-m" else command(*words)
    assert sentence in said and not configs


@pytest.mark.parametrize(
    ("plugin", "extra"),
    [("submitit_slurm", "slurm"), ("submitit_local", "slurm"), ("joblib", "joblib"), ("ray", "ray")],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(command, monkeypatch, plugin, extra):
    Plugins.instance()  # it registers what is installed
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{plugin}.yaml")
    _, said = command("-m", f"hydra/launcher={plugin}", "seed=1,2")
    assert f"hydra/launcher={plugin} is not installed: pip install 'affect[{extra}]'" in said


def test_slurm_is_refused_where_there_is_none(command, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    _, said = command("-m", "launcher=slurm", "seed=1,2")
    assert (
        "launcher=slurm hands the jobs to SLURM, and this machine has no sbatch and no srun: start the command" in said
    )


def test_gpus_that_are_not_there_are_not_waited_for(command, monkeypatch, tmp_path):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = ("-m", "launcher=local_gpus", "seed=1,2")
    assert "launcher=local_gpus wants 1 a job, and this machine shows none: take launcher=joblib" in command(*words)[1]
    tool.write_text("#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: B'\n")
    tool.chmod(0o755)
    _, said = command(*words, "hydra.launcher.ray.init.num_gpus=3")
    assert "wants 3 GPUs (hydra.launcher.ray.init.num_gpus), and this machine shows 2: give as many or fewer" in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "and this machine shows 1: give" in command(*words, "hydra.launcher.ray.init.num_gpus=2")[1]


def test_an_address_where_no_ray_answers_is_named(command):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"127.0.0.1:{port}"
    for given in (address, f"ray://{address}"):
        _, said = command("-m", "launcher=ray_cluster", f"hydra.launcher.ray.init.address='{given}'", "seed=1,2")
        assert f"address={given}: no Ray cluster answers there (" in said and "Connection refused" in said


# ---------------------------------------------------------------- jobs in other processes


def steps(seconds: float) -> Main:
    """A training without a model: ten steps that take `seconds`, each kept as a checkpoint and, with its process, in
    steps.txt. Seed 13 fails, and seed 666 kills its process."""

    def main(cfg, job_folder):
        # A launcher pickles it whole, since nobody can import it.
        import json
        import os
        import signal
        import time
        from pathlib import Path

        from affect.runs import run_folder
        from affect.runs.lifecycle import running

        folder = run_folder.create(cfg, "train", job_folder)
        with running(folder) as stop:
            if cfg.seed == 13:
                raise RuntimeError("an unlucky number")
            if cfg.seed == 666:
                os.kill(os.getpid(), signal.SIGKILL)
            saved = Path(folder, "checkpoints", "last.ckpt")
            saved.parent.mkdir(exist_ok=True)
            stop.deferred = True
            for step in range(int(saved.read_text()) if saved.exists() else 0, 10):
                time.sleep(seconds / 10)
                with Path(folder, "steps.txt").open("a") as file:
                    print(step, os.getpid(), Path.cwd(), os.environ.get("AFFECT_CACHE"), file=file)
                saved.write_text(str(step + 1))
                stop.check()
            numbers = {"headline": "weighted_f1", "value": 0.5, "weighted_f1": 0.5}
            results = {"split": "test", "tasks": {"demo.emotion": numbers}, "validation": {"selection": cfg.seed / 10}}
            Path(folder, "metrics.json").write_text(json.dumps(results))

    return main


@pytest.fixture
def multirun(monkeypatch, tmp_path) -> Callable[..., tuple[list[dict[str, str]], str]]:
    """`multirun(*words, seconds=0.1)` runs `steps` with a launcher; gives the rows of the table, and what the program
    said at its end."""

    def run(*words: str, seconds: float = 0.1) -> tuple[list[dict[str, str]], str]:
        monkeypatch.chdir(tmp_path)
        common = ["model=majority", "logger=csv", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *common, *words])
        said = ""
        try:
            entry("train", "About.")(steps(seconds))()
        except SystemExit as end:
            said = str(end.code)
        with (tmp_path / "sweep" / "jobs.csv").open() as file:
            return list(csv.DictReader(file)), said

    return run


def lines(tmp_path: Path, seed: int) -> list[list[str]]:
    [file] = (tmp_path / "sweep").glob(f"*_s{seed}_*/steps.txt")
    return [line.split() for line in file.read_text().splitlines()]


def in_background(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def signalled(tmp_path: Path, seed: int, *signals: signal.Signals) -> None:
    """Sends signals to the process of a job as soon as it has done its second step."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (tmp_path / "sweep").is_dir() and any((tmp_path / "sweep").glob(f"*_s{seed}_*/steps.txt")):
            done = lines(tmp_path, seed)
            if len(done) > 1:
                for each in signals:
                    os.kill(int(done[1][1]), each)
                    time.sleep(0.05)
                return
        time.sleep(0.05)


def test_joblib_runs_jobs_at_a_time_and_the_table_says_what_became_of_each(multirun, tmp_path):
    rows, said = multirun("launcher=joblib", "seed=1,13,2", seconds=1)
    assert [(row["state"], row["words"].split("seed=")[1]) for row in rows] == [
        ("finished", "1"), ("failed", "13"), ("finished", "2"),
    ]  # fmt: skip
    assert said == "Not finished, for the reason above: #1" and "an unlucky number" in rows[1]["error"]
    processes = {line[1] for seed in (1, 2) for line in lines(tmp_path, seed)}
    assert str(os.getpid()) not in processes
    assert {tuple(line[2:]) for line in lines(tmp_path, 1)} == {(str(tmp_path), os.environ["AFFECT_CACHE"])}
    # The same command again runs what is missing, here what had failed.
    before = lines(tmp_path, 1)
    rows, said = multirun("launcher=joblib", "seed=1,13,2,3")
    assert [row["state"] for row in rows] == ["finished", "failed", "finished", "finished"]
    assert lines(tmp_path, 1) == before


def test_a_process_that_is_killed_is_said_and_what_is_missing_can_be_run(multirun, tmp_path):
    rows, said = multirun("launcher=joblib", "seed=1,666", seconds=2)
    assert "A launcher gives up when the process of a job ends before its job (TerminatedWorkerError: " in said
    assert f"start the multirun again with hydra.sweep.dir={tmp_path / 'sweep'}" in said
    assert [row["state"] for row in rows] == ["killed", "killed"], "joblib ends all its processes then"
    rows, said = multirun("launcher=joblib", "seed=1")
    assert [row["state"] for row in rows] == ["finished", "killed"] and said == ""
    assert [int(line[0]) for line in lines(tmp_path, 1)] == list(range(10))


def test_submitit_continues_a_job_that_is_preempted_in_the_same_folder(multirun, tmp_path):
    thread = in_background(lambda: signalled(tmp_path, 1, signal.SIGUSR2))
    rows, said = multirun("launcher=slurm_local", "seed=1", seconds=3)
    thread.join()
    assert [row["state"] for row in rows] == ["finished"] and said == ""
    done = lines(tmp_path, 1)
    assert [int(line[0]) for line in done] == list(range(10)), "a step was lost, or made twice"
    assert len({line[1] for line in done}) == 2
    [note] = (tmp_path / "sweep").glob("*/job.json")
    assert [each["state"] for each in json.loads(note.read_text())["attempts"]] == ["stopped", "finished"]


SLURM = r"""
import os, re, subprocess, sys, time
from pathlib import Path

here = Path(__file__).parent
name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
with (here / "calls.txt").open("a") as file:
    print(name, *arguments, file=file)
if arguments[:1] == ["run"]:
    script, task = arguments[1:]
    job = {"SLURM_JOB_ID": f"48{task}", "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": task,
           "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}
    again = here / f"requeued_4711_{task}"
    time.sleep(1)  # a queue takes its time, in which submitit moves what it has written
    while True:
        subprocess.run(["bash", script], env=os.environ | job)
        if not again.exists():
            break
        again.unlink()
elif name == "sbatch":
    script = Path(arguments[-1])
    array = re.search(r"--array=0-(\d+)", script.read_text())
    for task in range(int(array[1]) + 1):
        command = [sys.executable, __file__, "run", str(script), str(task)]
        subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("Submitted batch job 4711")
elif name == "srun":
    options = {}
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            options[option] = arguments.pop(0)
    place = {"%A": "4711", "%a": os.environ["SLURM_ARRAY_TASK_ID"], "%t": "0"}
    log = re.sub("%[Aat]", lambda match: place[match[0]], options["--output"])
    Path(log).parent.mkdir(exist_ok=True)
    with open(log, "a") as file:
        sys.exit(subprocess.run(arguments, stdout=file, stderr=file).returncode)
elif name == "scontrol":
    (here / f"requeued_{arguments[1]}").touch()
elif name == "sacct":
    print("JobID|State|NodeList")
    print("4711_[0-1]|RUNNING|here")
"""
"""A SLURM that runs each job of an array as soon as it is handed over, and again when it is told to."""


def test_slurm_runs_an_array_and_queues_a_preempted_job_again(multirun, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sbatch", "srun", "scontrol", "sacct"):
        (tools / name).write_text(f"#!{sys.executable}{SLURM}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    # What SLURM sends a job that has to go: SIGTERM, and before the time is up USR2.
    thread = in_background(lambda: signalled(tmp_path, 1, signal.SIGTERM, signal.SIGUSR2))
    rows, said = multirun("launcher=slurm", "hydra.launcher.partition=gpu", "seed=1,13", seconds=3)
    thread.join()
    assert [row["state"] for row in rows] == ["finished", "failed"]
    assert said == "Not finished, for the reason above: #1"
    done = lines(tmp_path, 1)
    assert [int(line[0]) for line in done] == list(range(10)) and len({line[1] for line in done}) == 2
    calls = (tools / "calls.txt").read_text()
    assert "scontrol requeue 4711_0" in calls
    script = Path(re.search("sbatch (.*)", calls)[1]).read_text()
    for flag in ("array=0-1%2", "partition=gpu", "requeue", "signal=USR2@300", "time=1440", "gpus-per-node=1"):
        assert f"#SBATCH --{flag}\n" in script
    log = next((tmp_path / "sweep" / ".submitit").glob("**/4711_1_0_log.out")).read_text()
    assert "an unlucky number" in log


@pytest.mark.slow  # Ray starts nine processes of its own
def test_ray_runs_jobs_on_a_cluster_of_its_own(multirun, tmp_path):
    rows, said = multirun("launcher=ray", "hydra.launcher.ray.init.num_cpus=2", "seed=1,13")
    assert [row["state"] for row in rows] == ["finished", "failed"]
    assert said == "Not finished, for the reason above: #1"
    assert {tuple(line[2:]) for line in lines(tmp_path, 1)} == {(str(tmp_path), os.environ["AFFECT_CACHE"])}
