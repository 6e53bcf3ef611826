"""The input and output of affect: a `Record` of a dataset, a `Prediction` of a model."""

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
    """Unique over all datasets and splits: `meld/val/0/1`. In some datasets, ids restart in every split."""
    dataset: str
    split: str
    """One of SPLITS; readers normalise the dataset's spelling (dev, valid, …)."""
    text: str
    """The transcript, as the dataset has it."""
    labels: Mapping[str, Value] = field(default_factory=dict)
    """Gold label by task name. Without one, a task is predicted for this record but not scored."""
    context: tuple[str, ...] = ()
    """Earlier turns of the conversation, oldest first, each already "Speaker: text"."""
    speaker: str | None = None
    group: str
    """What clips have in common (video, dialogue, speaker): the unit that clustered statistics resample."""
    media: str | None = None
    """Path of the clip's file; None if the dataset has no file for it."""
    start: float | None = None
    """Seconds into `media` at which the clip begins; None is the beginning of the file."""
    end: float | None = None
    """Seconds into `media` at which the clip ends; None is the end of the file."""
    audio_track: int | None = None
    """Number of the audio track of `media`, from 0; None is the file's default track. Set from datasets.X.audio_track,
    not by readers."""
    language: str = "en"
    source: str = ""
    """The annotation row it was read from, for messages: `dev_sent_emo.csv, row 3`."""
    knowledge: Mapping[str, str] = field(default_factory=dict)
    """Generated descriptions of the clip by modality: `audio`, `video` or `audio_video`. Set by knowledge.attach, not
    by readers."""

    @property
    def part(self) -> list[float | int | None]:
        """Identifies the clip within its file, for keys: start, end, and the audio track if one is chosen."""
        return [self.start, self.end, *([] if self.audio_track is None else [self.audio_track])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's answer for one record and one task. Every metric is computed from a list of these alone."""

    id: str
    dataset: str
    split: str
    task: str
    group: str
    target: Value | None
    """Gold value; None where the record has no label: predicted, not scored."""
    answer: str | None
    """The text that the model generated; None if labels were scored instead."""
    exact: Value | None
    """The value that exact parsing gives; None if it gives none."""
    lenient: Value | None
    """The value that lenient parsing gives; None if it gives none."""
    outcome: str
    """How lenient parsing ended: one of parsing.OUTCOMES."""
    readout: str
    """How the answer was obtained: `score`, `generate`, `constrained`, `expectation`, `head`, with changes to the
    scores in parentheses."""
    scores: Mapping[str, float] | None = None
    """Log-likelihood of every label, in nats, if labels were scored; minus that of the content-free prompt after
    `score(contextual)`."""
    error: str | None = None
    """Why there is no answer, if the outcome is `error`; or why parsing failed, if it says so (thoughts that are not
    closed)."""

    def __post_init__(self) -> None:
        # JSON has no tuples, and a prediction that was written and read back has to equal the original.
        if list not in (type(self.target), type(self.exact), type(self.lenient)):
            return
        for name in ("target", "exact", "lenient"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
