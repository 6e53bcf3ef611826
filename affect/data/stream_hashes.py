"""Hashes of the coded tracks of a media file, unchanged when the tracks are copied into another container."""

import hashlib
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition

VERSION = 1
"""Raise it when a track gets another hash: hashes of other versions are not used."""

FILTERS = {
    "h264": "h264_mp4toannexb,filter_units=pass_types=1-5",
    "hevc": "hevc_mp4toannexb,filter_units=pass_types=0-31",
    "aac": "aac_adtstoasc",
}
"""FFmpeg's filters that undo what containers do to a codec's packets. For H.264 and H.265, mp4 and Matroska put lengths
before the units and the parameter sets into the header; MPEG-TS and AVI put start codes before the units and the sets
into the stream. Only the coded pictures are kept. MPEG-TS and .aac files put a header before every packet of AAC."""

HASTY = {"max_probe_packets": "8"}
"""Look for another format in no more than the first packets of plain samples."""

LOSSLESS = ("pcm_", "flac", "alac", "tta", "wavpack")
"""Lossless audio codecs. Their packets have no fixed size or byte order, so decoded samples are hashed."""


def stream_hashes(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """SHA-256 (hexadecimal) of each audio track, and of each video track except cover pictures.

    Only lossless sound is decoded. Tracks that do not identify a clip, such as digital silence, are left out; so are
    all tracks if FFmpeg cannot read the file to its end, since decoding it says why. Raises OSError if the file cannot
    be opened.
    """
    hashes: dict[str, list[str]] = {"audio": [], "video": []}
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
                    hashes[stream.type].append(digest)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        return (), ()
    return tuple(hashes["audio"]), tuple(hashes["video"])


class _Track:
    """Hash of one track, updated packet by packet."""

    def __init__(self, stream: Any) -> None:
        name = stream.codec_context.name
        self.hash = hashlib.sha256()
        self.lossless = name.startswith(LOSSLESS)
        self.decoded = self.lossless and name != "pcm_s16le"  # its packets are the samples
        description = FILTERS.get(stream.codec_context.codec.canonical_name)
        self.filter = None if description is None else BitStreamFilterContext(description, stream)
        self.pieces = 0
        self.different: set[bytes] = set()

    def add(self, packet: av.Packet) -> None:
        if self.decoded:
            for frame in packet.decode():
                # Interleaved, so that planar and packed samples have the same hash.
                samples = frame.to_ndarray()
                self._take((samples if frame.format.is_packed else samples.T).tobytes())
        elif packet.size:
            for filtered in [packet] if self.filter is None else self.filter.filter(packet):
                self._take(bytes(filtered))

    def _take(self, piece: bytes) -> None:
        self.hash.update(piece)
        self.pieces += 1
        if self.lossless:  # a steady tone repeats its pieces, but only silence is a single byte value
            self.different |= {bytes([value]) for value in set(piece)} if len(self.different) < 2 else set()
        else:
            self.different.add(piece if len(piece) <= 16 else hashlib.blake2b(piece, digest_size=16).digest())

    def digest(self) -> str | None:
        """None if the track is empty, is silence, or its packets repeat each other, as those of silence do."""
        least = 1 if self.lossless else self.pieces / 2
        return None if len(self.different) <= least else self.hash.hexdigest()
