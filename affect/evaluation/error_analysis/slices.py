"""Slices of a test set: clips that have something in common, and how a metric of theirs differs from that of the rest.

Many slices are looked at, and the worst of many is bad by chance alone, so p-values are adjusted for all slices of a
table: by Holm, and by Benjamini and Hochberg (affect.evaluation.significance).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from affect.evaluation.significance import LEVEL, benjamini_hochberg, contrast, holm, influence

FEWEST_CLIPS = 10
"""Values of fewer clips (speakers, say) are put together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Clips with a common value."""

    by: str
    """What the clips are divided by: `speaker`."""
    value: str
    inside: np.ndarray
    """bool[N]"""
    known: np.ndarray
    """bool[N]: clips of which it is known; others belong neither to the part nor to its rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part, and its metric beside that of the rest; means over seeds."""

    by: str
    value: str
    clips: int
    groups: int
    """Groups of clips (speakers, dialogues, videos) of these clips."""
    metric: float | None
    """None where it is undefined."""
    rest: float | None
    difference: float | None
    """metric minus rest."""
    low: float | None
    """Ends of the 95 % interval, over groups of clips; None where `reason` says why."""
    high: float | None
    p: float | None
    """Two-sided, of no difference."""
    holm: float | None = None
    """p, adjusted for all slices of the table."""
    bh: float | None = None
    """p, adjusted for the share of false findings."""
    verdict: str = ""
    """`worse` or `better` than the rest where `holm` is at most 5 %, `not shown` where it is not; empty without p."""
    reason: str = ""


def by_value(by: str, values: Sequence[str | None], fewest: int = FEWEST_CLIPS) -> list[Part]:
    """A part for each value, the most frequent first; those of fewer than `fewest` clips together in one.

    >>> [(part.value, int(part.inside.sum())) for part in by_value("speaker", ["a"] * 12 + ["b"] * 3 + ["c", None])]
    [('a', 12), ('2 others, each of fewer than 10 clips', 4)]
    """
    counts = Counter(value for value in values if value is not None)
    often = [value for value, count in counts.most_common() if count >= fewest]
    rare = [value for value in counts if value not in often]
    members: dict[str, set[str]] = {value: {value} for value in often}
    if rare:
        members[rare[0] if len(rare) == 1 else f"{len(rare):,} others, each of fewer than {fewest} clips"] = set(rare)
    known = np.array([value is not None for value in values], dtype=bool)
    return [
        Part(by=by, value=name, inside=np.array([value in own for value in values], dtype=bool), known=known)
        for name, own in members.items()
    ]


def by_label(by: str, labels: Sequence[str], values: Sequence[tuple[str, ...]]) -> list[Part]:
    """A part for each label, of the clips that have it beside others or alone."""
    known = np.ones(len(values), dtype=bool)
    inside = {label: np.array([label in value for value in values], dtype=bool) for label in labels}
    return [Part(by=by, value=label, inside=mask, known=known) for label, mask in inside.items() if mask.any()]


def by_thirds(by: str, values: Sequence[float | None], unit: str) -> list[Part]:
    """Three parts of about as many clips each, from the lowest values to the highest; fewer where many are equal.

    >>> [(part.value, int(part.inside.sum())) for part in by_thirds("duration", [1, 2, 3, 4, 5, 6, None], "s")]
    [('up to 2.67 s', 2), ('above 2.67 up to 4.33 s', 2), ('above 4.33 s', 2)]
    """
    column = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = np.isfinite(column)
    if not known.any():
        return []
    first, second = (float(bound) for bound in np.quantile(column[known], (1 / 3, 2 / 3)))
    masks = {
        f"up to {first:.3g} {unit}": known & (column <= first),
        f"above {first:.3g} up to {second:.3g} {unit}": known & (column > first) & (column <= second),
        f"above {second:.3g} {unit}": known & (column > second),
    }
    return [Part(by=by, value=name.strip(), inside=mask, known=known) for name, mask in masks.items() if mask.any()]


def measured(
    parts: Sequence[Part],
    gold: np.ndarray,
    reads: Sequence[np.ndarray],
    groups: Sequence[str],
    metric: Callable[[np.ndarray, np.ndarray], float],
    *,
    higher_is_better: bool,
) -> list[Slice]:
    """The slices of parts that leave a rest, in their order. gold[N], reads[seeds][N] and groups[N] as in
    significance.contrast."""
    names = np.asarray(groups)
    found: list[Slice] = []
    influences: dict[bytes, np.ndarray] = {}
    same_test: dict[int, int] = {}
    for part in parts:
        within, known = part.inside[part.known], part.known
        if within.all() or not within.any():
            continue
        columns = [read[known] for read in reads]
        if (own := influences.get(known.tobytes())) is None:
            own = influences[known.tobytes()] = influence(gold[known], columns, metric)
        result = contrast(gold[known], columns, within, names[known], metric, influences=own)
        values = [
            _defined(np.mean([metric(gold[known][side], read[side]) for read in columns])) for side in (within, ~within)
        ]
        before = found[-1] if found else None
        if before is not None and before.by == part.by and sum(other.by == part.by for other in parts) == 2:
            # The second of two parts is the rest of the first: one test, which counts once.
            same_test[len(found)] = len(found) - 1
        found.append(
            Slice(
                by=part.by,
                value=part.value,
                clips=int(within.sum()),
                groups=len(set(names[known][within])),
                metric=values[0],
                rest=values[1],
                difference=result.mean,
                low=result.low,
                high=result.high,
                p=result.p,
                reason=result.reason,
            )
        )
    tests = [None if place in same_test else each.p for place, each in enumerate(found)]
    adjusted = {"holm": holm(tests), "bh": benjamini_hochberg(tests)}
    for place, other in same_test.items():
        for column in adjusted.values():
            column[place] = column[other]
    sign = 1 if higher_is_better else -1
    return [
        replace(each, holm=one, bh=other, verdict=_verdict(each.difference, one, sign))
        for each, one, other in zip(found, adjusted["holm"], adjusted["bh"], strict=True)
    ]


def worst(slices: Sequence[Slice], *, higher_is_better: bool) -> list[Slice]:
    """Those that are worse than the rest beyond chance, the largest difference first."""
    sign = 1 if higher_is_better else -1
    return sorted((each for each in slices if each.verdict == "worse"), key=lambda each: sign * (each.difference or 0))


def _verdict(difference: float | None, adjusted: float | None, sign: int) -> str:
    if adjusted is None or difference is None:
        return ""
    if adjusted > 1 - LEVEL:
        return "not shown"
    return "better" if sign * difference > 0 else "worse"


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
