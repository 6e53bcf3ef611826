"""The subnetworks of single modalities that TFN and LMF share: a vector of every modality."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.baselines.networks.dropout import Dropout
from affect.baselines.networks.sequences import in_order, last_hidden, mean_over_time
from affect.config.fusion import SubnetworksConfig

FUSION_ORDER = ("audio", "video", "text")
"""The order in which the public implementations multiply the modalities' vectors."""


class TextSubnetwork(nn.Module):
    """LSTM over the text's steps, dropout of its last state, linear layer.

    `lstm` is U_l's LSTM (public: text_subnet.rnn), `linear` its output (text_subnet.linear_1).
    """

    def __init__(self, width: int, hidden: int, out: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(hidden, out)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, width] to z_l[B, out]."""
        return self.linear(self.dropout(last_hidden(self.lstm, sequence, lengths)))


class PooledSubnetwork(nn.Module):
    """Mean over time, batch normalisation, dropout, and three linear layers, each with a ReLU.

    `norm` and `linears[0..2]` are U_a or U_v (public: audio_subnet.norm, linear_1 to linear_3). The normalisation is in
    the public implementations, not in the papers.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.dropout = Dropout(dropout)
        self.linears = nn.ModuleList(nn.Linear(n, hidden) for n in (width, hidden, hidden))

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, width] to z[B, hidden]."""
        vectors = self.dropout(self._normalised(mean_over_time(sequence, lengths)))
        for linear in self.linears:
            vectors = F.relu(linear(vectors))
        return vectors

    def _normalised(self, vectors: Tensor) -> Tensor:
        if self.training and len(vectors) == 1:
            # One clip has no variance: it is normalised as in evaluation, by the clips before it.
            norm = self.norm
            return F.batch_norm(vectors, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return self.norm(vectors)


class Subnetworks(nn.ModuleDict):
    """The subnetworks of a network's modalities, by modality, in FUSION_ORDER."""

    def __init__(self, widths: Mapping[str, int], config: SubnetworksConfig) -> None:
        """widths: numbers a step, by modality."""
        made: dict[str, nn.Module] = {}
        for modality in sorted(in_order(widths), key=FUSION_ORDER.index):
            width = widths[modality]
            if modality == "text":
                made["text"] = TextSubnetwork(width, config.text_hidden, config.text_out, config.text_dropout)
            elif modality == "audio":
                made["audio"] = PooledSubnetwork(width, config.audio_hidden, config.audio_dropout)
            else:
                made["video"] = PooledSubnetwork(width, config.video_hidden, config.video_dropout)
        super().__init__(made)
        sizes = {"text": config.text_out, "audio": config.audio_hidden, "video": config.video_hidden}
        self.lengths = {modality: 1 + sizes[modality] for modality in made}
        """Length of every modality's vector, the constant 1 included."""

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By modality [1; z] of [B, 1 + width of its last layer]: the vector, after a constant 1."""
        vectors = {name: subnetwork(batch[name], batch[f"{name}_lengths"]) for name, subnetwork in self.items()}
        return {name: torch.cat([torch.ones_like(z[:, :1]), z], 1) for name, z in vectors.items()}
