"""Schema of the group `finetuning`: what is trained of each tower, how, and class balance."""

from dataclasses import dataclass, fields
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import EVERY_METHOD, field


class Tower(str, Enum):
    """How the parameters of one tower are trained."""

    auto = "auto"
    frozen = "frozen"
    lora = "lora"
    full = "full"


class LoraMethod(str, Enum):
    """Variant of low-rank adaptation (Hu et al., LoRA, ICLR 2022, arXiv 2106.09685)."""

    lora = "lora"
    """W + alpha / rank · B A, with B zero at the start."""
    rslora = "rslora"
    """Scaled by alpha / √rank, so that large ranks learn too (Kalajdzievski 2023, arXiv 2312.03732). At the same alpha
    the update is √rank times that of lora."""
    dora = "dora"
    """Trains magnitude and direction of the weight's rows separately (Liu et al., ICML 2024, arXiv 2402.09353). About a
    third slower."""
    pissa = "pissa"
    """B A starts from the largest singular values of W, which are removed from the frozen part, so W is unchanged at
    the start (Meng et al., NeurIPS 2024, arXiv 2404.02948). Needs a smaller learning rate."""


class Target(str, Enum):
    """What is learnt."""

    answer = "answer"
    """The text of the answer."""
    head = "head"
    """A linear layer per task on the hidden state of the prompt's last position."""


class HeadFit(str, Enum):
    """How heads are trained."""

    gradients = "gradients"
    """By gradients, together with whatever else is trained."""
    linear = "linear"
    """Once, by logistic or ridge regression on the states of the frozen model: a linear probe."""


class ClassSampling(str, Enum):
    """Class-balanced sampling strategy."""

    natural = "natural"
    balanced = "balanced"
    square_root = "square_root"


class LabelWeights(str, Enum):
    """Class-balanced weighting of the loss."""

    none = "none"
    balanced = "balanced"
    square_root = "square_root"


class Mixing(str, Enum):
    """Shares of several datasets in a training epoch."""

    proportional = "proportional"
    temperature = "temperature"
    equal = "equal"
    weights = "weights"


@dataclass(slots=True, kw_only=True)
class FinetuningConfig:
    name: str = field(MISSING, role="name")
    """The choice of the group, for names of runs and for tables."""
    language: Tower = field(Tower.lora, phase="model")
    """auto, for every tower, is full where its weights are new (random) and frozen where they are pretrained."""
    audio: Tower = field(Tower.auto, phase="model")
    """How the audio encoder is trained."""
    vision: Tower = field(Tower.auto, phase="model")
    """How the vision encoder is trained."""
    projector: Tower = field(Tower.auto, phase="model")
    """How the layers between the encoders and the language model are trained."""
    target: Target = field(Target.answer, phase="model")
    """answer: the words of the label, read by score, constrained and generate. head: a linear layer a task, read by
    evaluation=head."""
    head_fit: HeadFit = HeadFit.gradients
    """target=head: gradients trains the layer with the rest of the model. linear fits it by logistic regression (ridge
    regression for an intensity) on the states of a model of which nothing else is trained."""
    head_strength: float = field(1.0, above=0)
    """head_fit=linear: inverse of the regularisation, scikit-learn's C, and 1 / alpha of ridge regression. States are
    standardised first."""
    method: LoraMethod = field(LoraMethod.lora, phase="model")
    """LoRA variant, for every tower that uses LoRA."""
    four_bit: bool = field(False, phase="model")
    """Keep the frozen weights of the language model's linear modules in 4 bits (NF4 with double quantisation: Dettmers
    et al., QLoRA, NeurIPS 2023, arXiv 2305.14314): a quarter of bfloat16's memory, and slower. Needs bitsandbytes."""
    rank: int = field(16, phase="model", least=1)
    """Rank of LoRA's update: width of its two factors."""
    alpha: int = field(32, phase="model", least=1)
    """LoRA's update is scaled by alpha / rank."""
    dropout: float = field(0.0, least=0, below=1)
    """Dropout on the input of the LoRA update. Drawing the random numbers takes a fifth of a training step on a CPU."""
    targets: list[str] = field(default_factory=list, phase="model")
    """Last parts of the names of the linear modules that get LoRA (q_proj, …); empty is all but the output
    embedding."""
    last_layers: int | None = field(None, phase="model", least=1)
    """Number of layers of the language model, counted from the last, that get LoRA; null is all. With freeze_aligned
    the backward pass ends at the first of them."""
    learning_rate: float = field(5e-4, above=0)
    """Learning rate of LoRA, and of pretrained towers trained in full."""
    new_learning_rate: float = field(2e-4, above=0)
    """Learning rate of heads, and of towers with new weights after alignment. Without alignment they need several times
    that."""
    language_learning_rate: float | None = field(None, above=0)
    """Learning rate of the language model; null is learning_rate, or new_learning_rate if its weights are new."""
    audio_learning_rate: float | None = field(None, above=0)
    """Learning rate of the audio encoder; null as for language_learning_rate."""
    vision_learning_rate: float | None = field(None, above=0)
    """Learning rate of the vision encoder; null as for language_learning_rate."""
    projector_learning_rate: float | None = field(None, above=0)
    """Learning rate of the projectors; null as for language_learning_rate."""
    weight_decay: float = field(0.01, least=0)
    """AdamW's decoupled weight decay."""
    warmup: float = field(0.1, methods=("language", "network"), least=0, below=1)
    """Share of the steps over which the learning rate rises linearly; then it falls along a cosine to zero."""
    alignment_epochs: int = field(8, least=0)
    """Epochs in which new towers are first trained alone to predict the training answers, without the language model.
    Cheap; the language model then never sees soft tokens that are noise. No effect without new towers."""
    alignment_learning_rate: float = field(1e-3, above=0)
    """Learning rate of new towers during alignment."""
    freeze_aligned: bool = False
    """Keep new towers as alignment has made them: after it only the language model is trained, in less time. No effect
    without new towers."""
    sampling: ClassSampling = field(ClassSampling.natural, methods=EVERY_METHOD)
    """natural: every training example once an epoch. balanced and square_root draw with replacement as many examples as
    there are, each example of a class of size n with probability proportional to 1/n (all classes equally often) or
    1/√n. Classification tasks only; every task keeps its share of the epoch. Alignment sees every clip once an
    epoch."""
    label_weights: LabelWeights = field(LabelWeights.none, methods=EVERY_METHOD)
    """balanced and square_root weight the loss of an answer whose class has n training examples proportionally to 1/n
    or 1/√n, with a mean weight of 1 over the examples of the task. Classification tasks only."""
    mixing: Mixing = field(Mixing.proportional, methods=EVERY_METHOD)
    """Training on several datasets: the share of each in an epoch, which has as many examples as all together.
    proportional: every example once. temperature: proportional to n^(1/T), where n is the dataset's number of training
    examples and T mixing_temperature. equal: the same share for each. weights: mixing_weights. A dataset that gets more
    than it has is gone through again, one that gets less is drawn anew for every epoch, without replacement. With
    class-balanced sampling, examples are drawn with replacement within each dataset."""
    mixing_temperature: float = field(2.0, methods=EVERY_METHOD, above=0)
    """mixing=temperature: T. 1 is proportional; the larger it is, the closer to equal."""
    mixing_weights: dict[str, float] = field(default_factory=dict, methods=EVERY_METHOD)
    """mixing=weights: a number above 0 for each dataset; the shares are proportional to them."""


TOWERS = tuple(each.name for each in fields(FinetuningConfig) if isinstance(each.default, Tower))
"""Keys of the towers."""
