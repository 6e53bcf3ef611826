"""Methods that are no language models made ready for a run: the learner, and the examples it is given."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affect.baselines import build, features
from affect.baselines.network_learner import NetworkLearner
from affect.config import Config
from affect.data.class_balance import Classes
from affect.data.clips import ClipSource
from affect.data.part import Part
from affect.knowledge import attach
from affect.models import checkpoint
from affect.models.learner import Learner
from affect.prompting.examples import without_prompts
from affect.prompting.messages import Example
from affect.training import checkpointing


@contextmanager
def to_train(
    cfg: Config,
    folder: Path,
    parts: Sequence[Part],
    source: ClipSource,
    described: attach.Attached,
    classes: Classes,
    begin: checkpointing.Position,
) -> Iterator[tuple[Learner, dict[str, list[Example]]]]:
    """The learner, and the examples of all splits. `begin` is where training goes on."""
    splits = dict.fromkeys(part.split for part in parts)
    examples = {split: without_prompts(parts, split, cfg, labelled_only=split == "train") for split in splits}
    learner = build.learner(cfg, features.prepare(parts, cfg, source))
    if isinstance(learner, NetworkLearner) and cfg.features.standardise and begin == checkpointing.START:
        learner.measure(examples["train"])
    if isinstance(learner, NetworkLearner):
        learner.begin_training(examples["train"])
    yield learner, examples


@contextmanager
def to_evaluate(
    cfg: Config,
    folder: Path,
    parts: Sequence[Part],
    source: ClipSource,
    described: attach.Attached,
    classes: Classes,
) -> Iterator[tuple[Learner, dict[str, list[Example]]]]:
    """The learner as `cfg.run` has trained it, and the examples of the evaluated split."""
    assert cfg.run is not None, "refused before"
    split = cfg.evaluation.split
    learner = build.learner(cfg, features.prepare(parts, cfg, source))
    checkpoint.load_best(learner.load, Path(cfg.run))
    yield learner, {split: without_prompts(parts, split, cfg, labelled_only=False)}
