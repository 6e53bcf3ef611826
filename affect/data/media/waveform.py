"""The waveform of a clip: samples are resampled and placed by their time stamps."""

from pathlib import Path

import av
import numpy as np

from affect.data.media.clip import MIN_SECONDS, SAMPLING_RATE, MediaError
from affect.data.media.completeness import Track
from affect.data.media.mixing import Levels, Mix, channels
from affect.data.media.timeline import TOLERANCE_SECONDS

CLOCK_SECONDS = 0.02
"""Samples whose time stamps differ by less than this from the end of those before follow them without a break, since
containers round time stamps (Matroska to a millisecond). A larger difference is a hole or an overlap, and the samples
are placed by their stamp."""

PREROLL = 0.5
"""Seconds before a clip at which decoding begins. Audio decoders need some packets before their output is right; mp3 of
a low bit rate needs the most, a fifth of a second."""


class Waveform(Track):
    """Collects the decoded audio of the clip from `lower` to `upper`, None being the end of the track.

    Where the track has no sound, because it begins late or has a hole, the waveform is silent.
    """

    def __init__(self, lower: float, upper: float | None, mix: Mix, exact: bool) -> None:
        super().__init__()
        self.lower, self.upper, self.mix = lower, upper, mix
        self.levels = Levels(exact)
        self.runs: list[tuple[float, list[np.ndarray]]] = []
        """Pieces that follow each other without a break, with the time of the first sample."""
        self.run_end = 0.0

    def begins_late(self) -> bool:
        """Decoders need some sound before the clip, too."""
        return self.first is None or self.first > max(0.0, self.lower - PREROLL / 2) + 0.001

    def add(self, frame: av.AudioFrame, origin: float) -> None:
        time = (self.reached or 0.0) if frame.time is None else frame.time - origin
        seconds = frame.samples / frame.sample_rate
        self.advance(time, time + seconds)
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
        self.run_end += seconds
        if self.mix != Mix():
            frame = self.mix.apply(frame)
        elif self.levels.exact or frame.layout.nb_channels > 1:
            begin = max(0, round((self.lower - time) * frame.sample_rate))
            stop = None if self.upper is None else max(0, round((self.upper - time) * frame.sample_rate))
            self.levels.measure(channels(frame)[:, begin:stop], frame.sample_rate)
        self.runs[-1][1].extend(_samples(piece) for piece in self.resampler.resample(frame))

    def _end_run(self) -> None:
        if self.runs:
            self.runs[-1][1].extend(_samples(piece) for piece in self.resampler.resample(None))

    def finish(self, path: str | Path, upper: float) -> np.ndarray:
        """float32[samples] from `lower` to the clip's end. Without an annotated end, it ends with the track, or at
        `upper` with silence if the track ends well before that. Raises MediaError if there is not enough sound."""
        self._end_run()
        pieces = [(round((time - self.lower) * SAMPLING_RATE), np.concatenate(run)) for time, run in self.runs if run]
        length = round((upper - self.lower) * SAMPLING_RATE)
        if self.upper is None:
            last = max((at + len(piece) for at, piece in pieces), default=0)
            if last > length - TOLERANCE_SECONDS * SAMPLING_RATE:
                length = max(0, last)
        waveform = np.zeros(length, dtype=np.int16)
        count = 0
        for at, piece in pieces:
            begin, stop = max(0, at), min(length, at + len(piece))
            if begin < stop:
                waveform[begin:stop] = piece[begin - at : stop - at]
                count += stop - begin
        # A hole in a track is silence and counts as sound. Behind the end of the track there is no sound.
        if self.upper is not None and (self.reached or 0.0) >= self.upper:
            count = length
        count = min(count, length)
        if count == 0:
            raise MediaError("empty", path, "its audio track holds no samples")
        if count < MIN_SECONDS * SAMPLING_RATE:
            detail = f"its sound lasts {count / SAMPLING_RATE:.4f} s, less than {MIN_SECONDS} s"
            raise MediaError("too_short", path, detail)
        return waveform.astype(np.float32) / 32768  # 2**15, full scale of 16 bits


def _samples(piece: av.AudioFrame) -> np.ndarray:
    """int16[samples] of a resampled frame. Copied, since the buffer belongs to FFmpeg."""
    return np.frombuffer(piece.planes[0], dtype=np.int16, count=piece.samples).copy()
