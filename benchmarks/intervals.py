"""How often the intervals of affect.reports --against have the true difference in them, and how long they take.

    python benchmarks/intervals.py --experiments 300 --resamples 300

Accuracies of two settings on simulated answers whose true difference is known. Some clips are harder than others, for
both sides and all seeds; what else makes an answer right is drawn anew for every seed. `lean` is by how much (logits,
standard deviation) a group favours one side, `seed` by how much a seed is better or worse than others. 95 % is right.
Times are of processor.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.config import Kind, Task
from affect.evaluation.metrics import headline_metric
from affect.reports.bootstrap import RESAMPLES, interval

SETTINGS = {
    "60 groups of 2, 1 seed": {"groups": 60, "size": 2, "seeds": 1},
    "60 groups of 2, 1 seed, true difference": {"groups": 60, "size": 2, "seeds": 1, "gain": 0.8},
    "12 groups of 10, 1 seed, lean 1": {"groups": 12, "size": 10, "seeds": 1, "lean": 1.0},
    "4 groups of 30, 1 seed, lean 1": {"groups": 4, "size": 30, "seeds": 1, "lean": 1.0},
    "2 groups of 60, 1 seed, lean 1": {"groups": 2, "size": 60, "seeds": 1, "lean": 1.0},
    "60 groups of 2, 3 seeds": {"groups": 60, "size": 2, "seeds": 3},
    "60 groups of 2, 3 seeds, seed 0.2": {"groups": 60, "size": 2, "seeds": 3, "seed": 0.2},
    "60 groups of 2, 3 seeds, seed 0.5": {"groups": 60, "size": 2, "seeds": 3, "seed": 0.5},
    "12 groups of 10, 3 seeds, lean 1, seed 0.2": {"groups": 12, "size": 10, "seeds": 3, "lean": 1.0, "seed": 0.2},
}


def accuracy(gold: np.ndarray, read: np.ndarray) -> float:
    return np.count_nonzero(gold == read) / len(gold)


def simulated(dice: np.random.Generator, *, groups: int, size: int, seeds: int, gain=0.0, lean=0.0, seed=0.0):
    of = np.repeat(np.arange(groups), size)
    easy = 0.3 + dice.normal(0, 1, groups)[of] + dice.normal(0, 1, len(of))
    leaning = dice.normal(0, lean, groups)[of] / 2

    def side(logits: np.ndarray) -> list[np.ndarray]:
        shifted = [logits + dice.normal(0, seed) for _ in range(seeds)]
        return [(dice.random(len(of)) < 1 / (1 + np.exp(-each))).astype(int) for each in shifted]

    return np.ones(len(of), dtype=int), side(easy + gain + leaning), side(easy - leaning), of


def coverage(experiments: int, resamples: int) -> None:
    print("| simulated | covered | mean width |\n|---|---|---|")
    for name, how in SETTINGS.items():
        gold, [ours], [theirs], _ = simulated(
            np.random.default_rng(5), groups=400_000, size=1, seeds=1, gain=how.get("gain", 0.0)
        )
        truth = accuracy(gold, ours) - accuracy(gold, theirs) if "gain" in how else 0.0
        dice = np.random.default_rng(1)
        ends = [interval(*simulated(dice, **how), accuracy, resamples)[:2] for _ in range(experiments)]
        covered = np.mean([low <= truth <= high for low, high in ends])
        print(f"| {name} | {covered:.1%} | {np.mean([high - low for low, high in ends]):.3f} |", flush=True)


def times() -> None:
    print(f"\n| clips × seeds, {RESAMPLES:,} resamples | metric | seconds |\n|---|---|---|")
    dice = np.random.default_rng(0)
    for clips in (120, 5000):
        for kind, headline in (
            (Kind.classification, "weighted_f1"),
            (Kind.classification, "uar"),
            (Kind.classification, "macro_f1"),
            (Kind.intensity, "mae"),
            (Kind.intensity, "mmsa_mosi.pearson"),
            (Kind.multi_label, "weighted_f1"),
        ):
            task = Task(kind=kind, labels=list("abcdefg"), low=-3, high=3, headline=headline)
            metric = headline_metric(task).function
            gold, *sides = (_column(kind, clips, dice) for _ in range(7))
            started = time.process_time()
            interval(gold, sides[:3], sides[3:], np.arange(clips), lambda g, r, m=metric, t=task: m(g, r, t))
            print(f"| {clips:,} × 3 | {headline} | {time.process_time() - started:.2f} |", flush=True)


def _column(kind: Kind, clips: int, dice: np.random.Generator) -> np.ndarray:
    if kind is Kind.intensity:
        return dice.uniform(-3, 3, clips)
    return dice.integers(0, 7, clips) if kind is Kind.classification else dice.integers(0, 2, (clips, 7), dtype=np.int8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=300)
    given = parser.parse_args()
    coverage(given.experiments, given.resamples)
    times()


if __name__ == "__main__":
    main()
