"""Statements about a dataset: published counts and known issues, which readers declare, and findings of the audit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from affect.data.record import SPLITS, Record

TRAINING = ("train", "val")
"""What readers divide where the published set has no validation split."""

NUM_EXAMPLES = 5


class Ids(StrEnum):
    """How long the part of a record's id after dataset and split identifies a clip."""

    dataset = "dataset"
    """In all splits: a clip keeps it when a protocol moves it to another split."""
    split = "split"
    """In its split: ids restart in each."""
    table = "table"
    """Only in its own table, for example as a row number: clips are compared by their files alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The published number of records in some splits together."""

    splits: tuple[str, ...] = SPLITS
    count: int
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By task, the records of each class (see counts.classes); tasks and classes that are absent are unknown."""
    exact: bool = True
    """False where the sources say "about" or do not agree."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Values of the reader's options for which this holds."""


def signs(negative: int, zero: int, positive: int) -> dict[str, dict[str, int]]:
    """Classes of the task `sentiment` by the sign of its intensity."""
    return {"sentiment": {"negative": negative, "zero": zero, "positive": positive}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """A known defect of a published dataset, which every copy has."""

    what: str
    remedy: str = "none"
    clips: Mapping[str, str] = field(default_factory=dict)
    """By record id, as the reader gives it, what is wrong with clips that cannot be used or mislead."""
    applies: Callable[[Record], bool] = lambda record: False
    """Whether a record has the defect, where it is not one of `clips`."""


class Severity(StrEnum):
    error = "error"
    """Numbers on this copy are wrong, or not those of the published set."""
    warning = "warning"
    """Clips that a run leaves out, or that mislead it."""
    note = "note"
    """Known, or worth knowing when results are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    severity: Severity
    what: str
    """A clause without a full stop."""
    count: int
    """How many clips, or other things that `what` names."""
    remedy: str
    ids: tuple[str, ...] = ()
    """All records that it is about, where it is about records."""

    @property
    def examples(self) -> tuple[str, ...]:
        return self.ids[:NUM_EXAMPLES]


Records = Mapping[str, Sequence[Record]]
"""Records by split, in the order of SPLITS; a split that could not be read is absent."""
