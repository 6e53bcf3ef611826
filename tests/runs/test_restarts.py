"""A multirun that is started again: what is finished is kept, what was interrupted goes on, points may be added, and
two processes share its jobs."""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest

from affect.cli import sweep as command_sweep
from affect.cli.entry import entry
from affect.cli.program import Job
from affect.config import Config, DataError
from affect.data import files as atomic
from affect.runs import lifecycle, locks, run_folder, sweep_file
from affect.runs.finished import finished_runs
from affect.runs.sweeps import LOCK, JobFailed, Sweep, run_job

ROOT = Path(__file__).resolve().parents[2]

Main = Callable[[Config, str], None]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out" / "sweeps" / "X"


@pytest.fixture
def start(place, monkeypatch):
    """`start(main, *words)` runs `train.py -m WORDS` in one folder, with this main in this process, and gives what it
    said at its end."""

    def run(main: Main, *words: str, folder: Path = place, resumed: bool = False) -> str | int | None:
        given = [*words, f"hydra.sweep.dir={folder}", f"output_root={place.parents[1]}"]
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *given])
        try:
            entry("train", "About.")(main)(resumed=resumed)
        except SystemExit as end:
            return end.code
        return None

    return run


class Trainings:
    """A main whose trainings take no time, and that remembers the seeds it was called with."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.configurations: list[Config] = []
        self.failing: dict[int, list[BaseException]] = {}

    def __call__(self, cfg: Config, job_folder: str) -> None:
        self.seeds.append(cfg.seed)
        self.configurations.append(cfg)
        folder = run_folder.create(cfg, "train", job_folder)
        with lifecycle.running(folder):
            if self.failing.get(cfg.seed):
                raise self.failing[cfg.seed].pop(0)
            tasks = {"demo.emotion": {"headline": "weighted_f1", "value": cfg.seed / 10}}
            atomic.write_json(folder / "metrics.json", {"tasks": tasks})


@pytest.fixture
def trainings() -> Trainings:
    return Trainings()


def table(folder: Path) -> list[dict]:
    return json.loads((folder / "jobs.json").read_text())


def seeds_and_states(folder: Path) -> list[tuple[str, str]]:
    return [(next(word for word in job["words"] if word.startswith("seed=")), job["state"]) for job in table(folder)]


def folder_of(place: Path, number: int) -> Path:
    return place / table(place)[number]["folder"]


def change(path: Path, **values: object) -> None:
    atomic.write_json(path, json.loads(path.read_text()) | values)


# ---------------------------------------------------------------- points


def test_points_are_added_left_out_and_reordered_and_what_is_finished_is_kept(start, place, trainings):
    assert start(trainings, "seed=1,2") is None
    assert start(trainings, "seed=3,2,0", "trainer.num_workers=1") is None  # which changes no number
    assert trainings.seeds == [1, 2, 3, 0]
    # A job keeps its number, and those that are not asked for stay in the table.
    assert [seed for seed, _ in seeds_and_states(place)] == ["seed=1", "seed=2", "seed=3", "seed=0"]
    assert {state for _, state in seeds_and_states(place)} == {"finished"}
    assert len(set(job["folder"] for job in table(place))) == 4


def test_a_resumed_sweep_has_its_own_points_and_those_that_are_added(start, place, trainings):
    trainings.failing = {2: [RuntimeError("boom")]}
    assert start(trainings, "seed=1,2") == "Not finished, for the reason above: #1"
    half_written = folder_of(place, 1) / "checkpoints" / ".last.ckpt-12345"
    half_written.parent.mkdir()
    half_written.write_text("of a process that was killed")
    assert start(trainings, "seed=1,2", "seed=4,5", resumed=True) is None
    assert not half_written.exists()
    assert trainings.seeds == [1, 2, 2, 4, 5]
    assert [job["attempts"] for job in table(place)] == [1, 2, 1, 1]


def test_affect_sweep_resume_starts_the_program_with_the_words_of_the_first_start(
    start, place, trainings, monkeypatch, tmp_path
):
    start(trainings, "seed=1,2")
    called = []

    def main(resumed: bool) -> None:
        called.append((resumed, sys.argv, Path.cwd()))

    monkeypatch.setattr("affect.cli.train.main", main)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    command_sweep.resume([str(place), "seed=4"])
    [(resumed, argv, folder)] = called
    assert resumed and folder == tmp_path
    assert argv[:3] == ["train.py", "-m", "seed=1,2"] and argv[-2:] == ["seed=4", f'hydra.sweep.dir="{place}"']
    with pytest.raises(SystemExit, match=r"has no sweep\.json: name the folder of a multirun"):
        command_sweep.resume([str(tmp_path)])


def test_points_of_which_no_number_differs_do_not_share_a_folder(start, trainings):
    said = start(trainings, "trainer.num_workers=0,1")
    assert trainings.seeds == []
    assert "would be the run folder of trainer.num_workers=0 and of trainer.num_workers=1: let hydra.sweep.sub" in said


def test_what_a_launcher_hands_to_another_process_is_plain(trainings):
    job = Job("train", lambda cfg, folder: None, ["-m", "seed=1,2"])
    job.sweep = Sweep(folder=Path("/x"), points=[["seed=1"]], numbers=[0], attempts={"a": 1}, retries=2)
    there = cloudpickle.loads(cloudpickle.dumps(job))
    assert (there.sweep, there.given, there.program) == (job.sweep, job.given, "train")


# ---------------------------------------------------------------- failures


def test_failures_are_retried_but_not_refusals_nor_lack_of_memory(start, place, trainings, capsys):
    trainings.failing = {
        1: [RuntimeError("boom"), RuntimeError("boom")],
        2: [DataError("no clips"), DataError("no clips")],
        3: [MemoryError(), MemoryError()],
        4: [RuntimeError("a"), RuntimeError("b"), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")] * 2,
    }
    assert start(trainings, "seed=1,2,3,4", "retries=3") == "Not finished, for the reason above: #1, #2, #3"
    assert trainings.seeds == [1, 1, 1, 2, 3, 4, 4, 4]
    assert [job["attempts"] for job in table(place)] == [3, 1, 1, 3]
    assert "#0: tried again" in capsys.readouterr().err


def test_retries_and_reuse_are_for_multiruns(monkeypatch, tmp_path, trainings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "retries=2", "reuse=true", "resume_with_other_code=true"])
    with pytest.raises(SystemExit) as end:
        entry("train", "About.")(trainings)()
    said = str(end.value.code)
    assert "retries=2 is about the jobs of a multirun: add -m" in said and "reuse=true is about the jobs" in said
    assert "resume_with_other_code=true is about resume=…, or a multirun that is started again" in said


def test_a_disk_that_is_full_ends_one_job_and_the_table_says_so(start, place, trainings, monkeypatch, capsys):
    written = atomic.write_atomic

    def full(path: Path, text: str | bytes) -> None:
        if path.name == "job.json" and "_s2_" in str(path):
            raise atomic.WriteError(f"{path} could not be written (No space left on device)", OSError(errno.ENOSPC, ""))
        written(path, text)

    monkeypatch.setattr(atomic, "write_atomic", full)
    assert start(trainings, "seed=1,2,3") == "Not finished, for the reason above: #1"
    assert trainings.seeds == [1, 3] and "could not be written (No space left on device)" in capsys.readouterr().err
    monkeypatch.setattr(atomic, "write_atomic", written)
    assert start(trainings, "seed=1,2,3") is None and trainings.seeds == [1, 3, 2]


# ---------------------------------------------------------------- other code, other data, damaged files


def test_numbers_of_other_code_are_not_mixed_unless_that_is_asked_for(start, place, trainings, capsys):
    trainings.failing = {2: [RuntimeError("boom")]}
    start(trainings, "seed=1,2")
    change(folder_of(place, 0) / "environment.json", code_sha256="0123456789", affect="0.0.9", commit=None)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    said = start(trainings, "seed=1,2")
    assert (
        f"{place} has 1 jobs of other code or libraries, affect's code (begun with version 0.0.9, code 01234567,"
        in said
    )
    assert re.search(
        r"and this is \d\S+, commit \w+, code [0-9a-f]{8}\): smollm2_tav_s1_\w+ \(finished\)\. Go back", said
    )
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert start(trainings, "seed=1,2", "resume_with_other_code=true") is None
    assert trainings.seeds == [1, 2, 2], "what is finished was made again"
    assert "resume_with_other_code=true: " in capsys.readouterr().err


def test_numbers_of_other_annotations_are_not_mixed(start, place, trainings, monkeypatch):
    start(trainings, "seed=1")
    parts = [{"dataset": "demo", "split": "test", "annotations_sha256": "then"}]
    atomic.write_json(folder_of(place, 0) / "data.json", {"parts": parts})
    now = {"sha256": "now"}
    read = lambda name, config: SimpleNamespace(sha256=lambda split: now["sha256"])  # noqa: E731
    monkeypatch.setattr("affect.data.annotations.read", read)
    said = start(trainings, "seed=1,2")
    assert "demo, split 'test': its annotations are no longer those that 1 finished jobs" in said
    assert trainings.seeds == [1]
    now["sha256"] = "then"
    assert start(trainings, "seed=1,2") is None and trainings.seeds == [1, 2]


DAMAGED = {
    "sweep.json": r"sweep\.json cannot be read \(JSONDecodeError.*\): restore it; or delete it and give the command",
    "status.json": r"status\.json cannot be read .*: restore the file, or delete",
    "job.json": r"job\.json cannot be read .*: restore the file, or delete",
    "environment.json": r"environment\.json cannot be read .*: restore the file, or delete",
}


def test_a_file_that_was_cut_in_the_middle_is_named(start, place, trainings):
    start(trainings, "seed=1")
    for name, sentence in DAMAGED.items():
        path = place / name if name == "sweep.json" else folder_of(place, 0) / name
        whole = path.read_text()
        path.write_text(whole[:20])
        said = start(trainings, "seed=1,2")
        assert re.search(sentence, said) and "Traceback" not in said
        path.write_text(whole)
    assert trainings.seeds == [1]


def test_a_sweep_file_that_is_lost_is_made_again_from_the_command(start, place, trainings):
    start(trainings, "seed=1,2")
    (place / "sweep.json").unlink()
    assert start(trainings, "seed=1,2,3") is None and trainings.seeds == [1, 2, 3]
    assert seeds_and_states(place) == [("seed=1", "finished"), ("seed=2", "finished"), ("seed=3", "finished")]


# ---------------------------------------------------------------- runs elsewhere


def test_finished_runs_elsewhere_are_taken_over_where_that_is_asked_for(start, place, trainings, capsys):
    start(trainings, "seed=1,2")
    other = place.with_name("Y")
    start(trainings, "seed=2,3", folder=other)
    assert trainings.seeds == [1, 2, 2, 3]
    third = place.with_name("Z")
    assert start(trainings, "seed=1,3,4", "reuse=true", folder=third) is None
    assert trainings.seeds == [1, 2, 2, 3, 4]
    assert [job["reused"] for job in table(third)] == [str(folder_of(place, 0)), str(folder_of(other, 1)), None]
    assert [job["metrics"]["demo.emotion"]["value"] for job in table(third)] == [0.1, 0.3, 0.4]
    assert f"#0 was not run: its numbers are those of {folder_of(place, 0)}" in capsys.readouterr().out
    # Also when it is started again.
    assert start(trainings, "seed=1,3,4", folder=third) is None and len(trainings.seeds) == 5


def test_runs_of_other_code_are_not_taken_over(start, place, trainings):
    start(trainings, "seed=1")
    assert len(finished_runs(place.parents[1])) == 1
    change(folder_of(place, 0) / "environment.json", code_sha256="other")
    assert finished_runs(place.parents[1]) == {}
    assert start(trainings, "seed=1", "reuse=true", folder=place.with_name("Y")) is None
    assert trainings.seeds == [1, 1]


# ---------------------------------------------------------------- several processes

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def another_process_holds(path: Path) -> Iterator[subprocess.Popen]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_job_whose_lock_another_process_holds_is_left_to_it(start, place, trainings, capsys):
    own = "hydra.sweep.subdir=s${seed}"
    with another_process_holds(place / "s2" / LOCK) as process:
        note = {
            "number": 1,
            "words": [],
            "attempts": [{"pid": process.pid, "host": socket.gethostname(), "started": ""}],
        }
        atomic.write_json(place / "s2" / "job.json", note)
        assert start(trainings, "seed=1,2,3", own) is None
        printed = capsys.readouterr()
        assert f"#1: {place / 's2'} is being run by process {process.pid} on" in printed.out
        assert "Run by other processes, which go on: #1." in printed.err
        assert seeds_and_states(place) == [("seed=1", "finished"), ("seed=2", "running"), ("seed=3", "finished")]

        note["attempts"][0]["host"] = "another"
        atomic.write_json(place / "s2" / "job.json", note)
        start(trainings, "seed=2", own)
        assert "If that machine is gone, its file server gives the lock back when its lease" in capsys.readouterr().out

        note["attempts"][0] |= {"pid": dead_pid(), "host": socket.gethostname()}
        atomic.write_json(place / "s2" / "job.json", note)
        assert start(trainings, "seed=2", own) == "Not finished, for the reason above: #1"
        assert "which has ended, but another process still holds its lock" in capsys.readouterr().out
    # The kernel has given the lock back.
    assert trainings.seeds == [1, 3] and start(trainings, "seed=1,2,3", own) is None and trainings.seeds == [1, 3, 2]


def test_a_job_that_another_process_has_run_since_this_one_began_is_not_run_again(start, place, trainings, capsys):
    trainings.failing = {2: [RuntimeError("boom")]}
    start(trainings, "seed=1,2")
    finished, failed = sweep_file.entries(place)
    planned_before = Sweep(folder=place, points=[finished.words, failed.words])
    planned_now = replace(planned_before, attempts={finished.folder: 1, failed.folder: 1})

    def run(sweep: Sweep, each: sweep_file.Entry, number: int) -> None:
        cfg = trainings.configurations[number]
        run_job(sweep, each, lambda resume: cfg, lambda cfg, folder: trainings(cfg, str(folder)), [])

    run(planned_before, finished, 0)
    with pytest.raises(JobFailed):
        run(planned_before, failed, 1)
    assert "another process has run" in capsys.readouterr().err and trainings.seeds == [1, 2]
    run(planned_now, failed, 1)
    assert trainings.seeds == [1, 2, 2]


def test_a_lock_ends_with_its_process_whatever_it_has_forked(tmp_path):
    path = tmp_path / "job.lock"
    read, write = os.pipe()
    holder = os.fork()
    if holder == 0:
        with locks.held(path):
            worker = os.fork()
            if worker == 0:
                os.write(write, b"w")
                signal.pause()
            os.write(write, f" {worker} ".encode())
            signal.pause()
        os._exit(0)
    os.close(write)
    said = b""
    while said.count(b" ") < 2 or b"w" not in said:
        said += os.read(read, 100)
    worker = int(said.replace(b"w", b""))
    try:
        with pytest.raises(locks.Taken), locks.held(path):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(worker, 0)  # which is alive
        with locks.held(path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
