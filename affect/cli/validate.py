"""Rules that span rooms, and calling the rules.py of every room."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, get_args, get_type_hints

from affect.config import (
    FAMILIES,
    LACKING,
    MODALITIES,
    PACKAGES,
    ComposedConfig,
    Config,
    LoggerKind,
    Media,
    ModelConfig,
    NativeConfig,
    ServerConfig,
    WandbMode,
    near,
    new_modalities,
    text_for_null,
)
from affect.config.schema import NATIVE_VIDEO
from affect.data import SPLITS
from affect.data.rules import dataset_conflicts, imbalance_conflicts, intervention_conflicts
from affect.evaluation.rules import readout_conflicts
from affect.knowledge.rules import knowledge_conflicts
from affect.models.rules import modality_conflicts, projector_conflicts, server_conflicts
from affect.prompting.rules import prompting_conflicts, wording_conflicts
from affect.training.rules import method_conflicts, own_rates, training_conflicts

WANDB_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""What the environment variable WANDB_MODE may be; the last two are older names of offline and online."""


def conflicts(cfg: Config, program: str) -> Iterator[str]:
    """One sentence for each rule that is broken, naming both sides and what to do."""
    if FAMILIES.get(cfg.model.family) is not type(cfg.model):
        yield (
            f"model.family={cfg.model.family} does not fit model={cfg.model.name}, whose keys are those of"
            f" {type(cfg.model).__name__}: leave it out; the model's file names its family's schema,"
            " defaults: [/schema/composed@_here_, _self_]"
        )
    for letter in LACKING.get(cfg.model.family, ""):
        if letter in cfg.model.modalities:
            yield (
                f"model.modalities={cfg.model.modalities} has {MODALITIES[letter]}, which no model of family"
                f" {cfg.model.family} takes: leave {letter} out"
            )
    package = PACKAGES.get(cfg.model.family)
    if package is not None and find_spec(package) is None:
        yield (
            f"model.family={cfg.model.family} needs the package {package}, which is not installed: pip install -e"
            f" '.[{cfg.model.family}]', or choose another model="
        )
    yield from _media_conflicts(cfg.model, cfg.modalities)
    yield from projector_conflicts(cfg.model)
    for key, name in [("model.name", cfg.model.name), *(("datasets", name) for name in cfg.datasets)]:
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
            yield f"{key}={name} becomes part of a folder's name: make it of letters, digits and . _ + -"
    yield from _range_conflicts(cfg)
    if not cfg.datasets:
        yield "no dataset is chosen: give one or several, dataset=demo or dataset=[demo,meld]"
    if program != "score":  # which looks at no clip
        yield from modality_conflicts(cfg, program)
    for name, dataset in cfg.datasets.items():
        yield from dataset_conflicts(name, dataset, cfg.prompting)
    yield from wording_conflicts(cfg.prompting)
    if program in ("train", "evaluate", "show"):  # the others build no prompt
        yield from prompting_conflicts(cfg, program)
    yield from imbalance_conflicts(cfg, program)
    yield from intervention_conflicts(cfg, program)
    if program in ("train", "evaluate") and cfg.logger.kind is LoggerKind.wandb and cfg.logger.mode is WandbMode.auto:
        stated = os.environ.get("WANDB_MODE")
        if stated and stated not in WANDB_MODES:
            yield (
                f"the environment variable WANDB_MODE is '{stated}', which Weights & Biases does not know"
                f"{near(stated, WANDB_MODES)} Set it to one of {', '.join(WANDB_MODES)}, unset it, or give"
                " logger.mode=offline"
            )
    yield from knowledge_conflicts(cfg, program)
    if program in ("train", "evaluate"):
        yield from readout_conflicts(cfg, program)
    if program == "train" or (program in ("evaluate", "export") and cfg.run is not None):
        yield from method_conflicts(cfg)
    if isinstance(cfg.model, ServerConfig):
        yield from server_conflicts(cfg, cfg.model, program)
    elif program == "train":
        yield from training_conflicts(cfg)
    if program == "evaluate" and cfg.run is None:
        for letter in sorted(set(cfg.modalities) & set(new_modalities(cfg.model))):
            yield (
                f"modalities={cfg.modalities} has {MODALITIES[letter]}, but the {MODALITIES[letter]} encoder of"
                f" model={cfg.model.name} is new and means nothing until it is trained: evaluate zero-shot with"
                f" modalities={''.join(m for m in cfg.modalities if m not in new_modalities(cfg.model)) or 't'}, or"
                " name a trained run=…"
            )
    if program != "show" and cfg.clip is not None:
        yield f"clip={cfg.clip} is for `affect show`: leave it out here"
    if program != "score" and cfg.predictions is not None:
        yield f"predictions={cfg.predictions} is for `affect score`: leave it out here"
    if program != "train" and cfg.resume is not None:
        yield f"resume={cfg.resume} is for train.py: name the run to evaluate with run={cfg.resume}"
    if cfg.resume_with_other_code and cfg.resume is None:
        yield "resume_with_other_code=true says something about resume=…, which is not given: leave it out"
    if program == "train" and cfg.run is not None:
        yield f"run={cfg.run} is for evaluate.py and affect show: train.py makes a run folder of its own"
    if program == "doctor" and cfg.run is not None:
        yield f"run={cfg.run} is for evaluate.py and affect show: the doctor looks at data alone, leave it out"
    if program != "doctor" and cfg.strict:
        yield "strict=true is for `affect doctor`: leave it out here"
    if program == "export" and cfg.run is None:
        yield "there is nothing to export: name the folder of a training, run=outputs/…"
    if program != "export" and cfg.export_folder is not None:
        yield f"export_folder={cfg.export_folder} is for `affect export`: leave it out here"


MAX_SEED = 2**32 - 1
"""The largest that numpy takes, and so Lightning."""


def _values(value: Any, key: str, optional: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """Every number and text of a configuration, by its key, and whether that may be null."""
    if is_dataclass(value):
        kinds = _kinds(type(value))
        for field in fields(value):
            full = f"{key}.{field.name}" if key else field.name
            yield from _values(getattr(value, field.name), full, type(None) in get_args(kinds[field.name]))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(inner, f"{key}.{name}")
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        yield key, value, optional


_kinds = cache(get_type_hints)


def _unusable_values(cfg: Config) -> Iterator[str]:
    for key, value, optional in _values(cfg, ""):
        if isinstance(value, str):
            if sentence := text_for_null(key, value, optional):
                yield sentence
        elif not math.isfinite(value):
            yield f"{key}={value} has to be a finite number"
        elif isinstance(value, int) and key != "seed" and abs(value) >= 2**63:
            yield f"{key}={value} is too large: give a number below 2^63"
    if cfg.seed > MAX_SEED:
        yield f"seed={cfg.seed} is too large: numpy and Lightning take seeds from 0 to {MAX_SEED} (2^32 - 1)"


def _range_conflicts(cfg: Config) -> Iterator[str]:
    yield from _unusable_values(cfg)
    at_least_one = {
        "trainer.max_epochs": cfg.trainer.max_epochs,
        "trainer.batch_size": cfg.trainer.batch_size,
        "trainer.accumulate": cfg.trainer.accumulate,
        "trainer.check_workers": cfg.trainer.check_workers,
        "trainer.log_every": cfg.trainer.log_every,
        "trainer.devices": cfg.trainer.devices,
        "evaluation.batch_size": cfg.evaluation.batch_size,
        "evaluation.max_new_tokens": cfg.evaluation.max_new_tokens,
        "finetuning.rank": cfg.finetuning.rank,
        "finetuning.alpha": cfg.finetuning.alpha,
        "model.num_frames": cfg.model.num_frames,
        "model.frame_size": cfg.model.frame_size,
        "prompting.max_text_tokens": cfg.prompting.max_text_tokens,
        "knowledge.server_num_frames": cfg.knowledge.server_num_frames,
        "knowledge.server_frame_size": cfg.knowledge.server_frame_size,
    }
    above_zero = {
        "finetuning.learning_rate": cfg.finetuning.learning_rate,
        "finetuning.new_learning_rate": cfg.finetuning.new_learning_rate,
        "finetuning.alignment_learning_rate": cfg.finetuning.alignment_learning_rate,
        **{key: rate for key, (_, rate) in own_rates(cfg).items()},
        "trainer.max_grad_norm": cfg.trainer.max_grad_norm,
        "model.max_seconds": cfg.model.max_seconds,
        "knowledge.server_max_seconds": cfg.knowledge.server_max_seconds,
    }
    not_below_zero = {
        "trainer.prefetch": cfg.trainer.prefetch,
        "trainer.clip_cache_gb": cfg.trainer.clip_cache_gb,
        "trainer.encoder_cache_gb": cfg.trainer.encoder_cache_gb,
        "logger.num_samples": cfg.logger.num_samples,
        "finetuning.weight_decay": cfg.finetuning.weight_decay,
        "finetuning.alignment_epochs": cfg.finetuning.alignment_epochs,
        "evaluation.logit_adjustment": cfg.evaluation.logit_adjustment,
        "seed": cfg.seed,
    }
    shares = {"finetuning.dropout": cfg.finetuning.dropout, "finetuning.warmup": cfg.finetuning.warmup}
    if isinstance(cfg.model, ComposedConfig):
        at_least_one |= {
            "model.audio_tokens": cfg.model.audio_tokens,
            "model.video_tokens": cfg.model.video_tokens,
            "model.encoder_width": cfg.model.encoder_width,
        }
    for name, dataset in cfg.datasets.items():
        for split in SPLITS:
            count = getattr(dataset.subset, split)
            if count is not None:
                at_least_one[f"datasets.{name}.subset.{split}"] = count
        if dataset.audio_track is not None:
            not_below_zero[f"datasets.{name}.audio_track"] = dataset.audio_track
    yield from (f"{key}={value} has to be at least 1" for key, value in at_least_one.items() if value < 1)
    yield from (f"{key}={value} has to be above 0" for key, value in above_zero.items() if not value > 0)
    yield from (f"{key}={value} must not be below 0" for key, value in not_below_zero.items() if not value >= 0)
    yield from (
        f"{key}={value} is a share: from 0 up to, but without, 1" for key, value in shares.items() if not 0 <= value < 1
    )
    if cfg.trainer.num_workers != "auto" and not cfg.trainer.num_workers.isdecimal():
        yield f"trainer.num_workers={cfg.trainer.num_workers} has to be a whole number from 0 on, or auto"
    if cfg.model.gradient_checkpointing.lower() not in ("true", "false", "auto"):
        yield f"model.gradient_checkpointing={cfg.model.gradient_checkpointing} has to be true, false or auto"
    if cfg.trainer.max_batches is not None and cfg.trainer.max_batches < 1:
        yield f"trainer.max_batches={cfg.trainer.max_batches} has to be at least 1, or null for all"
    for key, value in (
        ("save_every_steps", cfg.trainer.save_every_steps),
        ("save_every_minutes", cfg.trainer.save_every_minutes),
    ):
        if value is not None and not value > 0:
            yield f"trainer.{key}={value} has to be above 0, or null for never"
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
    elif isinstance(model, ServerConfig):
        why = "is at a server, whose processor is given the frames that are sent"
    elif "v" in modalities and model.family not in NATIVE_VIDEO:
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
