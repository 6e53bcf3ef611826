"""The steps that training and evaluation have in common."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from affect.config import BaselineConfig, Config
from affect.config.schema import intervention_of, media_of
from affect.data.class_balance import Classes
from affect.data.files import write_json
from affect.data.part import Part
from affect.evaluation.metrics.summary import summarise
from affect.models.learner import Learner
from affect.reports.console import print_results
from affect.runs import run_results
from affect.training.module import Supervised


def method(cfg: Config) -> ModuleType:
    """The module that makes the method of a run ready: `to_train` and `to_evaluate` give its learner and examples."""
    from affect.cli import baselines, language

    return baselines if isinstance(cfg.model, BaselineConfig) else language


def module(learner: Learner, cfg: Config, classes: Classes, transcribed: Mapping[str, str]) -> Supervised:
    """The LightningModule that trains and evaluates `learner`. `transcribed` names the recogniser of each dataset that
    has transcripts by one."""
    summary = partial(
        summarise,
        datasets=cfg.datasets,
        evaluation=cfg.evaluation,
        media=media_of(cfg),
        intervention=intervention_of(cfg),
        transcribed=transcribed,
    )
    return Supervised(learner, cfg.finetuning, summary, classes)


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
    results = supervised.summarise(predictions, expected=run_results.expected(parts, cfg.evaluation.split))
    run_results.write_results(folder, cfg, parts, predictions, results, supervised.lost, validation)
    for name, content in supervised.learner.files().items():
        write_json(folder / name, content)
    tracker.results(results, predictions, {record.id: record for part in parts for record in part.records})
    print_results(folder)
    run_results.check_answered(folder, predictions)
