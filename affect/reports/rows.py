"""The values of a table."""

from dataclasses import dataclass, field

COUNTS = {"expected": "expected", "used": "used", "scored": "n_scored"}
"""The columns that say what a number stands on, and the key of metrics.json that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    mean: float | None
    """None where the metric is undefined for one of the runs."""
    sd: float | None
    """Sample standard deviation (n - 1); None for a single run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A metric of a row minus that of its reference."""

    against: list[int]
    """Numbers of the runs of the reference."""
    num_seeds: int
    """Pairs of runs."""
    clips: int
    """Those that all runs of both sides have scored."""
    groups: int
    """Groups (speakers, dialogues, videos) that these clips are of."""
    mean: float | None
    """Over the seeds; None where the metric is undefined for one of the runs."""
    low: float | None
    """The interval's ends; None where nothing can be resampled."""
    high: float | None
    better: str
    """yes where the whole interval lies on the side of the better values, else `not shown`; `uncertain` instead of yes
    where few groups or a single seed make it too narrow; empty without an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What descriptions cost, of the evaluated split, mean over the runs of a row."""

    tokens_per_prompt: float | None
    share_of_text_tokens: float | None
    """Of the prompt's text, without the tokens of sound and picture."""
    seconds_per_clip: float | None
    """Of making them, once; None where no clip's time is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What one kind of description gives away (affect.knowledge.leak_audit), mean over the runs of a row."""

    of: str
    """audio, video, audio_video, or all of them together."""
    clips: tuple[int, int]
    """Smallest and greatest number that was looked at."""
    named: dict[str, float | None]
    """Share that names words of the right label only (gold), of others too (both), of others only (other), of no label
    (none)."""
    right: dict[str, float | None]
    """By the same, how well the label was predicted from those: accuracy, or the mean absolute error of an intensity.
    None where there are none of them."""
    measure: str
    """What the next three are in."""
    predicted: float | None
    """From the descriptions alone."""
    masked: float | None
    """From the descriptions with label words masked."""
    baseline: float | None
    """Without looking: always the commonest answer, or the mean."""


@dataclass(slots=True, kw_only=True)
class Row:
    runs: list[int]
    """Numbers of the runs it is made of, in the order of the seeds."""
    setting: dict[str, str | None]
    """By column of Table.settings; None where a key does not apply."""
    whole: dict[str, str]
    """All that its numbers depend on, by key."""
    seeds: list[int]
    counts: dict[str, tuple[int, int]]
    """Smallest and greatest of expected, used and scored."""
    readable: float
    """Share of the scored clips whose answer could be read, mean over the runs."""
    numbers: dict[str, Number]
    """By column of Table.metrics and Table.classes."""
    clips: list[str]
    """Hashes of the sets of clips, each once."""
    mark: str = ""
    """Letter of a footnote."""
    is_reference: bool = False
    """Others are compared with it, and it with none."""
    difference: Difference | None = None
    controls: dict[str, Difference] = field(default_factory=dict)
    """Of a row whose prompts show descriptions: by control, the difference to the row that is else the same and has the
    control's descriptions."""
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
    """All that is known of one task."""

    task: str
    about: dict[str, str]
    """What all rows have in common."""
    settings: list[str]
    metrics: list[str]
    classes: list[str]
    """Labels whose recall (of the lenient reader) is asked for, as `recall.LABEL`."""
    each: bool
    """One row a run, instead of one a setting."""
    rows: list[Row]
    published: list[Published] = field(default_factory=list)
    """Shown in a block of their own."""
    compared: str | None = None
    """The metric of the rows' differences; None where nothing is compared."""
    footnotes: dict[str, str]
    notes: list[str]
