"""Data of the tables of an attribution."""

from dataclasses import dataclass

from affect.config import Value
from affect.evaluation.probe import Probe
from affect.evaluation.significance import Paired
from affect.reports.rows import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    of: str
    """`text`, `audio`, `video`; `all - none` for their sum; or `text - audio`, the value of one minus that of another.
    """
    value: Paired
    holm: float | None
    """Its p-value, adjusted for those that stand in one block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfClass:
    label: str
    clips: int
    contributions: list[Contribution]
    """To the recall of the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    removed: str
    """What is not there in the other run: `audio`; or the intervention that it was evaluated with."""
    probe: Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicting:
    modalities: str
    """Those that the answers were given with."""
    conflict: int
    """Clips on which the single modalities disagree, in half of the seeds or more."""
    rest: int
    on_conflict: Number
    on_rest: Number
    difference: Paired
    """On these clips minus on the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfClip:
    id: str
    group: str
    gold: Value
    conflict: float
    """Share of the seeds for which the single modalities disagree."""
    contributions: dict[str, float]
    """By modality, to `Attributed.clip_metric` of this clip; their mean is the contribution to the dataset's."""
    shifts: dict[str, float | None]
    """By what was removed, see `Probe.by_clip`."""


@dataclass(slots=True, kw_only=True)
class Attributed:
    task: str
    model: str
    flavour: str
    modalities: str
    metric: str
    higher_is_better: bool
    runs: dict[str, list[int]]
    """Numbers of the runs by subset, in the order of `seeds`."""
    seeds: list[int]
    values: dict[str, Number]
    """The metric by subset; "" is that of the constant answer."""
    none: str
    """What the constant answer is, in words."""
    contributions: list[Contribution]
    differences: list[Contribution]
    classes: list[OfClass]
    reach: list[Reach]
    conflicts: list[Conflicting]
    clip_metric: str
    clips: list[OfClip]
    notes: list[str]
    class_notes: list[str]
    """Those on the values of classes."""
