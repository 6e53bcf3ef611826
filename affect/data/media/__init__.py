"""Decodes the clips of media files into waveforms and frames, and writes clips. The only code that decodes media.

`decode` reads both tracks of a clip in one pass (decoder.py): it chooses the tracks (streams.py), finds the clip's
place in its file (timeline.py), places samples and frames by their time stamps (waveform.py, frames.py), mixes channels
(mixing.py), and says where the end of a track is missing (completeness.py). Every problem of a file is a `MediaError`
with one of OUTCOMES, or a note that does not exclude the clip. Nothing is repaired: a clip that is cut short or damaged
would otherwise be trained on as if it were complete.
"""

from affect.data.media.clip import (
    MIN_SECONDS,
    NOTES,
    OUTCOMES,
    SAMPLING_RATE,
    VERSION,
    Clip,
    MediaError,
    OwnFrames,
    Picked,
    Sampling,
)
from affect.data.media.decoder import decode
from affect.data.media.writer import write_clip

__all__ = [
    "MIN_SECONDS",
    "NOTES",
    "OUTCOMES",
    "SAMPLING_RATE",
    "VERSION",
    "Clip",
    "MediaError",
    "OwnFrames",
    "Picked",
    "Sampling",
    "decode",
    "write_clip",
]
