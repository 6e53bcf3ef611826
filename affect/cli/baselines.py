"""Methods that are no language models made ready for a run: the learner, and the examples it is given."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affect.baselines import build, features, reads
from affect.baselines.network_learner import NetworkLearner
from affect.baselines.targets import by_task
from affect.cli.prepared import Prepared
from affect.config import NetworkConfig
from affect.config.logs import LOG, is_first
from affect.models import checkpoint
from affect.models.learner import Learner
from affect.prompting.examples import without_prompts
from affect.prompting.messages import Example
from affect.training import checkpointing


@contextmanager
def to_train(ready: Prepared, begin: checkpointing.Position) -> Iterator[tuple[Learner, dict[str, list[Example]]]]:
    """The learner, and the examples of all splits. `begin` is where training goes on."""
    cfg, parts = ready.cfg, ready.parts
    splits = dict.fromkeys(part.split for part in parts)
    examples = {split: without_prompts(parts, split, cfg, labelled_only=split == "train") for split in splits}
    learner = _learner(ready)
    if is_first() and isinstance(cfg.model, NetworkConfig):
        count = sum(parameter.numel() for parameter in learner.module.parameters())
        LOG.info(f"model={cfg.model.name} has {count:,} parameters; all are trained from random weights")
    _warn_of_one_label(examples["train"])
    if isinstance(learner, NetworkLearner) and cfg.features.standardise and begin == checkpointing.START:
        learner.measure(examples["train"])
    if isinstance(learner, NetworkLearner):
        learner.begin_training(examples["train"])
    yield learner, examples


@contextmanager
def to_evaluate(ready: Prepared) -> Iterator[tuple[Learner, dict[str, list[Example]]]]:
    """The learner as `cfg.run` has trained it, and the examples of the evaluated split."""
    cfg, split = ready.cfg, ready.cfg.evaluation.split
    assert cfg.run is not None, "refused before"
    learner = _learner(ready)
    checkpoint.load_best(learner.load, Path(cfg.run))
    yield learner, {split: without_prompts(ready.parts, split, cfg, labelled_only=False)}


def _learner(ready: Prepared) -> Learner:
    """An untrained learner; says what it reads."""
    cfg = ready.cfg
    found = features.prepare(ready.parts, cfg, ready.source)
    learner = build.learner(cfg, found)
    if is_first():
        widths = "" if found is None else ", ".join(f"{name} {width}" for name, width in found.widths.items())
        LOG.info(
            f"model={cfg.model.name} reads {reads.in_words(cfg)}" + (f"; numbers a step: {widths}" if widths else "")
        )
    return learner


def _warn_of_one_label(train: Sequence[Example]) -> None:
    for name, (task, places) in by_task(train).items():
        labels = {train[place].record.labels[task.name] for place in places}
        if len(labels) == 1 and is_first():
            LOG.warning(
                f"{name}: all {len(places):,} training clips have the label {labels.pop()}: a method that learns from"
                " them alone can hardly predict another"
            )
