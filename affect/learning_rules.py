"""The rules about what is learnt, how, and what is read of it: a part of affect/rules.py, with its form."""

from collections.abc import Iterator
from importlib.util import find_spec

from affect.config import (
    Calibration,
    ComposedConfig,
    Config,
    LoraMethod,
    Readout,
    Target,
    Tower,
    chosen_tasks,
)
from affect.tasks import Kind

MOST_LABELS = 10
"""Of a multi-label task of which every combination can be written: 1,024 of them."""


def readout_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """What is read has to be what was learnt."""
    evaluation, tasks = cfg.evaluation, chosen_tasks(cfg)
    readouts = {
        f"evaluation.{'intensity_readout' if task.kind is Kind.intensity else 'readout'}": (
            evaluation.intensity_readout if task.kind is Kind.intensity else evaluation.readout
        ).value
        for task in tasks
    }
    learns_head = cfg.finetuning.target is Target.head and (program == "train" or cfg.run is not None)
    for key, readout in readouts.items():
        if readout == Readout.head.value and not learns_head:
            whence = "a model that is not fine-tuned has none" if cfg.run is None else "this run has none"
            yield (
                f"{key}=head reads a layer that finetuning.target=head trains, and {whence}: choose evaluation=score,"
                " or train with finetuning.target=head"
                if program == "evaluate"
                else f"{key}=head, but finetuning.target=answer trains no head: set finetuning.target=head, or choose"
                " evaluation=score"
            )
        elif readout != Readout.head.value and learns_head:
            yield (
                f"finetuning.target=head teaches no words, but {key}={readout} reads them: choose evaluation=head, or"
                " finetuning.target=answer"
            )
    for task in tasks:
        constrained = task.kind is Kind.multi_label and evaluation.readout is Readout.constrained
        if constrained and len(task.labels) > MOST_LABELS:
            yield (
                f"evaluation.readout=constrained knows every combination of labels, and task '{task.name}' has"
                f" {len(task.labels)} labels, more than {MOST_LABELS}: set evaluation.readout=generate"
            )
    if cfg.finetuning.target is Target.head and cfg.prompting.cot and learns_head:
        yield (
            "prompting.cot=true asks for reasons before the answer, but finetuning.target=head answers where the prompt"
            " ends: set prompting.cot=false, or finetuning.target=answer"
        )
    if evaluation.calibration is Calibration.contextual:
        if evaluation.readout is not Readout.score or not any(t.kind is Kind.classification for t in tasks):
            why = (
                f"evaluation.readout={evaluation.readout.value} has none"
                if evaluation.readout is not Readout.score
                else "no task that is chosen is a classification"
            )
            yield (
                f"evaluation.calibration=contextual corrects the scores of labels, but {why}: set"
                " evaluation.calibration=none, or evaluation.readout=score and a classification"
            )
        elif evaluation.logit_adjustment:
            yield (
                f"evaluation.calibration=contextual and evaluation.logit_adjustment={evaluation.logit_adjustment:g}"
                " both take out what a model likes to say whatever it is shown: set one of them to its default (none,"
                " 0)"
            )


def own_rates(cfg: Config) -> dict[str, tuple[str, float]]:
    """By key, the towers that have a learning rate of their own, and that."""
    found = {}
    for tower in ("language", "audio", "vision", "projector"):
        rate = getattr(cfg.finetuning, f"{tower}_learning_rate")
        if rate is not None:
            found[f"finetuning.{tower}_learning_rate"] = (tower, rate)
    return found


def method_conflicts(cfg: Config) -> Iterator[str]:
    """How weights are trained, tower by tower."""
    finetuning = cfg.finetuning
    new = set()
    if isinstance(cfg.model, ComposedConfig):
        encoders = {"audio": cfg.model.audio, "vision": cfg.model.vision}
        new = {"projector", *(tower for tower, encoder in encoders.items() if encoder == "conv")}
    for key, (tower, rate) in own_rates(cfg).items():
        mode = getattr(finetuning, tower)
        if mode is Tower.frozen or (mode is Tower.auto and tower not in new):
            yield (
                f"{key}={rate:g} is the learning rate of a tower that finetuning.{tower}={mode.value} does not train:"
                f" set finetuning.{tower}=lora (or full), or leave the learning rate out"
            )
    adapted = [t for t in ("language", "audio", "vision", "projector") if getattr(finetuning, t) is Tower.lora]
    if finetuning.method is not LoraMethod.lora and not adapted:
        yield (
            f"finetuning.method={finetuning.method.value} is a kind of LoRA, and no tower gets any: set"
            " finetuning.language=lora, or finetuning.method=lora"
        )
    if finetuning.four_bit and finetuning.language is Tower.full:
        yield (
            "finetuning.four_bit=true keeps frozen weights in 4 bits, but finetuning.language=full trains them all: set"
            " finetuning.language=lora, or finetuning.four_bit=false"
        )
    if finetuning.four_bit and find_spec("bitsandbytes") is None:
        yield (
            "finetuning.four_bit=true needs the package bitsandbytes, which is not installed: pip install -e"
            " '.[qlora]', or set finetuning.four_bit=false"
        )
