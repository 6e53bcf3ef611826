"""The interface of a model family: `Model`, `Encoder`, and the conversation they exchange.

    load(config, *, modalities, cache_root) -> (model, encoder)

and `config.family` is that module's name. What the rest of affect may rely on is written down as the two protocols
below; a batch is a plain dictionary that only the family's own encoder writes and its own model reads, but for the keys
every batch has:

    input_ids[B, T], attention_mask[B, T]   left-padded, so that every row ends in the same column
    labels[B, T]                            answer tokens, -100 elsewhere; only where the conversations have answers
    answer_length                           int: columns at the right end that hold answer tokens (0 without answers)

A family that asks a server (server.py) has no tokens and tells no likelihoods: of the protocols it has what generating
needs, and none of these keys. affect/cli/validate.py refuses whatever needs more.
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
    """One prompt as the encoder gets it: chat messages that refer to media by parts, and the media themselves."""

    messages: list[dict]
    """`{"role": …, "content": [{"type": "text", "text": …} | {"type": "audio"} | {"type": "video"}, …]}`"""
    answer: str | None = None
    waveform: "numpy.ndarray | None" = None
    """float32[samples] in [-1, 1], mono, at the encoder's sampling rate; given exactly when a part is audio."""
    frames: "numpy.ndarray | None" = None
    """uint8[num_frames, height, width, 3], RGB; given exactly when a part is video."""
    seconds: float = 0.0
    """Duration the frames were sampled from."""
    picked: "Picked | None" = None
    """Which frames of the clip these are: of a model loaded with media=native, given exactly when frames are."""
    outputs: "Mapping[str, Mapping[str, torch.Tensor]]" = field(default_factory=dict)
    """What Model.encoder_outputs made of this clip, by part (audio, video), in the place of waveform and frames. It is
    given for a part in all conversations of a batch or in none."""


class Encoder(Protocol):
    """Conversations to tensors. It holds tokenizer and feature extractors but no weights, so that workers can have
    it."""

    sampling_rate: int
    tokens_known: bool
    """Whether the tokenizer is here. Where it is not, `count_text` is an estimate."""
    audio_tokens_per_second: float
    """Tokens that stand for a second of sound; 0 where a clip has the same number whatever its length."""

    def encode(self, conversations: list[Conversation]) -> dict[str, Any]:
        """The batch. Raises AssertionError where a modality's tokens are not exactly as many as its features."""

    def features(self, conversations: list[Conversation]) -> dict[str, Any]:
        """What Model.encoder_outputs takes, of clips that all have the same parts; messages are not looked at."""

    def settings(self, part: str) -> str:
        """Everything beside the clip itself that the features of `part`, audio or video, depend on."""

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, end of turn included: what is trained on and what is scored."""

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without end of turn and padding."""

    def render(self, messages: list[dict]) -> str:
        """The prompt as a string, with one placeholder where a modality's tokens will be."""

    def count_text(self, messages: list[dict]) -> int:
        """Number of tokens of the prompt without those that stand for audio and video."""


class Model(Protocol):
    """An `nn.Module`. Parameters belong to the tower with the longest matching prefix."""

    towers: dict[str, list[str]]
    """Module-name prefixes by tower: language, audio, vision, projector. A tower the model lacks is absent."""
    new: frozenset[str]
    """Towers whose weights are random and mean nothing until they are trained. A model that has any also has what
    affect/training/alignment.py fits them with: soft_tokens, soft_token_modules and answer_embedding, as
    models/composed.py."""

    def unused(self, towers: Collection[str]) -> set[str]:
        """Names of the parameters, of these towers at least, that nothing the model answers depends on, whatever it is
        given. They get no gradient, so fine-tuning leaves them out."""

    def encoders(self) -> "dict[str, torch.nn.Module]":
        """By part, audio or video, the module that everything encoder_outputs gives comes out of. A part is absent
        where nothing would be worth keeping."""

    def encoder_outputs(self, features: dict[str, Any]) -> "list[dict[str, dict[str, torch.Tensor]]]":
        """By clip and part, what a Conversation takes in the place of the clip, from the features of clips that all
        have the same parts."""

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
