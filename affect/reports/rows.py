"""Data of the tables of a report."""

from dataclasses import dataclass, field

COUNTS = {"expected": "expected", "used": "used", "scored": "n_scored"}
"""Columns of clip counts, and their keys in metrics.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    mean: float | None
    """None where the metric is undefined for one of the runs."""
    sd: float | None
    """Sample standard deviation (n - 1); None for a single run."""


@dataclass(slots=True, kw_only=True)
class Difference:
    """A metric of a row minus that of its reference."""

    against: list[int]
    """Numbers of the runs of the reference."""
    num_seeds: int
    """Number of pairs of runs, one of each side."""
    clips: int
    """Clips that all runs of both sides scored."""
    groups: int
    """Groups (speakers, dialogues, videos) of these clips."""
    mean: float | None
    """Over the seeds; None where the metric is undefined for one of the runs."""
    low: float | None
    """Lower end of the interval; None where there is none, which a note of the table explains."""
    high: float | None
    """Upper end."""
    p: float | None
    """Two-sided, of no difference."""
    effect: float | None
    """Cohen's d of groups: the mean over the standard deviation of the difference between groups."""
    one_seed: bool
    """A single seed of what was trained."""
    holm: float | None = None
    """p, adjusted for all differences of the table that answer the same question (Holm)."""
    better: str = ""
    """`yes` if the mean is in favour of the row and `holm` at most 5 %, else `not shown`; `uncertain` instead of `yes`
    where a single seed was trained; empty without an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of descriptions on the evaluated split, mean over the runs of a row."""

    tokens_per_prompt: float | None
    share_of_text_tokens: float | None
    """Share of the prompt's text tokens; tokens of audio and video are not counted."""
    seconds_per_clip: float | None
    """Time to generate them, once; None where it is unknown for all clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Leak audit of one kind of description (affect.knowledge.leak_audit), mean over the runs of a row."""

    of: str
    """Kind of description: audio, video, audio_video, or all of them together."""
    clips: tuple[int, int]
    """Smallest and largest number of audited clips."""
    named: dict[str, float | None]
    """Share of descriptions that name only the right label (gold), others too (both), only others (other), or no label
    (none)."""
    right: dict[str, float | None]
    """By the same keys, how well the label is predicted from those descriptions: accuracy, or mean absolute error of an
    intensity. None where there are no such descriptions."""
    measure: str
    """Metric of the next three."""
    predicted: float | None
    """Prediction from the descriptions alone."""
    masked: float | None
    """Prediction from the descriptions with label words masked."""
    baseline: float | None
    """Constant prediction: the most frequent answer, or the mean."""


@dataclass(slots=True, kw_only=True)
class Row:
    runs: list[int]
    """Numbers of its runs, in the order of their seeds."""
    setting: dict[str, str | None]
    """By column of Table.settings; None where a key does not apply."""
    whole: dict[str, str]
    """Every setting that its numbers depend on, by key."""
    seeds: list[int]
    counts: dict[str, tuple[int, int]]
    """Smallest and largest number of expected, used and scored clips."""
    readable: float
    """Share of the scored clips whose answer could be read, mean over the runs."""
    numbers: dict[str, Number]
    """By column of Table.metrics and Table.classes."""
    clips: list[str]
    """Hashes of the scored sets of clips, without repetitions."""
    mark: str = ""
    """Letter of a footnote."""
    opened: int | None = None
    """Of a test split, how often its clips had been evaluated before the first of its runs was; None where that is not
    known."""
    is_reference: bool = False
    """The other rows are compared with this one."""
    difference: Difference | None = None
    best: list[str] = field(default_factory=list)
    """Metrics in which no other row is shown to be better (affect.reports.paper.best, which alone fills it)."""
    controls: dict[str, Difference] = field(default_factory=dict)
    """For a row with descriptions: by control, the difference to the row that has the control's descriptions and is
    otherwise the same."""
    cost: Cost | None = None
    audits: list[Audit] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publication reports for the task of a table."""

    method: str
    inputs: str
    """Modalities, features or language model; empty where the source says nothing of them."""
    dialect: str | None
    """None for plain metrics."""
    clips: int | None
    """In the test split, where the source says so."""
    numbers: dict[str, str]
    """By column of Table.metrics, with the digits of the source; columns that it has no number for are absent."""
    source: str


@dataclass(slots=True, kw_only=True)
class Table:
    """Results for one task."""

    task: str
    about: dict[str, str]
    """Settings that all rows share."""
    settings: list[str]
    metrics: list[str]
    classes: list[str]
    """Labels whose recall (of the lenient reader) is asked for, as `recall.LABEL`."""
    each: bool
    """One row per run instead of one per setting."""
    rows: list[Row]
    published: list[Published] = field(default_factory=list)
    """Shown in a block of their own."""
    bold: str = ""
    """What bold numbers are, without a full stop; empty where none is (affect.reports.paper.best, which alone fills
    it)."""
    compared: str | None = None
    """The metric of the rows' differences; None where nothing is compared."""
    footnotes: dict[str, str]
    notes: list[str]
