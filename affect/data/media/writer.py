"""Writes clips as mp4 files."""

import os
import uuid
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer


def write_clip(
    path: str | Path, *, frames: np.ndarray | None, fps: float, waveform: np.ndarray | None, sampling_rate: int
) -> None:
    """Writes an mp4 file (H.264, AAC), which appears under its name only when it is complete.

    frames: uint8[num_frames, height, width, 3], RGB, even height and width; waveform: float32[samples], mono, in [-1,
    1]; one of them may be None. The same input gives the same bytes with the same build of PyAV.

    Raises OSError if the file cannot be written.
    """
    assert frames is not None or waveform is not None, "there is nothing to write"
    if frames is not None:
        shape = frames.shape
        is_film = frames.dtype == np.uint8 and len(shape) == 4 and shape[0] > 0 and shape[3] == 3
        assert is_film and not shape[1] % 2 and not shape[2] % 2, f"H.264 cannot encode {frames.dtype}{list(shape)}"
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
    # Both tracks are declared before the first packet, since the header is written with it. One thread, since x264
    # divides its bits differently with every number of threads.
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
