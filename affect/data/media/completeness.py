"""Whether a clip's tracks are complete: damage, and ends that are missing.

The rule is the same for every codec, and for an end that is there but cannot be decoded.
"""

from dataclasses import dataclass, field
from pathlib import Path

from av.container import InputContainer
from av.stream import Stream

from affect.data.media.clip import MediaError
from affect.data.media.mp3 import xing_seconds
from affect.data.media.timeline import TOLERANCE_SECONDS, Timeline

TOLERANCE_SHARE = 0.1
"""A track is called truncated if it lacks more than TOLERANCE_SECONDS and more than this share of the clip, since long
recordings drift by more than a quarter of a second."""

NOTED_SECONDS = {"audio": 0.03, "video": 0.1}
"""A missing end is noted from here on. Rounded headers, encoders' delays, and the last picture, which has no duration
in some containers, stay below."""


@dataclass(kw_only=True)
class Track:
    """How far one track of a clip was decoded. Times are seconds from the file's first time stamp."""

    first: float | None = None
    """Beginning of the first decoded frame."""
    begun: float = 0.0
    """Beginning of the last decoded frame."""
    reached: float | None = None
    """Its end; None before the first frame."""
    failures: list[tuple[float, str]] = field(default_factory=list)
    """Time and message of what could not be decoded and is not followed by anything that could."""
    cut: bool = False
    """Whether the last packet, or what was decoded from it, is incomplete."""

    def advance(self, begin: float, end: float) -> None:
        """Takes note of a decoded frame."""
        self.first = begin if self.first is None else self.first
        self.begun, self.reached = begin, end


@dataclass(slots=True)
class Evidence:
    """What one pass over a file shows about its completeness. Times are seconds from the file's first time stamp."""

    damage: list[str] = field(default_factory=list)
    """Messages about what could not be decoded and is followed by something that could."""
    structure: list[str] = field(default_factory=list)
    """Messages about damage to the container, behind which no packet is found."""
    last_packet: float = 0.0
    """End of the last packet of any track."""
    longest_sound: float = 0.0
    """Seconds of the longest packet of sound."""

    def missing_end(
        self, path: str | Path, container: InputContainer, times: Timeline, stream: Stream, track: Track
    ) -> str | None:
        """Details if the end of a track is missing, and None if it is not. Raises MediaError if the track is damaged,
        or too much of its end is missing."""
        failures = [*self.structure, *(message for _, message in track.failures)]
        if track.reached is None and (self.damage or failures):
            first = (self.damage or failures)[0]
            raise MediaError("corrupt", path, f"no {stream.type} could be decoded ({first})")
        if self.damage:
            raise _damaged(path, self.damage)
        reached = track.reached or 0.0
        _, end = times.of_track(stream)
        is_declared = True
        xing = container.format.name == "mp3" and container.streams.audio
        if xing and (seconds := xing_seconds(path, container.streams.audio[0])) is not None:
            end = seconds
        elif end is None or not times.declared:  # only the file as a whole says when it ends
            end, reached, is_declared = times.duration, self.last_packet, times.declared
        expected = end if times.open_end and not times.declared else min(times.upper, end)
        if is_declared and failures:
            reached = min(reached, track.reached or 0.0)
        missing = expected - max(reached, times.lower)
        ends_early = f"its {stream.type} should last until {expected:.2f} s but ends at {max(reached, 0.0):.2f} s"
        if missing > max(TOLERANCE_SECONDS, TOLERANCE_SHARE * (expected - times.lower)):
            raise _damaged(path, self.structure) if self.structure else MediaError("truncated", path, ends_early)
        if failures and (track.reached or 0.0) < times.upper:
            reason = failures[0].partition(": ")[2]
            return f"its {stream.type} cannot be decoded after {track.reached:.2f} s ({reason})"
        # Matroska's duration can include what an encoder put before the sound, a packet.
        if missing > max(NOTED_SECONDS[stream.type], 0.0 if stream.duration else 1.2 * self.longest_sound):
            return ends_early
        if track.cut and track.begun < times.upper:
            return f"the last packet of its {stream.type}, at {track.begun:.2f} s, is not whole"
        return None


def _damaged(path: str | Path, messages: list[str]) -> MediaError:
    return MediaError("corrupt", path, f"it is damaged in {len(messages)} place(s), first {messages[0]}")
