"""Rules that span the fields of a model's configuration."""

from collections.abc import Iterator
from dataclasses import fields

from affect.config import MODALITIES, ComposedConfig, Config, ModelConfig, ProjectorKind, ServerConfig, endpoint
from affect.config.model import layer_numbers, spell
from affect.prompting.rules import scored_readouts


def modality_conflicts(cfg: Config, program: str) -> Iterator[str]:
    letters = cfg.modalities
    if not letters or set(letters) - set(MODALITIES) or len(set(letters)) != len(letters):
        yield (
            f"modalities={letters} has to be made of the letters t, a, v, each at most once: t, a, v, ta, tv, av or tav"
        )
        return
    if program in (
        "doctor",
        "knowledge",
        "quality",
    ):  # no model is given them, and what a dataset does not have is not looked at
        return
    model = cfg.model
    for letter in letters:
        if letter not in model.modalities:
            yield (
                f"modalities={letters} has {MODALITIES[letter]}, but model={model.name} takes only"
                f" {spell(model.modalities)}: choose another model, or leave {letter} out"
            )
        for name, dataset in cfg.datasets.items():
            if letter not in dataset.modalities:
                yield (
                    f"modalities={letters} has {MODALITIES[letter]}, but dataset={name} has only"
                    f" {spell(dataset.modalities)}: leave {letter} out"
                )
    if isinstance(model, ComposedConfig):
        for letter, key, encoder in (("a", "audio", model.audio), ("v", "vision", model.vision)):
            if letter in letters and letter in model.modalities and encoder is None:
                yield (
                    f"modalities={letters} has {MODALITIES[letter]}, but model.{key}=null: name an encoder (conv), or"
                    f" leave {letter} out"
                )


def server_conflicts(cfg: Config, model: ServerConfig, program: str) -> Iterator[str]:
    yield from endpoint.problems(endpoint.of_model(model))
    for field in fields(ModelConfig):
        if field.name in ("precision", "attention", "gradient_checkpointing") and getattr(model, field.name) not in (
            field.default,
            False,
        ):
            yield (
                f"model.{field.name} is about weights that affect loads, but those of model={model.name} are at the"
                " server: leave it out, and set it there"
            )
    if program == "train":
        yield (
            f"model={model.name} has no weights here that could be trained: train a model that affect loads,"
            " model=qwen2_5_omni_7b, or evaluate what is served, python evaluate.py"
        )
    if program != "evaluate":
        return
    yield from endpoint.lacking(endpoint.of_model(model))
    for readout in scored_readouts(cfg):
        yield (
            f"{readout} compares likelihoods, but model={model.name} answers in words and does not tell them: set"
            f" {readout.split('=')[0]}=generate"
        )
    if model.concurrency > cfg.evaluation.batch_size:
        yield (
            f"model.concurrency={model.concurrency} requests at a time are more than a batch has,"
            f" evaluation.batch_size={cfg.evaluation.batch_size}: raise that, or lower model.concurrency"
        )
    if cfg.trainer.devices > 1:
        yield (
            f"trainer.devices={cfg.trainer.devices} processes share what a model computes, but model={model.name}"
            " computes nothing here: set trainer.devices=1, and model.concurrency to the requests at a time"
        )


def layer_conflicts(model: ModelConfig) -> Iterator[str]:
    if not isinstance(model, ComposedConfig) or model.audio_layer == "last":
        return
    try:
        layer_numbers(model.audio_layer)
    except ValueError as error:
        yield f"model.audio_layer={error}"
        return
    if model.audio in (None, "conv"):
        yield (
            f"model.audio_layer={model.audio_layer} is of a pretrained encoder, and model.audio={model.audio or 'null'}"
            " is none: name one, model.audio=whisper-base-wheel, or leave model.audio_layer out"
        )


def projector_conflicts(model: ModelConfig) -> Iterator[str]:
    if not isinstance(model, ComposedConfig) or model.projector is ProjectorKind.mlp:
        return
    for letter, key in (("a", "audio_tokens"), ("v", "video_tokens")):
        if letter in model.modalities and getattr(model, key) > model.qformer_steps:
            yield (
                f"model.{key}={getattr(model, key)} queries would look at model.qformer_steps={model.qformer_steps}"
                " parts of a clip: raise model.qformer_steps to at least as many"
            )
    if "conv" in (model.audio, model.vision) and model.qformer_heads > 0 and model.encoder_width % model.qformer_heads:
        yield (
            f"model.encoder_width={model.encoder_width} cannot be shared out to"
            f" model.qformer_heads={model.qformer_heads}: make it a multiple"
        )
