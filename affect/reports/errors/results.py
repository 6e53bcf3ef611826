"""What runs get wrong, as plain data."""

from dataclasses import dataclass, field

from affect.evaluation.error_analysis import slices
from affect.evaluation.error_analysis.slices import Slice
from affect.evaluation.metrics.calibration import Bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Gold by answer, over all runs."""

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]

    @property
    def rates(self) -> list[list[float | None]]:
        """Shares of each row; None in a row without clips."""
        return [[count / sum(row) if sum(row) else None for count in row] for row in self.counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip that is answered wrongly."""

    id: str
    gold: str
    answers: list[str]
    """Of every run."""
    confidence: float | None
    """Mean probability of the wrong answers, where labels were scored."""
    gold_probability: float | None
    """Mean probability of the gold label."""
    error: float | None
    """Of an intensity: mean absolute error."""
    text: str
    """The transcript; empty where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A reason why answers could not be read."""

    reason: str
    answers: int
    """Over all runs."""
    clips: int
    example: str
    """An answer of this kind; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Of the answers with the likelihood of every label, over all runs."""

    answers: int
    curve: list[Bin]
    ece: float
    """Of `curve`, whose bins are of equal mass."""
    ece_width: float
    """With bins of equal width, as in metrics.json."""
    brier: float
    confidence: float
    """Mean."""
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Of the clips of one class: right in this setting alone, and in the other one alone; mean over pairs of runs."""

    label: str
    clips: int
    fixed: float
    broken: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """This setting beside another one on the same clips."""

    against: list[int]
    """Numbers of the other setting's runs."""
    pairs: list[tuple[int, int]]
    """Runs of one seed, one of each side."""
    clips: int
    right: float
    """Share of the clips that are right in this setting, and in the other one; mean over pairs."""
    right_there: float
    num_fixed: float
    """Clips that are right here alone, and there alone; mean over pairs."""
    num_broken: float
    low: float | None
    """Interval of the difference over groups of clips and seeds; None where `reason` says why there is none."""
    high: float | None
    p: float | None
    reason: str
    mcnemar: list[float]
    """p-value of every pair, which takes clips for independent."""
    by_class: list[Change]
    fixed: list[Clip]
    """Clips that are right here and wrong there in every pair; `answers` are those of the other setting."""
    broken: list[Clip]
    """The reverse; `answers` are those of this setting."""


@dataclass(slots=True, kw_only=True)
class ErrorAnalysis:
    """What runs of one setting get wrong in one task."""

    task: str
    model: str
    split: str
    runs: list[int]
    """Numbers of the runs, by seed."""
    seeds: list[int]
    metric: str
    """Of slices."""
    higher_is_better: bool
    value: float | None
    """That metric of all clips, mean over runs."""
    clips: int
    groups: int
    right: float
    """Share of right answers, mean over runs."""
    confusion: Confusion
    slices: list[Slice]
    unavailable: dict[str, str]
    """By what clips could be divided by, why they are not."""
    hardest: list[Clip]
    """Wrong in all runs, the worst first."""
    confident: list[Clip]
    """Wrong in some run, the most confident first; empty where no labels were scored."""
    unreadable: list[Cause]
    calibration: Calibration | None
    no_calibration: str
    """Why there is none."""
    changes: Changes | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> list[Slice]:
        """Slices that are worse than the rest beyond chance, the largest difference first."""
        return slices.worst(self.slices, higher_is_better=self.higher_is_better)
