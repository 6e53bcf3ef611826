"""TFN: Tensor Fusion Network (Zadeh, Chen, Poria, Cambria, Morency, EMNLP 2017, arXiv 1707.07250)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.baselines.networks.dropout import Dropout
from affect.baselines.networks.fused import Fused
from affect.baselines.networks.subnetworks import Subnetworks
from affect.config.fusion import TfnConfig


class TFN(nn.Module):
    """The outer product of the modalities' vectors, each with a constant 1, then two layers.

    z = [1; z_a] ⊗ [1; z_v] ⊗ [1; z_l]      all products of one, two and three modalities
    states = ReLU(W_2 ReLU(W_1 dropout(z)))   the sentiment inference subnetwork

    Mapping, from our names to the paper's (and those of the public implementations):
        subnetworks.text, .audio, .video    U_l, U_a, U_v (text_subnet, audio_subnet, video_subnet)
        layers[0], layers[1]                the two layers of U_s (post_fusion_layer_1, post_fusion_layer_2)
        the task's output layer             its decision layer (post_fusion_layer_3)
    Column (a · (V + 1) + v) · (T + 1) + t of layers[0].weight belongs to the product of numbers a, v, t of the three
    vectors, where 0 is the constant; so it is in the public implementations, while the paper writes the 1 last and the
    language first. The paper's own subnetworks have no batch normalisation. There a sigmoid bounds an intensity to its
    range; here the output layer is linear, and predictions are cut to the range.

    With one or two modalities the product is over those.

    Parameters: the paper states no number. MMSA's setting for CMU-MOSI (text 768, audio 5, video 20; tests) has
    9,497,043 with the output layer of one intensity, 8,990,848 of them on the 140,481 products.
    """

    def __init__(self, widths: Mapping[str, int], config: TfnConfig) -> None:
        """widths: numbers a step, by modality."""
        super().__init__()
        self.subnetworks = Subnetworks(widths, config)
        products = 1
        for length in self.subnetworks.lengths.values():
            products *= length
        self.dropout = Dropout(config.fusion_dropout)
        self.layers = nn.ModuleList(nn.Linear(n, config.fusion_hidden) for n in (products, config.fusion_hidden))
        self.width = config.fusion_hidden

    def fuse(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """z[B, product of the lengths] of [B, length] by modality."""
        fused = None
        for vector in vectors.values():
            fused = vector if fused is None else torch.einsum("bi,bj->bij", fused, vector).flatten(1)
        assert fused is not None
        return fused

    def forward(self, batch: Mapping[str, Tensor]) -> Fused:
        """The vectors of the tasks' output layers."""
        states = self.dropout(self.fuse(self.subnetworks(batch)))
        for layer in self.layers:
            states = F.relu(layer(states))
        return Fused(states)
