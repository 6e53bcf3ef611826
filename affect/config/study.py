"""Schema of the files in conf/study/: which multiruns make a study, and what is computed from their numbers."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class StudyProgram(str, Enum):
    train = "train"
    evaluate = "evaluate"


class Analysis(str, Enum):
    """What is computed beside the tables."""

    settings = "settings"
    """A chart of the first metric over each key of `x`, a line or a bar for each value of `series`."""
    ranks = "ranks"
    """Settings against tasks, with the mean rank of each setting."""
    learning_curves = "learning_curves"
    """A power law over the number of training clips for each value of `series`, and the clips that each saves against
    the reference."""
    main_effects = "main_effects"
    """What each level of each key does on average over the levels of the others."""
    transfer = "transfer"
    """The matrix of datasets trained on and tested on."""
    attribution = "attribution"
    """Shapley values of the modalities, as `affect attribution` has them."""
    prompts = "prompts"
    """Spread over prompts, ranks of models, preferences for labels and positions."""


@dataclass(slots=True, kw_only=True)
class MultirunConfig:
    program: StudyProgram = MISSING
    words: list[str] = field(default_factory=list)
    """Words of its command line, KEY=VALUE,…, which the user's own replace. DATASET stands for the dataset's name."""
    evaluates: str | None = None
    """Name of an earlier multirun of trainings: every finished run of it is evaluated."""
    first_seed: bool = False
    """Of several seeds take the first alone, since nothing in it is random."""


@dataclass(slots=True, kw_only=True)
class StudyConfig:
    about: str = MISSING
    """What the study shows, in a line."""
    other_methods: str = "choose a language model"
    """What to do with a method that is no language model, where words of the study say nothing to it: the end of a
    sentence. MODEL stands for model=NAME."""
    multiruns: dict[str, MultirunConfig] = field(default_factory=dict)
    """By name, in the order in which they are run."""
    metrics: list[str] = field(default_factory=lambda: ["headline"])
    """As --metrics of `affect report`."""
    against: list[str] = field(default_factory=list)
    """As --against of `affect report`."""
    per_class: bool = False
    """Recall of each class beside the metrics."""
    analysis: Analysis = Analysis.settings
    x: list[str] = field(default_factory=list)
    """analysis=settings: the key along the horizontal axis; a chart for each."""
    series: list[str] = field(default_factory=list)
    """Keys whose values, together, name the lines or bars."""
