"""Records (utterances of a dataset) and predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from affect.config import Value

SPLITS = ("train", "val", "test")

SPLIT_NAMES = {"train": "train", "valid": "val", "val": "val", "dev": "val", "validation": "val", "test": "test"}
"""Split by the spellings that tables and pickles use, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One utterance of a dataset: what was said, where its clip is, and its labels."""

    id: str
    """Unique over all datasets and splits, since ids restart in every split of some sets: `meld/val/0/1`."""
    dataset: str
    split: str
    """One of SPLITS; a set's own spelling (dev, valid, …) is normalised by its reader."""
    text: str
    """The transcript, as the dataset has it."""
    labels: Mapping[str, Value] = field(default_factory=dict)
    """Gold label by task name. A task that is absent here is predicted for this record but not scored."""
    context: tuple[str, ...] = ()
    """Earlier turns of the conversation, oldest first, each already "Speaker: text"."""
    speaker: str | None = None
    group: str
    """What clips share (video, dialogue, speaker): the unit that is resampled in clustered statistics."""
    media: str | None = None
    """Path of the file that holds the clip; None when the dataset has no file for it."""
    start: float | None = None
    """Seconds into `media` at which the clip begins; None is the beginning of the file."""
    end: float | None = None
    """Seconds into `media` at which the clip ends; None is the end of the file."""
    audio_track: int | None = None
    """Which audio track of `media` is heard, counted from 0; None is the one that the file marks as its default. No
    reader fills it; it is datasets.X.audio_track."""
    language: str = "en"
    source: str = ""
    """The annotation row this came from, for messages: `dev_sent_emo.csv, row 3`."""
    knowledge: Mapping[str, str] = field(default_factory=dict)
    """Generated description of the clip by what it describes: `audio`, `video` or `audio_video`. No reader fills it;
    knowledge.attach does."""

    @property
    def part(self) -> list[float | int | None]:
        """What of its file the clip is, for keys: start, end, and the audio track where one was chosen."""
        return [self.start, self.end, *([] if self.audio_track is None else [self.audio_track])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model said about one record for one task. Every metric is computed from a list of these alone."""

    id: str
    dataset: str
    split: str
    task: str
    group: str
    target: Value | None
    """Gold value; None where the record has no label: predicted, not scored."""
    answer: str | None
    """The text the model generated; None when labels were scored instead."""
    exact: Value | None
    """The value read by the exact reader; None where it could not be read."""
    lenient: Value | None
    """The value read by the lenient reader; None where it could not be read."""
    outcome: str
    """How the lenient reading ended: one of answers.OUTCOMES."""
    readout: str
    """How the answer was obtained: `score`, `generate`, `constrained`, `expectation`, `head`; in parentheses what was
    done to the scores."""
    scores: Mapping[str, float] | None = None
    """Log-likelihood of every label, in nats, when labels were scored: less that without content after
    `score(contextual)`."""
    error: str | None = None
    """Why there is no answer, when the outcome is `error`; or why none was read, where the reader says so (thoughts
    that are not closed)."""

    def __post_init__(self) -> None:
        # JSON has no tuples; a prediction that was written and read back has to equal the one that was written.
        for name in ("target", "exact", "lenient"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
