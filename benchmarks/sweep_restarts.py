"""A sweep of small jobs on the demo corpus: what it costs beside its jobs, and whether it survives being killed.

python benchmarks/sweep_restarts.py FOLDER [--jobs 40] [--kills 10] [--processes 1] [--seed 1]

1. Undisturbed: time of the process less the time inside the programs of its jobs, a job, on the clock and of the CPU.
2. Killed: the same sweep is started, killed with SIGKILL at a random moment, and started again, as often as --kills
   says; then left to end. With --processes 2 two processes run it at once, and each kill hits one of them, which is
   started again at once.

Of the second the end is compared with the first: every job finished, exactly one of its attempts finished and no later
one begun, no two attempts in live processes at a time, the same predictions and metrics to the last digit.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

MODELS = ("majority", "tfidf", "lmf", "tfn")
"""Two that are fitted at once, and two networks that save their state after every optimiser step."""

WORDS = (
    *("-m", "modalities=t", "trainer.progress=false", "trainer.max_epochs=3", "trainer.batch_size=4"),
    *("trainer.save_every_steps=1", "datasets.demo.subset={train:16,val:8,test:8}", "hydra/hydra_logging=disabled"),
)

TIMED = """
import sys, time
began = time.perf_counter()
from affect.cli import program
inside, do = [], program.Job._do
def timed(*arguments):
    start = time.perf_counter(), time.process_time()
    try:
        do(*arguments)
    finally:
        inside.append((time.perf_counter() - start[0], time.process_time() - start[1]))
program.Job._do = timed
from affect.cli.train import main
try:
    main()
finally:
    walls, cpus = zip(*inside)
    print("TIMED", len(inside), time.perf_counter() - began, sum(walls), time.process_time(), sum(cpus))
"""


def words(folder: Path, jobs: int) -> list[str]:
    seeds = f"seed=range(1,{jobs // len(MODELS) + 1})"
    return [*WORDS, f"model={','.join(MODELS)}", seeds, f"hydra.sweep.dir={folder}", f"output_root={folder.parent}"]


def start(folder: Path, jobs: int, log: Path) -> subprocess.Popen:
    with log.open("a") as file:
        command = [sys.executable, str(ROOT / "train.py"), *words(folder, jobs)]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def undisturbed(folder: Path, jobs: int) -> float:
    """Runs the sweep. Gives the seconds inside its jobs."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED, *words(folder, jobs)], capture_output=True, text=True, env=environment()
    )
    found = re.search(r"TIMED (\d+)(( [\d.]+){4})", done.stdout)
    if done.returncode != 0 or found is None:
        sys.exit(done.stdout + done.stderr)
    count, (wall, inside, cpu, cpu_inside) = int(found[1]), map(float, found[2].split())
    print(
        f"undisturbed: {count} jobs in {wall:.1f} s, of which {inside:.1f} s inside: {(wall - inside) / count:.2f} s"
        f" beside each of them, with the start of the process ({(cpu - cpu_inside) / count:.2f} s of CPU)",
        flush=True,
    )
    return inside


def has_got(folder: Path, pid: int, key: str) -> bool:
    """Whether a process has begun (`started`) or ended (`ended`) a job."""
    notes = (json.loads(path.read_text()) for path in folder.glob("*/job.json"))
    return any(attempt["pid"] == pid and key in attempt for note in notes for attempt in note["attempts"])


def killed(folder: Path, jobs: int, kills: int, processes: int, inside: float, dice: random.Random) -> None:
    """Runs the sweep, with kills at random moments: one in five while a process is starting, one in five in its first
    job, which imports torch and may take long, the others after it has ended that."""
    log = folder.parent / f"{folder.name}.log"
    living = [start(folder, jobs, log) for _ in range(processes)]
    begun = time.perf_counter()
    for kill in range(kills):
        one = dice.randrange(processes)
        awaited = dice.choice(["", "started", "ended", "ended", "ended"])
        while awaited and living[one].poll() is None and not has_got(folder, living[one].pid, awaited):
            time.sleep(0.2)
        time.sleep(dice.uniform(0, 2 * inside / (kills + 1)))
        ended = living[one].poll() is not None
        if not ended:
            living[one].kill()
            living[one].wait()
        done = len(list(folder.glob("*/metrics.json")))
        when = f"{awaited or 'starting'}{', it had ended itself' if ended else ''}"
        print(f"kill {kill + 1} ({when}): {done} jobs have their metrics", flush=True)
        living[one] = start(folder, jobs, log)
    codes = [process.wait() for process in living]
    print(f"ended after {time.perf_counter() - begun:.0f} s with {codes}", flush=True)
    if processes > 1:  # one that ends first leaves jobs to the other, and says so in its table
        codes = [start(folder, jobs, log).wait()]
    if codes != [0]:
        sys.exit(f"the last start ended with {codes}: see {log}")


def compare(folder: Path, reference: Path, jobs: int) -> None:
    """Ends the program where a sweep is not what the undisturbed one is."""
    table = json.loads((folder / "jobs.json").read_text())
    expected = json.loads((reference / "jobs.json").read_text())
    wrong = []
    if len(table) != jobs or {job["state"] for job in table} != {"finished"}:
        wrong.append(f"states {[job['state'] for job in table]}")
    attempts = resumed = 0
    for job in expected:
        note = json.loads((folder / job["folder"] / "job.json").read_text())
        states = [attempt.get("state", "killed") for attempt in note["attempts"]]
        attempts += len(states)
        resumed += len(json.loads((folder / job["folder"] / "environment.json").read_text())["resumed"])
        if states.count("finished") != 1 or states[-1] != "finished":
            wrong.append(f"{job['folder']}: attempts {states}")
        for name in ("metrics.json", "predictions.jsonl"):
            if (folder / job["folder"] / name).read_bytes() != (reference / job["folder"] / name).read_bytes():
                wrong.append(f"{job['folder']}: {name} differs")
    if wrong:
        sys.exit("\n".join(wrong))
    print(
        f"{folder.name}: {jobs} jobs finished, each in one of its attempts ({attempts} in all, {resumed} of them from a"
        " checkpoint); predictions and metrics are those of the undisturbed sweep, byte for byte"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an empty folder for the sweeps")
    parser.add_argument("--jobs", type=int, default=40, help=f"a multiple of {len(MODELS)}")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    asked = parser.parse_args()
    reference = asked.folder.absolute() / "undisturbed"
    seconds = undisturbed(reference, asked.jobs)
    for processes in asked.processes:
        folder = reference.parent / f"killed_{processes}"
        killed(folder, asked.jobs, asked.kills, processes, seconds, random.Random(asked.seed + processes))
        compare(folder, reference, asked.jobs)
