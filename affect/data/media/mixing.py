"""Mixing of audio channels to one: channels that cancel each other, and samples above full scale."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from affect.data.media.clip import MediaError

CANCELLATION = 0.4
"""Channels cancel each other if the power of their mean is below this, divided by the squared number of channels,
relative to the loudest channel. A channel that is alone among silent ones has 1 by this measure, so only opposite ones
fall below it; of two channels, those with a correlation below -0.8."""

CANCELLATION_SECONDS = 0.5
"""Cancellation is looked for in parts of this length, since a recording can change its polarity midway. Parts that are
20 dB below the loudest do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How channels are mixed; by default to their mean."""

    gain: float = 1.0
    """Factor for all samples."""
    channel: int | None = None
    """The only channel that is used; None is all of them."""

    def apply(self, frame: av.AudioFrame) -> av.AudioFrame:
        """A frame of floats."""
        samples = channels(frame) * self.gain
        layout = frame.layout.name
        if self.channel is not None:
            samples, layout = samples[[self.channel]], "mono"
        floats = np.ascontiguousarray(samples, dtype=np.float32)
        mixed = av.AudioFrame.from_ndarray(floats, format="fltp", layout=layout)
        mixed.sample_rate = frame.sample_rate
        return mixed

    def notes(self) -> Iterator[tuple[str, str]]:
        """Keys of NOTES with details."""
        if self.gain != 1.0:
            yield "scaled", f"its samples reach {1 / self.gain:.4g} times full scale and were divided by that"
        if self.channel is not None:
            yield (
                "one_channel",
                f"its channels cancel each other when mixed, so channel {self.channel} alone was taken",
            )


class Levels:
    """Measures the channels of a clip, to choose their `Mix`.

    exact: whether samples are floats as they were written. Those of lossy codecs may overshoot full scale and are
    clipped.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.powers: list[np.ndarray] = []
        """Sums of squares of every channel, then of the channels' mean, by parts of CANCELLATION_SECONDS."""
        self.measured = math.inf
        """Seconds of the last part."""
        self.peak = 0.0

    def measure(self, samples: np.ndarray, rate: int) -> None:
        """samples: float[channels, samples] at `rate` Hz."""
        if not samples.size:
            return
        if self.exact:
            self.peak = max(self.peak, float(np.abs(samples).max())) if np.isfinite(samples).all() else math.nan
        powers = np.append(np.square(samples).sum(axis=1), np.square(samples.mean(axis=0)).sum())
        if self.measured >= CANCELLATION_SECONDS:
            self.powers.append(np.zeros_like(powers))
            self.measured = 0.0
        self.powers[-1] += powers
        self.measured += samples.shape[1] / rate

    def mix(self, path: str | Path) -> Mix:
        """Raises MediaError if there are samples that are not numbers."""
        if not math.isfinite(self.peak):
            raise MediaError("corrupt", path, "its sound has samples that are not numbers, or infinite")
        channel = None
        if self.powers and len(self.powers[0]) > 2:
            if len(self.powers) > 1 and self.measured < CANCELLATION_SECONDS:  # the last part is too short by itself
                self.powers[-2:] = [self.powers[-2] + self.powers[-1]]
            powers = np.stack(self.powers)
            by_channel, mixed = powers[:, :-1], powers[:, -1]
            loudest = by_channel.max(axis=1)
            cancelled = mixed < CANCELLATION / by_channel.shape[1] ** 2 * loudest
            if (cancelled & (loudest > 0.01 * loudest.max())).any():
                channel = int(by_channel.sum(axis=0).argmax())
        return Mix(gain=1 / max(1.0, self.peak), channel=channel)


def channels(frame: av.AudioFrame) -> np.ndarray:
    """float64[channels, samples], where full scale is 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype == np.uint8:
        return (samples - 128.0) / 128
    return samples / (2.0 ** (8 * samples.dtype.itemsize - 1) if samples.dtype.kind == "i" else 1.0)
