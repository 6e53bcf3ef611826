"""The arguments with which a checkpoint's video processor is called, for frames that have been sampled already."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import transformers
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from affect.models.protocol import Conversation


@dataclass(frozen=True, slots=True)
class OwnFrames:
    """See `affect.data.media.OwnFrames`: the frames a checkpoint's video processor samples by its own settings."""

    processor: BaseVideoProcessor
    fps: float | None
    """Frames a second, where the processor's configuration does not say."""

    @property
    def key(self) -> str:
        parts = [type(self.processor).__qualname__, self.processor.to_json_string(), self.fps, transformers.__version__]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def indices(self, total: int, rate: float) -> list[int]:
        """Indices of the frames taken of `total` at `rate` a second: all of them where the clip has fewer than the
        processor needs, since it would refuse the clip."""
        processor = self.processor
        if total < max(getattr(processor, "temporal_patch_size", None) or 1, processor.num_frames or 1):
            return list(range(total))
        options = {} if self.fps is None else {"fps": self.fps}
        metadata = VideoMetadata(total_num_frames=total, fps=rate, duration=total / rate)
        return [int(i) for i in processor.sample_frames(metadata=metadata, **options)]


def own_rate(processor: BaseVideoProcessor, fps: float | None) -> float | None:
    """Frames a second that a video processor is asked for: its own, or those of the model card (`fps`); None where it
    takes a fixed number of frames."""
    return processor.fps or (None if processor.num_frames else fps)


def uniform_options(conversation: Conversation, **bounds: Any) -> dict[str, Any]:
    """Options for frames at the centres of equal parts of the clip, frame i at (i + 0.5) seconds / num_frames. `bounds`
    are a family's own, such as the `size` of frames.

    Processors compute the time of a frame as index / fps, and an index is a whole number. So they are told of a video
    with twice as many frames, every other one of which was sampled.
    """
    num_frames = len(conversation.frames)
    assert conversation.seconds > 0, "a conversation with frames does not say how many seconds they span"
    rate = 2 * num_frames / conversation.seconds
    indices = list(range(1, 2 * num_frames, 2))
    return _options(conversation, rate, conversation.seconds, 2 * num_frames, indices) | bounds


def own_options(conversation: Conversation, processor: BaseVideoProcessor) -> dict[str, Any]:
    """Options for frames that OwnFrames chose (media=native), with the processor's own bounds on pixels."""
    picked = conversation.picked
    assert picked is not None and len(picked.indices) == len(conversation.frames), (
        "media=native has to be told which frames these are"
    )
    seconds = picked.total / picked.rate
    options = _options(conversation, picked.rate, seconds, picked.total, list(picked.indices))
    if hasattr(processor, "cap_pixels_per_frame"):
        # bool: None means False in this version of transformers, and warns that this may change.
        options["cap_pixels_per_frame"] = bool(processor.cap_pixels_per_frame)
    return options


def images(conversation: Conversation) -> dict[str, Any]:
    """The frames as separate images, for models without videos."""
    return {"images": list(conversation.frames), "images_kwargs": {"input_data_format": "channels_last"}}


def _options(conversation: Conversation, rate: float, seconds: float, total: int, indices: list[int]) -> dict[str, Any]:
    _, height, width, _ = conversation.frames.shape
    metadata = {
        "fps": rate,
        "duration": seconds,
        "total_num_frames": total,
        "frames_indices": indices,
        "height": height,
        "width": width,
    }
    return {"do_sample_frames": False, "input_data_format": "channels_last", "video_metadata": [metadata]}
