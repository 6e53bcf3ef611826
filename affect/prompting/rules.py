"""Rules over several fields of the group `prompting`."""

from collections.abc import Iterator

from affect.config import (
    DESCRIPTIONS,
    Config,
    Control,
    IntensityReadout,
    Kind,
    Options,
    OptionsOrder,
    PromptingConfig,
    Readout,
    Task,
    near,
)
from affect.config.paraphrases import paraphrases
from affect.config.schema import kinds_of
from affect.data.rules import language_conflicts
from affect.prompting.messages import descriptions_shown
from affect.prompting.options import option_conflicts


def wording_conflicts(prompting: PromptingConfig) -> Iterator[str]:
    """A sentence for each placeholder or marker that is missing or wrong."""
    for key, wording, placeholders in (
        ("transcript", prompting.transcript, ("text",)),
        ("context", prompting.context, ("turns",)),
        ("audio_description", prompting.audio_description, ("text",)),
        ("video_description", prompting.video_description, ("text",)),
        ("audio_video_description", prompting.audio_video_description, ("text",)),
        ("cot_instruction", prompting.cot_instruction, ("marker",)),
        ("fewshot.example", prompting.fewshot.example, ("clip", "answer")),
        ("fewshot.options", prompting.fewshot.options, ("labels",)),
    ):
        for language, template in wording.items():
            try:
                filled = template.format(**{name: f"\0{name}\0" for name in placeholders})
            except (KeyError, IndexError, ValueError) as error:
                options = " or ".join(f"{{{name}}}" for name in placeholders)
                yield f"prompting.{key}.{language} has a placeholder that is not {options}: {error}"
                continue
            for name in placeholders:
                if f"\0{name}\0" not in filled:
                    yield (
                        f"prompting.{key}.{language} lacks its placeholder {{{name}}}: add it where the text belongs"
                    )
    for language, marker in prompting.answer_marker.items():
        if not marker.strip(" :\uff1a"):
            yield (
                f"prompting.answer_marker.{language}='{marker}' has no word that marks the final answer: write one,"
                " Answer:"
            )


LEAST_COT_TOKENS = 32
"""Room for about two sentences of reasons before the answer."""


def prompting_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """A sentence for each broken rule."""
    prompting, names = cfg.prompting, cfg.prompting.descriptions
    unknown = [name for name in names if name not in DESCRIPTIONS]
    for name in unknown:
        yield (
            f"prompting.descriptions names '{name}', which cannot be described{near(name, DESCRIPTIONS)} Choose from"
            f" {', '.join(DESCRIPTIONS)}"
        )
    if unknown:
        return
    if len(set(names)) < len(names):
        yield f"prompting.descriptions=[{','.join(names)}] names one twice: name each once"
    shown = descriptions_shown(prompting, cfg.modalities)
    if names and not shown:
        yield (
            f"prompting.descriptions=[{','.join(names)}] shows nothing, since modalities={cfg.modalities} leaves out"
            " what they describe: set prompting.descriptions_without_media=true to show them all the same, or"
            " prompting=plain"
        )
    # Without any description a rule of knowledge refuses the control.
    if cfg.knowledge.control is Control.mismatched_modality and names and not {"audio", "video"} <= set(shown):
        yield (
            "knowledge.control=mismatched_modality exchanges the descriptions of audio and video, but with"
            f" modalities={cfg.modalities} the prompt shows {' and '.join(shown) or 'neither'}: set"
            " prompting.descriptions=[audio,video] with both modalities, or choose another control"
        )
    used = [f"{name}_description" for name in shown]
    if prompting.cot:
        used += ["cot_instruction", "answer_marker"]
    if prompting.fewshot.k:
        used += ["fewshot.example", "fewshot.clip"]
    if prompting.options is not Options.words:
        used += [f"{prompting.options.value}_instruction", *(["fewshot.options"] if prompting.fewshot.k else [])]
    for name, dataset in cfg.datasets.items():
        yield from language_conflicts(name, dataset, prompting, used)
    yield from _factor_conflicts(cfg)
    yield from label_conflicts(cfg)
    yield from _fewshot_conflicts(cfg, shown)
    if prompting.cot and program == "evaluate" and cfg.run is None:
        yield from _cot_conflicts(cfg)


def _factor_conflicts(cfg: Config) -> Iterator[str]:
    """What is varied in prompts, and cannot be with these tasks."""
    prompting, kinds = cfg.prompting, kinds_of(cfg)
    for key, value, usual in (
        ("options", prompting.options, Options.words),
        ("options_order", prompting.options_order, OptionsOrder.fixed),
    ):
        if value is not usual and kinds == {Kind.intensity}:
            yield (
                f"prompting.{key}={value.value} is about labels, but every chosen task of {' and '.join(cfg.datasets)}"
                f" is answered by a number from a range: set prompting.{key}={usual.value}, or choose another task"
            )
    if prompting.options_seed and prompting.options_order is not OptionsOrder.shuffled:
        yield (
            f"prompting.options_seed={prompting.options_seed} has no effect with"
            f" prompting.options_order={prompting.options_order.value}: set prompting.options_order=shuffled, or leave"
            " it out"
        )
    if not prompting.paraphrase:
        return
    for name, task, language in _tasks(cfg):
        question = task.question.get(language)
        if question is not None and question not in paraphrases():
            yield (
                f"prompting.paraphrase={prompting.paraphrase} has no wording of the question ({language}) of task"
                f" '{task.name}' of dataset={name}, which is not one that affect ships: set prompting.paraphrase=0, and"
                f" vary datasets.{name}.task_definitions.{task.name}.question.{language} itself"
            )


def label_conflicts(cfg: Config) -> Iterator[str]:
    """A sentence for each task whose labels cannot be shown as `prompting` says."""
    for name, task, language in _tasks(cfg):
        for clause in option_conflicts(task, language, cfg.prompting):
            yield f"task '{task.name}' of dataset={name} {clause}"


def _tasks(cfg: Config) -> Iterator[tuple[str, Task, str]]:
    """The chosen tasks that are there, with the names and languages of their datasets."""
    for name, dataset in cfg.datasets.items():
        for task in map(dataset.task_definitions.get, dataset.tasks):
            if task is not None:
                yield name, task, dataset.language


def _fewshot_conflicts(cfg: Config, shown: list[str]) -> Iterator[str]:
    fewshot = cfg.prompting.fewshot
    if fewshot.k > 0 and "t" not in cfg.modalities and not shown:
        yield (
            f"prompting.fewshot.k={fewshot.k} shows training examples as text, but modalities={cfg.modalities} leaves"
            " their transcripts out and no description is shown: add t to modalities, or set prompting.fewshot.k=0"
        )
    if fewshot.k > 0 and cfg.evaluation.split == "train":
        yield (
            f"prompting.fewshot.k={fewshot.k} takes its examples from the training split, but evaluation.split=train is"
            " that split: evaluate on another, or set prompting.fewshot.k=0"
        )


def _cot_conflicts(cfg: Config) -> Iterator[str]:
    """For models that are not fine-tuned; a fine-tuned one has learnt to answer at once, which can be scored."""
    scored = scored_readouts(cfg)
    for readout in scored:
        yield (
            f"prompting.cot=true asks for reasons before the answer, but {readout} takes the answer before any are"
            f" written: set {readout.split('=')[0]}=generate and evaluation.max_new_tokens=256, or prompting.cot=false"
        )
    if not scored and cfg.evaluation.max_new_tokens < LEAST_COT_TOKENS:
        yield (
            "prompting.cot=true asks for reasons before the answer, but"
            f" evaluation.max_new_tokens={cfg.evaluation.max_new_tokens} ends before both are written: set"
            " evaluation.max_new_tokens=256, or prompting.cot=false"
        )


def scored_readouts(cfg: Config) -> list[str]:
    """The chosen readouts that have a task and take likelihoods instead of generated text."""
    kinds, scored = kinds_of(cfg), []
    readout, intensity = cfg.evaluation.readout, cfg.evaluation.intensity_readout
    # evaluation.readout=score generates the answer of a multi-label task.
    if (Kind.classification in kinds and readout in (Readout.score, Readout.constrained)) or (
        Kind.multi_label in kinds and readout is Readout.constrained
    ):
        scored.append(f"evaluation.readout={readout.value}")
    if Kind.intensity in kinds and intensity in (IntensityReadout.expectation, IntensityReadout.constrained):
        scored.append(f"evaluation.intensity_readout={intensity.value}")
    return scored
