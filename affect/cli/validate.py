"""Rules that span rooms, and calling the rules.py of every room."""

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec

from affect.baselines.rules import baseline_conflicts
from affect.cli.programs import PROGRAMS
from affect.config import (
    FAMILIES,
    LACKING,
    MODALITIES,
    PACKAGES,
    BaselineConfig,
    ComposedConfig,
    Config,
    LoggerKind,
    Media,
    ModelConfig,
    NativeConfig,
    NativeVideoConfig,
    ServerConfig,
    WandbMode,
    near,
    text_for_null,
)
from affect.config.fields import out_of_range, values
from affect.data import SPLITS
from affect.data.rules import dataset_conflicts, imbalance_conflicts, intervention_conflicts, mixing_conflicts
from affect.evaluation.rules import readout_conflicts
from affect.knowledge.rules import judge_conflicts, knowledge_conflicts, transcription_conflicts
from affect.models.rules import layer_conflicts, modality_conflicts, projector_conflicts, server_conflicts
from affect.prompting.rules import prompting_conflicts, wording_conflicts
from affect.runs import ledger
from affect.training.rules import learning_conflicts, sharding_conflicts

WANDB_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""What the environment variable WANDB_MODE may be; the last two are older names of offline and online."""


def conflicts(cfg: Config, program: str) -> Iterator[str]:
    """One sentence for each rule that is broken, naming both sides and what to do."""
    named = PROGRAMS[program]
    if named.makes_runs and cfg.evaluation.split == ledger.SPLIT and (sentence := ledger.unwritable(cfg.output_root)):
        yield sentence
    yield from _family_conflicts(cfg)
    yield from _media_conflicts(cfg.model, cfg.modalities)
    yield from projector_conflicts(cfg.model)
    yield from layer_conflicts(cfg.model)
    yield from _value_conflicts(cfg, program)
    if not cfg.datasets:
        yield "no dataset is chosen: give one or several, dataset=demo or dataset=[demo,meld]"
    if named.looks_at_clips:
        yield from modality_conflicts(cfg, program)
    for name, dataset in cfg.datasets.items():
        yield from dataset_conflicts(name, dataset, cfg.prompting)
    yield from intervention_conflicts(cfg, program)
    yield from mixing_conflicts(cfg, program)
    yield from transcription_conflicts(cfg, program)
    yield from judge_conflicts(cfg, program)
    yield from sharding_conflicts(cfg, program)
    if isinstance(cfg.model, BaselineConfig):
        yield from baseline_conflicts(cfg, program)
        if named.makes_runs:
            yield from _tracking_conflicts(cfg)
        yield from imbalance_conflicts(cfg, program)
        return
    yield from wording_conflicts(cfg.prompting)
    if named.shows_prompts:
        yield from prompting_conflicts(cfg, program)
    yield from imbalance_conflicts(cfg, program)
    yield from knowledge_conflicts(cfg, program)
    if named.makes_runs:
        yield from _tracking_conflicts(cfg)
        yield from readout_conflicts(cfg, program)
    yield from learning_conflicts(cfg, program)
    if isinstance(cfg.model, ServerConfig):
        yield from server_conflicts(cfg, cfg.model, program)


def _family_conflicts(cfg: Config) -> Iterator[str]:
    model = cfg.model
    if FAMILIES.get(model.family) is not type(model):
        yield (
            f"model.family={model.family} does not fit model={model.name}, whose keys are those of"
            f" {type(model).__name__}: leave it out; the model's file names its family's schema,"
            " defaults: [/schema/composed@_here_, _self_]"
        )
    for letter in LACKING.get(model.family, ""):
        if letter in model.modalities:
            yield (
                f"model.modalities={model.modalities} has {MODALITIES[letter]}, which no model of family"
                f" {model.family} takes: leave {letter} out"
            )
    package = PACKAGES.get(model.family)
    if package is not None and find_spec(package) is None:
        yield (
            f"model.family={model.family} needs the package {package}, which is not installed: pip install -e"
            f" '.[{model.family}]', or choose another model="
        )
    for key, name in [("model.name", model.name), *(("datasets", name) for name in cfg.datasets)]:
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
            yield f"{key}={name} becomes part of a folder's name: make it of letters, digits and . _ + -"


def _tracking_conflicts(cfg: Config) -> Iterator[str]:
    stated = os.environ.get("WANDB_MODE")
    asks = cfg.logger.kind is LoggerKind.wandb and cfg.logger.mode is WandbMode.auto
    if asks and stated and stated not in WANDB_MODES:
        yield (
            f"the environment variable WANDB_MODE is '{stated}', which Weights & Biases does not know"
            f"{near(stated, WANDB_MODES)} Set it to one of {', '.join(WANDB_MODES)}, unset it, or give"
            " logger.mode=offline"
        )


def _value_conflicts(cfg: Config, program: str) -> Iterator[str]:
    """Each value by itself: numbers out of range, texts that mean null, keys that belong to other commands."""
    for key, value, field, optional in values(cfg):
        metadata = {} if field is None else field.metadata
        if isinstance(value, str) and (sentence := text_for_null(key, value, optional)):
            yield sentence
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if sentence := out_of_range(key, value, metadata.get("limits", {}), optional):
                yield sentence
            elif isinstance(value, int) and abs(value) >= 2**63:
                yield f"{key}={value} is too large: give a number below 2^63"
        programs = metadata.get("programs", ())
        if programs and program not in programs and value != field.default:
            given = str(value).lower() if isinstance(value, bool) else getattr(value, "value", value)
            commands = " and ".join(f"`{PROGRAMS[name].command}`" for name in programs)
            yield f"{key}={given} is for {commands}: {metadata['elsewhere']}"
    if cfg.trainer.num_workers != "auto" and not cfg.trainer.num_workers.isdecimal():
        yield f"trainer.num_workers={cfg.trainer.num_workers} has to be a whole number from 0 on, or auto"
    if cfg.model.gradient_checkpointing.lower() not in ("true", "false", "auto"):
        yield f"model.gradient_checkpointing={cfg.model.gradient_checkpointing} has to be true, false or auto"
    if cfg.evaluation.split not in SPLITS:
        yield (
            f"evaluation.split={cfg.evaluation.split} is not a split{near(cfg.evaluation.split, SPLITS)} Splits:"
            f" {', '.join(SPLITS)}"
        )


def _media_conflicts(model: ModelConfig, modalities: str) -> Iterator[str]:
    if model.media is not Media.native:
        return
    if isinstance(model, ComposedConfig):
        why = "is put together of parts here, so that no processor and no model card is its own"
    elif isinstance(model, BaselineConfig):
        why = "is no language model, and has no processor"
    elif isinstance(model, ServerConfig):
        why = "is at a server, whose processor is given the frames that are sent"
    elif "v" in modalities and not isinstance(model, NativeVideoConfig):
        why = (
            f"is of family {model.family}, whose processor takes single pictures and has no way of its own to choose"
            " them from a video"
        )
    else:
        return
    remedy = (
        "set model.media=uniform" if not isinstance(model, NativeConfig) else "set model.media=uniform, or leave v out"
    )
    yield f"model.media=native, but model={model.name} {why}: {remedy}"
