"""Prompts of composed models: chat messages and clips to token ids and features."""

import json
import re
from typing import Any

import torch

from affect.config import ComposedConfig, ProjectorKind
from affect.models.chat import ChatEncoder, neutralise_messages, remembered, special_strings
from affect.models.composed.features import SAMPLING_RATE, extractor
from affect.models.composed.layers import LAST
from affect.models.composed.towers import STATES
from affect.models.protocol import Conversation

SOFT_TOKENS = {"audio": -1, "video": -2}
"""Ids of soft tokens in input_ids: below zero, where no tokenizer has a token."""
PLACEHOLDERS = {"audio": "<|affect_audio|>", "video": "<|affect_video|>"}
_PARTS = {placeholder: part for part, placeholder in PLACEHOLDERS.items()}


def num_states(config: ComposedConfig) -> dict[str, int]:
    """How many states of a clip an encoder gives its projector, by part: one for each soft token, unless a Q-Former
    makes those from `qformer_steps`."""
    if config.projector is ProjectorKind.qformer:
        return {"audio": config.qformer_steps, "video": config.qformer_steps}
    return {"audio": config.audio_tokens, "video": config.video_tokens}


class ComposedEncoder(ChatEncoder):
    """See `affect.models.Encoder`."""

    sampling_rate = SAMPLING_RATE
    audio_tokens_per_second = 0.0

    def __init__(self, config: ComposedConfig, tokenizer: Any, modalities: str, end: int) -> None:
        """`end` is the token that ends a turn."""
        super().__init__(tokenizer, end, [*special_strings(tokenizer), *PLACEHOLDERS.values()])
        self.num_tokens = {"audio": config.audio_tokens, "video": config.video_tokens}
        self.num_states, self.audio_layer = num_states(config), config.audio_layer
        self.extractors = {part: extractor(part, config) for part in PLACEHOLDERS if part[0] in modalities}

    def render(self, messages: list[dict]) -> str:
        flat = [
            {
                "role": message["role"],
                "content": "".join(
                    part["text"] if part["type"] == "text" else PLACEHOLDERS[part["type"]] + "\n"
                    for part in message["content"]
                ),
            }
            for message in neutralise_messages(messages, self.special)
        ]
        return self.tokenizer.apply_chat_template(flat, tokenize=False, add_generation_prompt=True)

    @remembered
    def _ids(self, messages: list[dict]) -> list[int]:
        ids: list[int] = []
        for piece in re.split("(" + "|".join(map(re.escape, PLACEHOLDERS.values())) + ")", self.render(messages)):
            if piece in _PARTS:
                ids += [SOFT_TOKENS[_PARTS[piece]]] * self.num_tokens[_PARTS[piece]]
            elif piece:
                ids += self.tokenize(piece)
        return ids

    def count_text(self, messages: list[dict]) -> int:
        return sum(i >= 0 for i in self._ids(messages))

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch: the keys every batch has, and the features of clips, or audio_states and video_states where the
        conversations have encoder outputs. A part is in all conversations or in none."""
        prompts = [self._ids(c.messages) for c in conversations]
        batch = self.text_batch(prompts, [c.answer for c in conversations])
        for part, clips in _clips(conversations).items():
            states = [c.outputs[part]["states"] for c in conversations if part in c.outputs]
            present = [clip is not None or part in c.outputs for clip, c in zip(clips, conversations, strict=True)]
            assert all(present) or not any(present), f"only some conversations of a batch have {part}"
            expected = self.num_tokens[part] if any(present) else 0
            for i, prompt in enumerate(prompts):
                count = prompt.count(SOFT_TOKENS[part])
                assert count == expected, f"conversation {i} has {count} {part} tokens where {expected} belong"
            if states:
                assert len(states) == len(conversations), f"only some conversations of a batch have outputs for {part}"
                lengths = {rows.shape[-2] for rows in states}
                assert lengths == {self.num_states[part]}, f"outputs for {part} are of another projector: {lengths}"
                batch[STATES[part]] = torch.stack(states)
            elif any(present):
                assert part in self.extractors, f"the model was loaded without a tower for {part}"
                batch |= self.extractors[part](clips)
        return batch

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for part, clips in _clips(conversations).items():
            if clips[0] is not None:
                batch |= self.extractors[part](clips)
        return batch

    def settings(self, part: str) -> str:
        layer = [self.audio_layer] if part == "audio" and self.audio_layer != LAST else []
        return json.dumps([self.extractors[part].settings(), self.num_states[part], *layer])


def _clips(conversations: list[Conversation]) -> dict[str, list[Any]]:
    return {"audio": [c.waveform for c in conversations], "video": [c.frames for c in conversations]}
