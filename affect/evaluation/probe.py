"""Whether a modality reaches the answers: how far those to the same clips move when it is removed or changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affect.config import Kind, Task
from affect.data import Prediction
from affect.evaluation.significance.jackknife import Paired, jackknifed

MOVED = 1e-3
"""Nats, or share of the range of an intensity, from which on a clip counts as moved: less may come from the order of
the clips in a batch alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    unit: str | None
    """Of the shifts: `nats`, or that of an intensity; None where answers are text without scores."""
    clips: int
    seeds: int
    moved: float
    """Share of the clips whose scores (or answer, where there are none) moved, mean over seeds."""
    changed: float
    """Share of the clips that got another answer, mean over seeds."""
    median: float | None
    """Of the size of the shift over clips and seeds: of the gold label's log-likelihood (among the labels of the task),
    or of an intensity."""
    gain: Paired | None
    """The mean shift towards the gold answer, with minus without: of its log-likelihood, or of the absolute error with
    its sign changed. Above 0 the modality helps."""
    by_clip: list[float | None]
    """That shift of every clip, mean over seeds; None where there are no scores."""


def probe(whole: Sequence[Sequence[Prediction]], changed: Sequence[Sequence[Prediction]], task: Task) -> Probe:
    """What becomes of the answers whole[seeds][N] when the same models are given the same labelled clips without a
    modality, or with it changed: changed[seeds][N], clip by clip in one order."""
    pairs = [list(zip(*seed, strict=True)) for seed in zip(whole, changed, strict=True)]
    if task.kind is Kind.intensity:
        shifts = np.array([[_of_numbers(*pair) for pair in of_seed] for of_seed in pairs])
        assert task.low is not None and task.high is not None
        least, unit = MOVED * (task.high - task.low), f"of {task.low:g} to {task.high:g}"
    else:
        shifts = np.array([[_of_scores(*pair, task) for pair in of_seed] for of_seed in pairs])
        least, unit = MOVED, "nats"
    largest, size, gain = np.moveaxis(shifts, -1, 0)  # each float64[seeds, N]
    other = np.array([[one.lenient != two.lenient for one, two in of_seed] for of_seed in pairs])
    text = np.array([[one.answer != two.answer for one, two in of_seed] for of_seed in pairs])
    known = ~np.isnan(size).any(axis=0)
    moved = np.where(np.isnan(largest), other | text, largest > least)
    common = {
        "clips": other.shape[1],
        "seeds": other.shape[0],
        "moved": float(moved.mean()),
        "changed": float(other.mean()),
    }
    if not known.any():
        return Probe(unit=None, median=None, gain=None, by_clip=[None] * other.shape[1], **common)
    gained = gain[:, known]
    [found] = jackknifed(
        lambda rows: gained[:, rows].mean(axis=1, keepdims=True) if len(rows) else np.full((len(gained), 1), np.nan),
        np.array([prediction.group for prediction in whole[0]])[known],
        (gained != 0).any(axis=0)[None],
    )
    by_clip = [
        float(value) if value_known else None for value, value_known in zip(gain.mean(axis=0), known, strict=True)
    ]
    return Probe(unit=unit, median=float(np.median(size[:, known])), gain=found, by_clip=by_clip, **common)


def _of_scores(one: Prediction, other: Prediction, task: Task) -> tuple[float, float, float]:
    """Of the log-likelihoods of all labels, normalised over them, the largest shift; of that of the gold label its size
    and sign. NaN where they are not known."""
    scores = [
        None if each.scores is None else np.array([each.scores.get(label, np.nan) for label in task.labels], np.float64)
        for each in (one, other)
    ]
    if task.kind is not Kind.classification or any(each is None or not np.isfinite(each).all() for each in scores):
        return np.nan, np.nan, np.nan
    with_it, without = (each - np.logaddexp.reduce(each) for each in scores)
    shift = with_it - without
    of_gold = shift[task.labels.index(one.target)]
    return float(np.abs(shift).max()), float(abs(of_gold)), float(of_gold)


def _of_numbers(one: Prediction, other: Prediction) -> tuple[float, float, float]:
    """Of a number the size of its shift, twice, and by how much nearer it is to the gold one."""
    if one.lenient is None or other.lenient is None:
        return np.nan, np.nan, np.nan
    size = abs(one.lenient - other.lenient)
    return size, size, abs(other.lenient - one.target) - abs(one.lenient - one.target)
