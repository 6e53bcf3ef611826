"""Features of transcripts: the states of their tokens in an encoder or a language model."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer

from affect.models.chat import neutralise, special_strings
from affect.models.features.frozen import Frozen
from affect.models.features.steps import to_steps
from affect.models.pretrained import refusals

VERSION = 1
"""Raise it when a transcript gets other features."""

KEY, WANTED = "features.text", "smollm2-wheel, or an encoder or language model"

BATCH_TOKENS = 4096
"""Tokens that go through the encoder together, padding included."""


class TokenStates:
    """See `affect.models.features.Extractor`. The model is given the transcript alone, without a prompt, and with the
    marks that its tokenizer puts around every text ([CLS] and [SEP] of BERT), whose states are steps too.

    A transcript longer than the model can take is encoded in pieces. An empty one is a step of zeros.
    """

    threads = False

    def __init__(self, name: str, layer: str, max_steps: int, cache_root: Path, device: torch.device) -> None:
        """Raises ConfigError where the model or its tokenizer cannot be loaded, or has no such layer."""
        self.frozen = Frozen(KEY, name, layer, WANTED, cache_root, device)
        self.width, self.max_steps = self.frozen.width, max_steps
        self.identity: dict[str, Any] = {
            "kind": f"token states {VERSION}",
            **self.frozen.identity,
            "max_steps": max_steps,
        }

    @cached_property
    def _encoder(self) -> nn.Module:
        return self.frozen.load()

    @cached_property
    def _tokenizer(self) -> Any:
        with refusals(KEY, self.frozen.name, WANTED):
            return AutoTokenizer.from_pretrained(self.frozen.folder, trust_remote_code=False)

    def of(self, texts: Sequence[str]) -> list[torch.Tensor]:
        pieces = [(i, ids) for i, text in enumerate(texts) for ids in self._pieces(text)]
        states: list[list[torch.Tensor]] = [[] for _ in texts]
        by_piece: dict[int, torch.Tensor] = {}
        for batch in _batches([ids for _, ids in pieces]):
            by_piece |= zip(batch, self._states([pieces[at][1] for at in batch]), strict=True)
        for at, (i, _) in enumerate(pieces):
            states[i].append(by_piece[at])
        return [to_steps(torch.cat(own), self.max_steps) if own else torch.zeros(1, self.width) for own in states]

    def _pieces(self, text: str) -> list[list[int]]:
        """Ids of the tokens of a text, in as many pieces as the model needs; none of an empty text."""
        text = neutralise(text, special_strings(self._tokenizer)).strip()
        if not text:
            return []
        longest = min(
            self._tokenizer.model_max_length, getattr(self.frozen.config, "max_position_embeddings", 10**9) or 10**9
        )
        ids = self._tokenizer(text)["input_ids"]
        if len(ids) <= longest:
            return [ids] if ids else []
        return self._tokenizer(text, truncation=True, max_length=longest, return_overflowing_tokens=True)["input_ids"]

    def _states(self, pieces: list[list[int]]) -> list[torch.Tensor]:
        """float32[tokens, width] of each piece, on the CPU."""
        longest = max(map(len, pieces))
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(pieces), longest), padding)
        mask = torch.zeros_like(ids)
        for row, own in enumerate(pieces):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        device = self.frozen.device
        states = self.frozen.states(self._encoder, input_ids=ids.to(device), attention_mask=mask.to(device)).cpu()
        return [row[: len(own)] for row, own in zip(states, pieces, strict=True)]


def _batches(pieces: list[list[int]]) -> Iterator[list[int]]:
    """Indices of pieces of similar length, BATCH_TOKENS together or a single longer one; the longest first, so that too
    little memory shows at once."""
    batch: list[int] = []
    for at in sorted(range(len(pieces)), key=lambda at: -len(pieces[at])):
        if batch and (len(batch) + 1) * len(pieces[batch[0]]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
