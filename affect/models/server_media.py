"""Audio and video as the content parts of an OpenAI-compatible request: wav, png and mp4 in base64."""

import base64
import io
import tempfile
import wave
from pathlib import Path

import cv2
import numpy as np

from affect.data.media import SAMPLING_RATE, Clip, write_clip


def with_media(messages: list[dict], clip: Clip, *, as_video: bool) -> list[dict]:
    """The chat messages, with the clip's own data in place of each part that refers to audio or video.

    `as_video` sends all frames as one silent video (`video_url`, which vLLM takes) instead of a picture each.
    """
    filled = []
    for message in messages:
        content: list[dict] = []
        for part in message["content"]:
            if part["type"] == "text":
                content.append(part)
            elif part["type"] == "audio":
                assert clip.waveform is not None, "a part is audio and the clip has none"
                audio = {"data": _base64(wav(clip.waveform)), "format": "wav"}
                content.append({"type": "input_audio", "input_audio": audio})
            else:
                assert clip.frames is not None, "a part is video and the clip has none"
                if as_video:
                    url = f"data:video/mp4;base64,{_base64(mp4(clip.frames, clip.seconds))}"
                    content.append({"type": "video_url", "video_url": {"url": url}})
                else:
                    urls = [f"data:image/png;base64,{_base64(png(frame))}" for frame in clip.frames]
                    content += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        filled.append({"role": message["role"], "content": content})
    return filled


def wav(waveform: np.ndarray) -> bytes:
    """A 16-bit RIFF file of float32[samples] in [-1, 1] at SAMPLING_RATE."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        # media.decode divides by 2**15, so audio decoded from 16 bits is sent unchanged.
        file.writeframes(np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2").tobytes())
    return out.getvalue()


def png(frame: np.ndarray) -> bytes:
    """A lossless PNG file of RGB uint8[height, width, 3]."""
    done, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def mp4(frames: np.ndarray, seconds: float) -> bytes:
    """A silent video of uint8[num_frames, height, width, 3] that lasts `seconds`. Odd sides lose a pixel, since H.264
    has even ones only."""
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory(prefix="affect-video-") as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, frames=even, fps=len(frames) / seconds, waveform=None, sampling_rate=SAMPLING_RATE)
        return path.read_bytes()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
