"""Schemas of the methods that are no language models: `model=majority`, `model=tfidf`, `model=mult` and the like."""

from dataclasses import dataclass
from enum import Enum

from affect.config.fields import field
from affect.config.model import ModelConfig, Precision


@dataclass(slots=True, kw_only=True)
class BaselineConfig(ModelConfig):
    """A method that learns from labels, transcripts or features, and has no prompt."""

    precision: Precision = Precision.float32
    """Type of the weights. These methods are small, and computed in float32 everywhere."""
    num_frames: int = field(16, least=1)
    """Frames of a clip of which features=computed makes its video features, a step each."""
    frame_size: int = field(320, least=1)
    """Longest side of these frames in pixels; smaller frames are not enlarged. Faces are found from a fifth of the
    shorter side upwards, if they have 20 pixels."""


@dataclass(slots=True, kw_only=True)
class PriorConfig(BaselineConfig):
    """Predictions from the training labels alone, whatever the clip."""

    family: str = "prior"
    draw: bool = False
    """false: always the most frequent label, the median of an intensity, and each of several labels that more than half
    of the clips have. true: a training label drawn at random for every clip, by the run's seed and the clip's id."""


@dataclass(slots=True, kw_only=True)
class TfidfConfig(BaselineConfig):
    """TF-IDF of the transcript, with logistic regression, or ridge regression for an intensity."""

    family: str = "tfidf"
    analyser: str = "word"
    """`word`, or `char_wb` for n-grams of characters within words (languages without spaces between words)."""
    ngrams: int = field(2, least=1)
    """Longest n-gram; all from 1 on are counted."""
    max_terms: int = field(20_000, least=1)
    """Number of terms that are kept, the most frequent first."""
    strength: float = field(1.0, above=0)
    """Inverse of the regularisation: scikit-learn's C, and 1 / alpha of ridge regression."""


class Fusion(str, Enum):
    early = "early"
    """The vectors of all modalities are joined, and one linear model reads them."""
    late = "late"
    """A linear model for each modality, whose probabilities (or numbers) are averaged."""


class Pooling(str, Enum):
    mean = "mean"
    """The mean over time."""
    mean_std = "mean_std"
    """Mean and standard deviation over time."""


@dataclass(slots=True, kw_only=True)
class VectorsConfig(BaselineConfig):
    """One vector a clip and modality, with logistic regression, or ridge regression for an intensity."""

    family: str = "vectors"
    fusion: Fusion = Fusion.early
    """How modalities come together; with one modality both are the same."""
    pooling: Pooling = Pooling.mean_std
    """How a sequence becomes a vector."""
    strength: float = field(1.0, above=0)
    """Inverse of the regularisation: scikit-learn's C, and 1 / alpha of ridge regression. Vectors are standardised
    first."""


class IntensityLoss(str, Enum):
    l1 = "l1"
    l2 = "l2"


@dataclass(slots=True, kw_only=True)
class NetworkConfig(BaselineConfig):
    """A network on feature sequences, trained by gradients from random weights."""

    learning_rate: float = field(1e-3, above=0)
    """AdamW's learning rate, after warm-up (finetuning.warmup)."""
    weight_decay: float = field(0.0, least=0)
    """AdamW's decoupled weight decay."""
    intensity_loss: IntensityLoss = field(IntensityLoss.l1)
    """Loss of an intensity in units of the task: l1 is the absolute error, l2 the squared one. Other tasks have
    cross-entropy."""
