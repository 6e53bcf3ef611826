"""The values that tables are made of."""

from dataclasses import dataclass

COUNTS = {"expected": "expected", "used": "used", "scored": "n_scored"}
"""The columns that say what a number stands on, and the key of metrics.json that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    mean: float | None
    """None where the metric is undefined for one of the runs."""
    sd: float | None
    """Sample standard deviation (n - 1); None for a single run."""


@dataclass(slots=True, kw_only=True)
class Row:
    runs: list[int]
    """Numbers of the runs it is made of, in the order of the seeds."""
    setting: dict[str, str | None]
    """By column of Table.settings; None where a key does not apply."""
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
    footnotes: dict[str, str]
    notes: list[str]
