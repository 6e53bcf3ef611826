"""How often affect.evaluation.significance.paired is wrong at nominal 5 %, and how long it takes.

    python benchmarks/significance.py            # 1,000 experiments a case: two minutes on one core
    python benchmarks/significance.py --quick    # 100

Answers of two settings to simulated clips. Some groups and clips are harder than others, for both sides and all seeds;
what else makes an answer right is drawn anew for every seed. In logits, standard deviations: `lean` is by how much a
group favours one side, and `seed` by how much a trained seed is better or worse than others of its side, so 0.5 is
about 10 points of accuracy. For intensities the same numbers make answers noisier or less, and shift them.

With `gain` 0 the sides are drawn alike, so a p-value below 5 % is an error of the first kind; with a true difference
what is counted is intervals without it. The true difference is the mean of the estimates. `bootstrap` is the percentile
bootstrap over groups and seeds, of accuracy, beside it.

Metrics are computed from sums over groups, which is fast; the first experiment of a case holds them against `paired`
with the metrics of affect, and shows whether it is refused.
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
from affect.evaluation.significance.jackknife import blocks_of, studentised

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


def of_counts(counts: np.ndarray) -> np.ndarray:
    """CLASSES of counts[..., gold, read], float64[4, ...]."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    gold, read = counts.sum(-1), counts.sum(-2)
    with np.errstate(invalid="ignore"):
        f1, recall = 2 * right / (gold + read), right / gold
    weighted = np.where(gold > 0, gold * np.nan_to_num(f1), 0).sum(-1)
    total = gold.sum(-1)
    return np.array([right.sum(-1) / total, weighted / total, np.nanmean(f1, -1), np.nanmean(recall, -1)])


def of_sums(sums: np.ndarray) -> np.ndarray:
    """NUMBERS of sums[..., columns] as `columns` gives them, float64[4, ...]."""
    n, right, error, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    sxx, syy, sxy = xx - x * x / n, yy - y * y / n, xy - x * y / n
    ccc = 2 * sxy / (sxx + syy + np.square(x - y) / n)
    return np.array([right / n, sxy / np.sqrt(sxx * syy), error / n, ccc])


def counted_by(block: np.ndarray, gold: np.ndarray, read: np.ndarray) -> np.ndarray:
    cells = np.bincount(block * 49 + gold * 7 + read, minlength=49 * (block.max() + 1))
    return cells.reshape(-1, 7, 7).astype(float)


def summed_by(block: np.ndarray, gold: np.ndarray, read: np.ndarray) -> np.ndarray:
    right = np.round(np.clip(gold, -3, 3)) == np.round(np.clip(read, -3, 3))
    columns = (np.ones(len(gold)), right, np.abs(read - gold), gold, read, gold * gold, read * read, gold * read)
    return np.stack([np.bincount(block, column) for column in columns], axis=-1)


def differences(tasks, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all metrics, float64[8, seeds], and without each block, float64[8, seeds, blocks]."""
    whole, without = [], []
    for (gold, ours, theirs), by, metrics in zip(tasks, (counted_by, summed_by), (of_counts, of_sums), strict=True):
        sides = []
        for side in (ours, theirs):
            sums = np.array([by(block, gold, read) for read in side])
            total = sums.sum(1)
            sides.append((metrics(total), metrics(total[:, None] - sums)))
        whole.append(sides[0][0] - sides[1][0])
        without.append(sides[0][1] - sides[1][1])
    return np.concatenate(whole), np.concatenate(without)


def missed(found: list[tuple[float, float, float]]) -> str:
    """The share of (mean, low, high) without the mean of all means."""
    means, low, high = np.array(found).T
    return f"{np.mean((means.mean() < low) | (means.mean() > high)):.1%}"


def errors(cases: dict, experiments: int) -> None:
    names = [(EMOTION, name) for name in CLASSES] + [(SENTIMENT, name) for name in NUMBERS]
    print(f"| simulated | bootstrap | {' | '.join(name for _, name in names)} | |")
    print("|---" * (len(names) + 3) + "|")
    for case, how in cases.items():
        dice = np.random.default_rng(1)
        found = [[] for _ in range(len(names) + 1)]
        said = ""
        for number in range(experiments):
            of, *tasks = simulated(dice, **how)
            whole, without = differences(tasks, blocks_of(of, of[-1] + 1))
            sizes = np.bincount(of)
            seeds = whole.shape[1]
            counted = {"clips": len(of), "groups": len(sizes), "seeds": seeds}
            counted["effective"] = sizes.sum() ** 2 / np.square(sizes).sum()
            gold, ours, theirs = tasks[0]
            found[0].append((whole[0].mean(), *bootstrap(dice, gold, ours, theirs, of)))
            for place, (task, name) in enumerate(names):
                result = studentised(whole[place], without[place], counted)
                if result.low is not None:
                    found[place + 1].append((result.mean, result.low, result.high))
                if number == 0:
                    gold, ours, theirs = tasks[task.kind is Kind.intensity]
                    expected = paired(gold, ours, theirs, of, of_task(task, name))
                    if expected.error is None:
                        said = "refused"
                    else:
                        assert np.allclose((expected.low, expected.high), (result.low, result.high), atol=1e-6), name
        print(f"| {case} | {' | '.join(map(missed, found))} | {said} |", flush=True)


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
    parser.add_argument("--quick", action="store_true", help="100 experiments")
    given = parser.parse_args()
    errors(CASES, 100 if given.quick else given.experiments)
    times()


if __name__ == "__main__":
    main()
