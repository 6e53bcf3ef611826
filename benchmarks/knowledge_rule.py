"""How often two rules say that descriptions help where they are no better than those of another clip.

    python benchmarks/knowledge_rule.py --experiments 2000

old     the interval of cues minus plain is above 0, and that of shuffled minus plain is not
direct  the interval of cues minus shuffled is above 0

Simulated accuracies of three prompts, with the intervals of affect.reports (paired bootstrap over groups and seeds,
95 %); a direct interval that is right says so in 2.5 %. Cues and shuffled are drawn alike: both are better than plain
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

from affect.reports.bootstrap import LEVEL, RESAMPLES, SEED

CLIPS = 240
GROUPS, SEEDS, LEANS, GAINS = (4, 12, 40), (1, 3), (0.0, 0.5, 1.0), (0.0, 0.2, 0.4, 0.6)
CONTENT = 0.4


class Resampling:
    """The lower end of affect.reports.bootstrap.interval for the accuracy of groups of equal size: with the same
    resamples, which are drawn once, since a difference is then a sum over groups and seeds."""

    def __init__(self, groups: int, seeds: int, resamples: int = RESAMPLES) -> None:
        dice = np.random.default_rng(SEED)
        self.of_groups = np.zeros((resamples, groups))
        self.of_seeds = np.zeros((resamples, seeds))
        for number in range(resamples):
            self.of_groups[number] = np.bincount(dice.integers(groups, size=groups), minlength=groups) / groups
            self.of_seeds[number] = np.bincount(dice.integers(seeds, size=seeds), minlength=seeds) / seeds

    def lowest(self, differences: np.ndarray) -> float:
        """The lower end for differences[groups, seeds] of a group's accuracies."""
        found = ((self.of_groups @ differences) * self.of_seeds).sum(1)
        return float(np.quantile(found, (1 - LEVEL) / 2))


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


def rates(experiments: int, resamples: int = RESAMPLES, **how) -> tuple[float, float]:
    """Share of the experiments in which the old and the direct rule say that descriptions help."""
    resampling = Resampling(how["groups"], how["seeds"], resamples)
    dice = np.random.default_rng(1)
    old = direct = 0
    for _ in range(experiments):
        found = simulated(dice, **how)
        above = {name: resampling.lowest(found[name] - found["plain"]) > 0 for name in ("cues", "shuffled")}
        old += above["cues"] and not above["shuffled"]
        direct += resampling.lowest(found["cues"] - found["shuffled"]) > 0
    return old / experiments, direct / experiments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--seed", type=float, default=0.2)
    given = parser.parse_args()
    print(f"{CLIPS} clips, {given.experiments:,} experiments, seed {given.seed:g}")
    print(
        "| groups | seeds | lean | old, by gain "
        + "| direct, by gain | direct finds content |\n|---|---|---|---|---|---|"
    )
    for groups, seeds, lean in product(GROUPS, SEEDS, LEANS):
        how = {"groups": groups, "seeds": seeds, "lean": lean, "seed": given.seed}
        found = [rates(given.experiments, given.resamples, gain=gain, **how) for gain in GAINS]
        _, power = rates(given.experiments, given.resamples, gain=0.2, content=CONTENT, **how)
        cells = ["  ".join(f"{share:.1%}" for share in shares) for shares in zip(*found, strict=True)]
        print(f"| {groups} | {seeds} | {lean:g} | {cells[0]} | {cells[1]} | {power:.1%} |", flush=True)


if __name__ == "__main__":
    main()
