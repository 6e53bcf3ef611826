"""Self-MM's network (Yu, Xu, Yuan, Wu, AAAI 2021, arXiv 2102.04830). Its labels of single modalities are in
affect/baselines/unimodal_labels.py, its losses in affect/baselines/self_mm.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.baselines.networks.fused import Fused
from affect.baselines.networks.sequences import in_order, last_hidden, mean_over_time
from affect.config.fusion import SelfMmConfig, TextVector

FUSED = "fused"
"""The name of the representation of all modalities, beside those of single ones."""


@dataclass(frozen=True, slots=True)
class Represented(Fused):
    """Outputs with the representations they were made from."""

    representations: Mapping[str, Tensor] = field(default_factory=dict)
    """F*: [B, network.representation_widths[name]] by modality, and that of FUSED."""


class SelfMM(nn.Module):
    """A vector of every modality; a representation of all together and one of each alone, each with its output layer.

    F_t = the text's vector, F_a and F_v = W dropout(last state of an LSTM)
    F_m* = ReLU(W_1 dropout([F_t; F_a; F_v])),  F_s* = ReLU(W_1^s dropout(F_s))
    states = ReLU(W_2 F_m*) and likewise for each modality (with second_layer; else F* itself)

    Mapping, from our names to those of the public implementation (https://github.com/thuiar/Self-MM, MMSA's SELF_MM):
        encoders.audio, encoders.video      audio_model, video_model: lstm is rnn, linear is linear_1
        representers.fused, .text, …        post_fusion_layer_1, post_text_layer_1, … (W_l1^m, W_l1^s)
        second.fused, .text, …              post_fusion_layer_2, …, which the paper's equations do not have
        the output layers                   post_fusion_layer_3, … (W_l2^m, W_l2^s)
    The text encoder of the paper is a BERT that is fine-tuned with the rest; here text features come precomputed and
    stay as they are.

    Parameters: the paper states no number. MMSA's setting for CMU-MOSI (text 768, audio 5, video 20; tests) has 159,332
    with the output layers of one intensity, BERT not counted.
    """

    def __init__(self, widths: Mapping[str, int], config: SelfMmConfig) -> None:
        """widths: numbers a step, by modality."""
        super().__init__()
        self.modalities, self.config = in_order(widths), config
        self.encoders = nn.ModuleDict()
        lengths: dict[str, int] = {}
        for modality in self.modalities:
            if modality == "text":
                lengths["text"] = widths["text"]
            else:
                hidden, out = (getattr(config, f"{modality}_{part}") for part in ("hidden", "out"))
                self.encoders[modality] = SequenceEncoder(widths[modality], hidden, out)
                lengths[modality] = out
        lengths[FUSED] = sum(lengths.values())
        names = [FUSED, *self.modalities]
        self.representation_widths = {name: getattr(config, f"{name}_width") for name in names}
        self.dropouts = nn.ModuleDict({name: nn.Dropout(getattr(config, f"{name}_dropout")) for name in names})
        self.representers = nn.ModuleDict(
            {name: nn.Linear(lengths[name], width) for name, width in self.representation_widths.items()}
        )
        self.second = nn.ModuleDict(
            {name: nn.Linear(width, width) for name, width in self.representation_widths.items()}
            if config.second_layer
            else {}
        )
        self.width = config.fused_width
        self.unimodal_widths = {modality: self.representation_widths[modality] for modality in self.modalities}

    def forward(self, batch: Mapping[str, Tensor]) -> Represented:
        """The inputs of the tasks' output layers, of all modalities and of each alone."""
        vectors = {modality: self._vector(batch, modality) for modality in self.modalities}
        vectors[FUSED] = torch.cat(list(vectors.values()), 1)
        representations = {
            name: F.relu(layer(self.dropouts[name](vectors[name]))) for name, layer in self.representers.items()
        }
        states = {name: F.relu(self.second[name](x)) if self.second else x for name, x in representations.items()}
        return Represented(states[FUSED], {m: states[m] for m in self.modalities}, representations=representations)

    def _vector(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        sequence, lengths = batch[modality], batch[f"{modality}_lengths"]
        if modality != "text":
            return self.encoders[modality](sequence, lengths)
        return sequence[:, 0] if self.config.text_vector is TextVector.first else mean_over_time(sequence, lengths)


class SequenceEncoder(nn.Module):
    """The last state of an LSTM, through a linear layer."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, out)

    def forward(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, width] to [B, out]."""
        return self.linear(last_hidden(self.lstm, sequence, lengths))
