"""Which keys of the configuration change no number, and which say where something lies.

Both follow from the roles of the fields (fields.py). A key is written as in config.yaml; `*` stands for the name of a
dataset or of a generator.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from affect.config.fields import Role, not_describing, roles_of
from affect.config.model import FAMILIES, ComposedConfig, ModelConfig, NativeConfig
from affect.config.prompting import DESCRIPTIONS
from affect.config.schema import Config

_ROLES = {
    **dict(roles_of(Config, {ModelConfig: tuple(dict.fromkeys(FAMILIES.values()))})),
    # Of a model that is trained they only refuse; of one that describes clips they say what it describes.
    "knowledge.mllm_models.*.modalities": Role.result,
}


def keys_with(*roles: Role) -> tuple[str, ...]:
    """The keys of the configuration whose fields have one of these roles."""
    return tuple(key for key, role in _ROLES.items() if role in roles)


ROOTS = ("data_root", "cache_root")
"""Folders that other places lie in."""

PLACES = keys_with(Role.location, Role.data_location)
"""Where files are on this machine. What lies there may change a number; that it lies there does not."""

NEUTRAL = keys_with(*(role for role in Role if role not in (Role.result, Role.data_location)))
"""All keys that change no number."""

NOT_DESCRIBING = tuple(not_describing(Config))
"""Keys and groups that have no say in the descriptions of clips."""


def is_one_of(key: str, listed: tuple[str, ...]) -> bool:
    """Whether a key is in one of the lists above.

    >>> is_one_of("datasets.meld.root", PLACES), is_one_of("seed", PLACES)
    (True, False)
    """
    return _pattern(key) in listed


@cache
def _pattern(key: str) -> str:
    parts = key.split(".")
    if parts[0] == "datasets" and len(parts) > 1:
        parts[1] = "*"
        if parts[2:3] == ["task_definitions"] and len(parts) > 3:
            parts[3] = "*"
    if parts[:2] == ["knowledge", "mllm_models"] and len(parts) > 2:
        parts[2] = "*"
    return ".".join(parts)


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration under its key with dots; lists are values.

    >>> dict(leaves({"seed": 1, "model": {"name": "x", "targets": [1, 2]}}))
    {'seed': 1, 'model.name': 'x', 'model.targets': [1, 2]}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


OF_SOURCES = ("cues_", "file_", "mllm_", "server_")
"""How the keys of knowledge begin that one source alone has a use for."""

ASKED = ("instruction_", "by_aspects", "aspects_", "show_transcript", "max_new_tokens", "temperature", "sampling_seed")
"""How those begin that two have: mllm and server, which ask a model."""


def unused(config: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a key of a run's configuration has no effect, because another key switches off what it is about.

    Keys that a configuration of an older version lacks switch nothing off.
    """
    idle: list[str] = []
    knowledge, prompting, finetuning = config["knowledge"], config["prompting"], config["finetuning"]
    sources = {knowledge["source"], *knowledge.get("also", ())} if "source" in knowledge else set()
    if sources:
        idle += [f"knowledge.{prefix}" for prefix in OF_SOURCES if prefix.rstrip("_") not in sources]
        if not sources & {"mllm", "server"}:
            idle += [f"knowledge.{prefix}" for prefix in ASKED]
    if not knowledge.get("by_aspects", True):
        idle += ["knowledge.instruction_aspects.", "knowledge.aspects_"]
    if not knowledge.get("show_transcript", True):
        idle.append("knowledge.instruction_transcript.")
    if knowledge.get("temperature") == 0:
        idle.append("knowledge.sampling_seed")
    if knowledge.get("control") == "none":
        idle.append("knowledge.control_split")
    if not prompting.get("fewshot", {}).get("k", 1):
        idle += [f"prompting.fewshot.{key}" for key in ("choice", "seed", "example.", "clip.")]
    if not prompting.get("cot", True):
        idle += ["prompting.cot_instruction.", "prompting.answer_marker."]
    shown = [
        slot
        for slot in prompting.get("descriptions", DESCRIPTIONS)
        if prompting.get("descriptions_without_media", True) or set(DESCRIPTIONS[slot]) <= set(config["modalities"])
    ]
    idle += [f"prompting.{slot}_description." for slot in DESCRIPTIONS if slot not in shown]
    if not shown:
        idle += ["prompting.descriptions_position", "prompting.max_description_words"]
    towers = [finetuning.get(tower) for tower in ("language", "audio", "vision", "projector")]
    if "lora" not in towers:
        idle += [f"finetuning.{key}" for key in ("rank", "alpha", "dropout", "targets", "method")]
    if finetuning.get("alignment_epochs") == 0:
        idle.append("finetuning.alignment_learning_rate")
    for name, dataset in config["datasets"].items():
        if dataset.get("fraction") is None and not any((dataset.get("subset") or {}).values()):
            idle.append(f"datasets.{name}.subset_seed")
    prefixes = tuple(idle)
    return lambda key: key.startswith(prefixes)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values of two plain configurations, by key, where they may have different numbers."""
    ours, theirs = dict(leaves(one)), dict(leaves(other))
    return {
        key: (ours.get(key), theirs.get(key))
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key) and not is_one_of(key, NEUTRAL)
    }


def make_absolute(cfg: Config) -> None:
    """Makes every place that is a relative path an absolute one, so that a run folder can be used from any folder.

    The folder of results is left as it was given, since its paths are what a run prints: `kept` makes it absolute.
    """
    cfg.data_root, cfg.cache_root = _absolute(cfg.data_root), _absolute(cfg.cache_root)
    for dataset in cfg.datasets.values():
        dataset.root = _absolute(dataset.root)
    knowledge = cfg.knowledge
    for key in ("store", "file_path", "mllm_run"):
        if (path := getattr(knowledge, key)) is not None:
            setattr(knowledge, key, _absolute(path))
    for model in (cfg.model, *knowledge.mllm_models.values()):
        _weights_absolute(model)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _weights_absolute(model: ModelConfig) -> None:
    """A model may be named by a folder, or by its name on the hub, which is no path."""
    keys = ("language", "audio", "vision") if isinstance(model, ComposedConfig) else ("checkpoint",)
    for key in keys if isinstance(model, ComposedConfig | NativeConfig) else ():
        name = getattr(model, key)
        if name not in (None, "conv", "smollm2-wheel") and Path(name).is_dir():
            setattr(model, key, os.path.abspath(name))


def kept(cfg: Config) -> Config:
    """The configuration as a run folder keeps it: without what was asked of one start of the program alone."""
    return replace(
        cfg,
        output_root=os.path.abspath(cfg.output_root),
        run=None if cfg.run is None else os.path.abspath(cfg.run),
        resume=None,
        resume_with_other_code=False,
        dry_run=False,
    )
