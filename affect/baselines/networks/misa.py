"""MISA: modality-invariant and -specific representations (Hazarika, Zimmermann, Poria, ACM MM 2020, arXiv
2005.03545)."""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from affect.baselines.networks.fused import Fused
from affect.baselines.networks.sequences import in_order, mean_over_time
from affect.config.fusion import MisaConfig, TextEncoder

FUSION_ORDER = ("text", "video", "audio")
"""The order in which the public implementation joins the modalities."""

HEADS = 2
FEEDFORWARD = 2048
"""Attention heads and feed-forward width of the fusion transformer (torch's default, which the public code keeps)."""

MOMENTS = 5
"""Central moments that are compared (K)."""


class MISA(nn.Module):
    """Every modality in a space that all share and in one of its own; self-attention over these vectors.

    u_m = LayerNorm(ReLU(W_m encoder_m(features of m)))
    h_m^c = sigmoid(W^c u_m),  h_m^p = sigmoid(W_m^p u_m)      invariant (one W^c for all), specific
    û_m = W_m^d (h_m^c + h_m^p)                                reconstruction
    states = ReLU(dropout(W [transformer layer over all h]))

    The auxiliary loss of a clip is the weighted sum of three:
        L_sim    mean CMD_5 of the batch's h_m^c over pairs of modalities                       (`moment_discrepancy`)
        L_diff   sum over m of `difference`(h_m^p, h_m^c), and over pairs of (h_m^p, h_m'^p)
        L_recon  mean over modalities of the clip's squared error of û_m against u_m, per number
    The first two are of the batch, and every clip of it has them alike.

    Mapping, from our names to those of the public implementation (https://github.com/declare-lab/MISA, MMSA's MISA):
        encoders.video, .audio              vrnn1, vrnn2, vlayer_norm; arnn1, … (see RecurrentEncoder)
        projections[m]                      project_t, project_v, project_a
        private[m], shared, decoders[m]     private_m, shared, recon_m
        attention                           transformer_encoder.layers[0]; the vectors are h^p of text, video, audio,
                                            then their h^c
        fusion                              fusion.fusion_layer_1
        the task's output layer             fusion.fusion_layer_3
    Left out are the adversarial discriminator that the public code has in place of CMD, and its sp_discriminator, which
    no loss reads. The text encoder of the paper is a fine-tuned BERT, whose states are averaged; here text features
    come precomputed, and are averaged too (or, text_encoder=lstm, encoded as the others).

    With two modalities the sums are over those; with one there is no similarity, and the difference is that of its
    two vectors.

    Parameters: the paper states no number. MMSA's setting for CMU-MOSI (text 768, audio 5, video 20, hidden 128;
    tests) has 1,134,445 with the output layer of one intensity, BERT not counted.
    """

    def __init__(self, widths: Mapping[str, int], config: MisaConfig) -> None:
        """widths: numbers a step, by modality."""
        super().__init__()
        assert config.hidden % HEADS == 0, "refused before"
        self.config, d = config, config.hidden
        self.modalities = sorted(in_order(widths), key=FUSION_ORDER.index)
        self.encoders = nn.ModuleDict()
        for modality in self.modalities:
            if modality != "text" or config.text_encoder is TextEncoder.lstm:
                width = widths[modality]
                self.encoders[modality] = RecurrentEncoder(width, config.recurrent_width or width)
        self.projections = nn.ModuleDict()
        for modality in self.modalities:
            width = self.encoders[modality].width if modality in self.encoders else widths[modality]
            self.projections[modality] = nn.Sequential(nn.Linear(width, d), nn.ReLU(), nn.LayerNorm(d))
        self.private = nn.ModuleDict({m: nn.Sequential(nn.Linear(d, d), nn.Sigmoid()) for m in self.modalities})
        self.shared = nn.Sequential(nn.Linear(d, d), nn.Sigmoid())
        self.decoders = nn.ModuleDict({m: nn.Linear(d, d) for m in self.modalities})
        self.attention = nn.TransformerEncoderLayer(d, HEADS, FEEDFORWARD, batch_first=True)
        self.width = len(self.modalities) * d
        self.fusion = nn.Sequential(nn.Linear(2 * self.width, self.width), nn.Dropout(config.dropout), nn.ReLU())

    def forward(self, batch: Mapping[str, Tensor]) -> Fused:
        """The vectors of the tasks' output layers, and the auxiliary loss."""
        u = {m: self.projections[m](self._encoded(batch, m)) for m in self.modalities}
        specific = {m: self.private[m](vectors) for m, vectors in u.items()}
        invariant = {m: self.shared(vectors) for m, vectors in u.items()}
        attended = self.attention(torch.stack([*specific.values(), *invariant.values()], 1))
        return Fused(self.fusion(attended.flatten(1)), loss=self._loss(u, specific, invariant))

    def _encoded(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        sequence, lengths = batch[modality], batch[f"{modality}_lengths"]
        if modality in self.encoders:
            return self.encoders[modality](sequence, lengths)
        return mean_over_time(sequence, lengths)

    def _loss(self, u: Mapping[str, Tensor], specific: Mapping[str, Tensor], invariant: Mapping[str, Tensor]) -> Tensor:
        reconstruction = torch.stack(
            [(self.decoders[m](specific[m] + invariant[m]) - u[m]).square().mean(1) for m in self.modalities]
        ).mean(0)
        different = [(specific[m], invariant[m]) for m in self.modalities] + list(combinations(specific.values(), 2))
        differences = torch.stack([difference(a, b) for a, b in different]).sum()
        similar = list(combinations(invariant.values(), 2))
        discrepancies = torch.stack([moment_discrepancy(a, b) for a, b in similar]).mean() if similar else 0.0
        return (
            self.config.similarity_weight * discrepancies
            + self.config.difference_weight * differences
            + self.config.reconstruction_weight * reconstruction
        )


def difference(one: Tensor, other: Tensor) -> Tensor:
    """Mean square of the correlations between the numbers of two batches of vectors [B, d]: 0 where they are
    orthogonal. Each number is centred over the batch, then each vector divided by its length. The paper has the sum,
    ||one^T other||_F^2; its public code the mean over all d² products, which its weight is meant for. No gradient goes
    through the lengths, as there."""
    one, other = (_unit(vectors - vectors.mean(0)) for vectors in (one, other))
    return (one.T @ other).square().mean()


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (torch.linalg.vector_norm(vectors, dim=1, keepdim=True).detach() + 1e-6)


def moment_discrepancy(one: Tensor, other: Tensor, moments: int = MOMENTS) -> Tensor:
    """CMD_K: the distance of the means of two batches of vectors [B, d], plus those of their central moments of orders
    2 to K (Zellinger et al., ICLR 2017, arXiv 1702.08811), for numbers in [0, 1]."""
    total = torch.linalg.vector_norm(one.mean(0) - other.mean(0))
    centred = [vectors - vectors.mean(0) for vectors in (one, other)]
    for order in range(2, moments + 1):
        first, second = (vectors.pow(order).mean(0) for vectors in centred)
        total = total + torch.linalg.vector_norm(first - second)
    return total


class RecurrentEncoder(nn.Module):
    """Two bidirectional LSTMs with layer normalisation between them; the last states of both in both directions.

    `first`, `norm`, `second` are the public vrnn1, vlayer_norm, vrnn2. The vector is [first forward; second forward;
    first backward; second backward], each `hidden` wide.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.LSTM(width, hidden, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(2 * hidden)
        self.second = nn.LSTM(2 * hidden, hidden, bidirectional=True, batch_first=True)
        self.width = 4 * hidden

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, width] to [B, 4 · hidden]."""
        packed = pack_padded_sequence(sequence, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, (first, _) = self.first(packed)
        _, (second, _) = self.second(states._replace(data=self.norm(states.data)))
        return torch.cat([first, second], 2).transpose(0, 1).flatten(1)
