"""Language models made ready for a run: the learner, and the examples it is given."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affect.cli.prepared import Prepared
from affect.config import Config, Target, chosen_tasks
from affect.config.logs import LOG, is_first
from affect.data.part import Part
from affect.evaluation.language import LanguageLearner
from affect.knowledge import audit
from affect.models import Encoder, Model, adapters, checkpoint, encoder_cache, heads, loading, precision, token_report
from affect.models.sampling import sampling
from affect.prompting import examples as prompted
from affect.prompting.messages import Example
from affect.reports.console import print_alignment, print_towers
from affect.runs import inherit, run_summary
from affect.training import alignment, checkpointing, memory


@contextmanager
def to_train(
    ready: Prepared, begin: checkpointing.Position
) -> Iterator[tuple[LanguageLearner, dict[str, list[Example]]]]:
    """The model with heads, adapters and aligned towers, and the examples of all splits. `begin` is where training
    goes on; a model that is trained already is not aligned again."""
    cfg, parts, fresh = ready.cfg, ready.parts, begin == checkpointing.START
    with loading.borrowed(cfg) as (model, encoder):
        if cfg.finetuning.target is Target.head:
            heads.attach(model, chosen_tasks(cfg))
        device = precision.device(cfg.trainer)
        print_towers(adapters.apply(model, cfg.finetuning, device=device, restored=not fresh))
        examples = _examples(parts, {part.split for part in parts}, cfg, encoder)
        audit.write(ready.folder, ready.described, parts, examples, encoder.count_text, cfg)
        learner = _learner(model, encoder, ready)
        memory.prepare(learner, examples["train"], cfg)
        learner.outputs = encoder_cache.prepare(model, encoder, examples, cfg, ready.source)
        if fresh and model.new and cfg.finetuning.alignment_epochs:
            splits = examples["train"], examples["val"]
            print_alignment(alignment.align(model, encoder, *splits, cfg, ready.source, learner.outputs))
        if cfg.finetuning.freeze_aligned and model.new:
            adapters.freeze_new(model)
            if is_first():
                LOG.info(
                    f"finetuning.freeze_aligned=true: {', '.join(sorted(model.new))} stay as alignment has made them"
                )
        yield learner, examples


@contextmanager
def to_evaluate(ready: Prepared) -> Iterator[tuple[LanguageLearner, dict[str, list[Example]]]]:
    """The model as it comes, or as `cfg.run` has trained it, and the examples of the evaluated split."""
    cfg, parts = ready.cfg, ready.parts
    split, modalities = cfg.evaluation.split, set(cfg.modalities)
    if cfg.run is not None:
        # A model keeps the towers of all modalities it was trained with.
        modalities |= set(run_summary.read(Path(cfg.run)).config["modalities"])
    with loading.borrowed(cfg, "".join(m for m in "tav" if m in modalities)) as (model, encoder):
        if cfg.run is not None:
            checkpoint.restore(model, cfg.finetuning, Path(cfg.run), inherit.trained_tasks(Path(cfg.run)))
            if cfg.finetuning.target is Target.head:
                heads.check(model, chosen_tasks(cfg), cfg.run)
        examples = _examples(parts, [split], cfg, encoder)
        audit.write(
            ready.folder, ready.described, [p for p in parts if p.split == split], examples, encoder.count_text, cfg
        )
        learner = _learner(model, encoder, ready)
        learner.outputs = encoder_cache.prepare(model, encoder, examples, cfg, ready.source)
        yield learner, examples


def _examples(parts: Sequence[Part], splits: Iterable[str], cfg: Config, encoder: Encoder) -> dict[str, list[Example]]:
    """The examples of each split; of the training split those that have a label. Says how many tokens a clip has."""
    for sentence in token_report.in_words(encoder, cfg.model, cfg.modalities) if is_first() else []:
        LOG.info(sentence)
    return {
        split: prompted.examples(parts, split, cfg, encoder.count_text, labelled_only=split == "train")
        for split in splits
    }


def _learner(model: Model, encoder: Encoder, ready: Prepared) -> LanguageLearner:
    cfg, log_priors = ready.cfg, ready.classes.log_priors
    return LanguageLearner(
        model, encoder, cfg.finetuning, cfg.evaluation, sampling(cfg), ready.source, log_priors=log_priors
    )
