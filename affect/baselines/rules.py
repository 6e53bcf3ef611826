"""Rules for methods that are no language models."""

from collections.abc import Iterator
from importlib.util import find_spec

from affect.baselines.reads import reads_features
from affect.config import WITHOUT_OPENSMILE, Calibration, Config, FeatureKind, Intervention, PriorConfig, Source
from affect.config.fusion import MisaConfig, MultConfig, SelfMmConfig

MMSA_READERS = ("mosei", "mosi", "sims", "simsv2")
"""Readers of the datasets that MMSA has feature files of."""

OF_LANGUAGE_MODELS = {
    "show": "there is no prompt to show",
    "export": "there is nothing that transformers or vLLM could load",
}
"""Commands that need a language model, and why."""


def baseline_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """What is asked of a baseline that only language models have."""
    name = cfg.model.name
    if program in OF_LANGUAGE_MODELS:
        yield (
            f"model={name} is no language model: {OF_LANGUAGE_MODELS[program]}; name a language model, or a run of one"
        )
        return
    if program == "evaluate" and cfg.run is None:
        yield f"model={name} knows nothing before it is trained: train it, python train.py, or name a trained run=…"
    if cfg.knowledge.source is not Source.none:
        yield (
            f"knowledge={cfg.knowledge.source.value} puts descriptions into prompts, and model={name} has none: set"
            " knowledge=none, or choose a language model"
        )
    if cfg.evaluation.calibration is not Calibration.none or cfg.evaluation.logit_adjustment:
        yield (
            "evaluation.calibration and evaluation.logit_adjustment correct the likelihoods of words, and"
            f" model={name} answers without words: leave them out"
        )
    if cfg.trainer.compile:
        yield f"trainer.compile=true compiles the layers of a language model, and model={name} has none: leave it out"
    if isinstance(cfg.model, PriorConfig) and cfg.intervention.name is not Intervention.none:
        yield (
            f"intervention={cfg.intervention.name.value} changes clips, and model={name} reads labels alone: leave it"
            " out"
        )
    if reads_features(cfg):
        yield from _network_conflicts(cfg)
        yield from _feature_conflicts(cfg)


def _network_conflicts(cfg: Config) -> Iterator[str]:
    model = cfg.model
    if isinstance(model, MultConfig) and model.hidden % model.heads:
        yield (
            f"model.heads={model.heads} does not divide model.hidden={model.hidden}, and each head gets an equal part:"
            " choose another number of heads or another width"
        )
    if isinstance(model, MisaConfig) and model.hidden % 2:
        yield f"model.hidden={model.hidden} is odd, and MISA's two attention heads share it: choose an even number"
    if isinstance(model, SelfMmConfig) and cfg.trainer.devices > 1:
        yield (
            f"trainer.devices={cfg.trainer.devices} spreads training clips over processes, and model={model.name} makes"
            " labels from all of them in one: set trainer.devices=1"
        )


def _feature_conflicts(cfg: Config) -> Iterator[str]:
    features = cfg.features
    if features.kind is FeatureKind.computed:
        for key in ("text_layer", "audio_layer", "video_layer"):
            value = getattr(features, key)
            if value != "last" and not value.isdecimal():
                yield f"features.{key}={value} has to be a number from 0 on, or last"
        if "a" in cfg.modalities and features.audio == "egemaps" and find_spec("opensmile") is None:
            yield WITHOUT_OPENSMILE
        return
    for name, dataset in cfg.datasets.items():
        if dataset.reader not in MMSA_READERS:
            yield (
                f"features={features.name} reads MMSA's feature files, and there are none of dataset={name}: set"
                f" features=computed, or choose of {', '.join(MMSA_READERS)}"
            )
    if cfg.intervention.name is not Intervention.none:
        yield (
            f"intervention={cfg.intervention.name.value} changes clips, and features={features.name} does not read"
            " them: set features=computed, or leave the intervention out"
        )
