"""One clip, from its file to a waveform and a few frames. The only module that opens media.

Whatever can be wrong with a file ends in a `MediaError` with one of OUTCOMES. Nothing is repaired: a clip that is cut
short or damaged would otherwise be trained on as if it were whole.
"""

import os
import re
import stat
import uuid
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

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

TOLERANCE_SECONDS = 0.25
TOLERANCE_SHARE = 0.1
"""A track may end this much before its declared end. Encoders' padding and rounded headers stay well below a quarter of
a second; only what also exceeds a tenth of the clip is called truncated, since long recordings drift by more."""

GUESSED_DURATION = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "amrnb", "amrwb", "mpeg", "h264", "hevc", "m4v"})
"""Formats without a declared duration. FFmpeg extrapolates one from the bit rate, which is far off for a variable
rate."""

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
    picked: Picked | None = None
    """Which frames those are, where `Sampling.own` chose them."""


def decode(path: str | Path, sampling: Sampling, start: float | None = None, end: float | None = None) -> Clip:
    """Reads the clip of `path` that lies between `start` and `end` (seconds; None is the beginning, the end).

    Both tracks come out of one pass over the file. A frame is the one on display at its moment, so a clip with fewer
    frames than `num_frames` gives some of them twice. Safe to call from many threads; each call uses one.

    Raises MediaError.
    """
    assert sampling.audio or sampling.video, "nothing is wanted of the clip"
    assert not sampling.video or (sampling.num_frames > 0 and sampling.frame_size > 0)
    size = _file_size(path)
    try:
        # Without "file:", FFmpeg takes names with a colon for addresses of other protocols.
        options = HASTY if sampling.only_needed else {}
        with av.open(f"file:{path}", metadata_errors="ignore", options=options) as container:
            return _decode(container, path, size, sampling, start, end)
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
    container: InputContainer, path: str | Path, size: int, sampling: Sampling, start: float | None, end: float | None
) -> Clip:
    audio_stream = next(iter(container.streams.audio), None)
    # A cover picture of a sound file is a video track to FFmpeg.
    films = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    video_stream = next(films, None)
    if sampling.audio and audio_stream is None:
        raise MediaError("no_audio", path, "it has no audio track")
    if sampling.video and video_stream is None:
        raise MediaError("no_video", path, "it has no video track")

    origin = (container.start_time or 0) / av.time_base
    guessed = container.duration is None or container.format.name in GUESSED_DURATION
    # Only RIFF files shrink their declared duration to what is there; stretched back, a missing end shows.
    stretch = 1.0 if guessed else _riff_size(path, size) / size
    duration = stretch * (_scanned_seconds(path, origin) if guessed else container.duration / av.time_base)
    lower, upper = _window(path, start, end, duration)
    if upper - lower > sampling.max_seconds + 0.001:  # a millisecond: annotated times are rounded
        detail = f"the clip lasts {upper - lower:.2f} s and max_seconds is {sampling.max_seconds:g}"
        raise MediaError("too_long", path, detail)

    sound = frames = None
    tracks: dict[int, _Waveform | _Frames] = {}
    if sampling.audio:
        sound = tracks[audio_stream.index] = _Waveform(lower)
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
    if start and container.format.name in INDEXED:
        # Audio decoders need a few packets before the first one that is right; a tenth of a second is several.
        container.seek(round((max(0.0, lower - 0.1) + origin) * av.time_base))

    damage: list[str] = []
    last_packet = 0.0
    packets = _packets(container, read, damage)
    if sampling.only_needed and frames is not None and frames.timed and video_stream.name in INDEPENDENT:
        told = _sorted_out(packets, video_stream.index, frames.moments, origin)
    else:
        told = ((packet, True) for packet in packets)
    for packet, needed in told:
        if packet.pts is not None:
            last_packet = max(last_packet, _seconds(packet.pts + (packet.duration or 0), packet) - origin)
        if packet.stream_index not in tracks:
            continue
        track = tracks[packet.stream_index]
        if track is frames and sampling.only_needed:
            if frames.complete:
                frames.pass_over(packet, origin)
                continue
            # What other pictures are made of is decoded all the same.
            video_stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        try:
            for frame in packet.decode():
                track.add(frame, origin)
        except (av.FFmpegError, ValueError) as error:  # ValueError: the track changes its channels or rate midway
            if track.reached is None or track.reached >= lower:
                damage.append(f"at {track.reached or 0.0:.2f} s: {getattr(error, 'strerror', error)}")
        if end is None and (track.reached or 0.0) > lower + sampling.max_seconds + TOLERANCE_SECONDS:
            lies = f"more than {sampling.max_seconds:g} s (max_seconds) were decoded, though it declares {duration:.2f}"
            raise MediaError("too_long", path, f"{lies} s")
        if end is not None and all((other.reached or 0.0) > upper + TOLERANCE_SECONDS for other in tracks.values()):
            break

    for index, track in tracks.items():
        stream = container.streams[index]
        if track.reached is None and damage:
            raise MediaError("corrupt", path, f"no {stream.type} could be decoded ({damage[0]})")
        if stream.duration is None or guessed:  # then only the file as a whole declares when it ends
            track_end, reached = duration, last_packet
        else:
            first = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - origin
            track_end, reached = first + stretch * float(stream.duration * stream.time_base), track.reached or 0.0
        expected = min(upper, track_end)
        if expected - max(reached, lower) > max(TOLERANCE_SECONDS, TOLERANCE_SHARE * (expected - lower)):
            detail = f"its {stream.type} should last until {expected:.2f} s but ends at {max(reached, 0.0):.2f} s"
            raise MediaError("truncated", path, detail)
    if damage:
        raise MediaError("corrupt", path, f"it is damaged in {len(damage)} place(s), first {damage[0]}")
    return Clip(
        waveform=None if sound is None else sound.finish(path, None if end is None else upper),
        frames=None if frames is None else frames.finish(path),
        seconds=upper - lower,
        picked=None if frames is None else frames.chosen,
    )


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
        if isinstance(error, OSError):
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
    """Duration of a file that does not declare one, from its packets' times; nothing is decoded."""
    last = 0.0
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        for packet in container.demux():
            if packet.pts is not None:
                last = max(last, _seconds(packet.pts + (packet.duration or 0), packet) - origin)
    return last


def _riff_size(path: str | Path, size: int) -> int:
    """Bytes a RIFF file (wav, avi) says it has; `size` for other formats and for headers that leave it open."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return size
    declared = int.from_bytes(head[4:8], "little")
    # 0 and the largest number are written by programs that stream and do not come back to fill the size in.
    return size if declared in (0, 0xFFFFFFFF) else max(size, declared + 8)


class _Waveform:
    """Collects the decoded audio of one clip."""

    def __init__(self, lower: float) -> None:
        # To 16-bit integers, as `ffmpeg -ac 1 -ar 16000` does: only then does FFmpeg normalise its downmix. Asked for
        # floats it adds the channels up, and stereo comes out 3 dB louder than mono, beyond [-1, 1].
        self.resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLING_RATE)
        self.lower = lower
        self.pieces: list[np.ndarray] = []
        self.first: float | None = None
        self.reached: float | None = None

    def add(self, frame: av.AudioFrame, origin: float) -> None:
        time = (self.reached or 0.0) if frame.time is None else frame.time - origin
        self.reached = time + frame.samples / frame.sample_rate
        if self.reached < self.lower - 0.1:  # the resampler looks back a few milliseconds, not more
            return
        if self.first is None:
            self.first = time
        self.pieces += [_samples(piece) for piece in self.resampler.resample(frame)]

    def finish(self, path: str | Path, upper: float | None) -> np.ndarray:
        """float32[samples] from `lower` to `upper`, where None is the end of the track."""
        waveform = np.zeros(0, dtype=np.int16)
        if self.first is not None:
            self.pieces += [_samples(piece) for piece in self.resampler.resample(None)]
            begin = max(0, round((self.lower - self.first) * SAMPLING_RATE))
            stop = None if upper is None else max(begin, round((upper - self.first) * SAMPLING_RATE))
            waveform = np.concatenate(self.pieces)[begin:stop]
        if waveform.size == 0:
            raise MediaError("empty", path, "its audio track holds no samples")
        # Not the clip's duration: a sound track may end before start and end do.
        if waveform.size < MIN_SECONDS * SAMPLING_RATE:
            lasts = f"{waveform.size / SAMPLING_RATE:.4f} s"
            raise MediaError("too_short", path, f"its sound lasts {lasts}, less than {MIN_SECONDS} s")
        return waveform.astype(np.float32) / 32768  # 2**15, full scale of 16 bits


def _samples(piece: av.AudioFrame) -> np.ndarray:
    """int16[samples] of what _Waveform resamples to."""
    return np.frombuffer(piece.planes[0], dtype=np.int16, count=piece.samples).copy()  # the buffer is FFmpeg's


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
        self.reached: float | None = None

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
