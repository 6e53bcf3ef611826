"""Time to list and aggregate many run folders: `affect report`, `affect sweep table` and `affect sweep status`.

    python benchmarks/many_runs.py --folder FOLDER --runs 2000

Trains one run on the demo corpus (model=tfidf), then copies its small files into the run folders of one sweep, each
with a configuration of its own (strength of the regularisation × seed) and other numbers. Prints seconds of wall clock
and of CPU for each command, from the start of its process to its end, the imports included.
"""

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the run folders are made")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--without-json", action="store_true", help="as folders of an older version: config.yaml alone")
    given = parser.parse_args()
    sweep = given.folder / "out" / "sweeps" / "many"
    if not sweep.is_dir():
        make(given.folder, sweep, given.runs)
    if given.without_json:
        for path in sweep.glob("*/config.json"):
            path.unlink()
    for words in (["report", str(sweep)], ["sweep", "table", str(sweep)], ["sweep", "status", str(sweep)]):
        measure(words)


def make(folder: Path, sweep: Path, num_runs: int) -> None:
    """Makes the sweep's folder with its runs."""
    shared = ["modalities=t", "experiment=demo", f"output_root={folder / 'out'}", "model=tfidf"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *shared], check=True, stdout=subprocess.DEVNULL)
    [original] = (path for path in (folder / "out").iterdir() if path.is_dir() and path.name != "sweeps")
    texts = {name: (original / name).read_text(encoding="utf-8") for name in ("config.yaml", "metrics.json")}
    ledger = (folder / "out" / "test_ledger.jsonl").read_text(encoding="utf-8")
    assert "\nseed: 1\n" in texts["config.yaml"] and "  strength: 1.0\n" in texts["config.yaml"]
    jobs, lines = [], []
    for number in range(num_runs):
        setting, seed = divmod(number, SEEDS)
        strength = f"{1 + setting / 1000}"
        run = sweep / f"{number}_tfidf_t_s{seed}"
        shutil.copytree(original, run, ignore=shutil.ignore_patterns("checkpoints", "clips.json.gz"))
        text = texts["config.yaml"].replace("\nseed: 1\n", f"\nseed: {seed}\n")
        text = text.replace("  strength: 1.0\n", f"  strength: {strength}\n")
        (run / "config.yaml").write_text(text)
        copy = json.loads((original / "config.json").read_text(encoding="utf-8"))
        copy["config_yaml_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        copy["config"]["seed"], copy["config"]["model"]["strength"] = seed, float(strength)
        (run / "config.json").write_text(json.dumps(copy) + "\n")
        metrics = json.loads(texts["metrics.json"])
        metrics["validation"]["selection"] += setting / 10_000 + seed / 1_000
        (run / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        status = json.loads((run / "status.json").read_text(encoding="utf-8"))
        note = {"number": number, "words": [f"model.strength={strength}", f"seed={seed}"]}
        (run / "job.json").write_text(json.dumps(note | {key: status[key] for key in ("started", "pid", "host")}))
        jobs.append(note | {"folder": run.name})
        lines.append(ledger.replace(str(original), str(run)))
    (sweep / "jobs.json").write_text(json.dumps(jobs))
    (folder / "out" / "test_ledger.jsonl").write_text("".join(lines))


def measure(words: list[str]) -> None:
    """Runs `affect WORDS` in a process of its own, and prints what it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "affect", *words], cwd=ROOT, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"affect {' '.join(words[:-1]):<14} {wall:6.2f} s wall, {cpu:6.2f} s CPU, exit code {done.returncode}")
    if done.returncode:
        print(done.stderr.strip()[-2000:])


if __name__ == "__main__":
    main()
