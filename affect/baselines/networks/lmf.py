"""LMF: Low-rank Multimodal Fusion (Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency, ACL 2018, arXiv 1806.00064)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affect.baselines.networks.fused import Fused
from affect.baselines.networks.subnetworks import Subnetworks
from affect.config.fusion import LmfConfig


class LMF(nn.Module):
    """A linear map of TFN's outer product whose weight is a sum of `rank` outer products, so neither is ever made.

    h = Σ_i ω_i · (W_a^(i) [1; z_a]) ∘ (W_v^(i) [1; z_v]) ∘ (W_l^(i) [1; z_l]) + b        ∘ is the elementwise product

    Mapping, from our names to the paper's (and those of the public implementation):
        subnetworks.text, .audio, .video    the networks that give z_l, z_a, z_v (text_subnet, …)
        factors[modality][i]                w_m^(i), [1 + length of z_m, d_h], constant first (audio_factor, …)
        rank_weights, bias                  ω and b (fusion_weights, fusion_bias). The paper's sum has ω_i = 1; the
                                            weights are the public implementation's.
    There h is the prediction itself (d_h = 1 for an intensity). Here the task's output layer follows, with d_h =
    config.fused_width: with 1 it only scales and shifts.

    With one or two modalities the product is over those.

    Parameters: the paper states no number for a whole network. MMSA's setting for CMU-MOSI (text 768, audio 5, video
    20; tests) has 505,073 with the output layer of one intensity, 637 of them in the fusion.
    """

    def __init__(self, widths: Mapping[str, int], config: LmfConfig) -> None:
        """widths: numbers a step, by modality."""
        super().__init__()
        self.subnetworks = Subnetworks(widths, config)
        self.width = config.fused_width
        self.factors = nn.ParameterDict(
            {
                modality: nn.Parameter(torch.empty(config.rank, length, self.width))
                for modality, length in self.subnetworks.lengths.items()
            }
        )
        self.rank_weights = nn.Parameter(torch.empty(1, config.rank))
        self.bias = nn.Parameter(torch.zeros(self.width))
        for parameter in (*self.factors.values(), self.rank_weights):
            nn.init.xavier_normal_(parameter)

    def fuse(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """h[B, width] of [B, length] by modality."""
        product = None
        for modality, factors in self.factors.items():
            mapped = vectors[modality] @ factors  # [rank, B, width]
            product = mapped if product is None else product * mapped
        assert product is not None
        return torch.einsum("r,rbh->bh", self.rank_weights[0], product) + self.bias

    def forward(self, batch: Mapping[str, Tensor]) -> Fused:
        """The vectors of the tasks' output layers."""
        return Fused(self.fuse(self.subnetworks(batch)))
