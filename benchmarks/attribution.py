"""How often intervals of Shapley values (affect.evaluation.attribution) are wrong at nominal 5 %.

    python benchmarks/attribution.py            # 500 experiments a case: about four minutes on one core
    python benchmarks/attribution.py --quick    # 50

Answers of a model to simulated clips with every subset of text, audio and video. Some groups and clips are harder than
others, whatever the model is given. In logits: text adds 0.8, audio 0.4 and video nothing; `lean` is the standard
deviation of what a modality adds for a group, and `seed` that of what it adds in a trained seed. What else makes an
answer right is half shared by the subsets, and half drawn anew. Counted are intervals without the true value, which is
the mean of the estimates.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from significance import EMOTION, PRIORS, missed, of_task

from affect.evaluation.attribution import attribution, subsets

GAINS = {"t": 0.8, "a": 0.4, "v": 0.0}

CASES = {
    "60 groups × 2": {"sizes": [2] * 60},
    "12 × 10, lean 0.5": {"sizes": [10] * 12, "lean": 0.5},
    "6 × 20, lean 0.5": {"sizes": [20] * 6, "lean": 0.5},
    "25 × 10, lean 0.5": {"sizes": [10] * 25, "lean": 0.5},
    "12 × 10, 3 seeds, lean 0.5": {"sizes": [10] * 12, "seeds": 3, "lean": 0.5},
    "60 × 2, 3 seeds, seed 0.2": {"sizes": [2] * 60, "seeds": 3, "seed": 0.2},
}


def simulated(dice: np.random.Generator, *, sizes, seeds=1, lean=0.0, seed=0.0):
    """Groups, gold labels, and the answers by subset and seed."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    count = len(of)
    gold = dice.choice(7, count, p=PRIORS)
    easy = dice.normal(0, 1, len(sizes))[of] + dice.normal(0, 1, count) - 0.5
    leaning = {letter: dice.normal(0, lean, len(sizes))[of] for letter in GAINS}
    answers = {subset: [] for subset in subsets("tav")}
    for _ in range(seeds):
        better = {letter: dice.normal(0, seed) for letter in GAINS}
        shared = dice.normal(0, 1, count)
        for subset, read in answers.items():
            added = sum(GAINS[letter] + leaning[letter] + better[letter] for letter in subset)
            right = shared + dice.normal(0, 1, count) < easy + added
            read.append(np.where(right, gold, dice.choice(7, count, p=PRIORS)))
    answers[""] = [np.zeros(count, dtype=int)] * seeds
    return of, gold, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    experiments = 50 if parser.parse_args().quick else 500
    names = ["text", "audio", "video", "all - none", "text - audio"]
    print(f"| simulated | metric | {' | '.join(names)} |")
    print("|---" * (len(names) + 2) + "|")
    for case, how in CASES.items():
        for metric in ("accuracy", "weighted_f1"):
            dice = np.random.default_rng(1)
            found = [[] for _ in names]
            for _ in range(experiments):
                of, gold, answers = simulated(dice, **how)
                result = attribution("tav", gold, answers, of, of_task(EMOTION, metric))
                for place, one in enumerate((*result.modalities.values(), result.total, result.differences["t", "a"])):
                    if one.low is not None:
                        found[place].append((one.mean, one.low, one.high))
            print(f"| {case} | {metric} | {' | '.join(map(missed, found))} |", flush=True)


if __name__ == "__main__":
    main()
