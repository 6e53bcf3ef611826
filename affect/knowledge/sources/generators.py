"""The models that describe clips: those of the configuration, or the model of a run."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from affect.config import (
    DESCRIPTIONS,
    MODALITIES,
    Config,
    ConfigError,
    FinetuningConfig,
    KnowledgeConfig,
    Media,
    ModelConfig,
    TrainerConfig,
    new_modalities,
)
from affect.config.model import spell
from affect.models import precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """A model that describes."""

    name: str
    config: ModelConfig
    modalities: tuple[str, ...]
    """Keys of DESCRIPTIONS."""
    run: Path | None = None
    """Run folder of its fine-tuning."""
    finetuning: FinetuningConfig | None = None
    trained: str = ""
    """Letters of the modalities it was fine-tuned with."""


def generators(cfg: Config) -> list[Generator]:
    """The generators of the configuration in the order of their names. Raises ConfigError where there is none, and
    where an encoder would be untrained."""
    knowledge = cfg.knowledge
    if knowledge.mllm_run is not None:
        chosen = [_of_run(Path(knowledge.mllm_run), knowledge, cfg.trainer)]
    else:
        chosen = [
            Generator(name=name, config=precision.settled(config, cfg.trainer), modalities=_takes(config, knowledge))
            for name, config in sorted(knowledge.mllm_models.items())
        ]
    for generator in chosen:
        if generator.config.media is Media.native:
            raise ConfigError(
                f"knowledge.mllm_models.{generator.name} has media=native, but descriptions are made from evenly"
                " spaced frames: leave it out, or choose a model or run without it"
            )
        if not set("av") & set(generator.config.modalities):
            raise ConfigError(
                f"{generator.config.name} takes only {spell(generator.config.modalities)}, and descriptions need"
                f" audio or video: choose another model, model@knowledge.mllm_models.{generator.name}=…"
            )
    if not chosen:
        raise ConfigError("knowledge=mllm has no model: choose one, +model@knowledge.mllm_models.main=qwen2_5_omni_7b")
    for generator in chosen:
        asked = {letter for modality in generator.modalities for letter in DESCRIPTIONS[modality]}
        for letter in sorted((asked & set(new_modalities(generator.config))) - set(generator.trained)):
            where = (
                f"run={generator.run} was not trained with {MODALITIES[letter]}, so its encoder for that"
                if generator.run is not None
                else f"the {MODALITIES[letter]} encoder of knowledge.mllm_models.{generator.name}="
                f"{generator.config.name}"
            )
            raise ConfigError(
                f"{where} is untrained and its output random: choose a model whose encoders are"
                f" pretrained, model@knowledge.mllm_models.{generator.name}=…, or a run that was trained with"
                f" {MODALITIES[letter]}, knowledge.mllm_run=…"
            )
    return chosen


def _takes(config: ModelConfig, knowledge: KnowledgeConfig) -> tuple[str, ...]:
    return tuple(m for m in knowledge.modalities if set(DESCRIPTIONS[m]) <= set(config.modalities))


def _of_run(folder: Path, knowledge: KnowledgeConfig, trainer: TrainerConfig) -> Generator:
    from affect.runs.inherit import run_config

    cfg = OmegaConf.to_object(run_config(folder))
    assert isinstance(cfg, Config)
    return Generator(
        name=cfg.model.name,
        config=precision.settled(cfg.model, trainer),
        modalities=_takes(cfg.model, knowledge),
        run=folder,
        finetuning=cfg.finetuning,
        trained=cfg.modalities,
    )
