"""A batch of prompts that has been run once, to be continued by many answers."""

from dataclasses import dataclass, replace

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
        layers = [
            (layer.keys.index_select(0, rows), layer.values.index_select(0, rows)) for layer in self.cache.layers
        ]
        return replace(
            self,
            logits=self.logits[rows],
            cache=DynamicCache(layers),
            attention_mask=self.attention_mask[rows],
            position=self.position[rows],
        )

    def next_positions(self, length: int) -> torch.Tensor:
        """positions[B, length] of the tokens that follow."""
        return self.position[:, None] + torch.arange(length, device=self.position.device)

    def mask_with(self, length: int) -> torch.Tensor:
        """attention_mask[B, T + length] once `length` tokens follow."""
        return torch.nn.functional.pad(self.attention_mask, (0, length), value=1)
