"""How often affect.evaluation.significance.paired is wrong at nominal 5 %, and how long it takes.

    python benchmarks/significance.py            # 1,000 experiments a case: half an hour on one core
    python benchmarks/significance.py --quick    # 100, of the quick cases

Answers of two settings to simulated clips. Some groups and clips are harder than others, for both sides and all seeds;
what else makes an answer right is drawn anew for every seed. In logits, standard deviations: `lean` is by how much a
group favours one side, and `seed` by how much a trained seed is better or worse than others of its side, so 0.5 is
about 10 points of accuracy. For intensities the same numbers make answers noisier or less, and shift them.

With `gain` 0 the sides are drawn alike, so a p-value below 5 % is an error of the first kind; with a true difference
what is counted is intervals without it. The true difference is the mean of the estimates. `bootstrap` is the percentile
bootstrap over groups and seeds, of accuracy, beside it.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.config import Kind, Task
from affect.config.tasks import HEADLINES
from affect.evaluation.metrics import headline_metric
from affect.evaluation.significance import paired

PRIORS = np.array([0.48, 0.17, 0.12, 0.11, 0.06, 0.04, 0.02])
"""Of the seven emotions, about those of MELD."""
EMOTION = Task(labels=list("abcdefg"))
SENTIMENT = Task(kind=Kind.intensity, low=-3, high=3)
CLASSES = ("accuracy", "weighted_f1", "macro_f1", "uar")
NUMBERS = ("mmsa_mosi.acc7", "pearson", "mae", "ccc")

UNEQUAL = np.maximum(1, np.round(np.exp(np.random.default_rng(3).normal(1.5, 0.8, 40)))).astype(int)
SPEAKERS = np.array([40] * 8 + [3] * 40)

CASES = {
    "60 groups × 2": {"sizes": [2] * 60},
    "60 × 2, gain 0.8": {"sizes": [2] * 60, "gain": 0.8},
    "12 × 10, lean 1": {"sizes": [10] * 12, "lean": 1.0},
    "12 × 10, lean 1, gain 0.8": {"sizes": [10] * 12, "lean": 1.0, "gain": 0.8},
    "6 × 20, lean 1": {"sizes": [20] * 6, "lean": 1.0},
    "5 × 24, lean 1": {"sizes": [24] * 5, "lean": 1.0},
    "4 × 30, lean 1": {"sizes": [30] * 4, "lean": 1.0},
    "2 × 60, lean 1": {"sizes": [60] * 2, "lean": 1.0},
    "25 × 10, lean 0.5": {"sizes": [10] * 25, "lean": 0.5},
    "40 unequal, lean 1": {"sizes": UNEQUAL, "lean": 1.0},
    "8 × 40 and 40 × 3, lean 1": {"sizes": SPEAKERS, "lean": 1.0},
    "8 × 40 and 40 × 3, lean 0": {"sizes": SPEAKERS},
    "400 × 1": {"sizes": [1] * 400},
    "60 × 2, 8 % of answers differ": {"sizes": [2] * 60, "copied": 0.84},
    "60 × 2, 2 seeds": {"sizes": [2] * 60, "seeds": 2},
    "60 × 2, 3 seeds": {"sizes": [2] * 60, "seeds": 3},
    "60 × 2, 3 seeds, seed 0.2": {"sizes": [2] * 60, "seeds": 3, "seed": 0.2},
    "60 × 2, 3 seeds, seed 0.5": {"sizes": [2] * 60, "seeds": 3, "seed": 0.5},
    "12 × 10, 3 seeds, lean 1, seed 0.2": {"sizes": [10] * 12, "seeds": 3, "lean": 1.0, "seed": 0.2},
    "4 × 30, 3 seeds, lean 1, seed 0.2": {"sizes": [30] * 4, "seeds": 3, "lean": 1.0, "seed": 0.2},
    "200 × 2, 3 seeds, seed 0.5": {"sizes": [2] * 200, "seeds": 3, "seed": 0.5},
    "30 × 4, 5 seeds, lean 0.5, seed 0.3": {"sizes": [4] * 30, "seeds": 5, "lean": 0.5, "seed": 0.3},
}
QUICK = 13
"""The first so many, with one seed."""


def simulated(dice: np.random.Generator, *, sizes, seeds=1, gain=0.0, lean=0.0, seed=0.0, copied=0.0):
    """Groups, and of both tasks gold, ours and theirs."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    count = len(of)
    easy = dice.normal(0, 1, len(sizes))[of] + dice.normal(0, 1, count)
    leaning = dice.normal(0, lean, len(sizes))[of] / 2
    emotion, level = dice.choice(7, count, p=PRIORS), np.clip(np.round(dice.normal(0, 1.4, count) * 5) / 5, -3, 3)
    shared = dice.normal(0, 0.7, count)

    def side(logits: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        classes, numbers = [], []
        for _ in range(seeds):
            shifted = logits + dice.normal(0, seed)
            right = dice.random(count) < 1 / (1 + np.exp(-shifted))
            classes.append(np.where(right, emotion, dice.choice(7, count, p=PRIORS)))
            noise = (shared + dice.normal(0, 0.7, count)) * np.exp(-0.3 * shifted)
            numbers.append(0.7 * level + noise + 0.2 * (shifted - logits))
        return classes, numbers

    ours, theirs = side(easy + gain + leaning), side(easy - leaning)
    if copied:
        same = dice.random(count) < copied
        theirs = tuple(
            [np.where(same, o, t) for o, t in zip(one, other, strict=True)]
            for one, other in zip(ours, theirs, strict=True)
        )
    return of, (emotion, ours[0], theirs[0]), (level, ours[1], theirs[1])


def bootstrap(dice: np.random.Generator, gold, ours, theirs, of, resamples=300) -> tuple[float, float]:
    """The percentile interval of the difference of accuracies, of drawn groups and drawn pairs of seeds."""
    gains = np.array(
        [np.bincount(of, (o == gold).astype(float) - (t == gold)) for o, t in zip(ours, theirs, strict=True)]
    )
    groups, seeds = gains.shape[1], len(gains)
    drawn = dice.multinomial(groups, np.full(groups, 1 / groups), resamples)
    chosen = dice.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    found = ((drawn @ gains.T) * chosen).sum(1) / (drawn @ np.bincount(of))
    return tuple(np.quantile(found, [0.025, 0.975]))


def of_task(task: Task, name: str):
    named = Task(kind=task.kind, labels=task.labels, low=task.low, high=task.high, headline=name)
    function = headline_metric(named).function
    return lambda gold, read: function(gold, read, named)


def missed(found: list[tuple[float, float, float]]) -> str:
    """The share of (mean, low, high) without the mean of all means."""
    if not found:
        return "refused"
    means, low, high = np.array(found).T
    truth = means.mean()
    return f"{np.mean((truth < low) | (truth > high)):.1%}"


def errors(cases: dict, experiments: int) -> None:
    names = [(EMOTION, name) for name in CLASSES] + [(SENTIMENT, name) for name in NUMBERS]
    metrics = [(task.kind is Kind.intensity, of_task(task, name)) for task, name in names]
    print(f"| simulated | bootstrap | {' | '.join(name for _, name in names)} | refused |")
    print("|---" * (len(names) + 3) + "|")
    for case, how in cases.items():
        dice = np.random.default_rng(1)
        found = [[] for _ in range(len(names) + 1)]
        for _ in range(experiments):
            of, *tasks = simulated(dice, **how)
            gold, ours, theirs = tasks[0]
            mean = np.mean([(o == gold).mean() - (t == gold).mean() for o, t in zip(ours, theirs, strict=True)])
            found[0].append((mean, *bootstrap(dice, gold, ours, theirs, of)))
            for place, (number, metric) in enumerate(metrics, 1):
                gold, ours, theirs = tasks[number]
                result = paired(gold, ours, theirs, of, metric)
                if result.low is not None:
                    found[place].append((result.mean, result.low, result.high))
        refused = 1 - np.mean([len(each) for each in found[1:]]) / experiments
        print(f"| {case} | {' | '.join(map(missed, found))} | {refused:.0%} |", flush=True)


def times() -> None:
    """All metrics of all dialects, 5,000 clips of 1,000 groups, one pair and three."""
    dice = np.random.default_rng(0)
    groups = dice.integers(0, 1000, 5000)
    print("\n| metrics | seeds | seconds of processor |\n|---|---|---|")
    for seeds in (1, 3):
        total, count = 0.0, 0
        for kind, headlines in HEADLINES.items():
            gold, *sides = (_column(kind, 5000, dice) for _ in range(2 * seeds + 1))
            for name in headlines:
                metric = of_task(Task(kind=kind, labels=list("abcdefg"), low=-3, high=3), name)
                started = time.process_time()
                assert paired(gold, sides[:seeds], sides[seeds:], groups, metric).p is not None
                total, count = total + time.process_time() - started, count + 1
        print(f"| {count} | {seeds} | {total:.2f} |", flush=True)


def _column(kind: Kind, clips: int, dice: np.random.Generator) -> np.ndarray:
    if kind is Kind.intensity:
        return dice.uniform(-3, 3, clips)
    return dice.integers(0, 7, clips) if kind is Kind.classification else dice.integers(0, 2, (clips, 7), dtype=np.int8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help=f"100 experiments, of the first {QUICK} cases")
    given = parser.parse_args()
    if given.quick:
        errors(dict(list(CASES.items())[:QUICK]), 100)
    else:
        errors(CASES, given.experiments)
    times()


if __name__ == "__main__":
    main()
