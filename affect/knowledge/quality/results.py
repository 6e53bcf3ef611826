"""What is found out about descriptions, as plain data."""

from dataclasses import dataclass, field

MEASURES = ("contradicted", "not there", "repetition", "words", "empty", "shared")
"""Of a description: whether it has a claim that is contradicted, and one about what is not there; its repetition,
number of words (characters in Chinese) and share of empty phrases; and whether another clip has the same text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A description with what is measured of it."""

    id: str
    group: str
    modality: str
    generator: str
    text: str
    verdicts: dict[str, tuple[str, str]]
    """By cue: what is claimed, and the verdict, one of claims.VERDICTS."""
    cues: dict[str, float | None]
    """The measurements that were claimed about."""
    measures: dict[str, float]
    """By name, of MEASURES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfGenerator:
    """The descriptions of one modality by one generator."""

    generator: str
    modality: str
    descriptions: int
    clips: int
    """Clips that were looked for."""
    claims: dict[str, dict[str, int]]
    """By cue, the number of claims by verdict."""
    means: dict[str, float]
    """By name, of MEASURES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of one measure: the mean of one side minus that of the other, with its interval over groups of clips."""

    measure: str
    one: float
    other: float
    low: float | None
    high: float | None
    p: float | None
    holm: float | None
    """p, adjusted for all measures of all tables that answer the same question."""
    reason: str
    """Why there is no interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """How the descriptions of clips that a run has right differ from those of clips that it has wrong."""

    generator: str
    modality: str
    task: str
    right: int
    wrong: int
    differences: list[Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two generators on the clips that both have described."""

    generators: tuple[str, str]
    modality: str
    clips: int
    differences: list[Difference]


@dataclass(slots=True, kw_only=True)
class Quality:
    generators: list[OfGenerator]
    associations: list[Association]
    comparisons: list[Comparison]
    descriptions: list[Judged]
    notes: list[str] = field(default_factory=list)
