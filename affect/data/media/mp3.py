"""What the headers of mp3 files declare, which FFmpeg does not report."""

from pathlib import Path

import av
from av.audio.stream import AudioStream

BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s of MPEG-1 (True) and of MPEG-2 and 2.5, layer III, by the index in a frame's header (ISO/IEC 11172-3)."""


def xing_seconds(path: str | Path, stream: AudioStream) -> float | None:
    """Duration that the first frame of an mp3 file declares; None if it declares none."""
    with open(path, "rb") as file:
        head = file.read(10)
        # An ID3 tag may come first; it has its size in four times seven bits.
        tag = sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10])) + 10 if head[:3] == b"ID3" else 0
        file.seek(tag)
        frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or not frame[at + 7] & 1:
        return None
    samples = 1152 if stream.codec_context.sample_rate >= 32000 else 576  # a frame of MPEG-1, of MPEG-2 and 2.5
    total = int.from_bytes(frame[at + 8 : at + 12], "big") * samples
    if frame[at + 7] & 15 == 15:  # after frames, bytes, table and quality: the samples that the encoder added
        added = int.from_bytes(frame[at + 141 : at + 144], "big")
        total -= (added >> 12) + (added & 0xFFF)
    return total / stream.codec_context.sample_rate


def is_cut(packet: av.Packet, stream: AudioStream) -> bool:
    """Whether an mp3 frame is shorter than its header says. FFmpeg decodes it all the same. False for other codecs."""
    head = bytes(memoryview(packet)[:4]) if stream.codec_context.name.startswith("mp3") else b""
    # Twelve bits of synchronisation and version, layer III.
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 4 in (0, 15):
        return False
    first = head[1] & 0x18 == 0x18  # MPEG-1
    bits = BIT_RATES[first][head[2] >> 4] * 1000
    return packet.size < (144 if first else 72) * bits // stream.codec_context.sample_rate + (head[2] >> 1 & 1)
