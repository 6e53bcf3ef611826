"""Prefill a batch of prompts once, then continue it with many answers."""

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache

from affect.models.unanswered import NOT_FINITE, Unanswered

BRANCHING = frozenset(
    {"llama", "qwen2", "qwen3", "qwen2_5_omni_text", "qwen3_omni_moe_text", "qwen3_vl_text"},
)
"""Types of language models that were held to give the same for branches as for rows."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Continuations that stand one behind the other in the row of their prompt and do not see each other, so that
    prompt and continuations are run at once."""

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

    def mask(self, attention_mask: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
        """[B, 1, T + L, T + L], which is added to what attention makes of keys, from the attention_mask[B, T] of the
        prompts."""
        num_prompts, width = attention_mask.shape
        whole = width + len(self.depth)
        sees = torch.zeros((num_prompts, whole, whole), dtype=torch.bool, device=attention_mask.device)
        sees[:, :, :width] = attention_mask.bool()[:, None]
        sees[:, :width, :width] &= torch.ones(width, width, dtype=torch.bool, device=sees.device).tril()
        sees[:, width:, width:] = self.sees
        added = torch.zeros(sees.shape, dtype=kind, device=sees.device)
        return added.masked_fill_(~sees, torch.finfo(kind).min)[:, None]


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
def greedy(
    model: Any, batch: dict[str, Any], max_new_tokens: int, stops: frozenset[int]
) -> list[list[int] | Unanswered]:
    """The most likely next token, over and over, for every prompt of `batch`, up to and without the first of `stops`;
    Unanswered where the likeliest token's logit is not finite."""
    prefix = model.prefill(batch)
    answers: list[list[int]] = [[] for _ in batch["input_ids"]]
    going, broken = [True] * len(answers), [False] * len(answers)
    for step in range(max_new_tokens):
        chosen = prefix.logits.argmax(-1)
        # The greatest of logits with a NaN among them is a NaN, so the chosen one stands for all.
        finite = prefix.logits.gather(-1, chosen[:, None])[:, 0].isfinite()
        for i, (token, sound) in enumerate(zip(chosen.tolist(), finite.tolist(), strict=True)):
            broken[i] = broken[i] or (going[i] and not sound)
            going[i] = going[i] and sound and token not in stops
            if going[i]:
                answers[i].append(token)
        if not any(going) or step == max_new_tokens - 1:
            break
        # Rows that have ended run along: taking them out would copy the cache.
        logits = model.extend(prefix, chosen[:, None])[:, -1]
        prefix = replace(prefix, logits=logits, attention_mask=prefix.mask_with(1), position=prefix.position + 1)
    return [Unanswered(NOT_FINITE) if bad else ids for ids, bad in zip(answers, broken, strict=True)]
