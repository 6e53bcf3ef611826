"""Projectors of composed models: an encoder's states in, soft tokens of the language model out."""

from collections.abc import Iterable

import torch
from torch import nn


class QFormer(nn.Module):
    """steps[B, S, width] to tokens[B, num_tokens, width]: learned queries that attend to each other and to the steps,
    as in BLIP-2 (Li et al. 2023, arXiv 2301.12597). The order of the steps is given by fixed sines and cosines."""

    def __init__(self, width: int, num_tokens: int, layers: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_tokens, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        steps = steps.to(self.queries.dtype)
        memory = self.norm(steps) + _sinusoids(steps.shape[1], steps.shape[2], steps)
        queries = self.queries.expand(len(steps), -1, -1)
        for layer in self.layers:
            queries = layer(queries, memory)
        return queries


def _sinusoids(count: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines [count, width] of the positions 0 … count - 1, at wavelengths from 2π to 10,000 · 2π."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=like.device) / width)
    angles = torch.arange(count, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width].to(like.dtype)


class LayerSum(nn.Module):
    """Layers[B, layers, S, width] to their weighted sum [B, S, width]. The weights are learnt, positive and add up to
    1: a softmax, from the mean of all layers on, as in SUPERB (Yang et al. 2021, arXiv 2105.01051)."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_layers))

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        return torch.einsum("l,blsw->bsw", self.logits.softmax(0), layers)


class StateDropout(nn.Dropout):
    """Dropout of an encoder's states before the projector. It stays on while the language model learns to read what a
    frozen projector makes: otherwise soft tokens of training clips would be surer than those of any other clip."""


class Projector(nn.Module):
    """States to soft tokens in the language model's embedding space, as large as its own embeddings are (`scale`, their
    root mean square), so that an untrained soft token does not outweigh the words around it."""

    def __init__(
        self,
        width: int,
        target: int,
        scale: float,
        queries: QFormer | None = None,
        num_layers: int | None = None,
        standardised: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """`queries` is applied to the states first, where it is given; with `num_layers` the states are those of as
        many layers, which are added up before; with `standardised`, `calibrate` sets what is taken off and divided by
        before all of that; `dropout` is that of the states."""
        super().__init__()
        self.dropout = StateDropout(dropout)
        self.standardised = standardised
        if standardised:
            shape = (1, width) if num_layers is None else (num_layers, 1, width)
            self.register_buffer("mean", torch.zeros(shape))
            self.register_buffer("scale", torch.ones(shape))
        self.layer_sum = None if num_layers is None else LayerSum(num_layers)
        self.queries = queries
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, target), nn.GELU(), nn.Linear(target, target))
        self.norm = nn.LayerNorm(target)
        nn.init.constant_(self.norm.weight, scale)

    def calibrate(self, batches: Iterable[torch.Tensor]) -> None:
        """Sets mean and scale of every channel, of every layer where there are several, from the training clips'
        states[B, …, S, width]."""
        if not self.standardised:
            return
        states = torch.cat([batch.float() for batch in batches])
        self.mean.copy_(states.mean((0, -2), keepdim=True)[0])
        self.scale.copy_(states.std((0, -2), keepdim=True)[0].clamp(min=1e-3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.norm.weight.dtype)
        if self.standardised:
            x = (x - self.mean) / self.scale
        x = self.dropout(x)
        if self.layer_sum is not None:
            x = self.layer_sum(x)
        return self.norm(self.layers(x if self.queries is None else self.queries(x)))
