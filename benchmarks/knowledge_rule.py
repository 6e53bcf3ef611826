"""How often two rules say that descriptions help where they are no better than those of another clip.

    python benchmarks/knowledge_rule.py --experiments 2000

old     the interval of cues minus plain is above 0, and that of shuffled minus plain is not
direct  the interval of cues minus shuffled is above 0

Simulated accuracies of three prompts, with the 95 % intervals of affect.reports (affect.evaluation.significance); a
direct interval that is right says so in 2.5 %. Cues and shuffled are drawn alike: both are better than plain
by `gain` (logits: a longer prompt may help by itself), and differ by chance in every group by `lean` (logits, standard
deviation: how much the effect of a prompt varies between speakers) and in every run by `seed`. Some groups and clips
are harder than others, for all prompts. The last column is how often the direct rule finds descriptions whose content
is worth CONTENT logits.
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.evaluation.significance.jackknife import studentised

CLIPS = 240
GROUPS, SEEDS, LEANS, GAINS = (6, 12, 40), (1, 3), (0.0, 0.5, 1.0), (0.0, 0.2, 0.4, 0.6)
CONTENT = 0.4


def lowest(differences: np.ndarray) -> float:
    """The lower end of affect.evaluation.significance.paired for differences[groups, seeds] of the accuracies of groups
    of equal size."""
    groups, seeds = differences.shape
    mean = differences.mean(0)
    without = (groups * mean - differences) / (groups - 1)
    counted = {"clips": CLIPS, "groups": groups, "effective": groups, "seeds": seeds}
    found = studentised(mean, without.T, counted)
    return -np.inf if found.low is None else found.low


def simulated(
    dice: np.random.Generator, *, groups: int, seeds: int, gain: float, lean: float, seed: float, content: float = 0.0
) -> dict[str, np.ndarray]:
    """Accuracy[groups, seeds] of every prompt."""
    size = CLIPS // groups
    easy = 0.3 + dice.normal(0, 1, (groups, 1)) + dice.normal(0, 1, (groups, size))

    def of(gain: float) -> np.ndarray:
        leaning = dice.normal(0, lean, (groups, 1, 1))
        logits = easy[..., None] + gain + leaning + dice.normal(0, seed, seeds)
        return (dice.random(logits.shape) < 1 / (1 + np.exp(-logits))).mean(1)

    return {"plain": of(0.0), "cues": of(gain + content), "shuffled": of(gain)}


def rates(experiments: int, **how) -> tuple[float, float]:
    """Share of the experiments in which the old and the direct rule say that descriptions help."""
    dice = np.random.default_rng(1)
    old = direct = 0
    for _ in range(experiments):
        found = simulated(dice, **how)
        above = {name: lowest(found[name] - found["plain"]) > 0 for name in ("cues", "shuffled")}
        old += above["cues"] and not above["shuffled"]
        direct += lowest(found["cues"] - found["shuffled"]) > 0
    return old / experiments, direct / experiments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=float, default=0.2)
    given = parser.parse_args()
    print(f"{CLIPS} clips, {given.experiments:,} experiments, seed {given.seed:g}")
    print(
        "| groups | seeds | lean | old, by gain "
        + "| direct, by gain | direct finds content |\n|---|---|---|---|---|---|"
    )
    for groups, seeds, lean in product(GROUPS, SEEDS, LEANS):
        how = {"groups": groups, "seeds": seeds, "lean": lean, "seed": given.seed}
        found = [rates(given.experiments, gain=gain, **how) for gain in GAINS]
        _, power = rates(given.experiments, gain=0.2, content=CONTENT, **how)
        cells = ["  ".join(f"{share:.1%}" for share in shares) for shares in zip(*found, strict=True)]
        print(f"| {groups} | {seeds} | {lean:g} | {cells[0]} | {cells[1]} | {power:.1%} |", flush=True)


if __name__ == "__main__":
    main()
