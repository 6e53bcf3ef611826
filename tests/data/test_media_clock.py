"""Samples and frames are placed by their time stamps, against an oracle that decodes a file whole and places by pts."""

import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.signal import resample_poly

from affect.data.media import MIN_SECONDS, SAMPLING_RATE, MediaError, Sampling, decode

FPS = 25
LENGTH = 3.0
BOTH = Sampling(audio=True, video=True, num_frames=5, frame_size=64, max_seconds=30)
AUDIO = Sampling(audio=True, video=False, num_frames=5, frame_size=64, max_seconds=30)
VIDEO = Sampling(audio=False, video=True, num_frames=5, frame_size=64, max_seconds=30)


@dataclass(frozen=True, kw_only=True)
class Film:
    """A file with a sweep for its sound and frames whose grey tells their time."""

    format: str
    audio: str | None = "aac"
    video: str | None = "libx264"
    rate: int = SAMPLING_RATE
    layout: str = "mono"
    audio_from: float = 0.0
    video_from: float = 0.0
    container: dict[str, str] = field(default_factory=dict)
    """Options of the container."""
    holes: tuple[tuple[float, float], ...] = ()
    """Seconds without sound, whole packets of it."""
    options: dict[str, str] = field(default_factory=dict)
    """Of the video encoder."""
    uneven: bool = False
    """Whether frames follow each other at changing distances."""


def write(film: Film, path: Path) -> Path:
    with av.open(str(path), "w", format=film.format, options=film.container) as container:
        streams = []
        if film.video:
            video = container.add_stream(film.video, rate=FPS, options={"threads": "1", **film.options})
            video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p" if film.video == "mjpeg" else "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000) if film.uneven else Fraction(1, FPS)
            streams.append((video, pictures(film, video.codec_context.time_base)))
        if film.audio:
            audio = container.add_stream(film.audio, rate=film.rate, layout=film.layout)
            streams.append((audio, sounds(film, audio.codec_context)))
        container.start_encoding()
        # In the order of time, as a camera writes.
        pending = [(frame.pts * frame.time_base, i, frame) for i, (_, frames) in enumerate(streams) for frame in frames]
        for _, i, frame in sorted(pending, key=lambda entry: entry[:2]):
            container.mux(streams[i][0].encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode(None))
    return path


def pictures(film: Film, base: Fraction) -> list[av.VideoFrame]:
    made, time = [], round(film.video_from * FPS) / FPS
    while time < LENGTH - 1e-6:
        grey = np.full((48, 64, 3), 30 + 45 * time, dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
        frame.pts, frame.time_base = round(time / base), base
        made.append(frame)
        time += (1 + len(made) % 3) / FPS if film.uneven else 1 / FPS
    return made


def sweep(seconds: np.ndarray) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * (200 * seconds + 25 * seconds**2))


def sounds(film: Film, codec: av.AudioCodecContext) -> list[av.AudioFrame]:
    size = codec.frame_size or 1024
    made, at = [], round(film.audio_from * film.rate)
    while at < LENGTH * film.rate:
        seconds = (at + np.arange(size)) / film.rate
        if not any(begin <= seconds[0] and seconds[-1] <= end for begin, end in film.holes):
            samples = np.tile(sweep(seconds).astype(np.float32), (av.AudioLayout(film.layout).nb_channels, 1))
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=film.layout)
            frame.sample_rate, frame.time_base, frame.pts = film.rate, Fraction(1, film.rate), at
            made.append(as_wanted(frame, codec))
        at += size
    return made


def as_wanted(frame: av.AudioFrame, codec: av.AudioCodecContext) -> av.AudioFrame:
    wanted = codec.format.name
    if wanted == "fltp":
        return frame
    samples = frame.to_ndarray()
    if wanted.startswith("s"):
        kind = {"s16": np.int16, "s32": np.int32}[wanted[:3]]
        samples = np.rint(samples * np.iinfo(kind).max).astype(kind)
    if not wanted.endswith("p"):
        samples = np.ascontiguousarray(samples.T.reshape(1, -1))
    made = av.AudioFrame.from_ndarray(samples, format=wanted, layout=frame.layout.name)
    made.sample_rate, made.time_base, made.pts = frame.sample_rate, frame.time_base, frame.pts
    return made


@dataclass(frozen=True)
class Oracle:
    """All that is in a file, decoded from its beginning."""

    sound: np.ndarray
    """float[samples] at SAMPLING_RATE from the file's first time stamp, zero where there is none."""
    there: np.ndarray
    """bool[samples], where there is sound."""
    pictures: list[tuple[float, np.ndarray]]

    def waveform(self, start: float, end: float) -> np.ndarray:
        first, last = round(start * SAMPLING_RATE), round(end * SAMPLING_RATE)
        padded = np.pad(self.sound, (0, max(0, last - len(self.sound))))
        return padded[first:last]

    def seconds_of_sound(self, start: float, end: float) -> float:
        return self.there[round(start * SAMPLING_RATE) : round(end * SAMPLING_RATE)].sum() / SAMPLING_RATE

    def shown(self, moment: float) -> float:
        before = [level for time, level in self.pictures if time <= moment]
        return before[-1] if before else self.pictures[0][1]


def oracle(path: Path) -> Oracle:
    sounds, pictures = [], []
    with av.open(str(path)) as container:
        origin = container.start_time / av.time_base if container.start_time is not None else 0.0
        for packet in container.demux():
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    pictures.append((frame.time - origin, float(frame.to_ndarray(format="rgb24").mean())))
                else:
                    planes = frame.to_ndarray()
                    planes = planes if frame.format.is_planar else planes.reshape(frame.samples, -1).T
                    scale = 32768 if planes.dtype == np.int16 else 1
                    # All channels sound alike here, but for what codecs take from that of the low frequencies.
                    sounds.append((frame.time - origin, planes[0] / scale, frame.sample_rate))
    rate = sounds[0][2] if sounds else SAMPLING_RATE
    length = max((round(time * rate) + len(samples) for time, samples, _ in sounds), default=0)
    sound, there, stop = np.zeros(length + rate), np.zeros(length + rate), -rate
    for time, samples, _ in sounds:
        at = round(time * rate)
        at = stop if abs(at - stop) < 0.003 * rate else at  # Matroska rounds times to milliseconds
        stop = at + len(samples)
        sound[max(0, at) : at + len(samples)] = samples[max(0, -at) :]
        there[max(0, at) : at + len(samples)] = 1
    sound, there = sound[:stop], there[:stop]
    up, down = Fraction(SAMPLING_RATE, rate).as_integer_ratio()
    if rate != SAMPLING_RATE:
        sound = resample_poly(sound, up, down)
        there = there[np.minimum(np.arange(len(sound)) * down // up, len(there) - 1)]
    return Oracle(sound, there > 0, sorted(pictures, key=lambda entry: entry[0]))


FILMS = {
    "mp4": Film(format="mp4"),
    "mp4 b-frames": Film(format="mp4", options={"bf": "3", "g": "20"}),
    "mov pcm": Film(format="mov", audio="pcm_s16le"),
    "mkv aac": Film(format="matroska"),
    "mkv flac": Film(format="matroska", audio="flac", options={"g": "20", "bf": "2"}),
    "webm": Film(format="webm", audio="libopus", video="libvpx", rate=48000, options={"g": "30"}),
    "ts": Film(format="mpegts", rate=48000, options={"g": "20"}),
    "ts mp2": Film(format="mpegts", audio="mp2", video="mpeg2video", rate=48000),
    "avi pcm": Film(format="avi", audio="pcm_s16le", video="mpeg4"),
    "avi mjpeg": Film(format="avi", audio="pcm_s16le", video="mjpeg"),
    "mp4 stereo 44.1": Film(format="mp4", rate=44100, layout="stereo"),
    "mkv 5.1": Film(format="matroska", rate=48000, layout="5.1"),
    "mp4 uneven": Film(format="mp4", uneven=True, options={"bf": "2"}),
    "mkv uneven": Film(format="matroska", uneven=True, audio="pcm_s16le", options={"g": "10"}),
    "mp4 intra": Film(format="mp4", options={"g": "1"}),
}
SOUND_ALONE = {
    "m4a": Film(format="ipod", video=None),
    "wav": Film(format="wav", audio="pcm_s16le", video=None),
    "wav 44.1 stereo": Film(format="wav", audio="pcm_s16le", video=None, rate=44100, layout="stereo"),
    "flac": Film(format="flac", audio="flac", video=None, rate=22050),
    "mp3": Film(format="mp3", audio="mp3", video=None),
    "ogg": Film(format="ogg", audio="libopus", video=None, rate=48000),
    "ogg flac": Film(format="ogg", audio="flac", video=None),
    "mka": Film(format="matroska", audio="aac", video=None),
    "aac": Film(format="adts", audio="aac", video=None),
}
SHIFTS = [(0.0, 0.0), (0.05, 0.0), (0.7, 0.0), (0.0, 2.0), (0.667, 0.667), (1.3, 0.9)]
"""Seconds at which sound and picture begin."""
FEW_SHIFTS = [(0.7, 0.0), (1.3, 0.9)]
CONTAINERS = ("mp4 b-frames", "mov pcm", "mkv flac", "webm", "ts", "avi pcm")
"""A film for each container, on which depends how late tracks are stored: it has all shifts, the others have few."""
WINDOWS = [(None, None), (0.2, 1.5), (0.0, 0.5), (0.65, 0.85), (2.3, 2.9), (1.11, None)]
ONE_TRACK = [(None, None), (0.2, 1.5), (0.65, 0.85)]
"""Windows for which each track is decoded alone, too."""


def distance(waveform: np.ndarray, expected: np.ndarray, film: Film) -> float:
    """Root mean square of the difference, beside that of sounds a little apart: the stamps of Matroska are rounded to
    milliseconds, the samples of another rate are not at the places of ours."""
    slack = 16 if film.format in ("matroska", "webm", "flv") else int(film.rate != SAMPLING_RATE)
    size = min(waveform.size, expected.size)
    shifted = [
        waveform[slack : size - slack] - expected[slack + shift : size - slack + shift]
        for shift in range(-slack, slack + 1)
    ]
    return min(float(np.sqrt(np.mean(difference**2))) for difference in shifted)


def check(path: Path, film: Film, windows: list = WINDOWS) -> int:
    whole, checked = oracle(path), 0
    end_of_file = decode(path, BOTH if film.video and film.audio else AUDIO if film.audio else VIDEO).seconds
    for start, end in windows:
        lower, upper = start or 0.0, min(end_of_file, end or end_of_file)
        if (end or 0.0) > end_of_file or lower > end_of_file - 0.2:
            continue
        alone = not (film.audio and film.video) or (start, end) in ONE_TRACK
        for wanted in (BOTH, AUDIO, VIDEO) if alone else (BOTH,):
            if (wanted.audio and not film.audio) or (wanted.video and not film.video):
                continue
            where = f"{film} {start} {end} {wanted.audio} {wanted.video}"
            over = film.audio and lower > len(whole.sound) / SAMPLING_RATE - MIN_SECONDS
            if wanted.audio and over:
                with pytest.raises(MediaError):
                    decode(path, wanted, start, end)
                continue
            clip = decode(path, wanted, start, end)
            checked += 1
            assert clip.notes == {}, "nothing is wrong with the file"
            if (start, end) == (0.2, 1.5):
                hasty = decode(path, replace(wanted, only_needed=True), start, end)
                np.testing.assert_array_equal(hasty.waveform, clip.waveform, where)
                np.testing.assert_array_equal(hasty.frames, clip.frames, where)
            assert clip.seconds == pytest.approx(upper - lower, abs=0.001), where
            if wanted.audio:
                expected = whole.waveform(lower, upper)
                if end is not None:
                    assert abs(clip.waveform.size - expected.size) <= 1, where
                assert clip.waveform.size >= min(expected.size, len(whole.sound) - round(lower * 16000)) - 20, where
                assert distance(clip.waveform, expected, film) < 0.03, where  # a shift of 1 ms is above 0.3
            if wanted.video:
                part = (upper - lower) / wanted.num_frames
                moments = [lower + (i + 0.5) * part for i in range(wanted.num_frames)]
                levels = [float(frame.mean()) for frame in clip.frames]
                # AVI stores no times, so frames can be late where they are stored out of order.
                slack = 1e-6 if film.format != "avi" else 2 / FPS
                for moment, level in zip(moments, levels, strict=True):
                    possible = [whole.shown(moment - slack), whole.shown(moment), whole.shown(moment + 1e-6)]
                    assert min(possible) - 2 <= level <= max(possible) + 2, (where, moment, level, possible)
    return checked


@pytest.mark.parametrize("name", FILMS)
def test_tracks_that_begin_late(name, tmp_path):
    for audio_from, video_from in SHIFTS if name in CONTAINERS else FEW_SHIFTS:
        film = replace(FILMS[name], audio_from=audio_from, video_from=video_from)
        path = write(film, tmp_path / f"{audio_from}_{video_from}")
        assert check(path, film) >= 8, "windows were compared"


@pytest.mark.parametrize("name", SOUND_ALONE)
def test_sound_whose_first_time_stamp_is_not_0(name, tmp_path):
    for audio_from in (0.05, 0.7):
        film = replace(SOUND_ALONE[name], audio_from=audio_from)
        path = write(film, tmp_path / f"{audio_from}")
        assert check(path, film) >= 5, "windows were compared"


@pytest.mark.parametrize("name", ["mp4 b-frames", "mov pcm", "mkv flac", "ts"])
@pytest.mark.parametrize(
    ("how", "audio_from", "video_from"),
    [("make_zero", -0.512, -0.52), ("make_zero", -0.512, 0.0), ("auto", -0.512, -0.52), ("auto", 0.0, -0.52)],
)
def test_what_was_recorded_before_time_0(name, how, audio_from, video_from, tmp_path):
    """As an edit list that leaves a beginning out, or with all times put off."""
    shift = {"audio_from": audio_from, "video_from": video_from, "container": {"avoid_negative_ts": how}}
    film = replace(FILMS[name], **shift)
    assert check(write(film, tmp_path / "clip"), film) >= 8, "windows were compared"


HOLED = {
    "mkv pcm": Film(format="matroska", audio="pcm_s16le", holes=((0.3, 0.8), (2.0, 2.12))),
    "mkv aac": Film(format="matroska", holes=((0.3, 0.8), (1.5, 1.66))),
    "webm": Film(format="webm", audio="libopus", video="libvpx", rate=48000, holes=((0.3, 1.8),)),
    "mp4": Film(format="mp4", holes=((0.5, 1.1), (2.0, 2.2))),
    "mov pcm": Film(format="mov", audio="pcm_s16le", holes=((0.5, 1.1),)),
    "ts": Film(format="mpegts", rate=48000, holes=((1.0, 1.5), (2.2, 2.7)), options={"g": "20"}),
    "m4a": Film(format="ipod", video=None, holes=((1.0, 1.5),)),
    "mka flac": Film(format="matroska", audio="flac", video=None, holes=((1.0, 1.5),)),
    "ogg": Film(format="ogg", audio="libopus", video=None, rate=48000, holes=((1.0, 1.5),)),
}


@pytest.mark.parametrize("name", HOLED)
def test_holes_are_silent(name, tmp_path):
    film = HOLED[name]
    path = write(film, tmp_path / "clip")
    assert check(path, film, [*WINDOWS, (0.35, 0.75), (0.9, 1.6), (1.05, 1.45)])
    whole = oracle(path)
    assert whole.seconds_of_sound(0, LENGTH) < LENGTH - 0.1, "there is a hole"


def test_matroska_durations_from_0_and_from_the_first_time_stamp(tmp_path):
    """FFmpeg writes the last time stamp, mkvmerge that less the first; a file that is cut shows in both."""
    film = Film(format="matroska", audio="pcm_s16le", audio_from=0.68, video_from=0.68)
    path = write(film, tmp_path / "clip.mkv")
    content = bytearray(path.read_bytes())
    at = content.index(bytes.fromhex("448988")) + 3  # Duration: id 4489, size 8, a float of milliseconds
    declared = struct.unpack(">d", content[at : at + 8])[0]
    assert declared == pytest.approx(3000, abs=70)
    whole = decode(path, BOTH)
    assert whole.seconds == pytest.approx(declared / 1000 - 0.68, abs=0.01)
    content[at : at + 8] = struct.pack(">d", declared - 680)
    path.write_bytes(content)
    for start, end in ((None, None), (0.5, 1.0), (1.0, 2.2), (1.9, None)):
        clip = decode(path, BOTH, start, end)
        assert clip.seconds == pytest.approx((end or whole.seconds) - (start or 0), abs=0.01)
        first = round((start or 0) * SAMPLING_RATE)
        size = min(clip.waveform.size, whole.waveform.size - first)
        np.testing.assert_array_equal(clip.waveform[:size], whole.waveform[first : first + size])
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError) as caught:
        decode(path, BOTH)
    assert caught.value.outcome == "truncated"
