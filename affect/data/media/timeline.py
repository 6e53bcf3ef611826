"""Durations that files declare, and the place of a clip in its file."""

import re
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from affect.data.media.clip import MediaError
from affect.data.media.streams import packet_end

TOLERANCE_SECONDS = 0.25
"""A track may end this much before its declared end, and a clip may be annotated to end this much behind its file.
Encoders' padding and rounded headers stay well below it."""

GUESSED_DURATION = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "amrnb", "amrwb", "mpeg", "h264", "hevc", "m4v"})
"""Formats that declare no duration. FFmpeg extrapolates one from the bit rate, which is far off if that varies."""

SPANS = frozenset({"mpegts"})
"""Formats for which FFmpeg's duration is the last time stamp minus the first. For others it can be either that or the
last time stamp alone, depending on the file."""

UNKNOWN_SIZE = 0x7FFF0000
"""Bytes. Programs that write to a pipe cannot fill in the size afterwards and put something near 2 or 4 GiB into the
header (sox 0x7ffff000, arecord 0x7fffffff or 0x80000000, FFmpeg 0xffffffff)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Time 0 of a file is its first time stamp, as players count; all times are seconds from there."""

    origin: float
    """The first time stamp, by the file's own clock."""
    declared: bool
    """Whether the file declares its duration; otherwise it was measured."""
    duration: float
    """Duration of the file."""
    stretch: float
    """Factor for the durations of tracks. FFmpeg shortens those of a truncated RIFF file to what is there; multiplied
    by this, they show that the end is missing."""
    lower: float
    upper: float
    """The clip's beginning and end."""
    open_end: bool
    """Whether the clip has no annotated end."""

    def of_track(self, stream: AudioStream | VideoStream) -> tuple[float, float | None]:
        """Beginning and declared end of a track; None if it declares none."""
        begin = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - self.origin
        if stream.duration is None:
            return begin, None
        return begin, begin + self.stretch * float(stream.duration * stream.time_base)

    def pictures(self, stream: VideoStream) -> tuple[float, float]:
        """From when to when the clip has a picture."""
        begin, end = self.of_track(stream)
        begin, upper = max(self.lower, begin), self.upper
        if end is not None:
            upper = min(upper, end)
        elif matroska := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, matroska.groups())  # the end of the track, by the file's own clock
            upper = min(upper, 3600 * hours + 60 * minutes + seconds - self.origin)
        return begin, max(begin, upper)


def timeline(
    container: InputContainer, path: str | Path, size: int, start: float | None, end: float | None
) -> Timeline:
    """The place of the clip from `start` to `end` (seconds, or None) in a file of `size` bytes. Raises MediaError if it
    lies outside the file."""
    origin = (container.start_time or 0) / av.time_base
    name = container.format.name
    declared = container.duration is not None and name not in GUESSED_DURATION
    stretch = _riff_size(path, size) / size if declared else 1.0
    duration = stretch * container.duration / av.time_base if declared else _scanned_seconds(path, origin)
    if declared and (origin > 0.001 or origin < -TOLERANCE_SECONDS) and name not in SPANS:
        duration -= max(0.0, origin)
        if end is None or end > duration:  # otherwise it does not matter which of the two it is
            duration = max(duration, _scanned_seconds(path, origin))
    if duration <= 0:
        raise MediaError("empty", path, "its duration is zero")
    lower, upper = start or 0.0, duration if end is None else end
    if not 0 <= lower < upper:
        raise MediaError("outside", path, f"the clip runs from {lower:g} to {upper:g} s, which is no time at all")
    if lower >= duration or upper > duration + TOLERANCE_SECONDS:
        detail = f"the clip runs from {lower:g} to {upper:g} s but the file ends at {duration:.2f} s"
        raise MediaError("outside", path, detail)
    return Timeline(
        origin=origin,
        declared=declared,
        duration=duration,
        stretch=stretch,
        lower=lower,
        upper=min(upper, duration),
        open_end=end is None,
    )


def _scanned_seconds(path: str | Path, origin: float) -> float:
    """Duration of a file from the time stamps of its packets, without decoding them."""
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        streams = *container.streams.audio, *container.streams.video
        ends = (packet_end(packet) - origin for packet in container.demux(*streams) if packet.pts is not None)
        return max(0.0, max(ends, default=0.0))


def _riff_size(path: str | Path, size: int) -> int:
    """Bytes that a RIFF file (wav, avi) declares; `size` for other formats and for headers that leave it open."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return size
    declared = int.from_bytes(head[4:8], "little")
    return size if declared == 0 or declared >= UNKNOWN_SIZE else max(size, declared + 8)
