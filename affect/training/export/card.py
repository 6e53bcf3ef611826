"""Prompts and model card of an export."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from affect import __version__
from affect.config import ComposedConfig, Config, ExportAs, Kind, Media, Target, Task
from affect.data import Record
from affect.data.escaping import code_markdown, escape_markdown
from affect.data.published import LICENCES
from affect.models import reach
from affect.models.adapters import TowerCount
from affect.models.towers import HEAD, tower_of
from affect.prompting import messages as prompts
from affect.runs import run_folder
from affect.training.export.weights import is_native, serving_in_words

PROMPTS = "prompts.json"
CARD = "README.md"


def write_prompts(folder: Path, cfg: Config, encoder: Any, modalities: str) -> None:
    """The prompt of every task: messages for the chat template, the string that it makes of them, and the answers. In
    the place of what belongs to a clip stand {transcript}, {audio description} and the like. There is one without
    context and without few-shot examples."""
    found = {}
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
            example = prompts.example(record, task, cfg.prompting, modalities, lambda messages: 0)
            found[f"{dataset_name}.{name}"] = {
                "language": language,
                "messages": example.messages,
                "prompt": encoder.render(example.messages),
                "answers": _answers(task, language, example.marker),
            }
    _write(folder / PROMPTS, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _answers(task: Task, language: str, marker: str) -> dict[str, Any]:
    """What the model writes: by label, or the range of a number."""
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
    """The card of the model that the run in `trained` made."""
    _write(folder / CARD, "\n".join(_card(cfg, trained, model, counts, modalities)) + "\n")


def _card(cfg: Config, trained: Path, model: Any, counts: Sequence[TowerCount], modalities: str) -> Iterator[str]:
    summary, native = run_folder.read(trained), is_native(model)
    base = cfg.model.language if isinstance(cfg.model, ComposedConfig) else cfg.model.checkpoint
    library = "affect" if not native else "peft" if cfg.export_as is ExportAs.adapter else "transformers"
    tasks = ", ".join(f"{name}.{task}" for name, dataset in cfg.datasets.items() for task in dataset.tasks)
    # A folder's path is of one machine; its last part says what was there.
    yield from ("---", f"base_model: {json.dumps(Path(base).name if Path(base).exists() else base)}")
    yield from (f"library_name: {library}", "license: other", "tags: [affective-computing, affect]", "---", "")
    yield from (f"# {escape_markdown(f'{cfg.model.name} on {tasks}')}", "")
    yield (
        f"{cfg.model.name}, fine-tuned with affect {__version__} to answer questions about short clips, from"
        f" {', '.join(_words(modalities))}. Labels of emotion and sentiment are what annotators perceived, not what"
        " somebody felt."
    )
    yield from ("", "## Loading", "", *_loading(cfg, model, native))
    yield from ("", "## Prompt", "", *_prompting(cfg))
    yield from ("", "## Training", "", *_training(cfg, counts, trained))
    yield from ("", "## Data", "", *_data(cfg, trained))
    yield from ("", "## Results", "", *_results(summary.metrics))
    yield from ("", "## Licences", "", *_licences(cfg, base))


def _words(modalities: str) -> list[str]:
    return [word for letter, word in (("t", "text"), ("a", "audio"), ("v", "video")) if letter in modalities]


def _loading(cfg: Config, model: Any, native: bool) -> Iterator[str]:
    if not native:
        yield "A composed model, which needs affect:"
        if cfg.model.trust_remote_code:
            yield "It runs Python code that comes with its parts, which can do whatever you can do on your machine."
        yield from (
            "",
            "```python",
            "from affect.training.export import load",
            "",
            f'model, encoder = load("this folder"{", trust_remote_code=True" if cfg.model.trust_remote_code else ""})',
            "```",
        )
        if cfg.export_as is ExportAs.merged:
            yield ""
            yield "`language/` alone is a causal language model of transformers, with tokenizer and chat template."
        return
    kind = type(model.backbone).__name__
    if cfg.export_as is ExportAs.merged:
        yield from ("```python", f"from transformers import AutoProcessor, {kind}", "")
        yield from (f'model = {kind}.from_pretrained("this folder")',)
        yield from ('processor = AutoProcessor.from_pretrained("this folder")', "```", "")
        yield "The layout is that of the base: what serves the base, vLLM for example, takes this folder too."
        return
    quantised = cfg.finetuning.four_bit
    imports = ["AutoProcessor", *(["BitsAndBytesConfig"] if quantised else []), kind]
    options = ""
    yield from ("```python", "from peft import PeftModel", f"from transformers import {', '.join(imports)}", "")
    if quantised:
        from affect.models.quantization import QUANTISATION

        words = ", ".join(f"{key}={value!r}" for key, value in QUANTISATION.items())
        yield f"four_bit = BitsAndBytesConfig({words}, llm_int8_skip_modules={_not_quantised(model)!r})"
        options = ", quantization_config=four_bit"
    yield f"base = {kind}.from_pretrained({_base_name(cfg)!r}{options})"
    if quantised:
        # Else bitsandbytes evaluates in bfloat16 on processors with AVX512-BF16, as affect does not: 0.1 off in logits.
        yield "for module in base.modules():  # in training nothing was computed in bfloat16 on a processor"
        yield '    if hasattr(module, "support_avx512bf16_for_cpu"):'
        yield "        module.support_avx512bf16_for_cpu = False"
    yield from (
        'model = PeftModel.from_pretrained(base, "this folder")',
        'processor = AutoProcessor.from_pretrained("this folder")',
        "```",
    )
    if said := serving_in_words(model, cfg):
        yield from ("", said.replace("*", r"\*"))


def _not_quantised(model: Any) -> list[str]:
    """The linear modules of the base that stay in their own type: the output embedding, those of the language model
    whose weight is read without calling them, and all other towers, by the names that transformers takes for all that
    lies in them."""
    read = [name for name in reach.read_directly(model) if tower_of(name, model.towers) == "language"]
    places = (p for tower, found in model.towers.items() if tower not in ("language", HEAD) for p in found)
    names = sorted({place.removeprefix("backbone.") for place in places}, key=len)
    outer = [n for i, n in enumerate(names) if not any(n.startswith(f"{other}.") for other in names[:i])]
    return ["lm_head", *sorted({*outer, *(name.removeprefix("backbone.") for name in read)})]


def _base_name(cfg: Config) -> str:
    path = Path(cfg.model.checkpoint)
    return path.name if path.exists() else cfg.model.checkpoint


def _prompting(cfg: Config) -> Iterator[str]:
    yield (
        f"`{PROMPTS}` has the messages of every task, the string that the chat template makes of them, and the answers."
        f" The model knows this wording alone (prompting={cfg.prompting.name}): another one is another model."
    )
    if cfg.prompting.descriptions:
        yield (
            f"Descriptions of {' and '.join(cfg.prompting.descriptions)} stood in the prompt, made by"
            f" knowledge={cfg.knowledge.source.value}."
        )
    if cfg.prompting.fewshot.k:
        yield f"{cfg.prompting.fewshot.k} labelled training examples stood before the clip, which are not given there."
    if cfg.model.media is Media.native and set("av") & set(cfg.modalities):
        yield (
            "Clips were given to the checkpoint's processor as its model card does (frames a second, bounds on frames"
            " and pixels, and the sound within the picture where the model takes it so)."
        )
    elif "v" in cfg.modalities:
        yield (
            f"{cfg.model.num_frames} frames were taken uniformly from a clip, their longest side"
            f" {cfg.model.frame_size} pixels at the most."
        )
    if cfg.finetuning.target is Target.head:
        yield (
            "It does not answer in words. `heads.safetensors` has a linear layer for each task, to be put on the state"
            " of the prompt's last position that the output embedding is given; `heads.json` says what its rows mean,"
            " in order. A number of -1 is the low end of an intensity's range, 1 the high one."
        )


def _training(cfg: Config, counts: Sequence[TowerCount], trained: Path) -> Iterator[str]:
    yield from ("| tower | how | parameters | trained | learning rate |", "|---|---|---:|---:|---:|")
    for count in counts:
        rate = "" if count.learning_rate is None else f"{count.learning_rate:g}"
        yield f"| {count.tower} | {count.mode} | {count.parameters:,} | {count.trained:,} | {rate} |"
    yield ""
    environment = json.loads((trained / "environment.json").read_text(encoding="utf-8"))
    where = f"commit {environment['commit']}" if environment["commit"] else f"version {environment['affect']}"
    changed = ", with changes that are not in it" if environment["dirty"] else ""
    size = cfg.trainer.batch_size * cfg.trainer.accumulate * cfg.trainer.devices
    yield (
        f"{cfg.trainer.max_epochs} epochs, {size} clips an optimiser step, seed {cfg.seed}; of the epochs, the one with"
        f" the best answers on the validation split. affect at {where}{changed}; torch"
        f" {environment['versions']['torch']}, transformers {environment['versions']['transformers']}, peft"
        f" {environment['versions']['peft']}."
    )


def _data(cfg: Config, trained: Path) -> Iterator[str]:
    if not (trained / "data.json").is_file():
        yield "The run has not written what it was trained on: it did not get that far."
        return
    yield from ("| dataset | split | annotated | used | SHA-256 of the ids |", "|---|---|---:|---:|---|")
    for part in json.loads((trained / "data.json").read_text(encoding="utf-8"))["parts"]:
        yield (
            f"| {escape_markdown(part['dataset'])} | {part['split']} | {part['expected']:,} | {part['used']:,} |"
            f" {part['ids_sha256'][:16]} |"
        )


def _results(metrics: dict[str, Any] | None) -> Iterator[str]:
    if metrics is None:
        yield "The run has none: it did not finish. `python evaluate.py run=…` evaluates its best checkpoint."
        return
    reader = metrics["reader"]
    yield f"On the split {metrics['split']}. The signature says how a number was computed, and on how many rows."
    yield from ("", "| task | metric | value | signature |", "|---|---|---:|---|")
    for task, numbers in metrics["tasks"].items():
        for metric, signature in numbers["signatures"][reader].items():
            value = _value(numbers, reader, metric)
            shown = "undefined" if value is None else f"{value:.4f}"
            yield f"| {escape_markdown(task)} | {escape_markdown(metric)} | {shown} | {code_markdown(signature)} |"


def _value(numbers: dict[str, Any], reader: str, metric: str) -> float | None:
    dialect, dot, name = metric.partition(".")
    return numbers["dialects"][reader][dialect][name] if dot else numbers[reader][metric]


def _licences(cfg: Config, base: str) -> Iterator[str]:
    known = cfg.model.licence or "affect does not know it; look it up where the weights come from"
    name = escape_markdown(Path(base).name if Path(base).exists() else base)
    yield f"- Base model, {name}: {known}."
    for name, dataset in cfg.datasets.items():
        licence = LICENCES.get(dataset.reader, "affect does not know it.")
        yield f"- Training data, {name}: {licence}"
    yield ""
    yield "These weights are made from both, so that both have to allow what is done with them."
