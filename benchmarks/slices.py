"""How often affect.evaluation.significance.contrast is wrong at nominal 5 %, where slices do not differ from the rest.

    python benchmarks/slices.py            # 200 experiments a case: four minutes on one core
    python benchmarks/slices.py --quick    # 60

One model's answers to simulated clips in groups; `lean` is the standard deviation, in logits, by which groups differ
in difficulty. A slice is drawn at random: of clips, so that a group has clips inside and outside, or of whole groups.
`easy` is the mean logit: 2.5 is an accuracy of about 0.9.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.evaluation.significance import contrast, holm, influence

METRICS = {
    "accuracy": lambda gold, read: float(np.mean(gold == np.round(read))),
    "mae": lambda gold, read: float(np.mean(np.abs(gold - read))),
    "recall": lambda gold, read: float(np.mean([np.mean(np.round(read[gold == k]) == k) for k in np.unique(gold)])),
}

CASES = {
    "60 groups × 5, half of the clips": {"groups": 60, "size": 5, "part": 0.5},
    "60 × 5, 10 % of the clips": {"groups": 60, "size": 5, "part": 0.1},
    "60 × 5, 10 % of the clips, easy 2.5": {"groups": 60, "size": 5, "part": 0.1, "easy": 2.5},
    "12 × 20, half, lean 1": {"groups": 12, "size": 20, "part": 0.5, "lean": 1.0},
    "12 × 20, 10 %, lean 1": {"groups": 12, "size": 20, "part": 0.1, "lean": 1.0},
    "200 × 3, 4 %": {"groups": 200, "size": 3, "part": 0.04},
    "200 × 3, 4 %, easy 2.5": {"groups": 200, "size": 3, "part": 0.04, "easy": 2.5},
    "60 × 5, 8 whole groups, lean 1": {"groups": 60, "size": 5, "whole": 8, "lean": 1.0},
    "60 × 5, 30 whole groups, lean 1": {"groups": 60, "size": 5, "whole": 30, "lean": 1.0},
    "60 × 5, 3 seeds, 20 %, lean 1": {"groups": 60, "size": 5, "part": 0.2, "lean": 1.0, "seeds": 3},
}

LOOKS = 40
"""Slices of one table."""


def simulated(dice: np.random.Generator, *, groups, size, easy=0.3, lean=0.5, seeds=1, part=0.0, whole=0):
    """gold, reads, groups of clips, and a function that draws a slice."""
    of = np.repeat(np.arange(groups), size)
    gold = dice.integers(0, 4, len(of)).astype(float)
    logits = easy + dice.normal(0, lean, groups)[of] + dice.normal(0, 0.7, len(of))
    reads = []
    for _ in range(seeds):
        right = dice.random(len(of)) < 1 / (1 + np.exp(-logits))
        reads.append(np.where(right, gold, dice.integers(0, 4, len(of))) + dice.uniform(-0.4, 0.4, len(of)))

    def drawn() -> np.ndarray:
        if whole:
            return np.isin(of, dice.permutation(groups)[:whole])
        return np.isin(np.arange(len(of)), dice.permutation(len(of))[: round(part * len(of))])

    return gold, reads, of, drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    experiments = 60 if parser.parse_args().quick else 200
    print(f"| simulated | {' | '.join(METRICS)} | refused | any of {LOOKS} (Holm) |\n{'|---' * (len(METRICS) + 3)}|")
    for case, how in CASES.items():
        dice = np.random.default_rng(1)
        found: dict[str, list[float]] = {name: [] for name in METRICS}
        refused = tables = 0
        for number in range(experiments):
            gold, reads, of, drawn = simulated(dice, **how)
            inside = drawn()
            own = {name: influence(gold, reads, metric) for name, metric in METRICS.items()}
            for name, metric in METRICS.items():
                result = contrast(gold, reads, inside, of, metric, influences=own[name])
                refused += result.p is None
                if result.p is not None:
                    found[name].append(result.p)
            if number % 5 == 0:
                looks = [
                    contrast(gold, reads, drawn(), of, METRICS["accuracy"], influences=own["accuracy"]).p
                    for _ in range(LOOKS)
                ]
                tables += any(p is not None and p < 0.05 for p in holm(looks))
        shares = [f"{np.mean(np.array(p) < 0.05):.1%}" if p else "-" for p in found.values()]
        shares += [f"{refused / experiments / len(METRICS):.1%}", f"{tables / len(range(0, experiments, 5)):.1%}"]
        print(f"| {case} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
