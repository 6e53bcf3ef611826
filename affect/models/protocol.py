"""The interface of language models: `Model`, `Encoder`, and the conversations they are given.

The rest of affect relies on these two protocols alone. A batch is a dictionary that a family's encoder writes and its
model reads; others may read the keys that every batch has:

    input_ids[B, T], attention_mask[B, T]   left-padded, so that every row ends in the same column
    labels[B, T]                            answer tokens, -100 elsewhere; only where the conversations have answers
    answer_length                           int: columns at the right end that hold answer tokens (0 without answers)

A model at a server (server.py) has no tokens and no likelihoods: it has only the methods that generating needs, and
none of these keys. affect/cli/validate.py refuses everything that needs more.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy
    import torch

    from affect.data.media import Picked
    from affect.models.generation import Branches, Prefix
    from affect.models.unanswered import Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A prompt for the encoder: chat messages whose parts refer to media, and the media themselves."""

    messages: list[dict]
    """`{"role": …, "content": [{"type": "text", "text": …} | {"type": "audio"} | {"type": "video"}, …]}`"""
    answer: str | None = None
    waveform: "numpy.ndarray | None" = None
    """float32[samples] in [-1, 1], mono, at the encoder's sampling rate; given exactly when a part is audio."""
    frames: "numpy.ndarray | None" = None
    """uint8[num_frames, height, width, 3], RGB; given exactly when a part is video."""
    seconds: float = 0.0
    """Duration of the clip that the frames were sampled from."""
    picked: "Picked | None" = None
    """Which frames of the clip these are. With media=native, given exactly when frames are."""
    outputs: "Mapping[str, Mapping[str, torch.Tensor]]" = field(default_factory=dict)
    """What Model.encoder_outputs gave for this clip, by part (audio, video), in the place of waveform and frames. All
    conversations of a batch have a part or none has."""


class Encoder(Protocol):
    """Conversations to tensors. It holds tokenizer and feature extractors but no weights, so that data workers can have
    a copy."""

    sampling_rate: int
    tokens_known: bool
    """Whether the tokenizer is on this machine. Where it is not, `count_text` is an estimate."""
    audio_tokens_per_second: float
    """Tokens for a second of sound; 0 where a clip has the same number whatever its length."""

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch. Raises AssertionError where the placeholders of a modality do not match its clips, DataError for a
        clip that the model cannot take."""

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The inputs of Model.encoder_outputs, for clips that all have the same parts; messages are ignored."""

    def settings(self, part: str) -> str:
        """Everything that the features of `part`, audio or video, depend on beside the clip itself."""

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, end of turn included, as they are trained on and scored."""

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without end of turn and padding."""

    def render(self, messages: list[dict]) -> str:
        """The prompt as a string, with one placeholder for the tokens of each modality."""

    def count_text(self, messages: list[dict]) -> int:
        """Number of tokens of the prompt without those that stand for audio and video."""


class Model(Protocol):
    """An `nn.Module`. Parameters belong to the tower with the longest matching prefix."""

    towers: dict[str, list[str]]
    """Module-name prefixes by tower: language, audio, vision, projector. A tower the model lacks is absent."""
    new: frozenset[str]
    """Towers with random weights, which have to be trained. A model that has any also has the methods with which
    affect/training/alignment.py fits them, as models/composed/model.py: soft_tokens, soft_token_modules and
    answer_embedding."""

    def unused(self, towers: Collection[str]) -> set[str]:
        """Names of the parameters, of these towers at least, that no answer depends on. They get no gradient, so
        fine-tuning leaves them out."""

    def encoders(self) -> "dict[str, torch.nn.Module]":
        """By part, audio or video, the module that computes encoder_outputs. A part is absent where its outputs are not
        worth keeping."""

    def encoder_outputs(self, features: dict[str, Any]) -> "list[dict[str, dict[str, torch.Tensor]]]":
        """By clip and part, the `outputs` of a Conversation, for features of clips that all have the same parts."""

    def forward(self, batch: dict, keep: int) -> "torch.Tensor":
        """logits[B, keep, V] at the last `keep` positions."""

    def prefill(self, batch: dict) -> "Prefix":
        """Runs the prompts once and keeps what continuing them needs."""

    def extend(self, prefix: "Prefix", tokens: "torch.Tensor") -> "torch.Tensor":
        """logits[B, L, V] at tokens[B, L] that continue the prefix; its cache is consumed."""

    takes_branches: bool
    """Whether `branch` can be called."""

    def branch(self, batch: dict, tokens: "torch.Tensor", branches: "Branches") -> "torch.Tensor":
        """logits[B, 1 + L, V] at the end of every prompt, and at tokens[L] that continue it in branches."""

    def generate(self, batch: dict, max_new_tokens: int) -> "list[list[int] | Unanswered]":
        """Greedy continuation of every prompt, up to and without its end of turn: ids that the encoder decodes."""
