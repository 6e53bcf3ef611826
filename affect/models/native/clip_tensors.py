"""Tensors of single clips: joined to those of a batch, and split again into those of each clip."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from affect.models.protocol import Conversation

WRITTEN = "written"
"""Name of the ids that stand for a clip in a prompt, times and all, among the encoder outputs that are kept of it."""

BY_TOKEN = ("states", "deep")
"""Encoder outputs whose first axis is the clip's tokens; all others have one row a clip."""


def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The tensors concatenated along their first axis, their other axes padded with zeros to the longest."""
    shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        missing = [(0, longest - size) for longest, size in zip(shape, tensor.shape[1:], strict=True)]
        if any(after for _, after in missing):  # pad would copy
            tensor = nn.functional.pad(tensor, [n for pair in reversed(missing) for n in pair])
        padded.append(tensor)
    return torch.cat(padded)


def from_outputs(conversations: list[Conversation], part: str) -> dict[str, torch.Tensor]:
    """The keys of a batch that encoder outputs of a part give: `audio_states` from `states`, and so on."""
    outputs = [c.outputs[part] for c in conversations if part in c.outputs]
    clips = [c.waveform if part == "audio" else c.frames for c in conversations]
    assert not outputs or all(clip is None for clip in clips), f"a batch has {part} both as clips and as outputs"
    names = outputs[0].keys() - {WRITTEN} if outputs else ()
    return {f"{part}_{name}": torch.cat([tensors[name] for tensors in outputs]) for name in names}


def by_clip(outputs: Mapping[str, torch.Tensor], num_tokens: list[int]) -> list[dict[str, torch.Tensor]]:
    """The encoder outputs of several clips, clip by clip; `num_tokens` is how many tokens each clip has."""
    split = {name: tensor.split(num_tokens if name in BY_TOKEN else 1) for name, tensor in outputs.items()}
    return [dict(zip(split, clip, strict=True)) for clip in zip(*split.values(), strict=True)]


def one_by_one(batch: dict, *keys: str) -> Iterator[tuple[torch.Tensor, ...]]:
    """The sounds of a batch without their padding, for audio towers that look at it."""
    for i, length in enumerate(batch["audio_frames"].tolist()):
        yield tuple(batch[key][i : i + 1, :length] for key in keys)
