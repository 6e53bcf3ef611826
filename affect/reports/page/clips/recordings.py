"""The sound and picture of clips for the page: where their files are, a small waveform, and small previews.

A waveform is two strings of BINS letters, the peaks and the level, and the magnitude of the largest peak. It is
measured once for every content of a file, and kept like the doctor's measurements (affect.data.clip_checks).
"""

import base64
import json
import math
import mimetypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from affect.data import Record
from affect.data.clip_checks import measure_clips
from affect.data.clips import ClipSource
from affect.data.media import SAMPLING_RATE, Clip, MediaError, Sampling, write_clip
from affect.data.workers import ahead

BINS = 160
"""Points of a waveform."""

QUIETEST = -60.0
"""dB relative to full scale, which the lowest level stands for; the highest stands for 0."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""Digits of peaks and levels, from 0 to 63."""

MAX_SECONDS = 600.0
"""Longer clips are shown without waveform and not embedded."""

MAX_WAVEFORMS = 3000
"""Clips whose waveform a page holds. Measuring a clip that was not measured before takes about 10 ms."""

VERSION = "page waveform 2"
"""Changes when `waveform` does."""

PREVIEW_SIZE = 240
"""Longest side of a preview, pixels."""

PREVIEW_RATE = 10.0
"""Frames a second of a preview."""

MAX_PREVIEW_BYTES = 30 * 2**20
"""Previews of a page, together."""


def link(media: str, folder: Path) -> str:
    """The address of a file relative to a page in `folder`, for any name that a file can have.

    >>> link("/data/a b#1%.wav", Path("/data/out"))
    '../a%20b%231%25.wav'
    """
    relative = os.path.relpath(os.path.abspath(media), os.path.abspath(folder))
    # In bytes: a name need not be UTF-8.
    return "/".join(quote(os.fsencode(part), safe="") for part in relative.split(os.sep))


def measured(record: Record) -> tuple[str, bool]:
    """For measure_clips: the waveform of a clip as JSON, or why there is none."""
    if record.media is None:
        return json.dumps({"why": "the dataset names no file for it"}), False
    try:
        clip = ClipSource().clip(record, _sampling(audio=True, num_frames=0))
    except MediaError as error:
        return json.dumps({"why": error.detail}), error.outcome not in ("missing", "unreadable")
    assert clip.waveform is not None
    return json.dumps({"seconds": round(clip.seconds, 3), **waveform(clip.waveform)}), True


def waveform(samples: np.ndarray) -> dict[str, str | float]:
    """Of float32[samples] in [-1, 1], in BINS parts of about equal length: `peaks`, the magnitudes relative to the
    largest, and `levels`, root mean squares in dB from QUIETEST to 0, as LETTERS; and `loudest`, the largest magnitude
    in dB."""
    edges = np.linspace(0, samples.size, BINS + 1).astype(int)
    starts = np.minimum(edges[:-1], samples.size - 1)
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    # A part of a very short clip may have no sample: reduceat takes the one at its start.
    sums = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    levels = 10 * np.log10(np.maximum(sums / np.maximum(np.diff(edges), 1), 1e-12))
    largest = max(float(peaks.max()), 1e-6)
    return {
        "peaks": _letters(peaks / largest),
        "levels": _letters(1 - np.clip(levels, QUIETEST, 0) / QUIETEST),
        "loudest": round(20 * math.log10(largest), 1),
    }


def _letters(shares: np.ndarray) -> str:
    """Numbers from 0 to 1 as LETTERS."""
    return "".join(LETTERS[round(63 * min(1.0, max(0.0, float(share))))] for share in shares)


def waveforms(records: Sequence[Record], cache_root: Path) -> Iterator[tuple[Record, dict]]:
    """Each record with its waveform, or why there is none. Raises DataError where the cache cannot be written."""
    rows = measure_clips(records, VERSION, measured, cache_root, num_workers=os.cpu_count() or 1)
    for record, _, text in rows:
        yield record, json.loads(text)


def is_sound(media: str) -> bool:
    """Whether a file holds sound alone, by its name."""
    return (mimetypes.guess_type(media)[0] or "").startswith("audio/")


def previews(records: Sequence[Record], most: int) -> Iterator[tuple[Record, dict[str, str] | None]]:
    """Each record, in order, with its preview as `type` and `data` (base64), until they are `most` bytes together. None
    where a clip cannot be decoded; records behind the limit are not given."""
    left = most
    for record, preview in ahead(_preview, records, os.cpu_count() or 1):
        if preview is not None:
            left -= len(preview["data"]) * 3 // 4
            if left < 0:
                return
        yield record, preview


def _preview(record: Record) -> dict[str, str] | None:
    """A clip as a small mp4 file (H.264, AAC); None where it cannot be decoded."""
    try:
        clip, frames, rate = _decoded(record)
    except MediaError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.mp4"
        write_clip(path, frames=frames, fps=rate, waveform=clip.waveform, sampling_rate=SAMPLING_RATE)
        kind = "audio/mp4" if frames is None else "video/mp4"
        return {"type": kind, "data": base64.b64encode(path.read_bytes()).decode()}


def _decoded(record: Record) -> tuple[Clip, np.ndarray | None, float]:
    """A clip with its sound, its frames with even sides, and their rate; with sound or frames alone where its file has
    no more. Raises MediaError."""
    source = ClipSource()
    try:
        clip = source.clip(record, _sampling(audio=True, num_frames=0))
    except MediaError as error:
        if error.outcome != "no_audio":
            raise
        clip = source.clip(record, _sampling(audio=False, num_frames=1))
    number = max(1, round(clip.seconds * PREVIEW_RATE))
    try:
        frames = source.clip(record, _sampling(audio=False, num_frames=number)).frames
    except MediaError as error:
        if error.outcome != "no_video" or clip.waveform is None:
            raise
        return clip, None, PREVIEW_RATE
    assert frames is not None
    _, height, width, _ = frames.shape
    return clip, frames[:, : max(2, height // 2 * 2), : max(2, width // 2 * 2)], number / clip.seconds


def _sampling(*, audio: bool, num_frames: int) -> Sampling:
    return Sampling(
        audio=audio,
        video=num_frames > 0,
        num_frames=max(1, num_frames),
        frame_size=PREVIEW_SIZE,
        max_seconds=MAX_SECONDS,
        only_needed=True,
    )
