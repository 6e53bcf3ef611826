"""Schema of the group `evaluation`: how an answer is obtained, read and scored."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import field


class Readout(str, Enum):
    score = "score"
    generate = "generate"
    constrained = "constrained"
    head = "head"


class IntensityReadout(str, Enum):
    generate = "generate"
    expectation = "expectation"
    constrained = "constrained"
    head = "head"


class Calibration(str, Enum):
    none = "none"
    contextual = "contextual"


class Reader(str, Enum):
    exact = "exact"
    lenient = "lenient"


class Selection(str, Enum):
    mean_headline = "mean_headline"
    min_headline = "min_headline"


@dataclass(slots=True, kw_only=True)
class EvaluationConfig:
    name: str = field(MISSING, role="name")
    """The choice of the group, for names of runs and for tables."""
    split: str = "test"
    """The split that is evaluated: train, val or test."""
    readout: Readout = field(Readout.score, methods=("language",))
    """Classification: score takes the label with the greatest log-likelihood; generate reads the generated text;
    constrained generates too, but at every token only what continues a label; head is the layer that
    finetuning.target=head has trained. Multi-label: the same, but that score generates, and constrained writes any
    combination of labels."""
    intensity_readout: IntensityReadout = field(IntensityReadout.generate, methods=("language",))
    """Intensity: generate reads the generated number; expectation is the mean of the task's grid of numbers, weighted
    by their likelihoods; constrained generates one of that grid; head is the layer that finetuning.target=head has
    trained."""
    calibration: Calibration = field(Calibration.none, used_by=("score",), methods=("language",))
    """score: contextual subtracts from the score of every label its score for a prompt without content (the transcripts
    N/A, [MASK] and nothing; silence; a grey picture), which removes the model's prior preference for some labels (Zhao
    et al., Calibrate Before Use, ICML 2021, arXiv 2102.09690)."""
    length_normalised: bool = field(False, used_by=("score",), methods=("language",))
    """score: divide a label's log-likelihood by its number of tokens."""
    logit_adjustment: float = field(0.0, used_by=("score",), methods=("language",), least=0)
    """score, classification: τ of post-hoc logit adjustment. The answer is the label with the greatest score - τ · log
    of its share of the training examples; 0 is off, 1 corrects for class frequency. The stored scores are not adjusted.
    After balanced sampling or label weights it corrects for class frequency a second time."""
    reader: Reader = field(Reader.lenient, methods=("language",))
    """The reader whose values the headline is computed from; the numbers of both are reported."""
    max_new_tokens: int = field(8, used_by=("generate",), methods=("language",), least=1)
    """generate: maximum number of tokens of an answer."""
    batch_size: int = field(16, role="rounding", least=1)
    """Clips of a batch of each process in evaluation."""
    selection: Selection = field(Selection.mean_headline, methods=("language", "network"))
    """Criterion for choosing the checkpoint: the mean or the minimum of all tasks' headline metrics on the validation
    split, each scaled to [0, 1] with 1 the best."""
