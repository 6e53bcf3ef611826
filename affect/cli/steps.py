"""The steps that training and evaluation have in common."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from affect.config import Config
from affect.config.logs import LOG, is_first
from affect.config.schema import media_of
from affect.data.class_balance import Classes
from affect.data.files import write_json
from affect.data.part import Part
from affect.evaluation.metrics.summary import summarise
from affect.models import Encoder, Model, token_report
from affect.prompting import examples
from affect.prompting.messages import Example
from affect.reports.console import print_results
from affect.runs import run_folder
from affect.training.module import Supervised


def say_tokens(encoder: Encoder, cfg: Config) -> None:
    """Says how many tokens a clip becomes, in the first process."""
    for sentence in token_report.in_words(encoder, cfg.model, cfg.modalities) if is_first() else []:
        LOG.info(sentence)


def examples_by_split(
    parts: Sequence[Part], splits: Iterable[str], cfg: Config, encoder: Encoder
) -> dict[str, list[Example]]:
    """The examples of each split; of the training split those that have a label."""
    return {
        split: examples.examples(parts, split, cfg, encoder.count_text, labelled_only=split == "train")
        for split in splits
    }


def module(model: Model, encoder: Encoder, cfg: Config, classes: Classes) -> Supervised:
    """The LightningModule that trains and evaluates `model`."""
    summary = partial(summarise, datasets=cfg.datasets, evaluation=cfg.evaluation, media=media_of(cfg))
    return Supervised(model, encoder, cfg.finetuning, cfg.evaluation, summary, classes)


def finish(
    folder: Path,
    cfg: Config,
    parts: Sequence[Part],
    supervised: Supervised,
    tracker: Any,
    validation: dict[str, Any] | None = None,
) -> None:
    """Writes, tracks and prints the results of the evaluated split.

    `validation` is what a training selected its checkpoint by. Raises NothingAnswered where no prediction has an
    answer.
    """
    predictions = supervised.tested
    results = supervised.summarise(predictions, expected=run_folder.expected(parts, cfg.evaluation.split))
    run_folder.write_results(folder, cfg, parts, predictions, results, supervised.lost, validation)
    if supervised.content_free is not None and supervised.content_free.known:
        write_json(folder / "content_free.json", supervised.content_free.table())
    tracker.results(results, predictions, {record.id: record for part in parts for record in part.records})
    print_results(folder)
    run_folder.check_answered(folder, predictions)
