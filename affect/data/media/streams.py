"""Choice of a file's audio and video tracks, and their packets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from affect.data.media.clip import MediaError, Sampling


def choose(
    container: InputContainer, path: str | Path, sampling: Sampling, audio_track: int | None
) -> tuple[AudioStream | None, VideoStream | None]:
    """The audio and the video track of a clip, also the one that is not asked for. None for a track that the file does
    not have. Raises MediaError if that track is asked for."""
    audio = _default(container.streams.audio)
    if sampling.audio and audio is not None and audio_track is not None:
        count = len(container.streams.audio)
        if not 0 <= audio_track < count:
            detail = f"it has {count} audio track(s) and audio_track={audio_track} is none of them, counted from 0"
            raise MediaError("no_audio", path, detail)
        audio = container.streams.audio[audio_track]
    # FFmpeg presents the cover picture of a sound file as a video track.
    video = _default([s for s in container.streams.video if not s.disposition & Disposition.attached_pic])
    if sampling.audio and audio is None:
        raise MediaError("no_audio", path, "it has no audio track")
    if sampling.video and video is None:
        raise MediaError("no_video", path, "it has no video track")
    return audio, video


def _default(streams: Sequence) -> AudioStream | VideoStream | None:
    """The track that players choose: the first that is marked as default and is no commentary; if none is marked, the
    first."""
    marked = [stream for stream in streams if stream.disposition & Disposition.default] or streams
    return next((s for s in marked if not s.disposition & Disposition.comment), next(iter(marked), None))


def packets(container: InputContainer, streams: Sequence, damage: list[str]) -> Iterator[av.Packet]:
    """The packets of `streams` in the order of the file. Damage to the file's structure ends them and is appended to
    `damage`."""
    try:
        yield from container.demux(streams)
    except av.FFmpegError as error:
        # A transport stream raises "try again" where it finds no further packet.
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            raise
        damage.append(f"in the order of its packets: {error.strerror}")


def seconds(stamp: int, source: av.Packet | av.VideoFrame) -> float:
    """The same as `float(stamp * source.time_base)`, without the slow arithmetic of fractions."""
    base = source.time_base
    return stamp * base.numerator / base.denominator


def packet_end(packet: av.Packet) -> float:
    """Seconds at which a packet with a time stamp ends, by the file's own clock."""
    return seconds(packet.pts + (packet.duration or 0), packet)
