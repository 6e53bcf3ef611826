"""The frames of a clip: the pictures on display at chosen moments."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from affect.data.media.clip import MediaError, OwnFrames, Picked, Sampling
from affect.data.media.completeness import Track
from affect.data.media.streams import packet_end, seconds

INDEPENDENT = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})
"""Codecs whose decoders can be told, between two packets, to skip pictures that no other picture refers to."""


class Frames(Track):
    """Picks the wanted frames of a clip as its video is decoded. It holds one frame in full size, the last.

    The clip lies between `lower` and `upper`. pixel_aspect: width of a pixel divided by its height. timed: whether the
    container has presentation times; without them, the order of decoding is used.
    """

    def __init__(self, sampling: Sampling, lower: float, upper: float, pixel_aspect: float, timed: bool) -> None:
        super().__init__()
        part = (upper - lower) / sampling.num_frames
        self.moments = [lower + (i + 0.5) * part for i in range(sampling.num_frames)]
        """Times of the wanted frames."""
        self.frame_size, self.pixel_aspect, self.timed = sampling.frame_size, pixel_aspect, timed
        self.frames: list[np.ndarray] = []
        self.damaged: float | None = None
        """Time of the first picked frame that is damaged."""
        self.last: av.VideoFrame | None = None
        self.small: np.ndarray | None = None
        """The last frame in its final size, once it was picked."""
        self.shape: tuple[int, int] | None = None
        self.picked: Picked | None = None

    def choose(self, own: OwnFrames, begin: float, end: float, rate: float) -> None:
        """Takes the frames that `own` chooses of those from `begin` to `end`, in their original size."""
        total = max(1, round((end - begin) * rate))
        self.picked = Picked(indices=tuple(own.indices(total, rate)), total=total, rate=rate)
        # Halfway through the time that a frame is on display.
        self.moments = [begin + (i + 0.5) / rate for i in self.picked.indices]

    def begins_late(self) -> bool:
        return self.first is None or self.first > self.moments[0]

    @property
    def complete(self) -> bool:
        """Whether all wanted frames are picked."""
        return len(self.frames) == len(self.moments)

    def skip(self, packet: av.Packet, origin: float) -> None:
        """Counts a picture that is not decoded, being later than all wanted ones, as there."""
        if packet.pts is not None:
            self.reached = max(self.reached or 0.0, packet_end(packet) - origin)

    def add(self, frame: av.VideoFrame, origin: float) -> None:
        stamp = frame.pts if self.timed else frame.dts
        time = (self.reached or 0.0) if stamp is None else seconds(stamp, frame) - origin
        if self.last is None:  # it is also shown at moments before it
            self.last, self.begun = frame, time
        while not self.complete and self.moments[len(self.frames)] < time:
            self._pick()
        self.last, self.small = frame, None
        self.advance(time, time + (seconds(frame.duration, frame) if frame.duration else 0.0))

    def _pick(self) -> None:
        if self.small is None:
            self.small = self._shrink(self.last)
            if self.last.is_corrupt and self.damaged is None:
                self.damaged = self.begun
        self.frames.append(self.small)

    def _shrink(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8[height, width, 3] with square pixels, upright."""
        if self.shape is None:  # once a clip, since all its frames go into one array
            width, height = frame.width * self.pixel_aspect, float(frame.height)
            scale = 1.0 if self.picked is not None else min(1.0, self.frame_size / max(width, height))
            self.shape = max(1, round(width * scale)), max(1, round(height * scale))
        width, height = self.shape
        small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
        return np.rot90(small.to_ndarray(), k=round(frame.rotation / 90))  # phones record sideways and note the angle

    def finish(self, path: str | Path) -> np.ndarray:
        """uint8[num_frames, height, width, 3]. Raises MediaError if there are no frames or a picked one is damaged."""
        if self.last is None:
            raise MediaError("no_frames", path, "its video track holds no frames")
        while not self.complete:
            self._pick()
        if self.damaged is not None:
            raise MediaError("corrupt", path, f"its picture is damaged at {self.damaged:.2f} s")
        return np.stack(self.frames)


def with_need(
    packets: Iterator[av.Packet], index: int, moments: list[float], origin: float
) -> Iterator[tuple[av.Packet, bool]]:
    """Packets in their order, each with whether its picture is on display at one of `moments`. True if that cannot be
    told, and for packets of other tracks than the video track `index`.

    A picture is on display until the next one is, and that one may come later in the file. So about ten packets are
    held back until the next picture is certain: no later packet is displayed before its own time of decoding.
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
            begin = 0 if stamp == stamps[0] else bisect_left(moments, seconds(stamp, packet) - origin)
            shown = begin < len(moments) and moments[begin] < seconds(stamps[after], packet) - origin
            yield held.popleft(), shown
    yield from ((one, True) for one in held)
