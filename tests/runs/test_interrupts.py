"""Ctrl-C at any time, where what is printed may have no reader any more: a sentence, and what can be saved is saved."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked_starts
import pytest
from tiny_models import tiny_manifest, tiny_words

from affect.cli.entry import entry
from affect.config import logs
from affect.runs import interrupts, jobs, lifecycle, run_folder, sweeps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broken():
    """Standard output and error that nobody reads any more."""
    streams = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            read, write = os.pipe()
            os.close(read)
            streams.append(os.fdopen(write, "w", buffering=1, encoding="utf-8"))
            patch.setattr(sys, name, streams[-1])
        yield
    for stream in streams:
        with contextlib.suppress(OSError):
            stream.close()


def start(*words: str, cwd: Path, code: str | None = None, popen=subprocess.Popen, **how) -> subprocess.Popen:
    """`python train.py WORDS`, in a session of its own, as a terminal would start it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    what = [str(ROOT / "train.py")] if code is None else ["-c", code]
    return popen([sys.executable, *what, *words], cwd=cwd, env=environment, start_new_session=True, **how)


def until(true: Callable[[], bool], process: subprocess.Popen, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, "it was over before"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def test_the_stop_itself_does_not_fail_where_nobody_reads(broken, tmp_path):
    stop = lifecycle.Stop(tmp_path)
    stop.deferred = True
    stop(signal.SIGINT, None)
    assert stop.requested == signal.SIGINT
    logs.LOG.info("Saved after 3 optimiser steps.")


def test_what_is_printed_for_nobody_is_lost_and_ends_nothing(broken):
    from rich.console import Console
    from rich.progress import Progress

    with interrupts.taken():
        for _ in range(3):
            print("x" * 100_000, flush=True)
            print("y", file=sys.stderr, flush=True)
        Console().print("z")  # which ends the program, with exit code 1, where it meets a broken pipe
        with Progress(console=Console(file=sys.stdout, force_terminal=True)) as progress:
            progress.advance(progress.add_task("", total=1))


def test_a_full_disk_loses_what_is_printed_and_no_more(monkeypatch):
    full = open("/dev/full", "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    with interrupts.taken():
        print("lost", flush=True)
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        full.close()


def test_a_character_that_cannot_be_printed_is_still_an_error(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as ascii_only:
        monkeypatch.setattr(sys, "stdout", ascii_only)
        with interrupts.taken(), pytest.raises(UnicodeEncodeError):
            print("é")
        monkeypatch.undo()


def test_streams_and_signals_are_given_back():
    before = sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupts.taken():
        assert sys.stdout is not before[0] and signal.getsignal(signal.SIGTERM) is not before[3]
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("error", [None, ImportError("numpy was interrupted"), SystemExit(1)])
def test_ctrl_c_before_the_run_is_a_sentence(monkeypatch, tmp_path, capsys, signum, error):
    def main(cfg, job_folder):
        try:
            os.kill(os.getpid(), signum)
            signal.sigtimedwait([], 1)
        except KeyboardInterrupt:
            if error is None or isinstance(error, SystemExit):
                raise
            raise error from None  # as libraries do that are interrupted while they are imported

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        entry("train", "About.")(main)()
    assert end.value.code == 128 + signum
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert (
        said.splitlines()[-1] + "\n"
        == f"Stopped by {signal.Signals(signum).name} before the run had begun: there is nothing to continue.\n"
    )


def test_a_job_that_is_interrupted_before_its_run_ends_the_multirun(monkeypatch, tmp_path, capsys):
    begun = []

    def main(cfg, job_folder):
        begun.append(cfg.seed)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 1)
        except KeyboardInterrupt:
            raise ImportError("interrupted") from None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=1,2", f"output_root={tmp_path / 'out'}"])
    monkeypatch.delenv("AFFECT_STAMP", raising=False)
    with pytest.raises(SystemExit) as end:
        entry("train", "About.")(main)()
    assert end.value.code == 128 + signal.SIGTERM and begun == [1]
    [folder] = (tmp_path / "out" / "sweeps").iterdir()
    assert [job["state"] for job in json.loads((folder / "jobs.json").read_text())] == ["stopped", "not begun"]


def test_an_error_while_a_run_is_stopping_does_not_begin_the_next_job(monkeypatch, tmp_path, capsys):
    begun = []

    def main(cfg, job_folder):
        begun.append(cfg.seed)
        with lifecycle.running(run_folder.create(cfg, "train", job_folder)) as stop:
            stop.deferred = True
            stop(signal.SIGINT, None)
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=1,2", f"output_root={tmp_path / 'out'}"])
    monkeypatch.delenv("AFFECT_STAMP", raising=False)
    with pytest.raises(SystemExit) as end:
        entry("train", "About.")(main)()
    assert end.value.code == 128 + signal.SIGINT and begun == [1]
    [folder] = (tmp_path / "out" / "sweeps").iterdir()
    [status] = [json.loads(path.read_text()) for path in folder.glob("*/status.json")]
    assert (status["state"], status["by"]) == ("failed", "SIGINT") and "Broken pipe" in status["error"]
    assert "While the run was being stopped: BrokenPipeError" in capsys.readouterr().out


def test_a_worker_process_leaves_ctrl_c_to_the_one_that_started_it(tmp_path, capsys):
    stop = lifecycle.Stop(tmp_path)
    stop.pid += 1
    stop(signal.SIGINT, None)
    assert stop.requested is None and capsys.readouterr().err == ""


@pytest.mark.parametrize("after", [0.0, 0.3, 1.0])
def test_ctrl_c_in_the_first_seconds_is_a_sentence_in_a_real_process(tmp_path, after):
    # The first line of train.py, whatever it imports then.
    process = start("dry_run=true", cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    # From the moment that Python is up and affect's first module is imported: yaml's extension is among the others.
    until(lambda: "_yaml" in maps.read_text() or "_datetime" in maps.read_text(), process)
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 1
    assert process.returncode in (0, -signal.SIGINT, 128 + signal.SIGINT), said


@pytest.mark.parametrize("raised", ["KeyboardInterrupt()", "interrupts.Interrupted(signal.SIGTERM)"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_signal_that_nobody_caught_ends_the_program_as_one(tmp_path, raised, wrapped):
    code = "import signal; from affect.runs import interrupts\n"
    code += f"try: raise {raised}\nexcept BaseException as e: raise ValueError from e" if wrapped else f"raise {raised}"
    process = start(cwd=tmp_path, code=code, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=60)[1]
    name, signum = ("Ctrl-C", signal.SIGINT) if "Keyboard" in raised else ("SIGTERM", signal.SIGTERM)
    assert (said, process.returncode) == (f"Stopped by {name} before anything was begun.\n", -signum)


@pytest.mark.parametrize("multirun", [False, True])
def test_a_training_whose_reader_dies_first_is_saved_and_stopped(tmp_path, multirun):
    """`train.py … 2>&1 | tee log`, of which Ctrl-C ends tee first."""
    table = tiny_manifest(tmp_path / "corpus", train=9)
    words = [*tiny_words(tmp_path, "composed"), "dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]
    words += ["trainer.max_epochs=2000", "trainer.batch_size=2", "model.max_seconds=5", "trainer.progress=true"]
    words += [f"output_root={tmp_path / 'out'}", *(["seed=1,2"] if multirun else [])]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = start(*(["-m"] if multirun else []), *words, cwd=tmp_path, popen=forked_starts.Popen, **streams)
    found: list[Path] = []

    def training() -> bool:
        while select.select([process.stdout], [], [], 0)[0] and os.read(process.stdout.fileno(), 65536):
            pass  # so that it does not wait for us
        found[:] = (tmp_path / "out").rglob("checkpoints/last.ckpt")
        return bool(found)

    until(training, process)
    process.stdout.close()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(240) == 128 + signal.SIGINT
    [last] = found
    folder = last.parent.parent
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["by"]) == ("stopped", "SIGINT")
    assert "Saved after " in (folder / "log" / "run.log").read_text()
    if multirun:
        [table] = (tmp_path / "out" / "sweeps").glob("*/jobs.json")
        assert [job["state"] for job in json.loads(table.read_text())] == ["stopped", "not begun"]


def test_standard_streams_that_were_closed_from_the_start(tmp_path):
    code = "from affect.cli.entry import entry\n"
    code += "entry('train', 'About.')(lambda cfg, folder: print(cfg.seed, flush=True))()"
    process = start("seed=3", cwd=tmp_path, code=code, preexec_fn=lambda: (os.close(1), os.close(2)))
    assert process.wait(120) == 0


def test_the_jobs_table_is_written_before_it_is_printed(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(sweeps, "write_table", lambda *_: written.append("written"))
    monkeypatch.setattr(sweeps, "print_table", lambda *_: written.append("printed"))
    job = jobs.Job(number=0, state="finished", words=["seed=1"])
    monkeypatch.setattr(sweeps, "jobs", lambda *_: [job])
    sweeps.launch(sweeps.Sweep(folder=tmp_path, points=[["seed=1"]]), lambda: None)
    assert written == ["written", "printed"]
