"""Whether one setting is better than another: intervals, p-values, and what they can be used for. Needs no torch."""

from affect.evaluation.significance.contrast import contrast, influence
from affect.evaluation.significance.corrections import benjamini_hochberg, holm
from affect.evaluation.significance.equivalence import Equivalence, equivalent
from affect.evaluation.significance.jackknife import FEWEST_GROUPS, FEWEST_SEEDS, LEVEL, Paired, jackknifed
from affect.evaluation.significance.paired import paired
from affect.evaluation.significance.power import Needed, detectable, needed
from affect.evaluation.significance.textbook import mcnemar, paired_t

__all__ = [
    "FEWEST_GROUPS",
    "FEWEST_SEEDS",
    "LEVEL",
    "Equivalence",
    "Needed",
    "Paired",
    "benjamini_hochberg",
    "contrast",
    "detectable",
    "equivalent",
    "holm",
    "influence",
    "jackknifed",
    "mcnemar",
    "needed",
    "paired",
    "paired_t",
]
