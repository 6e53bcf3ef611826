"""The examples of a split: a prompt and its answer for every record and task."""

from collections.abc import Callable
from dataclasses import replace

from affect.config import Calibration, Config, ConfigError
from affect.config.logs import LOG
from affect.data.part import Part
from affect.prompting import fewshot, messages, token_budget
from affect.prompting.messages import Example
from affect.prompting.rules import label_conflicts


def without_prompts(parts: list[Part], split: str, cfg: Config, labelled_only: bool) -> list[Example]:
    """An example for every task of every record of a split, for methods that are given no prompt."""
    return [
        Example(record=record, task=task, language=record.language, messages=[], answer=None)
        for part in parts
        if part.split == split
        for record in part.records
        for task in map(cfg.datasets[part.dataset].task_definitions.__getitem__, cfg.datasets[part.dataset].tasks)
        if not labelled_only or task.name in record.labels
    ]


def examples(
    parts: list[Part], split: str, cfg: Config, count_text: Callable[[list[dict]], int], labelled_only: bool
) -> list[Example]:
    """An example for every task of every record of a split, within the token budget."""
    # Labels that are not declared are those of the training rows, and only known now.
    for sentence in label_conflicts(cfg):
        raise ConfigError(sentence)
    prompts, shots = [], fewshot.for_split(parts, split, cfg)
    for part in parts:
        if part.split != split:
            continue
        config = cfg.datasets[part.dataset]
        for record in part.records:
            for name in config.tasks:
                if labelled_only and name not in record.labels:
                    continue
                task = config.task_definitions[name]
                shown = shots[record.id, name]
                example = token_budget.example(record, task, cfg.prompting, cfg.modalities, count_text, shown)
                if cfg.evaluation.calibration is Calibration.contextual and split != "train":
                    blank = messages.content_free(example, cfg.prompting, cfg.modalities)
                    example = replace(example, content_free=blank)
                prompts.append(example)
    for sentence in token_budget.losses(prompts, cfg.prompting):
        LOG.info(f"{split}: {sentence}")
    return prompts
