"""One pass over a file, which gives the waveform and the frames of a clip."""

import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from affect.data.media import mp3, streams
from affect.data.media.clip import Clip, MediaError, Sampling
from affect.data.media.completeness import Evidence
from affect.data.media.frames import INDEPENDENT, Frames, with_need
from affect.data.media.mixing import Mix
from affect.data.media.timeline import TOLERANCE_SECONDS, timeline
from affect.data.media.waveform import PREROLL, Waveform

INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "wav", "flac", "avi"})
"""Formats that know where their key frames are. Others are read from their beginning, since a jump into them can land
behind the key frame that the clip's first picture needs."""

HASTY = {"skip_frame": "all", "max_probe_packets": "8"}
"""Options that open a file without decoding its first picture, which FFmpeg would discard, and without looking for
another format in more than the first packets of plain samples (some wav files hold DTS). This is most of the work on a
sound file of a few seconds."""

ROUNDING = 0.001
"""Seconds by which a clip may exceed max_seconds, since annotated times are rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How a file is read. A pass over a file can show that another one is needed."""

    hasty: bool = False
    """Whether the file is opened with HASTY."""
    seek: bool = True
    """Whether to jump to the clip."""
    mix: Mix = field(default_factory=Mix)


def decode(
    path: str | Path,
    sampling: Sampling,
    start: float | None = None,
    end: float | None = None,
    audio_track: int | None = None,
) -> Clip:
    """Decodes the clip of `path` that lies between `start` and `end` (seconds; None is the file's beginning, its end).

    Time 0 is the file's first time stamp, as players count. Every sample and frame is placed by its own time stamp. The
    waveform begins at `start` and is silent where the file has no sound; with `end` given, it is exactly that long. A
    frame is the one on display at its moment, so a clip with fewer frames than `num_frames` gives some of them twice;
    before the first picture that one is shown.

    audio_track: number of the audio track, from 0 as in FFmpeg's `0:a:1`; None is the track that the file marks as
    default, or else the first. Channels are mixed to their mean.

    Safe to call from many threads; each call uses one. Raises MediaError.
    """
    assert sampling.audio or sampling.video, "neither audio nor video is asked for"
    assert not sampling.video or (sampling.num_frames > 0 and sampling.frame_size > 0)
    size = _file_size(path)
    reading = _Reading(hasty=sampling.only_needed)
    try:
        while True:
            # Without "file:", FFmpeg takes names with a colon for addresses of other protocols.
            options = HASTY if reading.hasty else {}
            with av.open(f"file:{path}", metadata_errors="ignore", options=options) as container:
                if reading.hasty and container.format.name == "matroska,webm":
                    # Without a decoded picture FFmpeg does not learn when the picture begins, and takes the sound's
                    # beginning.
                    reading = replace(reading, hasty=False)
                    continue
                clip = _Pass(container, path, size, sampling, start, end, audio_track, reading).clip()
            if isinstance(clip, Clip):
                return clip
            reading = clip
    except av.FFmpegError as error:
        outcome = "unreadable" if isinstance(error, OSError) else "corrupt"
        raise MediaError(outcome, path, f"it cannot be decoded ({error.strerror})") from error


def _file_size(path: str | Path) -> int:
    """Bytes of a file that can be read. It is opened, since only that tells whether it may be."""
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


class _Pass:
    """One pass over an open file. Its arguments are those of `decode`; `size` is that of the file in bytes."""

    def __init__(
        self,
        container: InputContainer,
        path: str | Path,
        size: int,
        sampling: Sampling,
        start: float | None,
        end: float | None,
        audio_track: int | None,
        reading: _Reading,
    ) -> None:
        self.container, self.path, self.sampling, self.reading = container, path, sampling, reading
        self.audio, self.video = streams.choose(container, path, sampling, audio_track)
        self.times = times = timeline(container, path, size, start, end)
        lasts = f"the clip lasts {times.upper - times.lower:.2f} s and max_seconds is {sampling.max_seconds:g}"
        self.too_long = MediaError("too_long", path, lasts)
        # A sound file without a declared duration may have bytes behind its last frame; only decoding shows that.
        self.end_is_known = not times.open_end or times.declared or sampling.video
        if self.end_is_known and times.upper - times.lower > sampling.max_seconds + ROUNDING:
            raise self.too_long
        self.evidence = Evidence()
        self.tracks: dict[int, Waveform | Frames] = {}
        self.sound = self.frames = None
        if sampling.audio:
            exact = self.audio.codec_context.name.startswith(("pcm_f", "wavpack"))
            self.sound = Waveform(times.lower, None if times.open_end else times.upper, reading.mix, exact)
            self.tracks[self.audio.index] = self.sound
        if sampling.video:
            # AVI stores no presentation times. FFmpeg's guesses go back and forth where frames are stored out of order;
            # the order of decoding does not, and is late by two frames or so at most.
            timed = container.format.name != "avi"
            pixel_aspect = float(self.video.sample_aspect_ratio or 1)
            self.frames = Frames(sampling, times.lower, times.upper, pixel_aspect, timed)
            self.tracks[self.video.index] = self.frames
            if sampling.own is not None:
                self.frames.choose(sampling.own, *times.pictures(self.video), _rate(self.video, path))

    def clip(self) -> Clip | _Reading:
        """The clip, or how the file has to be read instead. Raises MediaError."""
        times, reading, sound, frames = self.times, self.reading, self.sound, self.frames
        seek = times.lower > 0 and reading.seek and self.container.format.name in INDEXED
        if seek:
            try:
                self.container.seek(round((max(0.0, times.lower - PREROLL) + times.origin) * av.time_base))
            except av.FFmpegError:
                return replace(reading, seek=False)
        self._read()
        if seek and any(track.begins_late() for track in self.tracks.values()):
            return replace(reading, seek=False)
        notes = {}
        for index, track in self.tracks.items():
            stream = self.container.streams[index]
            if end := self.evidence.missing_end(self.path, self.container, times, stream, track):
                notes[f"missing_{stream.type}"] = end
        upper = times.upper
        if not self.end_is_known:
            if sound.failures:  # bytes that cannot be decoded do not count as time
                upper = max(times.lower, min(upper, sound.reached or 0.0))
            if upper - times.lower > self.sampling.max_seconds + ROUNDING:
                raise self.too_long
        waveform = None
        if sound is not None:
            waveform = sound.finish(self.path, upper)
            mix = sound.levels.mix(self.path)
            if mix != Mix():  # levels are measured only while channels are mixed to their mean
                return replace(reading, mix=mix)
            notes |= reading.mix.notes()
        return Clip(
            waveform=waveform,
            frames=None if frames is None else frames.finish(self.path),
            seconds=upper - times.lower,
            notes=notes,
            picked=None if frames is None else frames.picked,
        )

    def _read(self) -> None:
        """Decodes the packets of the clip."""
        times, frames, evidence, only_needed = self.times, self.frames, self.evidence, self.sampling.only_needed
        # Both tracks are read even if one is wanted: the packets of the other tell whether the file's end is there.
        read = [stream for stream in (self.audio, self.video) if stream is not None]
        for stream in read:
            stream.codec_context.thread_count = 1  # clips are decoded in parallel already
        packets = streams.packets(self.container, read, evidence.structure)
        if only_needed and frames is not None and frames.timed and self.video.name in INDEPENDENT:
            packets = with_need(packets, self.video.index, frames.moments, times.origin)
        else:
            packets = ((packet, True) for packet in packets)
        for packet, needed in packets:
            if packet.pts is not None:
                evidence.last_packet = max(evidence.last_packet, streams.packet_end(packet) - times.origin)
            if self.audio is not None and packet.stream_index == self.audio.index and packet.duration:
                evidence.longest_sound = max(evidence.longest_sound, streams.seconds(packet.duration, packet))
            if packet.stream_index not in self.tracks:
                continue
            track = self.tracks[packet.stream_index]
            if track is frames and only_needed:
                if frames.complete:
                    frames.skip(packet, times.origin)
                    continue
                # Pictures that others refer to are decoded all the same.
                self.video.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            if packet.size:
                # FFmpeg takes the last packet of a wav file that does not know its size for incomplete.
                track.cut = packet.is_corrupt and (self.container.format.name != "wav" or times.stretch > 1)
                track.cut |= track is self.sound and mp3.is_cut(packet, self.audio)
            self._decode(packet, track)
            reached, longest = track.reached or 0.0, self.sampling.max_seconds
            if times.open_end and reached > times.lower + longest + TOLERANCE_SECONDS:
                if not self.end_is_known:
                    raise self.too_long
                lies = f"more than {longest:g} s (max_seconds) were decoded, though it declares {times.duration:.2f} s"
                raise MediaError("too_long", self.path, lies)
            beyond = times.upper + TOLERANCE_SECONDS
            if not times.open_end and all((other.reached or 0.0) > beyond for other in self.tracks.values()):
                break

    def _decode(self, packet: av.Packet, track: Waveform | Frames) -> None:
        origin = self.times.origin
        begin = track.reached or 0.0 if packet.pts is None else streams.seconds(packet.pts, packet) - origin
        try:
            for frame in packet.decode():
                track.add(frame, origin)
                if track.failures and track.begun >= track.failures[0][0]:  # what follows them can be decoded
                    self.evidence.damage += [message for _, message in track.failures]
                    track.failures.clear()
        except (av.FFmpegError, ValueError) as error:
            place = f"at {track.reached or 0.0:.2f} s"
            if track.reached is not None and track.reached < self.times.lower:
                return  # before the clip
            if isinstance(error, av.FFmpegError):
                track.failures.append((begin, f"{place}: {error.strerror}"))
            else:  # the track changes its channels or rate midway
                self.evidence.damage.append(f"{place}: {error}")


def _rate(stream: VideoStream, path: str | Path) -> float:
    """Frames a second. Raises MediaError if the file does not declare it."""
    if not (rate := stream.average_rate or stream.guessed_rate):
        detail = "its video track does not say how many frames a second it has, and model.media=native goes by that"
        raise MediaError("corrupt", path, detail)
    return float(rate)
