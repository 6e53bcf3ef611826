"""A batch of prompts that has been run once, to be continued by many answers."""

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache

BRANCHING = frozenset(
    {"llama", "qwen2", "qwen3", "qwen2_5_omni_text", "qwen3_omni_moe_text", "qwen3_vl_text"},
)
"""Types of language models that were held to give the same for branches as for rows."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Continuations of a prompt that stand one behind the other in a single row and do not see each other, so that its
    keys and values need not be copied for each."""

    depth: torch.Tensor
    """[L], how many tokens of its own continuation come before each."""
    sees: torch.Tensor
    """bool[L, L], which of them each token sees: those before it in its own continuation, and itself."""

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> "Branches":
        """Continuations of so many tokens each."""
        depth = torch.cat([torch.arange(length, device=device) for length in lengths])
        which = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
        return cls(depth, (which[:, None] == which) & (depth[:, None] >= depth))


def takes_branches(config: Any) -> bool:
    """Whether a language model of this configuration can be told what every token sees: of those whose layers are all
    alike, and not by kernels that know nothing but what came before."""
    windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    return config.model_type in BRANCHING and not windows and config._attn_implementation in ("sdpa", "eager")


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

    def next_positions(self, length: int, branches: Branches | None = None) -> torch.Tensor:
        """positions[B, length] of the tokens that follow."""
        depth = torch.arange(length, device=self.position.device) if branches is None else branches.depth
        return self.position[:, None] + depth

    def mask_with(self, length: int, branches: Branches | None = None) -> torch.Tensor:
        """attention_mask[B, T + length] once `length` tokens follow; of branches [B, 1, length, T + length], which is
        added to what attention makes of keys."""
        if branches is None:
            return torch.nn.functional.pad(self.attention_mask, (0, length), value=1)
        num_prompts = len(self.attention_mask)
        prompt = self.attention_mask.bool()[:, None].expand(-1, length, -1)
        seen = torch.cat([prompt, branches.sees.expand(num_prompts, -1, -1)], -1)[:, None]
        kind = self.cache.layers[0].keys.dtype
        return torch.zeros(seen.shape, dtype=kind, device=seen.device).masked_fill(~seen, torch.finfo(kind).min)


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
