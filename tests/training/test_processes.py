"""A run on several processes: every clip is scored once, and as one process scores it."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import forked_starts
import lightning as L
import pytest
import torch
from omegaconf import OmegaConf
from tiny_models import tiny_manifest, tiny_words

import evaluate
import train
from affect.config import ConfigError, launch

ROOT = Path(__file__).resolve().parents[2]


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
    done = run(program([*words, *batches, "trainer=ddp", "trainer.progress=false", f"output_root={two}"]), root)
    assert done.returncode == 0, done.stderr[-3000:]
    [spread] = two.glob("*/")  # the second process has made no folder of its own
    assert read(spread, "status.json")["state"] == "finished"
    assert (spread / "log" / "process_1.log").is_file()

    again = [f"run={spread}", "trainer=default", "trainer.progress=false", "evaluation.batch_size=2"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *again, f"cache_root={root / 'cache'}", f"output_root={one}"])
    monkeypatch.chdir(root)
    evaluate.main()
    [alone] = one.glob("*/")
    predictions = (spread / "predictions.jsonl").read_text(encoding="utf-8")
    assert predictions == (alone / "predictions.jsonl").read_text(encoding="utf-8")
    assert len({json.loads(line)["id"] for line in predictions.splitlines()}) == len(predictions.splitlines()) == 6
    found = read(spread, "metrics.json")
    found.pop("validation")  # which an evaluation has not
    assert found == read(alone, "metrics.json")


# ---------------------------------------------------------------- who starts the processes

ALONE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("SLURM_", "AFFECT_", "TORCHELASTIC_")) and name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
}


def program(words: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *words]


def run(command: list[str], root: Path, **more: str) -> subprocess.CompletedProcess:
    return forked_starts.run(command, cwd=root, env=ALONE | more, timeout=300)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def srun(words: list[str], root: Path, popen: Any = forked_starts.Popen) -> list[subprocess.CompletedProcess]:
    """What srun does: every task has the words of the command line, and variables that say which task it is."""
    tasks = 2
    shared = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train", "SLURM_NODEID": "0"}
    shared |= {"SLURM_NTASKS": str(tasks), "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_JOB_NODELIST": "nowhere[07-09]"}
    shared |= {"SLURM_STEP_TASKS_PER_NODE": str(tasks), "MASTER_PORT": free_port()}
    started = [
        popen(
            program(words),
            cwd=root,
            env=ALONE | shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in reversed(range(tasks))
    ]
    try:
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    ended = [subprocess.CompletedProcess(p.args, p.returncode, *words) for p, words in zip(started, said, strict=True)]
    return ended[::-1]


@pytest.fixture(scope="module")
def quick(root: Path) -> list[str]:
    table = tiny_manifest(root / "text", train=8, labels=("a", "b b b", "c, c and once more c"), media=False)
    found = [*tiny_words(root, "composed"), "dataset=manifest", f"datasets.manifest.root={table}", "data_root=data"]
    found += ["datasets.manifest.options.require_clips=false", "modalities=t", "trainer.log_every=1"]
    found += ["trainer.max_epochs=1", "trainer.batch_size=2", "finetuning.learning_rate=1e-2"]
    return [*found, "trainer.progress=false"]


@pytest.fixture(scope="module")
def reference(root: Path, quick: list[str]) -> Path:
    """A run that starts its second process itself, as it also does in an allocation of SLURM with one task."""
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}
    slurm |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "nowhere", "SLURM_STEP_ID": "0"}
    done = run(program([*quick, "trainer.devices=2", f"output_root={root / 'reference'}"]), root, **slurm)
    assert done.returncode == 0, done.stderr[-3000:]
    [folder] = (root / "reference").glob("*/")
    assert len(losses(folder)) == 2
    return folder


def check_same(folder: Path, reference: Path) -> None:
    """One run folder that has what the reference has."""
    assert read(folder, "status.json")["state"] == "finished"
    assert losses(folder) == losses(reference)
    for name in ("predictions.jsonl", "metrics.json"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes()
    assert sorted(path.name for path in (folder / "log").glob("process_*")) == ["process_1.log"]


ROUNDING = 1e-5
"""How far losses and scores of another division of the same work may be off, relatively: sums of some hundred float32
numbers (eps 6e-8) in another order, through two layers and at most four steps. The largest seen was 2e-7."""


def check_alike(folder: Path, reference: Path) -> None:
    """A finished run with the same clips and answers as the reference, and the same numbers to rounding."""
    assert read(folder, "status.json")["state"] == "finished"
    assert losses(folder) == pytest.approx(losses(reference), rel=ROUNDING)
    for name in ("predictions.jsonl", "metrics.json"):
        mine, theirs = ((each / name).read_text(encoding="utf-8") for each in (folder, reference))
        mine, theirs = (f"[{','.join(t.splitlines())}]" if name.endswith("l") else t for t in (mine, theirs))
        assert json.loads(mine) == json.loads(theirs, parse_float=lambda t: pytest.approx(float(t), rel=ROUNDING))
    ids = [json.loads(line)["id"] for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert ids and len(ids) == len(set(ids))


def test_a_step_of_two_processes_is_that_of_one(
    root: Path, quick: list[str], reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["train.py", *quick, "trainer.batch_size=4", f"output_root={root / 'together'}"])
    train.main()
    [together] = (root / "together").glob("*/")
    # Answers of different length: the mean of the processes' means would be another number.
    assert len(losses(together)) == 2
    assert losses(reference) == pytest.approx(losses(together), rel=1e-4)


def test_torchrun_gives_the_processes(root: Path, quick: list[str], reference: Path) -> None:
    out = root / "torchrun"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    command = [*torchrun, *program([*quick, f"output_root={out}"])[1:]]
    done = subprocess.run(command, cwd=root, env=ALONE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    [folder] = out.glob("*/")
    check_same(folder, reference)
    assert "devices: 2" in (folder / "config.yaml").read_text()
    assert done.stdout.count("torchrun started 2 processes: an optimiser step sees 2 × 1 × 2 clips") == 1


def test_a_multirun_of_two_tasks_makes_a_folder_a_job(root: Path, quick: list[str], reference: Path) -> None:
    # By default points that differ in nothing but rounding, as these strategies do, have one folder.
    apart = "hydra.sweep.subdir='${trainer.strategy}_${seed}'"
    sweep = ["seed=1,2", "trainer.strategy=fsdp,ddp", f"hydra.sweep.dir={root / 'sweep'}", apart]
    done = srun(["-m", *quick, "trainer.devices=2", *sweep], root)
    assert [one.returncode for one in done] == [0, 0], [one.stderr[-3000:] for one in done]
    folders = {}
    for path in (root / "sweep").glob("*/metrics.json"):
        config = OmegaConf.load(path.parent / "config.yaml")
        folders[config.seed, config.trainer.strategy] = path.parent
    assert len(folders) == 4 == len([path for path in (root / "sweep").iterdir() if path.is_dir()])
    check_same(folders[1, "ddp"], reference)
    check_alike(folders[1, "fsdp"], reference)
    assert losses(folders[2, "ddp"]) != losses(reference)
    check_alike(folders[2, "fsdp"], folders[2, "ddp"])
    assert done[1].stdout == "", "what a follower says stands in its log"


def test_another_number_of_processes_than_was_asked_for_is_refused(root: Path, quick: list[str]) -> None:
    done = srun([*quick, "trainer.devices=4", f"output_root={root / 'refused'}"], root, subprocess.Popen)
    assert done[0].returncode == 1
    assert "trainer.devices=4, but srun started 2 processes, on all nodes together" in done[0].stderr
    assert "Traceback" not in done[0].stderr + done[1].stderr
    assert not (root / "refused").exists()


SRUN = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "12", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"}
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"}
TORCHRUN |= {"MASTER_ADDR": "gpu1"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_NODEID": "1"}, ("srun", 5, 8, 1, 4)),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "4,3,1", "SLURM_NODEID": "1"}, ("srun", 5, 8, 1, 3)),
        (SRUN, ("srun", 5, 8, 1, 8)),
        # Eight tasks of the allocation, one of the step.
        (SRUN | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),
        # A batch script has no step; a shell's job has its name.
        (SRUN | {"ENVIRONMENT": "BATCH", "SLURM_PROCID": "0"}, None),
        (SRUN | {"ENVIRONMENT": "BATCH", "SLURM_STEP_ID": "0"}, ("srun", 5, 8, 1, 8)),
        (SRUN | {"SLURM_JOB_NAME": "bash"}, None),
        (TORCHRUN, ("torchrun", 3, 4, 1, 2)),
        (SRUN | TORCHRUN, ("torchrun", 3, 4, 1, 2)),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, None),
    ],
)
def test_the_environment_says_who_started_the_processes(env: dict[str, str], expected: tuple | None) -> None:
    place = launch.given(env)
    found = place and (place.started_by, place.rank, place.size, place.local_rank, place.local_size)
    assert found == expected


def test_a_launcher_decides_about_devices_that_only_a_file_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (TORCHRUN | {"WORLD_SIZE": "8"}).items():
        monkeypatch.setenv(name, value)
    raw = OmegaConf.create({"trainer": {"devices": 2}, "run": None, "resume": None})
    launch.settle_devices(raw, "train", ["trainer=ddp"])
    assert raw.trainer.devices == 8
    raw.trainer.devices = 2
    with pytest.raises(ConfigError, match=r"devices=2, but torchrun started 8 processes"):
        launch.settle_devices(raw, "train", ["trainer=ddp", "trainer.devices=2"])


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu07", "gpu07"), ("gpu[07-09,12],big1", "gpu07"), ("a1,b[2-3]", "a1"), ("n[3,5-6]-ib", "n3-ib")],
)
def test_the_first_node_of_a_list(nodes: str, first: str) -> None:
    assert launch.first_node(nodes) == first


def test_processes_share_the_cores_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)

    def cores(**place: Any) -> int:
        monkeypatch.setenv(launch.PLACE, launch.Place(**place).as_variable())
        return launch.cores()

    assert cores() == 16
    assert cores(size=8, local_size=4) == 4
    assert cores(size=64, local_size=32) == 1
    # srun has bound each of two tasks to half of the machine's cores.
    assert cores(size=2, local_size=2, started_by="srun") == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert cores(size=2, local_size=2, started_by="srun") == 6


def test_two_steps_of_a_job_do_not_meet_at_the_same_port() -> None:
    env = SRUN | {"SLURM_STEP_NODELIST": "gpu[1-2]", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_ID": "0"}
    host, port = launch.meeting_point(env)
    assert host == "gpu1"
    assert launch.meeting_point(env | {"SLURM_STEP_ID": "1"}) != (host, port)
    assert launch.meeting_point(env | {"MASTER_ADDR": "here", "MASTER_PORT": "7"}) == ("here", 7)
    assert launch.meeting_point(env | {"SLURM_STEP_TASKS_PER_NODE": "8"})[0] == "127.0.0.1"


# ---------------------------------------------------------------- what Lightning does under SLURM

SLURM = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}


def evaluated(root: Path, words: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Evaluates zero-shot in this process and gives the run folder."""
    monkeypatch.chdir(root)
    keys = [word for word in words if not word.startswith(("trainer.max_epochs", "trainer.batch", "finetuning"))]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *keys, f"output_root={root / name}"])
    evaluate.main()
    [folder] = (root / name).glob("*/")
    return folder


def test_no_checkpoint_that_lies_about_is_loaded(
    root: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    before = evaluated(root, quick, "before", monkeypatch)
    stray = root / "hpc_ckpt_3.ckpt"
    stray.write_bytes(b"the weights of another run")
    after = evaluated(root, quick, "after", monkeypatch)
    stray.unlink()
    assert (before / "predictions.jsonl").read_bytes() == (after / "predictions.jsonl").read_bytes()


def test_results_are_gathered_before_the_module_leaves_its_device(
    root: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Trainer.test the module is on the CPU, of which NCCL knows nothing: no collective operation may follow."""
    distributed = torch.distributed
    plain = evaluated(root, quick, "plain", monkeypatch)
    called: list[str] = []
    gather = distributed.all_gather_object
    monkeypatch.setattr(distributed, "all_gather_object", lambda *a, **k: (called.append("in time"), gather(*a, **k)))
    test = L.Trainer.test

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("No backend type associated with device type cpu")

    def then_refusing(self: L.Trainer, *arguments: Any, **options: Any) -> Any:
        result = test(self, *arguments, **options)
        for name in ("all_gather", "all_gather_object", "all_gather_into_tensor", "all_reduce", "barrier", "gather"):
            monkeypatch.setattr(distributed, name, refuse)
        return result

    monkeypatch.setattr(L.Trainer, "test", then_refusing)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        gathered = evaluated(root, quick, "gathered", monkeypatch)
    finally:
        distributed.destroy_process_group()
    assert called
    assert (gathered / "predictions.jsonl").read_bytes() == (plain / "predictions.jsonl").read_bytes()


# ---------------------------------------------------------------- one of the processes ends

HOOK = """
import json, os, signal, time
rank = str(json.loads(os.environ["AFFECT_PLACE"])["rank"]) if "AFFECT_CALL" in os.environ else "0"
plan = os.environ.get("PLAN_OF_" + rank)
if plan:
    from affect.training import watch
    from affect.training.module import Supervised
    watch.GRACE = 3.0
    step, calls = Supervised.training_step, []

    def planned(self, batch, index):
        calls.append(index)
        if len(calls) == 3:
            exec(plan)
        return step(self, batch, index)

    Supervised.training_step = planned
"""
"""Runs as sitecustomize in every process: what PLAN_OF_<rank> holds is done at that process's third step."""


def planned(
    root: Path, words: list[str], out: Path, epochs: int = 100, popen: Any = forked_starts.Popen, **plans: str
) -> subprocess.Popen:
    (root / "hook").mkdir(exist_ok=True)
    (root / "hook" / "sitecustomize.py").write_text(HOOK)
    env = ALONE | plans | {"PYTHONPATH": os.pathsep.join([str(root / "hook"), str(ROOT)])}
    command = program([*words, "trainer.devices=2", f"trainer.max_epochs={epochs}", f"output_root={out}"])
    return popen(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("plans", "reason"),
    [
        (
            {"PLAN_OF_1": "print('CUDA error: an illegal address', flush=True); os._exit(7)"},
            "ended with exit code 7; the last line of its log: CUDA error: an illegal address",
        ),
        ({"PLAN_OF_1": "raise ValueError('clip 3 has no end')"}, "failed: ValueError: clip 3 has no end"),
        # The first process hears no signal, as one that waits in a collective operation on a GPU.
        (
            {
                "PLAN_OF_1": "os.kill(os.getpid(), signal.SIGKILL)",
                "PLAN_OF_0": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); time.sleep(600)",
            },
            "was killed by SIGKILL",
        ),
    ],
)
def test_a_process_that_ends_ends_the_run_with_its_reason(
    tmp_path: Path, quick: list[str], plans: dict[str, str], reason: str
) -> None:
    first = planned(tmp_path, quick, tmp_path / "out", **plans)
    _, said = first.communicate(timeout=240)
    assert first.returncode == 1
    assert "The run ended because process 1 of 2 (pid " in said and reason in said, said[-2000:]
    [folder] = (tmp_path / "out").glob("*/")
    status = read(folder, "status.json")
    assert status["state"] == "failed" and reason in status["error"]


def test_the_signal_that_slurm_sends_before_the_time_is_up_stops_and_saves(tmp_path: Path, quick: list[str]) -> None:
    plan = {"PLAN_OF_0": "os.kill(os.getpid(), signal.SIGUSR1)", "SLURM_JOB_ID": "4711"}
    first = planned(tmp_path, quick, tmp_path / "out", **plan)
    _, said = first.communicate(timeout=240)
    assert first.returncode == 128 + signal.SIGUSR1, said[-2000:]
    [folder] = (tmp_path / "out").glob("*/")
    assert read(folder, "status.json")["state"] == "stopped"
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert not [*tmp_path.glob("hpc_ckpt*"), *folder.rglob("hpc_ckpt*")]


def test_deepspeed_steps_after_the_last_batch_of_an_epoch(
    tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four batches are a step of three and one of one, as without DeepSpeed, which by itself would wait for six."""
    pytest.importorskip("deepspeed")
    words = [*quick, "trainer.accumulate=3", "trainer.max_epochs=2"]
    divided = [*words, "trainer.batch_size=1", "trainer=deepspeed", f"output_root={tmp_path / 'divided'}"]
    done = run(program(divided), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    [folder] = (tmp_path / "divided").glob("*/")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "trainer.batch_size=2", f"output_root={tmp_path / 'whole'}"])
    train.main()
    [reference] = (tmp_path / "whole").glob("*/")
    assert len(losses(reference)) == 4
    check_alike(folder, reference)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_what_processes_divide_is_trained_as_one_process_trains_it(
    tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """Interrupted, taken up by torchrun, and evaluated by a single process."""
    if strategy == "deepspeed":
        pytest.importorskip("deepspeed")
    words = [*quick, f"trainer.strategy={strategy}", "trainer.batch_size=1"]
    plan = {"PLAN_OF_0": "os.kill(os.getpid(), signal.SIGTERM)"}
    first = planned(tmp_path, words, tmp_path / "out", epochs=1, **plan)
    _, said = first.communicate(timeout=240)
    assert first.returncode == 128 + signal.SIGTERM, said[-2000:]
    [folder] = (tmp_path / "out").glob("*/")
    assert len(losses(folder)) == 3

    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    [moments] = checkpoint["optimizer_states"]
    moments = moments["processes"] if strategy == "deepspeed" else [moments]
    states = [state for each in moments for state in each["state"].values()]
    tensors = [*checkpoint["state_dict"].values(), *(moment for state in states for moment in state.values())]
    assert len(tensors) > 8 and all(type(tensor) is torch.Tensor and tensor.numel() for tensor in tensors)

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    done = run([*torchrun, str(ROOT / "train.py"), f"resume={folder}"], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]

    monkeypatch.chdir(tmp_path)
    whole = [*quick, "trainer.batch_size=2", f"output_root={tmp_path / 'whole'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *whole])
    train.main()
    [reference] = (tmp_path / "whole").glob("*/")
    assert len(losses(reference)) == 4
    check_alike(folder, reference)

    again = [f"run={folder}", "trainer=default", "trainer.progress=false", f"output_root={tmp_path / 'again'}"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *again])
    evaluate.main()
    [alone] = (tmp_path / "again").glob("*/")
    assert (alone / "predictions.jsonl").read_bytes() == (folder / "predictions.jsonl").read_bytes()


def test_signals_are_heard_while_another_process_hangs(tmp_path: Path, quick: list[str]) -> None:
    hangs = {"PLAN_OF_1": "os.kill(os.getpid(), signal.SIGSTOP)", "PLAN_OF_0": "open('third', 'w').close()"}
    first = planned(tmp_path, quick, tmp_path / "out", **hangs)
    try:
        patience = time.monotonic() + 240
        while not (tmp_path / "third").exists() and time.monotonic() < patience:
            time.sleep(0.5)
        time.sleep(3)  # in the collective operation of that step
        first.terminate()
        time.sleep(1)
        first.terminate()
        begun = time.monotonic()
        assert first.wait(60) == 128 + signal.SIGTERM
        assert time.monotonic() - begun < 40
    finally:
        first.kill()
    [folder] = (tmp_path / "out").glob("*/")
    assert read(folder, "status.json")["state"] == "stopped"
    assert not followers(folder)


def test_the_others_end_when_the_first_one_dies(tmp_path: Path, quick: list[str]) -> None:
    kill = {"PLAN_OF_0": "os.kill(os.getpid(), signal.SIGKILL)"}
    first = planned(tmp_path, quick, tmp_path / "out", popen=subprocess.Popen, **kill)
    assert first.wait(240) == -signal.SIGKILL
    [log] = (tmp_path / "out").glob("*/log/process_1.log")
    patience = time.monotonic() + 20
    while "the first process is gone" not in log.read_text() and time.monotonic() < patience:
        time.sleep(0.2)
    assert "the first process is gone" in log.read_text()
    while followers(log.parent.parent) and time.monotonic() < patience:
        time.sleep(0.2)
    assert not followers(log.parent.parent)


def followers(folder: Path) -> list[str]:
    """The processes that follow the run of a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"AFFECT_FOLLOWED_RUN={folder.resolve()}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue  # it has ended, or is another user's
    return found
