"""Runs a batch of prompts once and continues it: with many answers, or token by token."""

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedConfig

from affect.models.unanswered import NOT_FINITE, Unanswered

BRANCHING = frozenset(
    {"llama", "qwen2", "qwen3", "qwen2_5_omni_text", "qwen3_omni_moe_text", "qwen3_vl_text"},
)
"""Types of language models that the tests have found to score branches as they score rows."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Continuations that stand one after the other in the row of their prompt and do not attend to each other, so that
    one forward pass runs the prompt and all of them."""

    depth: torch.Tensor
    """[L], how many tokens of its own continuation come before each token."""
    sees: torch.Tensor
    """bool[L, L], the tokens that each token attends to: those before it in its own continuation, and itself."""

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> "Branches":
        """Continuations with these numbers of tokens."""
        depth = torch.cat([torch.arange(length, device=device) for length in lengths])
        which = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
        return cls(depth, (which[:, None] == which) & (depth[:, None] >= depth))

    def mask(self, attention_mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """[B, 1, T + L, T + L] to be added to attention scores, from the attention_mask[B, T] of the prompts."""
        num_prompts, width = attention_mask.shape
        total = width + len(self.depth)
        sees = torch.zeros((num_prompts, total, total), dtype=torch.bool, device=attention_mask.device)
        sees[:, :, :width] = attention_mask.bool()[:, None]
        sees[:, :width, :width] &= torch.ones(width, width, dtype=torch.bool, device=sees.device).tril()
        sees[:, width:, width:] = self.sees
        scores = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
        return scores.masked_fill_(~sees, torch.finfo(dtype).min)[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The state of B prompts after their forward pass, from which they are continued."""

    logits: torch.Tensor
    """[B, V] at the last prompt position: the distribution of the first answer token."""
    cache: DynamicCache
    attention_mask: torch.Tensor
    """[B, T]"""
    position: torch.Tensor
    """[B] position index of the first answer token."""

    def select(self, rows: torch.Tensor) -> "Prefix":
        """The prompts `rows[N]`, in that order, repeated where `rows` repeats. The original stays usable."""
        cache = copy(self.cache)
        cache.layers = [_select_rows(layer, rows) for layer in self.cache.layers]
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


def _select_rows(layer: Any, rows: torch.Tensor) -> Any:
    """A copy of a cache's layer with these rows. A recurrent layer changes its dictionaries of states, so those are
    copied too; any other layer makes new tensors."""
    selected = copy(layer)
    for states in {"conv_states", "recurrent_states"} & vars(selected).keys():
        setattr(selected, states, dict(getattr(selected, states)))
    selected.reorder_cache(rows)
    return selected


class Decoder(nn.Module, ABC):
    """A causal language model whose prompts may hold clips: the calls of `affect.models.Model` that run it.

    A subclass turns a batch into the language model's arguments (`inputs`) and those into logits (`logits`).
    """

    AXES = 1
    """Axes of a position: 3 where it is time, height and width."""

    stops: frozenset[int]
    """Tokens that end a generated answer."""

    @abstractmethod
    def inputs(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the language model: inputs_embeds[B, T, D], attention_mask[B, T], position_ids[B, T] (with
        several axes [AXES, B, T]), and those that a family adds."""

    @abstractmethod
    def logits(self, inputs: dict[str, Any], keep: int) -> torch.Tensor:
        """logits[B, keep, V] of the last `keep` positions."""

    @property
    @abstractmethod
    def language_config(self) -> PreTrainedConfig:
        """Configuration of the language model."""

    def new_cache(self) -> DynamicCache:
        """An empty cache. Without a configuration every layer keeps everything, so that prompts can be selected from
        it; a layer with a sliding window masks what is beyond."""
        return DynamicCache()

    def forward(self, batch: dict[str, Any], keep: int) -> torch.Tensor:
        """logits[B, keep, V] at the last `keep` positions."""
        assert keep > 0, "there is nothing to predict at the last 0 positions"
        return self.logits(self.inputs(batch) | {"use_cache": False}, keep)

    def prefill(self, batch: dict[str, Any]) -> Prefix:
        """Runs the prompts once and keeps what continuing them needs."""
        inputs, cache = self.inputs(batch), self.new_cache()
        logits = self.logits(inputs | {"past_key_values": cache, "use_cache": True}, 1)[:, -1]
        position = _next_position(inputs["position_ids"], batch["attention_mask"])
        return Prefix(logits=logits, cache=cache, attention_mask=batch["attention_mask"], position=position)

    def extend(self, prefix: Prefix, tokens: torch.Tensor) -> torch.Tensor:
        """logits[B, L, V] at tokens[B, L] that continue the prefix; its cache is consumed."""
        length = tokens.shape[1]
        inputs = {
            "input_ids": tokens,
            "attention_mask": prefix.mask_with(length),
            "position_ids": self._on_all_axes(prefix.next_positions(length)),
            "past_key_values": prefix.cache,
            "use_cache": True,
        }
        return self.logits(inputs, length)

    @property
    def takes_branches(self) -> bool:
        """Whether `branch` can be called: only where all layers attend alike, and with an attention kernel that takes
        a mask of any shape."""
        config = self.language_config
        windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
        return config.model_type in BRANCHING and not windows and config._attn_implementation in ("sdpa", "eager")

    def branch(self, batch: dict[str, Any], tokens: torch.Tensor, branches: Branches) -> torch.Tensor:
        """logits[B, 1 + L, V] at the end of every prompt, and at tokens[L] that continue it in branches."""
        ids = batch["input_ids"]
        inputs = self.inputs(batch | {"input_ids": torch.cat([ids, tokens.expand(len(ids), -1)], 1)})
        positions = inputs["position_ids"]
        further = _next_position(positions, batch["attention_mask"])[:, None] + branches.depth
        inputs["position_ids"] = torch.cat([positions, self._on_all_axes(further)], -1)
        inputs["attention_mask"] = branches.mask(batch["attention_mask"], inputs["inputs_embeds"].dtype)
        return self.logits(inputs | {"use_cache": False}, 1 + len(tokens))

    def generate(self, batch: dict[str, Any], max_new_tokens: int) -> list[list[int] | Unanswered]:
        """Greedy continuation of every prompt, up to and without its end of turn.

        This is not transformers' `generate`, which would apply the checkpoint's generation_config.json: a repetition
        penalty there counts against every label that the question names.
        """
        return greedy(self, batch, max_new_tokens, self.stops)

    def _on_all_axes(self, positions: torch.Tensor) -> torch.Tensor:
        return positions if self.AXES == 1 else positions.expand(self.AXES, -1, -1)


def text_positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """positions[B, T] of prompts on one axis: counted from their first token."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def _next_position(positions: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """[B] position of what follows each prompt: text continues after the largest position of any axis."""
    # Columns of padding carry a position too.
    positions = positions.masked_fill(attention_mask == 0, 0)
    return positions.reshape(-1, *positions.shape[-2:]).amax(dim=(0, 2)) + 1


@torch.no_grad()
def greedy(
    model: Decoder, batch: dict[str, Any], max_new_tokens: int, stops: frozenset[int]
) -> list[list[int] | Unanswered]:
    """Greedy decoding of every prompt of `batch`, up to and without the first of `stops`; Unanswered where the logit of
    the chosen token is not finite."""
    prefix = model.prefill(batch)
    answers: list[list[int]] = [[] for _ in batch["input_ids"]]
    running, broken = [True] * len(answers), [False] * len(answers)
    for step in range(max_new_tokens):
        chosen = prefix.logits.argmax(-1)
        # argmax chooses a NaN wherever there is one, so the chosen logit stands for its row.
        finite = prefix.logits.gather(-1, chosen[:, None])[:, 0].isfinite()
        for i, (token, is_finite) in enumerate(zip(chosen.tolist(), finite.tolist(), strict=True)):
            broken[i] = broken[i] or (running[i] and not is_finite)
            running[i] = running[i] and is_finite and token not in stops
            if running[i]:
                answers[i].append(token)
        if not any(running) or step == max_new_tokens - 1:
            break
        # Rows that have ended keep running: taking them out would copy the cache.
        logits = model.extend(prefix, chosen[:, None])[:, -1]
        prefix = replace(prefix, logits=logits, attention_mask=prefix.mask_with(1), position=prefix.position + 1)
    return [Unanswered(NOT_FINITE) if bad else ids for ids, bad in zip(answers, broken, strict=True)]
