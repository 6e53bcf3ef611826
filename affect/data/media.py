"""Decodes one clip from its file into a waveform and frames. The only module that opens media.

Whatever can be wrong with a file ends in a `MediaError` with one of OUTCOMES. Nothing is repaired: a clip that is cut
short or damaged would otherwise be trained on as if it were whole. Problems that do not exclude a clip are reported as
notes, keys of NOTES.

Time 0 of a file is its first time stamp, as players count. Every sample and frame is placed by its own time stamp:
where a track has no sound, because it begins late or has a hole, the waveform is silent.
"""

import math
import os
import re
import stat
import uuid
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

VERSION = 3
"""To be raised when decode gives other samples, pixels, outcomes or notes; what was kept before is then not used."""

SAMPLING_RATE = 16000
"""Hz. What every speech encoder in use was trained on."""

MIN_SECONDS = 0.1
"""Of sound: every encoder makes something of that much."""

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
"""Everything that can be wrong with a clip, and the remedy."""

NOTES = {
    "missing_audio": "the last moments of their sound are missing or cannot be decoded",
    "missing_video": "the last moments of their picture are missing or cannot be decoded",
    "scaled": "samples above full scale had to be scaled down",
    "one_channel": "their channels cancel each other when they are mixed, so that one of them had to be taken",
}
"""Problems that do not exclude a clip."""

TOLERANCE_SECONDS = 0.25
TOLERANCE_SHARE = 0.1
"""A track may end this much before its declared end. Encoders' padding and rounded headers stay well below a quarter of
a second; only what also exceeds a tenth of the clip is called truncated, since long recordings drift by more. The rule
is the same for every codec, and for an end that is there but cannot be decoded."""

NOTED_SECONDS = {"audio": 0.03, "video": 0.1}
"""An end that is missing is noted from here on. Rounded headers, the delays of encoders, and the last picture, which
some containers give no duration, stay below."""

CLOCK_SECONDS = 0.02
"""Samples follow each other without a break while their time stamps say so within this much: containers round stamps,
to a millisecond in Matroska. A larger difference is a hole or an overlap, and what follows is placed by its stamp."""

PREROLL = 0.5
"""Seconds before a clip from which on it is decoded. Audio decoders need some packets before the first one that is
right; the frames of an mp3 of few bits a second refer to the most, a fifth of a second."""

CANCELLATION = 0.4
"""Channels cancel each other where the power of their mean is below this by the squared number of channels, relative to
the loudest. One channel that is alone among silent ones has 1 by this number, so only opposite ones fall below it; of
two channels, those with a correlation below -0.8."""

CANCELLATION_SECONDS = 0.5
"""Cancellation is looked for in parts of this length, since a recording can change its polarity midway. Parts that are
20 dB below the loudest do not count."""

GUESSED_DURATION = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "amrnb", "amrwb", "mpeg", "h264", "hevc", "m4v"})
"""Formats without a declared duration. FFmpeg extrapolates one from the bit rate, which is far off for a variable
rate."""

SPANS = frozenset({"mpegts"})
"""Formats whose duration FFmpeg finds as the last time stamp less the first. What others declare is that in some files,
and in others the last time stamp alone."""

INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "wav", "flac", "avi"})
"""Formats that know where their key frames are. Others are read from their beginning, since a jump into them can land
behind the key frame that the clip's first picture needs."""

INDEPENDENT = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})
"""Codecs whose decoders leave out, when told so between two packets, what no other picture is made of."""

HASTY = {"skip_frame": "all", "max_probe_packets": "8"}
"""Options of opening a file without decoding its first picture, which FFmpeg would throw away, and without looking for
another format in more than the first packets of plain samples (some wav files hold DTS). This is most of the work on a
sound file of a few seconds."""


class MediaError(Exception):
    """A clip that cannot be used. `outcome` is a key of OUTCOMES, `detail` says what is wrong in a few words."""

    def __init__(self, outcome: str, path: str | Path, detail: str) -> None:
        assert outcome in OUTCOMES
        super().__init__(outcome, str(path), detail)  # all three, or it could not travel back from a worker process
        self.outcome, self.path, self.detail = outcome, str(path), detail

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}; {OUTCOMES[self.outcome]}"


class OwnFrames(Protocol):
    """Which frames a model's own processor takes of a video."""

    key: str
    """What tells the choice from every other, for caches."""

    def indices(self, total: int, rate: float) -> list[int]:
        """Of a video with `total` frames, `rate` a second: the numbers of those it takes, the first being 0, in
        ascending order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Which frames of a clip were taken, as its file counts them from the clip's start."""

    indices: tuple[int, ...]
    total: int
    """Frames of the whole clip."""
    rate: float
    """Frames a second; the mean where they are not evenly spaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What is taken from a clip."""

    audio: bool
    """Whether the waveform is wanted."""
    video: bool
    """Whether frames are wanted."""
    num_frames: int
    """Frames at the centres of so many equal parts of the clip's duration."""
    frame_size: int
    """Longest side of a frame in pixels. The aspect is kept; smaller frames are not enlarged."""
    max_seconds: float
    """Longer clips are refused."""
    own: OwnFrames | None = None
    """Which frames are taken, in their own size, in the place of num_frames and frame_size."""
    only_needed: bool = False
    """Whether only those pictures are decoded that are wanted, or that others are made of: the same waveform and frames
    for less work, for who measures. Damage of the pictures in between goes unnoticed, missing ends do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    waveform: np.ndarray | None
    """float32[samples], mono, SAMPLING_RATE, in [-1, 1]; None where it was not wanted."""
    frames: np.ndarray | None
    """uint8[num_frames, height, width, 3], RGB; None where they were not wanted."""
    seconds: float
    """Duration of the clip: what the frames were sampled from."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Problems that did not exclude the clip: keys of NOTES, with the detail in a few words."""
    picked: Picked | None = None
    """Which frames those are, where `Sampling.own` chose them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How a file is read. The first pass over a file can show that a second one is needed."""

    hasty: bool = False
    """Whether the file is opened with HASTY."""
    seek: bool = True
    """Whether to jump to the clip."""
    gain: float = 1.0
    """What samples are multiplied by before they are mixed."""
    channel: int | None = None
    """The one channel that is taken; None mixes all of them."""


def decode(
    path: str | Path,
    sampling: Sampling,
    start: float | None = None,
    end: float | None = None,
    audio_track: int | None = None,
) -> Clip:
    """Reads the clip of `path` that lies between `start` and `end` (seconds; None is the beginning, the end).

    The waveform begins at `start` and is silent where the file has no sound. Where `end` is given, it is exactly that
    long. A frame is the one on display at its moment, so a clip with fewer frames than `num_frames` gives some of them
    twice; before the first picture that one is shown.

    audio_track: which of the file's audio tracks is read, counted from 0 as in FFmpeg's `0:a:1`; None is the one that
    the file marks as its default, or else the first. Channels are mixed to their mean.

    Both tracks come out of one pass over the file. Safe to call from many threads; each call uses one.

    Raises MediaError.
    """
    assert sampling.audio or sampling.video, "nothing is wanted of the clip"
    assert not sampling.video or (sampling.num_frames > 0 and sampling.frame_size > 0)
    size = _file_size(path)
    try:
        # Without "file:", FFmpeg takes names with a colon for addresses of other protocols.
        reading = _Reading(hasty=sampling.only_needed)
        while True:
            options = HASTY if reading.hasty else {}
            with av.open(f"file:{path}", metadata_errors="ignore", options=options) as container:
                clip = _decode(container, path, size, sampling, start, end, audio_track, reading)
            if isinstance(clip, Clip):
                return clip
            reading = clip
    except av.FFmpegError as error:
        outcome = "unreadable" if isinstance(error, OSError) else "corrupt"
        raise MediaError(outcome, path, f"it cannot be decoded ({error.strerror})") from error


def _file_size(path: str | Path) -> int:
    """Bytes, after ruling out what needs no decoder. The file is opened, since only that tells whether it may be
    read."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("missing", path, "there is no such file") from error
    except OSError as error:
        raise MediaError("unreadable", path, f"it cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("unreadable", path, "it is not a regular file")
    if status.st_size == 0:
        raise MediaError("empty", path, "the file has zero bytes")
    return status.st_size


def _decode(
    container: InputContainer,
    path: str | Path,
    size: int,
    sampling: Sampling,
    start: float | None,
    end: float | None,
    audio_track: int | None,
    reading: _Reading,
) -> Clip | _Reading:
    """The clip, or how the file has to be read instead."""
    if reading.hasty and container.format.name == "matroska,webm":
        # Without a decoded picture FFmpeg does not learn when the picture begins, and takes the sound's beginning.
        return replace(reading, hasty=False)
    audio_stream = _audio_stream(container, audio_track, path) if sampling.audio else _default(container.streams.audio)
    # A cover picture of a sound file is a video track to FFmpeg.
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    video_stream = _default(films)
    if sampling.audio and audio_stream is None:
        raise MediaError("no_audio", path, "it has no audio track")
    if sampling.video and video_stream is None:
        raise MediaError("no_video", path, "it has no video track")

    origin = (container.start_time or 0) / av.time_base
    guessed = container.duration is None or container.format.name in GUESSED_DURATION
    # Only RIFF files shrink their declared duration to what is there; stretched back, a missing end shows.
    stretch = 1.0 if guessed else _riff_size(path, size) / size
    duration = _scanned_seconds(path, origin) if guessed else stretch * container.duration / av.time_base
    if not guessed and (origin > 0.001 or origin < -TOLERANCE_SECONDS) and container.format.name not in SPANS:
        duration -= max(0.0, origin)
        if end is None or end > duration:  # else it does not matter which of the two it is
            duration = max(duration, _scanned_seconds(path, origin))
    lower, upper = _window(path, start, end, duration)
    too_long = MediaError(
        "too_long", path, f"the clip lasts {upper - lower:.2f} s and max_seconds is {sampling.max_seconds:g}"
    )
    # A sound file without a declared duration may have bytes behind its last frame; only decoding shows that.
    end_is_known = end is not None or not guessed or sampling.video
    if end_is_known and upper - lower > sampling.max_seconds + 0.001:  # a millisecond: annotated times are rounded
        raise too_long

    sound = frames = None
    tracks: dict[int, _Waveform | _Frames] = {}
    if sampling.audio:
        sound = tracks[audio_stream.index] = _Waveform(lower, None if end is None else upper, reading)
        sound.exact = audio_stream.codec_context.name.startswith(("pcm_f", "wavpack"))
    if sampling.video:
        # AVI stores no presentation times. FFmpeg's guesses go back and forth where frames are stored out of order; the
        # order of decoding does not, and is late by two frames or so at most.
        timed = container.format.name != "avi"
        pixel_aspect = float(video_stream.sample_aspect_ratio or 1)
        frames = tracks[video_stream.index] = _Frames(sampling, lower, upper, pixel_aspect, timed)
        if sampling.own is not None:
            begin, ends = _shown(video_stream, lower, upper, origin, stretch)
            frames.choose(sampling.own, begin, ends, _rate(video_stream, path))
    # Both tracks, also where one is wanted: the packets of the other tell whether the file's end is there.
    read = [stream for stream in (audio_stream, video_stream) if stream is not None]
    for stream in read:
        stream.codec_context.thread_count = 1  # clips are decoded in parallel already
    sought = bool(start) and reading.seek and container.format.name in INDEXED
    if sought:
        try:
            container.seek(round((max(0.0, lower - PREROLL) + origin) * av.time_base))
        except av.FFmpegError:
            return replace(reading, seek=False)

    damage: list[str] = []
    structure: list[str] = []
    last_packet = longest_sound = 0.0
    packets = _packets(container, read, structure)
    if sampling.only_needed and frames is not None and frames.timed and video_stream.name in INDEPENDENT:
        told = _sorted_out(packets, video_stream.index, frames.moments, origin)
    else:
        told = ((packet, True) for packet in packets)
    for packet, needed in told:
        if packet.pts is not None:
            last_packet = max(last_packet, _seconds(packet.pts + (packet.duration or 0), packet) - origin)
        if audio_stream is not None and packet.stream_index == audio_stream.index and packet.duration:
            longest_sound = max(longest_sound, _seconds(packet.duration, packet))
        if packet.stream_index not in tracks:
            continue
        track = tracks[packet.stream_index]
        if track is frames and sampling.only_needed:
            if frames.complete:
                frames.pass_over(packet, origin)
                continue
            # What other pictures are made of is decoded all the same.
            video_stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        if packet.size:
            # Where a wav file does not know its size, FFmpeg takes its last packet for one that is not whole.
            track.cut = packet.is_corrupt and (container.format.name != "wav" or stretch > 1)
            track.cut |= track is sound and _is_cut_mp3(packet, audio_stream)
        begin = track.reached or 0.0 if packet.pts is None else _seconds(packet.pts, packet) - origin
        try:
            for frame in packet.decode():
                track.add(frame, origin)
                if track.failed and track.begun >= track.failed[0][0]:  # what follows the failure can be decoded
                    damage += [message for _, message in track.failed]
                    track.failed.clear()
        except av.FFmpegError as error:
            if track.reached is None or track.reached >= lower:
                track.failed.append((begin, f"at {track.reached or 0.0:.2f} s: {error.strerror}"))
        except ValueError as error:  # the track changes its channels or rate midway
            if track.reached is None or track.reached >= lower:
                damage.append(f"at {track.reached or 0.0:.2f} s: {error}")
        if end is None and (track.reached or 0.0) > lower + sampling.max_seconds + TOLERANCE_SECONDS:
            if not end_is_known:
                raise too_long
            lies = f"more than {sampling.max_seconds:g} s (max_seconds) were decoded, though it declares {duration:.2f}"
            raise MediaError("too_long", path, f"{lies} s")
        if end is not None and all((other.reached or 0.0) > upper + TOLERANCE_SECONDS for other in tracks.values()):
            break
    if sought and any(track.begins_late() for track in tracks.values()):
        return replace(reading, seek=False)

    notes: dict[str, str] = {}
    for index, track in tracks.items():
        stream = container.streams[index]
        failures = [*structure, *(message for _, message in track.failed)]
        if track.reached is None and (damage or failures):
            first = (damage or failures)[0]
            raise MediaError("corrupt", path, f"no {stream.type} could be decoded ({first})")
        if damage:
            raise MediaError("corrupt", path, f"it is damaged in {len(damage)} place(s), first {damage[0]}")
        declared = True
        if guessed and (track_end := _xing_seconds(path, container, audio_stream)) is not None:
            reached = track.reached or 0.0
        elif stream.duration is None or guessed:  # then only the file as a whole declares when it ends
            track_end, reached, declared = duration, last_packet, not guessed
        else:
            first = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - origin
            track_end, reached = first + stretch * float(stream.duration * stream.time_base), track.reached or 0.0
        expected = track_end if guessed and end is None else min(upper, track_end)
        if declared and failures:
            reached = min(reached, track.reached or 0.0)
        missing = expected - max(reached, lower)
        if missing > max(TOLERANCE_SECONDS, TOLERANCE_SHARE * (expected - lower)):
            if structure:
                raise MediaError("corrupt", path, f"it is damaged in 1 place(s), first {structure[0]}")
            detail = f"its {stream.type} should last until {expected:.2f} s but ends at {max(reached, 0.0):.2f} s"
            raise MediaError("truncated", path, detail)
        note = None
        if failures and (track.reached or 0.0) < upper:
            reason = failures[0].partition(": ")[2]
            note = f"its {stream.type} cannot be decoded after {track.reached:.2f} s ({reason})"
        # Matroska's duration can count what an encoder put before the sound, a packet.
        elif missing > max(NOTED_SECONDS[stream.type], 0.0 if stream.duration else 1.2 * longest_sound):
            note = f"its {stream.type} should last until {expected:.2f} s but ends at {max(reached, 0.0):.2f} s"
        elif track.cut and track.begun < upper:
            note = f"the last packet of its {stream.type}, at {track.begun:.2f} s, is not whole"
        if note:
            notes[f"missing_{stream.type}"] = note
    if not end_is_known:  # bytes that cannot be decoded do not count as time
        if sound.failed:
            upper = max(lower, min(upper, sound.reached or 0.0))
        if upper - lower > sampling.max_seconds + 0.001:
            raise too_long
    waveform = None
    if sound is not None:
        waveform = sound.finish(path, upper)
        gain, channel = sound.remedies(path)
        if (gain, channel) != (1.0, None) and reading == replace(reading, gain=1.0, channel=None):
            return replace(reading, gain=gain, channel=channel)
        if reading.gain != 1.0:
            notes["scaled"] = f"its samples reach {1 / reading.gain:.4g} times full scale and were divided by that"
        if reading.channel is not None:
            notes["one_channel"] = (
                f"its channels cancel each other when mixed, so channel {reading.channel} alone was taken"
            )
    return Clip(
        waveform=waveform,
        frames=None if frames is None else frames.finish(path),
        seconds=upper - lower,
        notes=notes,
        picked=None if frames is None else frames.chosen,
    )


def _default(streams: Sequence) -> AudioStream | VideoStream | None:
    """The track that players take: the first that is marked as the default and is no commentary; where none is marked,
    the first."""
    marked = [stream for stream in streams if stream.disposition & Disposition.default] or streams
    return next((s for s in marked if not s.disposition & Disposition.comment), next(iter(marked), None))


def _audio_stream(container: InputContainer, number: int | None, path: str | Path) -> AudioStream | None:
    """The audio track `number`, or the default one. None where there is none at all."""
    streams = container.streams.audio
    if number is None or not streams:
        return _default(streams)
    if not 0 <= number < len(streams):
        raise MediaError(
            "no_audio",
            path,
            f"it has {len(streams)} audio track(s) and audio_track={number} is none of them, counted from 0",
        )
    return streams[number]


def _window(path: str | Path, start: float | None, end: float | None, duration: float) -> tuple[float, float]:
    """Where the clip begins and ends in its file, in seconds."""
    if duration <= 0:
        raise MediaError("empty", path, "its duration is zero")
    lower, upper = start or 0.0, duration if end is None else end
    if not 0 <= lower < upper:
        raise MediaError("outside", path, f"the clip runs from {lower:g} to {upper:g} s, which is no time at all")
    if lower >= duration or upper > duration + TOLERANCE_SECONDS:
        raise MediaError(
            "outside", path, f"the clip runs from {lower:g} to {upper:g} s but the file ends at {duration:.2f} s"
        )
    return lower, min(upper, duration)


def _shown(stream: VideoStream, lower: float, upper: float, origin: float, stretch: float) -> tuple[float, float]:
    """From when to when the clip between `lower` and `upper` has a picture, in seconds of its file."""
    first = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - origin
    begin = max(lower, first)
    if stream.duration is not None:
        upper = min(upper, first + stretch * float(stream.duration * stream.time_base))
    elif matroska := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, matroska.groups())  # when the track ends, by the file's own clock
        upper = min(upper, 3600 * hours + 60 * minutes + seconds - origin)
    return begin, max(begin, upper)


def _rate(stream: VideoStream, path: str | Path) -> float:
    """Frames a second. Raises MediaError where the file does not say."""
    if not (rate := stream.average_rate or stream.guessed_rate):
        detail = "its video track does not say how many frames a second it has, and model.media=native goes by that"
        raise MediaError("corrupt", path, detail)
    return float(rate)


def _packets(container: InputContainer, streams: list, damage: list[str]) -> Iterator[av.Packet]:
    """The packets of `streams` as they stand in the file; damage to the file's structure ends them and is noted."""
    try:
        yield from container.demux(streams)
    except av.FFmpegError as error:
        # A transport stream says "try again" where it finds no further packet.
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            raise
        damage.append(f"in the order of its packets: {error.strerror}")


def _seconds(stamp: int, source: av.Packet | av.VideoFrame) -> float:
    """What `float(stamp * source.time_base)` is, without the arithmetic of fractions."""
    base = source.time_base
    return stamp * base.numerator / base.denominator


def _sorted_out(
    packets: Iterator[av.Packet], index: int, moments: list[float], origin: float
) -> Iterator[tuple[av.Packet, bool]]:
    """Tells of each packet of the video track `index` whether its picture is on display at one of `moments`, in their
    order.

    A picture is on display until the next one is, and that one can lie behind it in the file. So packets are held, ten
    or so, until it is there for certain: no later packet is displayed before its own time of decoding. True where that
    cannot be told.
    """
    held: deque[av.Packet] = deque()
    stamps: list[int] = []  # of all pictures so far, sorted
    for packet in packets:
        if packet.stream_index != index:
            yield packet, True
            continue
        held.append(packet)
        if packet.pts is None or packet.dts is None or packet.pts < packet.dts:  # the last packet, empty, has neither
            yield from ((one, True) for one in held)
            held.clear()
            continue
        insort(stamps, packet.pts)
        while held:
            stamp = held[0].pts
            after = bisect_right(stamps, stamp)
            if after == len(stamps) or stamps[after] > packet.dts:
                break
            # Before the first picture the first one is shown.
            begin = 0 if stamp == stamps[0] else bisect_left(moments, _seconds(stamp, packet) - origin)
            shown = begin < len(moments) and moments[begin] < _seconds(stamps[after], packet) - origin
            yield held.popleft(), shown
    yield from ((one, True) for one in held)


def _scanned_seconds(path: str | Path, origin: float) -> float:
    """Duration of a file that does not declare one, from the times of its sound and picture packets; nothing is
    decoded."""
    last = 0.0
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        for packet in container.demux(*container.streams.audio, *container.streams.video):
            if packet.pts is not None:
                last = max(last, _seconds(packet.pts + (packet.duration or 0), packet) - origin)
    return last


UNKNOWN_SIZE = 0x7FFF0000
"""Bytes. Programs that write to a pipe cannot come back to fill in how much they wrote, and put something near 2 or 4
GiB into the header (sox 0x7ffff000, arecord 0x7fffffff or 0x80000000, FFmpeg 0xffffffff)."""


def _riff_size(path: str | Path, size: int) -> int:
    """Bytes a RIFF file (wav, avi) says it has; `size` for other formats and for headers that leave it open."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return size
    declared = int.from_bytes(head[4:8], "little")
    return size if declared == 0 or declared >= UNKNOWN_SIZE else max(size, declared + 8)


def _xing_seconds(path: str | Path, container: InputContainer, stream: AudioStream | None) -> float | None:
    """Duration that the first frame of an mp3 declares; None where it declares none."""
    if container.format.name != "mp3" or stream is None:
        return None
    with open(path, "rb") as file:
        head = file.read(10)
        # An ID3 tag stands before, with its size in four times seven bits.
        tag = sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10])) + 10 if head[:3] == b"ID3" else 0
        file.seek(tag)
        frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or not frame[at + 7] & 1:
        return None
    samples = 1152 if stream.codec_context.sample_rate >= 32000 else 576  # a frame of MPEG-1, of MPEG-2 and 2.5
    total = int.from_bytes(frame[at + 8 : at + 12], "big") * samples
    if frame[at + 7] & 15 == 15:  # behind frames, bytes, table and quality: what the encoder added at both ends
        added = int.from_bytes(frame[at + 141 : at + 144], "big")
        total -= (added >> 12) + (added & 0xFFF)
    return total / stream.codec_context.sample_rate


BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s of MPEG-1 (True) and of MPEG-2 and 2.5, layer III, by the index in a frame's header (ISO/IEC 11172-3)."""


def _is_cut_mp3(packet: av.Packet, stream: AudioStream) -> bool:
    """Whether an mp3 frame is shorter than its header says: FFmpeg makes sound of it all the same."""
    head = bytes(memoryview(packet)[:4]) if stream.codec_context.name.startswith("mp3") else b""
    # Twelve bits of synchronisation and version, layer III.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 4 in (0, 15):
        return False
    first = head[1] & 0x18 == 0x18  # MPEG-1
    bits = BIT_RATES[first][head[2] >> 4] * 1000
    return packet.size < (144 if first else 72) * bits // stream.codec_context.sample_rate + (head[2] >> 1 & 1)


class _Waveform:
    """Collects the decoded audio of one clip."""

    def __init__(self, lower: float, upper: float | None, reading: _Reading) -> None:
        self.lower, self.upper, self.reading = lower, upper, reading
        self.exact = False
        """Whether samples are floats as they were written, not as a lossy codec overshoots."""
        self.runs: list[tuple[float, list[np.ndarray]]] = []
        """Samples that follow each other without a break, with the time of the first."""
        self.run_end = 0.0
        self.first: float | None = None
        self.begun = 0.0
        self.reached: float | None = None
        self.failed: list[tuple[float, str]] = []
        """Time and message of what could not be decoded and is not followed by anything that could."""
        self.cut = False
        """Whether the last packet, or what came of it, is not whole."""
        self.powers: list[np.ndarray] = []
        """Sums of squares by channel, and that of the mean of the channels, of every CANCELLATION_SECONDS."""
        self.measured = math.inf
        """Seconds of the last of them."""
        self.peak = 0.0

    def begins_late(self) -> bool:
        """Whether what comes first does not reach back to the clip's beginning, with what decoders need before it."""
        return self.first is None or self.first > max(0.0, self.lower - PREROLL / 2) + 0.001

    def add(self, frame: av.AudioFrame, origin: float) -> None:
        time = (self.reached or 0.0) if frame.time is None else frame.time - origin
        self.first = time if self.first is None else self.first
        self.begun, self.reached = time, time + frame.samples / frame.sample_rate
        self.cut = self.cut or frame.is_corrupt
        if self.reached < self.lower - 0.1:  # the resampler looks back a few milliseconds, not more
            return
        if not self.runs or abs(time - self.run_end) > CLOCK_SECONDS:
            self._end_run()
            # To 16-bit integers, as `ffmpeg -ac 1 -ar 16000` does: only then does FFmpeg normalise its downmix. Asked
            # for floats it adds the channels up, and stereo comes out 3 dB louder than mono, beyond [-1, 1].
            self.resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLING_RATE)
            self.runs.append((time, []))
            self.run_end = time
        self.run_end += frame.samples / frame.sample_rate
        if self.reading.gain != 1.0 or self.reading.channel is not None:
            frame = _remixed(frame, self.reading)
        elif self.exact or frame.layout.nb_channels > 1:
            self._measure(frame, time)
        self.runs[-1][1].extend(_samples(piece) for piece in self.resampler.resample(frame))

    def _end_run(self) -> None:
        if self.runs:
            self.runs[-1][1].extend(_samples(piece) for piece in self.resampler.resample(None))

    def _measure(self, frame: av.AudioFrame, time: float) -> None:
        """Takes account of what of a frame lies in the clip."""
        begin = max(0, round((self.lower - time) * frame.sample_rate))
        stop = None if self.upper is None else max(0, round((self.upper - time) * frame.sample_rate))
        samples = _channels(frame)[:, begin:stop]
        if not samples.size:
            return
        if self.exact:
            self.peak = max(self.peak, float(np.abs(samples).max()))  # NaN stays where it comes first
            self.peak = self.peak if np.isfinite(samples).all() else math.nan
        powers = np.append(np.square(samples).sum(axis=1), np.square(samples.mean(axis=0)).sum())
        if self.measured >= CANCELLATION_SECONDS:
            self.powers.append(np.zeros_like(powers))
            self.measured = 0.0
        self.powers[-1] += powers
        self.measured += samples.shape[1] / frame.sample_rate

    def remedies(self, path: str | Path) -> tuple[float, int | None]:
        """By what samples have to be multiplied, and which channel has to be taken alone; 1 and None where mixing them
        is right. Raises MediaError."""
        if not math.isfinite(self.peak):
            raise MediaError("corrupt", path, "its sound has samples that are not numbers, or infinite")
        gain, channel = 1 / max(1.0, self.peak), None
        if self.powers and len(self.powers[0]) > 2:
            if len(self.powers) > 1 and self.measured < CANCELLATION_SECONDS:  # a rest is too short to tell
                self.powers[-2:] = [self.powers[-2] + self.powers[-1]]
            powers = np.stack(self.powers)
            by_channel, mixed = powers[:, :-1], powers[:, -1]
            loudest = by_channel.max(axis=1)
            cancelled = mixed < CANCELLATION / by_channel.shape[1] ** 2 * loudest
            if (cancelled & (loudest > 0.01 * loudest.max())).any():
                channel = int(by_channel.sum(axis=0).argmax())
        return gain, channel

    def finish(self, path: str | Path, upper: float) -> np.ndarray:
        """float32[samples] from `lower`: to `upper` where the clip's end is given, else to the end of the track, with
        silence behind it where that is well before `upper`."""
        self._end_run()
        pieces = [(round((time - self.lower) * SAMPLING_RATE), np.concatenate(own)) for time, own in self.runs if own]
        length = round((upper - self.lower) * SAMPLING_RATE)
        if self.upper is None:
            last = max((at + len(piece) for at, piece in pieces), default=0)
            near = last > length - TOLERANCE_SECONDS * SAMPLING_RATE
            length = max(0, last) if near else length
        waveform = np.zeros(length, dtype=np.int16)
        count = 0
        for at, piece in pieces:
            begin, stop = max(0, at), min(length, at + len(piece))
            if begin < stop:
                waveform[begin:stop] = piece[begin - at : stop - at]
                count += stop - begin
        # A hole in a track is silence. But where the track has ended, there is no sound that could be silent.
        over = self.upper is None or (self.reached or 0.0) < self.upper
        count = min(count, length) if over else length
        if count == 0:
            raise MediaError("empty", path, "its audio track holds no samples")
        if count < MIN_SECONDS * SAMPLING_RATE:
            raise MediaError(
                "too_short", path, f"its sound lasts {count / SAMPLING_RATE:.4f} s, less than {MIN_SECONDS} s"
            )
        return waveform.astype(np.float32) / 32768  # 2**15, full scale of 16 bits


def _samples(piece: av.AudioFrame) -> np.ndarray:
    """int16[samples] of what _Waveform resamples to."""
    return np.frombuffer(piece.planes[0], dtype=np.int16, count=piece.samples).copy()  # the buffer is FFmpeg's


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """float64[channels, samples], where full scale is 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype == np.uint8:
        return (samples - 128.0) / 128
    return samples / (2.0 ** (8 * samples.dtype.itemsize - 1) if samples.dtype.kind == "i" else 1.0)


def _remixed(frame: av.AudioFrame, reading: _Reading) -> av.AudioFrame:
    """A frame of floats with the gain and the channel of `reading`."""
    samples = _channels(frame) * reading.gain
    layout = frame.layout.name
    if reading.channel is not None:
        samples, layout = samples[[reading.channel]], "mono"
    mixed = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, dtype=np.float32), format="fltp", layout=layout)
    mixed.sample_rate = frame.sample_rate
    return mixed


class _Frames:
    """Picks the wanted frames out of the decoded video of one clip. It holds one frame in full size, the last."""

    def __init__(self, sampling: Sampling, lower: float, upper: float, pixel_aspect: float, timed: bool) -> None:
        part = (upper - lower) / sampling.num_frames
        self.moments = [lower + (i + 0.5) * part for i in range(sampling.num_frames)]
        self.frame_size = sampling.frame_size
        self.pixel_aspect = pixel_aspect  # width of a pixel by its height
        self.timed = timed
        self.picked: list[np.ndarray] = []
        self.damaged: float | None = None
        self.last: av.VideoFrame | None = None
        self.small: np.ndarray | None = None
        self.shape: tuple[int, int] | None = None
        self.chosen: Picked | None = None
        self.time = 0.0
        self.first: float | None = None
        self.begun = 0.0
        self.reached: float | None = None
        self.failed: list[tuple[float, str]] = []
        self.cut = False

    def begins_late(self) -> bool:
        """Whether the first picture comes after the first moment."""
        return self.first is None or self.first > self.moments[0]

    def choose(self, own: OwnFrames, begin: float, end: float, rate: float) -> None:
        """Takes the frames that `own` names of those from `begin` to `end`, in their own size."""
        total = max(1, round((end - begin) * rate))
        self.chosen = Picked(indices=tuple(own.indices(total, rate)), total=total, rate=rate)
        # Halfway through the time that a frame is on display.
        self.moments = [begin + (i + 0.5) / rate for i in self.chosen.indices]

    @property
    def complete(self) -> bool:
        """Whether all that comes is later than the last moment."""
        return len(self.picked) == len(self.moments)

    def pass_over(self, packet: av.Packet, origin: float) -> None:
        """Notes that a picture is there which is not decoded, since it is later than all that are wanted."""
        if packet.pts is not None:
            end = _seconds(packet.pts + (packet.duration or 0), packet) - origin
            self.reached = max(self.reached or 0.0, end)

    def add(self, frame: av.VideoFrame, origin: float) -> None:
        stamp = frame.pts if self.timed else frame.dts
        time = (self.reached or 0.0) if stamp is None else _seconds(stamp, frame) - origin
        self.first, self.begun = (time if self.first is None else self.first), time
        if self.last is None:
            self.last, self.time = frame, time
        while len(self.picked) < len(self.moments) and self.moments[len(self.picked)] < time:
            self._pick()
        self.last, self.time, self.small = frame, time, None
        self.reached = time + (_seconds(frame.duration, frame) if frame.duration else 0.0)

    def _pick(self) -> None:
        if self.small is None:
            self.small = self._shrink(self.last)
            if self.last.is_corrupt and self.damaged is None:
                self.damaged = self.time
        self.picked.append(self.small)

    def _shrink(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8[height, width, 3] as it is meant to be seen: square pixels, upright."""
        if self.shape is None:  # once a clip, since all its frames go into one array
            width, height = frame.width * self.pixel_aspect, float(frame.height)
            scale = 1.0 if self.chosen is not None else min(1.0, self.frame_size / max(width, height))
            self.shape = max(1, round(width * scale)), max(1, round(height * scale))
        width, height = self.shape
        small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
        return np.rot90(small.to_ndarray(), k=round(frame.rotation / 90))  # phones record sideways and note the angle

    def finish(self, path: str | Path) -> np.ndarray:
        """uint8[num_frames, height, width, 3]"""
        if self.last is None:
            raise MediaError("no_frames", path, "its video track holds no frames")
        while len(self.picked) < len(self.moments):
            self._pick()
        if self.damaged is not None:
            raise MediaError("corrupt", path, f"its picture is damaged at {self.damaged:.2f} s")
        return np.stack(self.picked)


def write_clip(
    path: str | Path, *, frames: np.ndarray | None, fps: float, waveform: np.ndarray | None, sampling_rate: int
) -> None:
    """Writes an mp4 file (H.264, AAC) that appears under its name only when it is whole.

    frames: uint8[num_frames, height, width, 3], RGB, even height and width; waveform: float32[samples], mono, in [-1,
    1]; one of them may be None. The same input gives the same bytes with the same build of PyAV.

    Raises ValueError where frames cannot be encoded, OSError where the file cannot be written.
    """
    if frames is None and waveform is None:
        raise ValueError(f"{path}: there is nothing to write; give frames, a waveform or both")
    if frames is not None and (frames.ndim != 4 or frames.shape[3] != 3 or not len(frames) or frames.dtype != np.uint8):
        raise ValueError(
            f"{path}: frames are {frames.dtype}{list(frames.shape)}; give uint8[num_frames, height, width, 3]"
        )
    if frames is not None and (frames.shape[1] % 2 or frames.shape[2] % 2):
        raise ValueError(
            f"{path}: frames are {frames.shape[2]} x {frames.shape[1]} pixels; H.264 needs even numbers, crop them"
        )
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        # faststart puts the index first, so that a file that was cut while being copied can still be told from garbage.
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(f"file:{unfinished}", "w", format="mp4", options=options) as container:
            _encode(container, frames, fps, waveform, sampling_rate)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(
    container: OutputContainer, frames: np.ndarray | None, fps: float, waveform: np.ndarray | None, sampling_rate: int
) -> None:
    # Both tracks are declared before the first packet: the header is written with it. One thread, since x264 divides
    # its bits differently with every number of threads.
    flags = {"threads": "1", "flags": "+bitexact"}
    if frames is not None:
        # With mbtree the bytes differ from one call to the next where x264 uses AVX-512.
        options = {"preset": "veryfast", "crf": "23", "mbtree": "0", **flags}
        video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
    if waveform is not None:
        audio = container.add_stream("aac", rate=sampling_rate, layout="mono", options=flags)
    if frames is not None:
        for i, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture.pts = i
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    if waveform is not None:
        samples = np.clip(np.asarray(waveform, dtype=np.float32), -1, 1)[np.newaxis]
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        sound.sample_rate, sound.pts = sampling_rate, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
