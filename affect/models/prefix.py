"""A batch of prompts that has been run once, to be continued by many answers."""

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """What is left of B prompts after their forward pass."""

    logits: torch.Tensor
    """[B, V] at the last prompt position: the distribution of the first answer token."""
    cache: DynamicCache
    attention_mask: torch.Tensor
    """[B, T]"""
    position: torch.Tensor
    """[B] position index of the first answer token."""

    def select(self, rows: torch.Tensor) -> "Prefix":
        """The prompts `rows[N]`, in that order and as often as they are named. The original stays usable."""
        cache = copy(self.cache)
        cache.layers = [_picked(layer, rows) for layer in self.cache.layers]
        return replace(
            self,
            logits=self.logits[rows],
            cache=cache,
            attention_mask=self.attention_mask[rows],
            position=self.position[rows],
        )

    def next_positions(self, length: int) -> torch.Tensor:
        """positions[B, length] of the tokens that follow."""
        return self.position[:, None] + torch.arange(length, device=self.position.device)

    def mask_with(self, length: int) -> torch.Tensor:
        """attention_mask[B, T + length] once `length` tokens follow."""
        return torch.nn.functional.pad(self.attention_mask, (0, length), value=1)


def _picked(layer: Any, rows: torch.Tensor) -> Any:
    """The layer of a cache with these rows, and the original as it was: a recurrent layer has dictionaries of states,
    any other makes new tensors."""
    picked = copy(layer)
    for states in {"conv_states", "recurrent_states"} & vars(picked).keys():
        setattr(picked, states, dict(getattr(picked, states)))
    picked.reorder_cache(rows)
    return picked


@torch.no_grad()
def greedy(model: Any, batch: dict[str, Any], max_new_tokens: int, stops: frozenset[int]) -> list[list[int]]:
    """The most likely next token, over and over, for every prompt of `batch`, up to and without the first of
    `stops`."""
    prefix = model.prefill(batch)
    answers: list[list[int]] = [[] for _ in batch["input_ids"]]
    going = [True] * len(answers)
    for step in range(max_new_tokens):
        chosen = prefix.logits.argmax(-1)
        for i, token in enumerate(chosen.tolist()):
            going[i] = going[i] and token not in stops
            if going[i]:
                answers[i].append(token)
        if not any(going) or step == max_new_tokens - 1:
            break
        # Rows that have ended run along: taking them out would copy the cache.
        logits = model.extend(prefix, chosen[:, None])[:, -1]
        prefix = replace(prefix, logits=logits, attention_mask=prefix.mask_with(1), position=prefix.position + 1)
    return answers
