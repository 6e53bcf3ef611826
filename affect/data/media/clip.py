"""A decoded clip, what is asked of it, and what can be wrong with its file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from affect.config import ModelConfig

VERSION = 3
"""Raise it when decode gives other samples, pixels, outcomes or notes: it is part of the keys of caches."""

SAMPLING_RATE = 16000
"""Hz, the rate that the speech encoders in use were trained on."""

MIN_SECONDS = 0.1
"""Shortest sound that is accepted; every encoder can encode that much."""

OUTCOMES = {
    "missing": "put the file there or correct the dataset's root",
    "unreadable": "make it a file that this account may read",
    "empty": "get the file again, or take the clip out of the annotation table",
    "corrupt": "get the file again, it is not what its name says or was damaged on the way",
    "truncated": "copy or download the file again, its end is missing",
    "no_audio": "leave the letter a out of modalities, or give the clip its sound",
    "no_video": "leave the letter v out of modalities, or give the clip its picture",
    "no_frames": "get the file again, or leave the letter v out of modalities",
    "too_short": "correct start and end of the clip in the annotation table, or take it out of it",
    "too_long": "raise model.max_seconds or cut the clip",
    "outside": "correct start and end of the clip in the annotation table",
}
"""Why a clip cannot be used, with the remedy."""

NOTES = {
    "missing_audio": "the last moments of their sound are missing or cannot be decoded",
    "missing_video": "the last moments of their picture are missing or cannot be decoded",
    "scaled": "samples above full scale had to be scaled down",
    "one_channel": "their channels cancel each other when they are mixed, so that one of them had to be taken",
}
"""Problems that do not exclude a clip."""


class MediaError(Exception):
    """A clip that cannot be used. `outcome` is a key of OUTCOMES, `detail` says what is wrong in a few words."""

    def __init__(self, outcome: str, path: str | Path, detail: str) -> None:
        assert outcome in OUTCOMES
        super().__init__(outcome, str(path), detail)  # all three are arguments, so that the error can be pickled
        self.outcome, self.path, self.detail = outcome, str(path), detail

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}; {OUTCOMES[self.outcome]}"


class OwnFrames(Protocol):
    """The choice of frames that a model's own processor makes."""

    key: str
    """Identifies the choice in the keys of caches."""

    def indices(self, total: int, rate: float) -> list[int]:
        """Ascending numbers, from 0, of the frames taken from a video with `total` frames, `rate` a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Which frames of a clip were taken, counted from the clip's start."""

    indices: tuple[int, ...]
    total: int
    """Number of frames in the clip."""
    rate: float
    """Frames a second; the mean where they are not evenly spaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What is decoded of a clip."""

    audio: bool
    """Whether the waveform is wanted."""
    video: bool
    """Whether frames are wanted."""
    num_frames: int
    """Number of frames, taken at the centres of that many equal parts of the clip's duration."""
    frame_size: int
    """Longest side of a frame in pixels. The aspect is kept; smaller frames are not enlarged."""
    max_seconds: float
    """Longer clips are refused."""
    own: OwnFrames | None = None
    """Chooses the frames instead, in their original size; num_frames and frame_size are then ignored."""
    only_needed: bool = False
    """Decode only the wanted pictures and those that they refer to. The waveform and frames are the same; damage in
    other pictures goes unnoticed, missing ends do not. Kept because knowledge=cues needs a third less processor time a
    clip with it (39 instead of 60 ms for 16 frames of 4 s at 640 × 360, 5 instead of 13 ms for the sound)."""

    @classmethod
    def of_model(cls, model: ModelConfig, modalities: Collection[str], own: OwnFrames | None = None) -> "Sampling":
        """How clips are sampled for the `modalities` (letters of "tav") of a model."""
        return cls(
            audio="a" in modalities,
            video="v" in modalities,
            num_frames=model.num_frames,
            frame_size=model.frame_size,
            max_seconds=model.max_seconds,
            own=own,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A decoded clip."""

    waveform: np.ndarray | None
    """float32[samples], mono, SAMPLING_RATE, in [-1, 1]; None if it was not asked for."""
    frames: np.ndarray | None
    """uint8[num_frames, height, width, 3], RGB; None if they were not asked for."""
    seconds: float
    """Duration of the clip, over which the frames were sampled."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Problems that did not exclude the clip: keys of NOTES, with details."""
    picked: Picked | None = None
    """The numbers of the frames, if `Sampling.own` chose them."""
