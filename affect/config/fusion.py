"""Sizes and dropouts of the fusion networks: `model=tfn`, `lmf`, `mult`, `misa` and `self_mm`.

The names in the descriptions' brackets are those of the papers, or of MMSA's configuration
(https://github.com/thuiar/MMSA, src/MMSA/config/config_regression.json) where a paper has none.
"""

from dataclasses import dataclass
from enum import Enum

from affect.config.baselines import NetworkConfig
from affect.config.fields import field


@dataclass(slots=True, kw_only=True)
class SubnetworksConfig(NetworkConfig):
    """The subnetworks of single modalities, which TFN and LMF share."""

    text_hidden: int = field(128, least=1)
    """Width of the LSTM over the text's steps (hidden_dims)."""
    text_out: int = field(32, least=1)
    """Width of the linear layer after it: length of z_l (text_out)."""
    audio_hidden: int = field(32, least=1)
    """Width of each of the three layers for audio: length of z_a (hidden_dims)."""
    video_hidden: int = field(32, least=1)
    """Width of each of the three layers for video: length of z_v (hidden_dims)."""
    text_dropout: float = field(0.2, least=0, below=1)
    """Dropout of the LSTM's last state."""
    audio_dropout: float = field(0.2, least=0, below=1)
    """Dropout of the audio's mean over time, before the first layer."""
    video_dropout: float = field(0.2, least=0, below=1)
    """Dropout of the video's mean over time, before the first layer."""


@dataclass(slots=True, kw_only=True)
class TfnConfig(SubnetworksConfig):
    """Tensor Fusion Network (Zadeh et al., EMNLP 2017, arXiv 1707.07250)."""

    family: str = "tfn"
    fusion_hidden: int = field(64, least=1)
    """Width of each of the two layers on the fused tensor (post_fusion_dim; the paper has 128)."""
    fusion_dropout: float = field(0.2, least=0, below=1)
    """Dropout of the fused tensor."""


@dataclass(slots=True, kw_only=True)
class LmfConfig(SubnetworksConfig):
    """Low-rank Multimodal Fusion (Liu et al., ACL 2018, arXiv 1806.00064)."""

    family: str = "lmf"
    text_out: int = field(64, least=1)
    """Width of the linear layer after the LSTM: length of z_l. MMSA takes half of text_hidden."""
    rank: int = field(4, least=1)
    """Number of low-rank factors of each modality (r)."""
    fused_width: int = field(32, least=1)
    """Length of the fused vector h (d_h), which the tasks' linear layers read. Published runs have 1 for an
    intensity."""


@dataclass(slots=True, kw_only=True)
class MultConfig(NetworkConfig):
    """Multimodal Transformer (Tsai et al., ACL 2019, arXiv 1906.00295)."""

    family: str = "mult"
    hidden: int = field(40, least=1)
    """Width of every modality after its convolution (d)."""
    heads: int = field(10, least=1)
    """Attention heads of every transformer; they divide `hidden`."""
    layers: int = field(4, least=1)
    """Layers of each cross-modal transformer (D, nlevels)."""
    memory_layers: int | None = field(None, least=1)
    """Layers of each self-attention transformer; null: as many as `layers`, but at least 3, as in the public code."""
    text_kernel: int = field(1, least=1)
    """Steps that the text's temporal convolution spans (k_L, conv1d_kernel_size_l)."""
    audio_kernel: int = field(3, least=1)
    """Steps that the audio's temporal convolution spans (k_A)."""
    video_kernel: int = field(3, least=1)
    """Steps that the video's temporal convolution spans (k_V)."""
    future_mask: bool = True
    """Whether a step attends to no later step than itself, counted from the end where two sequences differ in length
    (attn_mask). Not in the paper, but what its public code and MMSA do by default."""
    text_dropout: float = field(0.2, least=0, below=1)
    """Dropout of the text features (textual embedding dropout)."""
    position_dropout: float = field(0.25, least=0, below=1)
    """Dropout of a transformer's input with positions (embed_dropout)."""
    text_attention_dropout: float = field(0.1, least=0, below=1)
    """Dropout of attention weights to text, and in the self-attention transformers (attn_dropout)."""
    audio_attention_dropout: float = field(0.0, least=0, below=1)
    """Dropout of attention weights to audio (attn_dropout_a)."""
    video_attention_dropout: float = field(0.0, least=0, below=1)
    """Dropout of attention weights to video (attn_dropout_v)."""
    relu_dropout: float = field(0.1, least=0, below=1)
    """Dropout after the ReLU of a feed-forward layer."""
    residual_dropout: float = field(0.1, least=0, below=1)
    """Dropout of what attention and feed-forward layers add to the residual stream (res_dropout)."""
    output_dropout: float = field(0.1, least=0, below=1)
    """Dropout in the last residual block (out_dropout, output_dropout)."""


class TextEncoder(str, Enum):
    mean = "mean"
    """The mean over the text's steps, as MISA takes BERT's states."""
    lstm = "lstm"
    """The recurrent encoder that audio and video have, as MISA has it for word vectors."""


@dataclass(slots=True, kw_only=True)
class MisaConfig(NetworkConfig):
    """MISA (Hazarika et al., ACM MM 2020, arXiv 2005.03545)."""

    family: str = "misa"
    hidden: int = field(128, least=2)
    """Width of every representation (d_h, hidden_size); even, since the fusion has two attention heads."""
    text_encoder: TextEncoder = TextEncoder.mean
    """How the text's steps become one vector."""
    recurrent_width: int | None = field(None, least=1)
    """Hidden width of the recurrent encoders in each direction; null: that of their features, as published."""
    dropout: float = field(0.2, least=0, below=1)
    """Dropout in the fusion network."""
    similarity_weight: float = field(0.3, least=0)
    """Weight of the similarity loss (alpha, sim_weight)."""
    difference_weight: float = field(0.1, least=0)
    """Weight of the difference loss (beta, diff_weight)."""
    reconstruction_weight: float = field(1.0, least=0)
    """Weight of the reconstruction loss (gamma, recon_weight)."""


class TextVector(str, Enum):
    first = "first"
    """The first step, which is BERT's [CLS] in MMSA's feature files."""
    mean = "mean"
    """The mean over the text's steps."""


@dataclass(slots=True, kw_only=True)
class SelfMmConfig(NetworkConfig):
    """Self-MM (Yu et al., AAAI 2021, arXiv 2102.04830)."""

    family: str = "self_mm"
    text_vector: TextVector = TextVector.mean
    """Which vector of the text's steps is F_t."""
    audio_hidden: int = field(16, least=1)
    """Width of the LSTM over the audio's steps (a_lstm_hidden_size)."""
    video_hidden: int = field(32, least=1)
    """Width of the LSTM over the video's steps (v_lstm_hidden_size)."""
    audio_out: int = field(16, least=1)
    """Width of the linear layer after the audio's LSTM: length of F_a (audio_out)."""
    video_out: int = field(32, least=1)
    """Width of the linear layer after the video's LSTM: length of F_v (video_out)."""
    fused_width: int = field(128, least=1)
    """Length of the fused representation F_m* (post_fusion_dim)."""
    text_width: int = field(32, least=1)
    """Length of the text's own representation F_t* (post_text_dim)."""
    audio_width: int = field(16, least=1)
    """Length of the audio's own representation F_a* (post_audio_dim)."""
    video_width: int = field(32, least=1)
    """Length of the video's own representation F_v* (post_video_dim)."""
    second_layer: bool = True
    """Whether another hidden layer lies between a representation and its output layer, as in the public code; the
    paper's equations have none."""
    fused_dropout: float = field(0.0, least=0, below=1)
    """Dropout of the joined vectors (post_fusion_dropout)."""
    text_dropout: float = field(0.1, least=0, below=1)
    """Dropout of F_t (post_text_dropout)."""
    audio_dropout: float = field(0.1, least=0, below=1)
    """Dropout of F_a (post_audio_dropout)."""
    video_dropout: float = field(0.0, least=0, below=1)
    """Dropout of F_v (post_video_dropout)."""
    audio_learning_rate: float | None = field(None, above=0)
    """AdamW's learning rate of the audio's LSTM; null: learning_rate (learning_rate_audio)."""
    video_learning_rate: float | None = field(None, above=0)
    """AdamW's learning rate of the video's LSTM; null: learning_rate (learning_rate_video)."""
    audio_weight_decay: float | None = field(None, least=0)
    """Weight decay of the audio's LSTM; null: weight_decay (weight_decay_audio)."""
    video_weight_decay: float | None = field(None, least=0)
    """Weight decay of the video's LSTM; null: weight_decay (weight_decay_video)."""
    squared_distance: bool = field(True)
    """Distance to a class centre, from which labels of single modalities are made. true: squared and divided by the
    root of the width, as in the paper. false: Euclidean, as in the public code."""
