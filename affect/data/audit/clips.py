"""Measurements of a clip: readable tracks, duration, loudness, black area."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from affect.data.clip_checks import TRANSIENT, measure_clips
from affect.data.clips import ClipSource
from affect.data.file_hashes import file_contents
from affect.data.media import VERSION as DECODE_VERSION
from affect.data.media import MediaError, Sampling
from affect.data.overlap import Content
from affect.data.record import Record

VERSION = 2
"""Raise it when clips are measured differently: cached measurements are then not used."""

MAX_SECONDS = 600.0
"""Longer clips are not decoded to their end, which limits memory: ten minutes of sound are 40 MB. The longest known
miscut clip (MELD) lasts five."""

NUM_FRAMES = 16
"""Frames that are measured, at the centres of equal parts of the clip."""

FRAME_SIZE = 64
"""Pixels of the longest side. Mean luma survives the shrinking, and 16 such frames take a millisecond."""

BLACK_LUMA = 0.10
BLACK_AREA = 0.98
"""A pixel is black up to this share of full luma, a frame when this share of its pixels are: the defaults of FFmpeg's
filter blackdetect (pixel_black_th, picture_black_ratio_th)."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue: ITU-R BT.601."""

FLOOR_DBFS = -100.0
"""Level of digital silence, whose logarithm does not exist; one step of 16 bits is -90 dBFS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    outcomes: Mapping[str, str] = field(default_factory=dict)
    """What is wrong, as media.OUTCOMES names it, with the detail; empty for a clip that can be used."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Problems that did not exclude the clip: keys of media.NOTES, with the detail."""
    seconds: float | None = None
    """Duration; None where nothing could be decoded."""
    level: float | None = None
    """Root mean square of the sound in dB relative to full scale; None where there is none, or it was not measured."""
    black: float | None = None
    """Share of the frames that are black; None where there are none, or they were not measured."""
    content: Content | None = None
    """Hashes of the file's content; None where it cannot be read."""


def measurements(
    records: Sequence[Record],
    modalities: str,
    cache_root: Path,
    *,
    num_workers: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Measurement]:
    """Measurement by record id. Every content is decoded once, also over several runs: see clip_checks.measure_clips,
    whose arguments these are. `modalities` are letters of "av".

    Raises DataError as measure_clips does.
    """
    wanted = "".join(letter for letter in "av" if letter in modalities)
    measured = measure_clips(
        records,
        f"doctor {VERSION} {DECODE_VERSION} {wanted}",
        partial(_as_text, wanted=wanted),
        cache_root,
        num_workers=num_workers,
        progress=progress,
    )
    texts = [(record, text) for record, _, text in measured]
    held = file_contents({r.media for r in records if r.media is not None}, cache_root, num_workers=num_workers)
    return {r.id: Measurement(**json.loads(text), content=held.get(r.media or "")) for r, text in texts}


def measure(record: Record, wanted: str) -> Measurement:
    """Decodes the tracks `wanted` (letters of "av") of a clip, and the other one where one is missing."""
    if record.media is None:
        return Measurement(outcomes={"missing": "the dataset has no file for it"})
    outcomes: dict[str, str] = {}
    lacking = {"no_audio": "a", "no_video": "v"}
    while wanted:
        sampling = Sampling(
            audio="a" in wanted,
            video="v" in wanted,
            num_frames=NUM_FRAMES,
            frame_size=FRAME_SIZE,
            max_seconds=MAX_SECONDS,
        )
        try:
            clip = ClipSource().clip(record, sampling)
        except MediaError as error:
            outcomes[error.outcome] = error.detail
            if error.outcome not in lacking:
                return Measurement(outcomes=outcomes)
            wanted = wanted.replace(lacking[error.outcome], "")
            continue
        return Measurement(
            outcomes=outcomes,
            notes=clip.notes,
            seconds=clip.seconds,
            level=None if clip.waveform is None else level(clip.waveform),
            black=None if clip.frames is None else black(clip.frames),
        )
    return Measurement(outcomes=outcomes)


def level(waveform: np.ndarray) -> float:
    """Root mean square of float[samples] in [-1, 1], in dB relative to full scale: 20 · log10 of it, so that a full
    square wave has 0 and a full sine -3.01. At least FLOOR_DBFS."""
    mean = float(np.mean(np.square(waveform, dtype=np.float64)))
    return max(FLOOR_DBFS, 10 * float(np.log10(mean))) if mean > 0 else FLOOR_DBFS


def black(frames: np.ndarray) -> float:
    """Share of the frames uint8[num_frames, height, width, 3] that are black (see BLACK_LUMA, BLACK_AREA)."""
    dark = frames @ LUMA <= BLACK_LUMA * 255
    return float((dark.mean(axis=(1, 2)) >= BLACK_AREA).mean())


def _as_text(record: Record, wanted: str) -> tuple[str, bool]:
    measured = measure(record, wanted)
    kept = {key: value for key, value in asdict(measured).items() if key != "content"}
    return json.dumps(kept), not TRANSIENT & measured.outcomes.keys()
