"""Prompts and model card of an export."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from affect import __version__
from affect.config import MODALITIES, ComposedConfig, Config, ExportAs, Kind, Task
from affect.data import Record, readers
from affect.data.escaping import code_markdown, escape_markdown
from affect.models import reach
from affect.models.adapters import TowerCount
from affect.models.towers import HEAD, tower_of
from affect.prompting import token_budget
from affect.runs import run_summary
from affect.training.export.weights import is_native, serving_in_words

PROMPTS = "prompts.json"
CARD = "README.md"


def write_prompts(folder: Path, cfg: Config, encoder: Any, modalities: str) -> None:
    """The prompt of every task: messages for the chat template, the string that it makes of them, and the answers.

    Placeholders such as {transcript} and {audio description} stand for what belongs to a clip. There is neither context
    nor few-shot examples.
    """
    by_task = {}
    for dataset_name, dataset in cfg.datasets.items():
        for name in dataset.tasks:
            task, language = dataset.task_definitions[name], dataset.language
            record = Record(
                id="clip",
                dataset=dataset_name,
                split="test",
                text="{transcript}",
                group="clip",
                language=language,
                knowledge={of: f"{{{of} description}}" for of in cfg.prompting.descriptions},
            )
            example = token_budget.example(record, task, cfg.prompting, modalities, lambda messages: 0)
            by_task[f"{dataset_name}.{name}"] = {
                "language": language,
                "messages": example.messages,
                "prompt": encoder.render(example.messages),
                "answers": _answers(example.answered, language, example.marker),
            }
    _write(folder / PROMPTS, json.dumps(by_task, indent=2, ensure_ascii=False) + "\n")


def _answers(task: Task, language: str, marker: str) -> dict[str, Any]:
    """The answers that the model was trained to write: by label, or the ends and step of a number's range."""
    if task.kind is Kind.intensity:
        assert task.low is not None and task.high is not None
        ends = [marker + task.answer(end, language) for end in (task.low, task.high)]
        return {"lowest": ends[0], "highest": ends[1], "step": task.step}
    answers = {label: marker + task.word(label, language) for label in task.labels}
    if task.kind is Kind.multi_label:
        answers[""] = marker + task.word_for_none(language)
    return answers


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write(folder: Path, cfg: Config, trained: Path, model: Any, counts: Sequence[TowerCount], modalities: str) -> None:
    """The card of the model that the run in `trained` made, by the template card.md.j2."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("affect.training.export", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": escape_markdown, "code": code_markdown, "repr": repr}
    template = environment.get_template("card.md.j2")
    _write(folder / CARD, template.render(_contents(cfg, trained, model, counts, modalities)))


def _contents(cfg: Config, trained: Path, model: Any, counts: Sequence[TowerCount], modalities: str) -> dict[str, Any]:
    """The template's variables."""
    metrics, native = run_summary.read(trained).metrics, is_native(model)
    base = cfg.model.language if isinstance(cfg.model, ComposedConfig) else cfg.model.checkpoint
    adapter = native and cfg.export_as is ExportAs.adapter
    tasks = ", ".join(f"{name}.{task}" for name, dataset in cfg.datasets.items() for task in dataset.tasks)
    four_bit = {}
    if adapter and cfg.finetuning.four_bit:
        from affect.models.quantization import QUANTISATION as four_bit
    data = trained / "data.json"
    return {
        "cfg": cfg,
        "version": __version__,
        # A folder's path is of one machine; its last part names the model.
        "base": Path(base).name if Path(base).exists() else base,
        "title": f"{cfg.model.name} on {tasks}",
        "library": "affect" if not native else "peft" if adapter else "transformers",
        "modalities": [word for letter, word in MODALITIES.items() if letter in modalities],
        "native": native,
        "merged": cfg.export_as is ExportAs.merged,
        "kind": type(model.backbone).__name__ if native else None,
        "four_bit": four_bit,
        "not_quantised": _not_quantised(model) if four_bit else [],
        "serving": serving_in_words(model, cfg),
        "prompts": PROMPTS,
        "counts": counts,
        "batch_size": cfg.trainer.batch_size * cfg.trainer.accumulate * cfg.trainer.devices,
        "environment": json.loads((trained / "environment.json").read_text(encoding="utf-8")),
        "parts": json.loads(data.read_text(encoding="utf-8"))["parts"] if data.is_file() else None,
        "split": None if metrics is None else metrics["split"],
        "results": None if metrics is None else list(_results(metrics)),
        "data_licences": [
            (name, readers.constant(dataset.reader, "LICENCE", None)) for name, dataset in cfg.datasets.items()
        ],
    }


def _not_quantised(model: Any) -> list[str]:
    """The linear modules of the base that stay unquantised: the output embedding, those of the language model whose
    weight is read without calling them, and all other towers by prefix, in transformers' names."""
    read = [name for name in reach.read_directly(model) if tower_of(name, model.towers) == "language"]
    prefixes = (p for tower, of_tower in model.towers.items() if tower not in ("language", HEAD) for p in of_tower)
    names = sorted({prefix.removeprefix("backbone.") for prefix in prefixes}, key=len)
    outer = [n for i, n in enumerate(names) if not any(n.startswith(f"{other}.") for other in names[:i])]
    return ["lm_head", *sorted({*outer, *(name.removeprefix("backbone.") for name in read)})]


def _results(metrics: dict[str, Any]) -> Iterator[tuple[str, str, float | None, str]]:
    """Task, metric, value and signature of every row."""
    reader = metrics["reader"]
    for task, numbers in metrics["tasks"].items():
        for metric, signature in numbers["signatures"][reader].items():
            yield task, metric, _value(numbers, reader, metric), signature


def _value(numbers: dict[str, Any], reader: str, metric: str) -> float | None:
    dialect, dot, name = metric.partition(".")
    return numbers["dialects"][reader][dialect][name] if dot else numbers[reader][metric]
