"""Clips as people really have them: whole, cut short, mislabelled, damaged."""

import os
import pickle
import struct
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from affect.data.media import OUTCOMES, SAMPLING_RATE, MediaError, Sampling, decode, write_clip
from affect.data.media.frames import Frames

FPS = 10
BOTH = Sampling(audio=True, video=True, num_frames=6, frame_size=64, max_seconds=10)
AUDIO = Sampling(audio=True, video=False, num_frames=6, frame_size=64, max_seconds=10)
VIDEO = Sampling(audio=False, video=True, num_frames=6, frame_size=64, max_seconds=10)


def picture(num_frames: int, height: int = 48, width: int = 96) -> np.ndarray:
    """Frame i is grey of brightness 40 + 6 i, so that a decoded frame tells which one it was."""
    grey = 40 + 6 * np.arange(num_frames, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey[:, None, None, None], (num_frames, height, width, 3)))


def index(frames: np.ndarray) -> list[int]:
    return [round((float(frame.mean()) - 40) / 6) for frame in frames]


def sweep(seconds: float) -> np.ndarray:
    """A tone whose pitch rises by 200 Hz a second from 200 Hz, so that a piece of it tells when it was."""
    time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    return (0.4 * np.sin(2 * np.pi * (200 * time + 100 * time**2))).astype(np.float32)


def pitch(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.size)))
    return float(spectrum.argmax() * SAMPLING_RATE / waveform.size)


def noise(num_frames: int) -> np.ndarray:
    """Frames that compress badly: most of the file is then picture, wherever it is cut or hit."""
    return np.random.default_rng(0).integers(0, 255, (num_frames, 48, 64, 3), dtype=np.uint8)


def write_wav(path: Path, samples: np.ndarray, rate: int = SAMPLING_RATE) -> Path:
    """samples: int16[samples, channels]"""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def tone(seconds: float, rate: int = SAMPLING_RATE) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.int16)[:, None]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, frames=picture(30), fps=FPS, waveform=sweep(3), sampling_rate=SAMPLING_RATE)
    return path


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("noisy") / "clip.mp4"
    write_clip(path, frames=noise(30), fps=FPS, waveform=sweep(3), sampling_rate=SAMPLING_RATE)
    return path.read_bytes()


def outcome(path: Path, sampling: Sampling, match: str, **window: float) -> str:
    with pytest.raises(MediaError, match=match) as caught:
        decode(path, sampling, **window)
    error = caught.value
    assert str(path) in str(error) and OUTCOMES[error.outcome] in str(error), "a refusal names the file and the remedy"
    return error.outcome


def test_both_tracks(clip):
    decoded = decode(clip, BOTH)
    assert decoded.seconds == pytest.approx(3, abs=0.02)
    assert decoded.frames.shape == (6, 32, 64, 3) and decoded.frames.dtype == np.uint8
    # The centres of six parts of 3 s are 0.25, 0.75, … s; at 10 frames a second those show frames 2, 7, …
    assert index(decoded.frames) == [2, 7, 12, 17, 22, 27]
    assert decoded.waveform.dtype == np.float32
    # AAC works in blocks of 1024 samples and pads the last one.
    assert 3 * SAMPLING_RATE <= decoded.waveform.size <= 3 * SAMPLING_RATE + 1024
    assert np.corrcoef(decoded.waveform[: 3 * SAMPLING_RATE], sweep(3))[0, 1] > 0.99


def test_only_what_is_wanted(clip):
    assert decode(clip, AUDIO).frames is None
    assert decode(clip, VIDEO).waveform is None


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        # Not 1 to 2.2 s: then the moments would lie on the borders between frames, and rounding would decide.
        (1.05, 2.25, [11, 13, 15, 17, 19, 21]),
        (None, 1.5, [1, 3, 6, 8, 11, 13]),
        (1.5, None, [16, 18, 21, 23, 26, 28]),
    ],
)
def test_a_window_gives_its_own_sound_and_frames(clip, start, end, frames):
    decoded = decode(clip, BOTH, start, end)
    assert decoded.seconds == pytest.approx((end or 3) - (start or 0), abs=0.02)
    assert index(decoded.frames) == frames
    assert decoded.waveform.size == pytest.approx(decoded.seconds * SAMPLING_RATE, abs=0 if end else 1024)
    # The pitch in the first tenth of a second is that of its middle.
    assert pitch(decoded.waveform[:1600]) == pytest.approx(200 + 200 * ((start or 0) + 0.05), abs=12)


@pytest.mark.parametrize("format_name", ["matroska", "mpegts", "avi"])
def test_windows_in_other_containers(tmp_path, format_name):
    path = tmp_path / "clip"
    with av.open(str(path), "w", format=format_name) as container:
        video = container.add_stream("libx264", rate=FPS, options={"threads": "1"})
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        for pixels in picture(30):
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
    # Transport streams have no index of key frames, and x264 made only the first frame one.
    found = index(decode(path, VIDEO, 1.05, 2.25).frames)
    late = 2 if format_name == "avi" else 0  # frames: it stores no presentation times
    assert all(right - late <= frame <= right for frame, right in zip(found, [11, 13, 15, 17, 19, 21], strict=True))
    assert found == sorted(found)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[Path]:
    """Pictures stored out of order, some of which others are made of, in several containers; and at uneven times."""
    folder = tmp_path_factory.mktemp("films")
    formats = ["mp4", "matroska", "mpegts", "avi", "uneven.mp4"]
    for name in formats:
        with av.open(str(folder / name), "w", format=name.removeprefix("uneven.")) as container:
            order = "bframes=5:b-adapt=0:b-pyramid=normal:scenecut=0:keyint=24:open-gop=1"
            options = {"threads": "1", "x264-params": order}
            video = container.add_stream("libx264", rate=25, options=options)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            video.codec_context.time_base = Fraction(1, 25)
            for i, pixels in enumerate(noise(75)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = i + (i // 2 * 2 if name == "uneven.mp4" else 0)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
    return [folder / name for name in formats]


@pytest.mark.parametrize("window", [(None, None), (0.5, 1.9), (1.33, None), (2.02, 2.3)])
def test_decoding_only_what_is_needed_gives_the_same(films, clip, window, monkeypatch):
    counts = []
    add = Frames.add
    monkeypatch.setattr(Frames, "add", lambda *args: (counts.append(1), add(*args))[1])
    for path in [*films, clip]:
        for num_frames in (3, 16, 40):
            for sampling in (VIDEO, AUDIO, BOTH) if path is clip else (VIDEO,):
                sampling = replace(sampling, num_frames=num_frames)
                counts.clear()
                whole, all_frames = decode(path, sampling, *window), len(counts)
                counts.clear()
                needed = decode(path, replace(sampling, only_needed=True), *window)
                np.testing.assert_array_equal(needed.frames, whole.frames)
                np.testing.assert_array_equal(needed.waveform, whole.waveform)
                assert needed.seconds == whole.seconds and len(counts) <= all_frames
                if path in films and path.name != "avi" and window == (None, None) and num_frames == 3:
                    assert len(counts) < 0.7 * all_frames


def test_frames_are_not_enlarged_and_few_frames_are_repeated(tmp_path):
    path = tmp_path / "short.mp4"
    write_clip(path, frames=picture(3, 20, 12), fps=FPS, waveform=None, sampling_rate=SAMPLING_RATE)
    frames = decode(path, VIDEO).frames
    assert frames.shape == (6, 20, 12, 3)
    assert index(frames) == [0, 0, 1, 1, 2, 2]


def test_a_phone_held_upright(tmp_path):
    path = tmp_path / "phone.mp4"
    sideways = np.zeros((20, 48, 96, 3), dtype=np.uint8)
    sideways[:, :, :48] = 200
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        video.set_display_rotation(-90)  # FFmpeg counts counter-clockwise: to be turned clockwise
        for pixels in sideways:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
    frame = decode(path, VIDEO).frames[0]
    assert frame.shape == (64, 32, 3)
    assert frame[:24].mean() > 150 and frame[-24:].mean() < 50, "what was left is on top"


def test_stereo_is_mixed_to_the_mean_of_its_channels(tmp_path):
    mono, left = tone(1), np.hstack([tone(1), 0 * tone(1)])
    one = decode(write_wav(tmp_path / "mono.wav", mono), AUDIO).waveform
    both = decode(write_wav(tmp_path / "both.wav", np.hstack([mono, mono])), AUDIO).waveform
    half = decode(write_wav(tmp_path / "left.wav", left), AUDIO).waveform
    np.testing.assert_allclose(one, mono[:, 0] / 32768, atol=1e-6)
    np.testing.assert_allclose(both, one, atol=2 / 32768)
    np.testing.assert_allclose(half, one / 2, atol=2 / 32768)


def write_samples(path: Path, samples: np.ndarray, codec: str, format_name: str, layout: str, rate: int) -> Path:
    """samples: float[channels, samples], written as `codec` has them."""
    with av.open(str(path), "w", format=format_name) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        name = stream.codec_context.format.name
        kind = {"s16": np.int16, "flt": np.float32, "dbl": np.float64}[name[:3]]
        scaled = np.rint(samples * 32767) if kind is np.int16 else samples
        size = stream.codec_context.frame_size or samples.shape[1]
        for at in range(0, samples.shape[1], size):
            piece = scaled[:, at : at + size].astype(kind)
            piece = piece if name.endswith("p") else piece.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=name, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "format_name"), [("pcm_s16le", "wav"), ("flac", "flac"), ("aac", "mp4"), ("pcm_f32le", "matroska")]
)
@pytest.mark.parametrize("of_right", [-1.0, -0.8, -1.25])
def test_channels_that_cancel_each_other_are_not_silence(tmp_path, codec, format_name, of_right):
    left = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    quiet = 0.003 * np.random.default_rng(0).standard_normal((2, 16000))
    samples = np.stack([left, of_right * left]) + quiet
    path = write_samples(tmp_path / "clip", samples, codec, format_name, "stereo", SAMPLING_RATE)
    clip = decode(path, AUDIO)
    louder = int(abs(of_right) > 1)
    assert clip.notes == {
        "one_channel": f"its channels cancel each other when mixed, so channel {louder} alone was taken"
    }
    middle = slice(4000, 12000)
    assert np.corrcoef(clip.waveform[middle], samples[louder][middle])[0, 1] > 0.99
    assert np.std(clip.waveform[middle]) == pytest.approx(np.std(samples[louder][middle]), rel=0.05)
    # In a window too.
    assert np.std(decode(path, AUDIO, 0.3, 0.7).waveform) == pytest.approx(np.std(samples[louder]), rel=0.05)


def test_channels_that_cancel_each_other_for_a_part_of_a_clip(tmp_path):
    time = np.arange(3 * SAMPLING_RATE) / SAMPLING_RATE
    left = 0.3 * np.sin(2 * np.pi * 440 * time)
    samples = np.stack([left, np.where(time < 1.5, left, -left)])
    path = write_samples(tmp_path / "clip.wav", samples, "pcm_s16le", "wav", "stereo", SAMPLING_RATE)
    clip = decode(path, AUDIO)
    assert set(clip.notes) == {"one_channel"}
    np.testing.assert_allclose(clip.waveform, left, atol=2 / 32768)
    assert decode(path, AUDIO, 0.2, 1.3).notes == {}, "this part of the file is not concerned"


@pytest.mark.parametrize(
    ("layout", "silent"), [("stereo", [1]), ("stereo", [0]), ("5.1", [0, 1, 3, 4, 5]), ("5.1", [1, 2, 3, 4, 5])]
)
def test_channels_that_do_not_cancel_are_mixed(tmp_path, layout, silent):
    """Among them a voice on one channel alone, and channels that have nothing in common."""
    samples = 0.2 * np.random.default_rng(0).standard_normal((len(av.AudioLayout(layout).channels), 16000))
    path = write_samples(tmp_path / "all.wav", samples, "pcm_s16le", "wav", layout, SAMPLING_RATE)
    assert decode(path, AUDIO).notes == {}
    samples[silent] = 0
    path = write_samples(tmp_path / "one.wav", samples, "pcm_s16le", "wav", layout, SAMPLING_RATE)
    clip = decode(path, AUDIO)
    assert clip.notes == {} and np.std(clip.waveform) > 0.02


@pytest.mark.parametrize(("codec", "format_name"), [("pcm_f32le", "wav"), ("pcm_f64le", "wav"), ("pcm_f32le", "mov")])
@pytest.mark.parametrize("peak", [1.001, 3.0, 32768.0])
def test_floats_above_full_scale_are_scaled_and_not_clipped(tmp_path, codec, format_name, peak):
    samples = peak * np.sin(2 * np.pi * 100 * np.arange(16000) / 16000)[None]
    path = write_samples(tmp_path / "clip", samples, codec, format_name, "mono", SAMPLING_RATE)
    clip = decode(path, AUDIO)
    assert clip.notes["scaled"] == f"its samples reach {peak:.4g} times full scale and were divided by that"
    np.testing.assert_allclose(clip.waveform, samples[0] / peak, atol=2 / 32768)
    fine = write_samples(tmp_path / "fine", samples / peak, codec, format_name, "mono", SAMPLING_RATE)
    assert decode(fine, AUDIO).notes == {}
    np.testing.assert_allclose(decode(fine, AUDIO).waveform, clip.waveform, atol=2 / 32768)


def test_floats_that_are_no_numbers_are_damage(tmp_path):
    for value in (np.nan, np.inf):
        samples = 0.1 * np.ones((1, 16000))
        samples[0, 8000] = value
        path = write_samples(tmp_path / "clip.wav", samples, "pcm_f32le", "wav", "mono", SAMPLING_RATE)
        assert outcome(path, AUDIO, "samples that are not numbers, or infinite") == "corrupt"


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory) -> dict[tuple[str, int | None], Path]:
    """Files with 300 Hz on the first audio track and 700 Hz on the second, by format and the track marked default."""
    made = {}
    for format_name in ("matroska", "mp4", "mov"):
        for default in (0, 1, None):
            path = tmp_path_factory.mktemp("tracks") / f"{default}.{format_name}"
            with av.open(str(path), "w", format=format_name) as container:
                streams = [container.add_stream("aac", rate=SAMPLING_RATE, layout="mono") for _ in range(2)]
                for i, stream in enumerate(streams):
                    stream.disposition = Disposition.default if i == default else Disposition(0)
                for stream, pitch in zip(streams, (300, 700), strict=True):
                    samples = 0.3 * np.sin(2 * np.pi * pitch * np.arange(SAMPLING_RATE) / SAMPLING_RATE)
                    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
                    frame.sample_rate, frame.pts = SAMPLING_RATE, 0
                    container.mux(stream.encode(frame))
                    container.mux(stream.encode(None))
            made[format_name, default] = path
    return made


def test_the_track_marked_default_is_heard_unless_one_is_chosen(two_tracks):
    for (_, default), path in two_tracks.items():
        pitches = [300, 700]
        assert pitch(decode(path, AUDIO).waveform) == pytest.approx(pitches[default or 0], abs=2)
        assert pitch(decode(path, AUDIO, 0.3, 0.8).waveform) == pytest.approx(pitches[default or 0], abs=2)
        for track in (0, 1):
            assert pitch(decode(path, AUDIO, None, None, track).waveform) == pytest.approx(pitches[track], abs=2)
        with pytest.raises(MediaError, match=r"it has 2 audio track\(s\) and audio_track=2 is none of them") as caught:
            decode(path, AUDIO, None, None, 2)
        assert caught.value.outcome == "no_audio"


def test_other_sampling_rates_are_resampled(tmp_path):
    waveform = decode(write_wav(tmp_path / "cd.wav", tone(1, 44100), 44100), AUDIO).waveform
    assert waveform.size == pytest.approx(SAMPLING_RATE, abs=2)
    assert pitch(waveform) == pytest.approx(440, abs=1)


def test_mp3_has_no_declared_duration_and_is_measured(tmp_path):
    path = tmp_path / "clip.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp3", rate=SAMPLING_RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray(sweep(3)[None], format="fltp", layout="mono")
        sound.sample_rate = SAMPLING_RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    assert decode(path, AUDIO).seconds == pytest.approx(3, abs=0.1)
    assert outcome(path, BOTH, "no video track") == "no_video"


def test_what_is_no_clip_at_all(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    (tmp_path / "page.mp4").write_text("<!DOCTYPE html><html><body>404 not found</body></html>")
    assert outcome(tmp_path / "gone.mp4", BOTH, "there is no such file") == "missing"
    assert outcome(tmp_path / "empty.mp4" / "clip.mp4", BOTH, "there is no such file") == "missing"
    assert outcome(tmp_path, BOTH, "Is a directory") == "unreadable"
    assert outcome(tmp_path / "empty.mp4", BOTH, "zero bytes") == "empty"
    assert outcome(tmp_path / "random.mp4", BOTH, "cannot be decoded") == "corrupt"
    assert outcome(tmp_path / "page.mp4", BOTH, "cannot be decoded") == "corrupt"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write_wav(tmp_path / "clip.wav", tone(1))
    path.chmod(0)
    assert outcome(path, AUDIO, "Permission denied") == "unreadable"


def test_truncated_files(tmp_path, noisy):
    path = tmp_path / "cut.mp4"
    path.write_bytes(noisy[: len(noisy) // 2])
    for sampling in (BOTH, AUDIO, VIDEO):
        for only_needed in (False, True):
            wanted = replace(sampling, only_needed=only_needed)
            assert outcome(path, wanted, "should last until 3.0. s but ends at 1") == "truncated"
    whole = write_wav(tmp_path / "cut.wav", tone(3)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    assert outcome(tmp_path / "cut.wav", AUDIO, "should last until 3.00 s but ends at 1.50 s") == "truncated"
    # A clip of the part that is there is whole.
    assert decode(tmp_path / "cut.wav", AUDIO, 0.2, 1.2).waveform.size == SAMPLING_RATE


def test_an_mp4_that_lost_its_index(tmp_path, noisy):
    path = tmp_path / "clip.mp4"
    path.write_bytes(noisy.replace(b"moov", b"mooq", 1))
    assert outcome(path, BOTH, "cannot be decoded") == "corrupt"


def test_damage_in_the_middle(tmp_path, noisy):
    path, middle = tmp_path / "clip.mp4", len(noisy) // 2
    hole = np.random.default_rng(0).bytes(4000)
    path.write_bytes(noisy[:middle] + hole + noisy[middle + len(hole) :])
    assert outcome(path, BOTH, "damaged") == "corrupt"
    assert outcome(path, replace(BOTH, only_needed=True), "damaged") == "corrupt"


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("more", [0, 36])
def test_headers_of_programs_that_stream(tmp_path, size, more):
    """sox, arecord, FFmpeg and others write to a pipe before they know how much it will be."""
    whole = bytearray(write_wav(tmp_path / "clip.wav", tone(1)).read_bytes())
    whole[4:8], whole[40:44] = struct.pack("<I", min(0xFFFFFFFF, size + more)), struct.pack("<I", size)
    (tmp_path / "clip.wav").write_bytes(whole)
    clip = decode(tmp_path / "clip.wav", AUDIO)
    assert clip.waveform.size == SAMPLING_RATE and clip.seconds == 1 and clip.notes == {}
    assert decode(tmp_path / "clip.wav", AUDIO, 0.25, 0.75).waveform.size == SAMPLING_RATE / 2


ENDS = {
    "wav": ("pcm_s16le", "wav"),
    "mp3": ("mp3", "mp3"),
    "aac": ("aac", "adts"),
    "m4a": ("aac", "mp4"),
    "flac": ("flac", "flac"),
    "ac3": ("ac3", "ac3"),
    "mka": ("aac", "matroska"),
    "ts": ("aac", "mpegts"),
}


@pytest.fixture(scope="module", params=ENDS)
def recording(request, tmp_path_factory) -> bytes:
    """Four seconds of noise in a format whose header, if any, stands in front."""
    codec, format_name = ENDS[request.param]
    path = tmp_path_factory.mktemp("ends") / request.param
    rate = 48000
    options = {"movflags": "+faststart"} if format_name == "mp4" else {}
    with av.open(str(path), "w", format=format_name, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        name, size = stream.codec_context.format.name, stream.codec_context.frame_size or 1024
        samples = 0.2 * np.random.default_rng(0).standard_normal(4 * rate).clip(-4, 4)
        for at in range(0, len(samples), size):
            piece = samples[None, at : at + size]
            kind = {"s16": np.int16, "s32": np.int32, "flt": np.float32}[name[:3]]
            piece = np.rint(piece * np.iinfo(kind).max) if kind is not np.float32 else piece
            frame = av.AudioFrame.from_ndarray(piece.astype(kind), format=name, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_one_rule_for_an_end_that_is_missing(recording, tmp_path):
    """The same for every codec: what lacks up to a quarter of a second is used and noted, what lacks more is not."""
    path = tmp_path / "clip"
    path.write_bytes(recording)
    whole = decode(path, AUDIO)
    assert whole.notes == {} and whole.seconds == pytest.approx(4, abs=0.06)
    path.write_bytes(recording[:-100])  # within the last frame
    cut = decode(path, AUDIO)
    assert set(cut.notes) == {"missing_audio"} and "its audio" in cut.notes["missing_audio"]
    assert whole.waveform.size - 0.15 * SAMPLING_RATE < cut.waveform.size <= whole.waveform.size
    path.write_bytes(recording[: len(recording) * 6 // 10])
    if (
        recording[:2] in (b"\xff\xf1", b"\x0bw") or recording[:1] == b"G"
    ):  # aac, ac3 and ts do not say how long they are
        assert decode(path, AUDIO).seconds == pytest.approx(2.4, abs=0.2)
    else:
        assert outcome(path, AUDIO, r"its audio should last until [34]\.\d\d s but ends at 2") == "truncated"


def test_bytes_behind_the_last_frame_are_no_sound(recording, tmp_path):
    path = tmp_path / "clip"
    path.write_bytes(recording)
    whole = decode(path, AUDIO)
    for behind in (bytes(2000), bytes(200_000), np.random.default_rng(0).bytes(5000)):
        path.write_bytes(recording + behind)
        clip = decode(path, AUDIO)
        assert clip.seconds == pytest.approx(whole.seconds, abs=0.05)
        assert clip.waveform.size == pytest.approx(whole.waveform.size, abs=0.05 * SAMPLING_RATE)
        size = min(clip.waveform.size, whole.waveform.size) - 1600
        np.testing.assert_array_equal(clip.waveform[:size], whole.waveform[:size])


def test_damage_in_the_middle_of_a_sound_is_no_missing_end(recording, tmp_path):
    """Zeros where frames were, as a download leaves that was not finished: what follows tells it from an end."""
    if recording[:4] in (b"RIFF", b"fLaC", b"\x1aE\xdf\xa3") or recording[:1] == b"G" or recording[4:8] == b"ftyp":
        pytest.skip("silence, or told by other tests")
    path, middle = tmp_path / "clip", len(recording) // 2
    path.write_bytes(recording[:middle] + bytes(4000) + recording[middle + 4000 :])
    with pytest.raises(MediaError) as caught:
        decode(path, AUDIO)
    assert caught.value.outcome == "corrupt"


def test_tracks_that_are_not_there(tmp_path, clip):
    silent = tmp_path / "silent.mp4"
    write_clip(silent, frames=picture(10), fps=FPS, waveform=None, sampling_rate=SAMPLING_RATE)
    assert outcome(silent, BOTH, "no audio track") == "no_audio"
    assert decode(silent, VIDEO).frames.shape[0] == 6
    sound = tmp_path / "sound.mp4"
    write_clip(sound, frames=None, fps=FPS, waveform=sweep(1), sampling_rate=SAMPLING_RATE)
    assert outcome(sound, BOTH, "no video track") == "no_video"
    assert decode(sound, AUDIO).waveform.size >= SAMPLING_RATE


def test_no_samples(tmp_path):
    assert outcome(write_wav(tmp_path / "none.wav", tone(0)), AUDIO, "duration is zero") == "empty"
    assert outcome(write_wav(tmp_path / "short.wav", tone(0.09)), AUDIO, "its sound lasts 0.0900 s") == "too_short"
    assert decode(write_wav(tmp_path / "enough.wav", tone(0.1)), AUDIO).waveform.shape == (1600,)


def test_a_sound_that_ends_where_the_clip_begins_is_too_short(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=picture(40), fps=10, waveform=sweep(2.0), sampling_rate=16000)
    with pytest.raises(MediaError, match=r"its sound lasts 0\.0\d+ s, less than 0\.1 s; correct start and end"):
        decode(path, AUDIO, 2.03, 2.2)
    assert decode(path, replace(AUDIO, audio=False, video=True), 2.03, 2.2).frames is not None


def test_too_long_by_its_header_and_by_what_is_decoded(tmp_path, clip):
    brief = Sampling(audio=False, video=True, num_frames=6, frame_size=64, max_seconds=2)
    assert outcome(clip, brief, r"lasts 3.0. s and max_seconds is 2") == "too_long"
    assert decode(clip, brief, 0.5, 2.5).seconds == 2
    path = tmp_path / "liar.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        for pixels in picture(40):
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
    # Matroska's Duration: id 4489, size 8, a float of milliseconds.
    content = bytearray(path.read_bytes())
    at = content.index(bytes.fromhex("448988")) + 3
    assert struct.unpack(">d", content[at : at + 8])[0] == 4000
    content[at : at + 8] = struct.pack(">d", 1000)
    path.write_bytes(content)
    assert outcome(path, brief, "more than 2 s .* were decoded, though it declares 1.00 s") == "too_long"


@pytest.mark.parametrize(("start", "end"), [(4.0, 5.0), (2.0, 4.0), (2.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (3.5, None)])
def test_windows_that_are_not_in_the_file(clip, start, end):
    assert outcome(clip, BOTH, "the clip runs from", start=start, end=end) == "outside"


def test_annotated_ends_may_be_rounded_up(clip):
    assert decode(clip, BOTH, 1.0, 3.1).seconds == pytest.approx(2, abs=0.02)


def test_many_threads_decode_alike(clip):
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda _: decode(clip, BOTH), range(12)))
    for other in decoded[1:]:
        np.testing.assert_array_equal(other.waveform, decoded[0].waveform)
        np.testing.assert_array_equal(other.frames, decoded[0].frames)


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(MediaError("no_audio", "clip.mp4", "it has no audio track")))
    assert (error.outcome, error.path, error.detail) == ("no_audio", "clip.mp4", "it has no audio track")
    assert str(error) == "clip.mp4: it has no audio track; " + OUTCOMES["no_audio"]


def test_the_same_input_gives_the_same_file(tmp_path):
    written = set()
    for name in ("one.mp4", "two.mp4", "three.mp4", "four.mp4"):
        write_clip(tmp_path / name, frames=noise(12), fps=FPS, waveform=sweep(1.2), sampling_rate=SAMPLING_RATE)
        written.add((tmp_path / name).read_bytes())
    assert len(written) == 1


def test_a_refused_write_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError, match="cannot encode uint8"):
        write_clip(tmp_path / "odd.mp4", frames=picture(3, 21, 12), fps=FPS, waveform=None, sampling_rate=SAMPLING_RATE)
    with pytest.raises(AssertionError, match="nothing to write"):
        write_clip(tmp_path / "none.mp4", frames=None, fps=FPS, waveform=None, sampling_rate=SAMPLING_RATE)
    with pytest.raises(av.FFmpegError):
        write_clip(tmp_path / "rate.mp4", frames=None, fps=FPS, waveform=sweep(1), sampling_rate=12345)
    assert list(tmp_path.iterdir()) == []


def test_real_recordings():
    if "AFFECT_SHARED_DATA" not in os.environ:
        pytest.skip("AFFECT_SHARED_DATA does not name a folder with real recordings")
    paths = sorted(Path(os.environ["AFFECT_SHARED_DATA"], "ravdess").glob("Actor_*/*.wav"))[:60]
    assert paths, "there are recordings"
    for path in paths:
        decoded = decode(path, AUDIO)
        assert decoded.waveform.size == round(decoded.seconds * SAMPLING_RATE)
        assert 0 < np.abs(decoded.waveform).max() <= 1
