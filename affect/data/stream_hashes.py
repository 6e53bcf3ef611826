"""Hashes of the coded tracks of a media file, unchanged when the tracks are copied into another container."""

import hashlib
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition

VERSION = 1
"""To be raised when the hashes of a track change."""

FILTERS = {
    "h264": "h264_mp4toannexb,filter_units=pass_types=1-5",
    "hevc": "hevc_mp4toannexb,filter_units=pass_types=0-31",
    "aac": "aac_adtstoasc",
}
"""FFmpeg's filters that undo what containers do to a codec's packets. mp4 and Matroska put the length before every unit
of H.264 and H.265 and the parameter sets into the header, MPEG-TS and AVI put start codes before them and the sets into
the stream: what is kept is the coded pictures. MPEG-TS and .aac files put a header before every packet of AAC."""

HASTY = {"max_probe_packets": "8"}
"""Plain samples are not searched for another format in more than their first packets."""

LOSSLESS = ("pcm_", "flac", "alac", "tta", "wavpack")
"""Codecs of sound whose packets have no fixed size or byte order: their decoded samples are hashed."""


def stream_hashes(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """SHA-256 (hexadecimal) of each audio track, and of each video track but cover pictures.

    Nothing but lossless sound is decoded. A track that says nothing about which clip this is, such as digital silence,
    is left out; and all are where FFmpeg cannot read the file to its end, since decoding it says why. Raises OSError
    where the file cannot be opened.
    """
    found: dict[str, list[str]] = {"audio": [], "video": []}
    try:
        with av.open(f"file:{path}", metadata_errors="ignore", options=HASTY) as container:
            streams = [
                stream
                for stream in (*container.streams.audio, *container.streams.video)
                if not stream.disposition & Disposition.attached_pic
            ]
            tracks = {stream.index: _Track(stream) for stream in streams}
            for packet in container.demux(streams) if streams else ():
                tracks[packet.stream.index].add(packet)
            for stream in streams:
                if (digest := tracks[stream.index].digest()) is not None:
                    found[stream.type].append(digest)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        return (), ()
    return tuple(found["audio"]), tuple(found["video"])


class _Track:
    """One track, hashed as its packets come."""

    def __init__(self, stream: Any) -> None:
        name = stream.codec_context.name
        self.hash = hashlib.sha256()
        self.lossless = name.startswith(LOSSLESS)
        self.decoded = self.lossless and name != "pcm_s16le"  # whose packets are its samples
        description = FILTERS.get(stream.codec_context.codec.canonical_name)
        self.filter = None if description is None else BitStreamFilterContext(description, stream)
        self.pieces = 0
        self.different: set[bytes] = set()

    def add(self, packet: av.Packet) -> None:
        if self.decoded:
            for frame in packet.decode():
                # Interleaved, so that planar and packed samples are the same.
                self._take(frame.to_ndarray().reshape(-1).tobytes() if frame.format.is_packed else _interleaved(frame))
        elif packet.size:
            for filtered in [packet] if self.filter is None else self.filter.filter(packet):
                self._take(bytes(filtered))

    def _take(self, piece: bytes) -> None:
        self.hash.update(piece)
        self.pieces += 1
        if self.lossless:  # in which a steady tone repeats itself, and only silence is all one byte
            self.different |= {bytes([value]) for value in set(piece)} if len(self.different) < 2 else set()
        else:
            self.different.add(piece if len(piece) <= 16 else hashlib.blake2b(piece, digest_size=16).digest())

    def digest(self) -> str | None:
        """None where the track is empty, is silence, or its packets repeat each other, as those of silence do."""
        least = 1 if self.lossless else self.pieces / 2
        return None if len(self.different) <= least else self.hash.hexdigest()


def _interleaved(frame: av.AudioFrame) -> bytes:
    return frame.to_ndarray().T.tobytes()
