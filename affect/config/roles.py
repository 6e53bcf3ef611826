"""Sets of configuration keys that follow from what each field says of itself (fields.py).

A key is written as in config.yaml; `*` stands for the name of a dataset, a task or a generator.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from affect.config.baselines import BaselineConfig, NetworkConfig, VectorsConfig
from affect.config.families import FAMILIES
from affect.config.features import FeatureKind
from affect.config.fields import Method, Phase, Role, Tag, tagged, walk
from affect.config.finetuning import TOWERS
from affect.config.intervention import STRENGTHS
from affect.config.knowledge import Source
from affect.config.model import MODALITIES, WHEELS, ModelConfig
from affect.config.prompting import DESCRIPTIONS, Options
from affect.config.schema import Config

_SCHEMA = list(walk(Config, {ModelConfig: tuple(dict.fromkeys(FAMILIES.values()))}))

_ROLES = {
    **{key.name: key.says("role", Role.result) for key in _SCHEMA},
    # Of a model that is trained they only refuse; of one that describes clips they say what it describes.
    "knowledge.mllm_models.*.modalities": Role.result,
}


def keys_with(*roles: Role) -> tuple[str, ...]:
    """The keys of the configuration whose fields have one of these roles."""
    return tuple(key for key, role in _ROLES.items() if role in roles)


@cache
def keys_of(phase: Phase) -> tuple[str, ...]:
    """The keys that are set for this phase."""
    return tuple(key.name for key in _SCHEMA if key.phase is phase)


def has_key(program: str, key: str) -> bool:
    """Whether a command has this key of the whole configuration (run, clip, …)."""
    [programs] = [field.metadata.get("programs") for field in fields(Config) if field.name == key]
    return not programs or program in programs


WITHOUT_RUNS = tuple(
    key.name for key in _SCHEMA if (programs := key.says("programs")) and not {"train", "evaluate"} & set(programs)
)
"""Keys of programs that make no runs. They change no number of a run, and tell such a program's jobs apart."""

OF_MULTIRUNS = tuple(
    key.name
    for key in _SCHEMA
    if key.says("role") is Role.program and set(key.says("programs")) == {"train", "evaluate"}
)
"""Keys that say how a multirun goes on, whatever its jobs are."""


@cache
def keys_used_by(choice: str) -> tuple[str, ...]:
    """The keys that only some sources, readouts, options or interventions use, among them `choice`."""
    return tuple(key.name for key in _SCHEMA if choice in key.says("used_by"))


def keys_tagged(tag: Tag) -> tuple[str, ...]:
    return tuple(key.name for key in _SCHEMA if tag in key.says("tags"))


def default_of(key: str) -> Any:
    """The default of a key, as config.yaml has it."""
    default = next(each.field.default for each in _SCHEMA if each.name == key)
    return default.value if isinstance(default, Enum) else default


def groups_of(*phases: Phase) -> tuple[str, ...]:
    """The groups whose keys are set for one of these phases, unless a key says otherwise."""
    return tuple(field.name for field in fields(Config) if field.metadata.get("phase") in phases)


ROOTS = ("data_root", "cache_root")
"""Folders that other places lie in."""

PLACES = keys_with(Role.location, Role.data_location)
"""Where files are on this machine. What lies there may change a number; that it lies there does not."""

NEUTRAL = keys_with(*(role for role in Role if role not in (Role.result, Role.data_location)))
"""All keys that change no number."""

MAY_DIFFER_ON_RESUME = keys_with(Role.location, Role.data_location, Role.program, Role.runtime, Role.server, Role.check)
"""What may be given beside resume=…: the run ends with the digits and the log that it would have had without."""

MAY_DIFFER_IN_EVALUATION = (
    *keys_with(*(role for role in Role if role not in (Role.result, Role.name))),
    *keys_of(Phase.evaluation),
)
"""What may be given beside run=…: what changes no number, and what is set for each evaluation anew."""

NOT_DESCRIBING = (
    *(f.name for f in fields(Config) if not f.metadata.get("describes", True) or not has_key("knowledge", f.name)),
    *(key for key in keys_of(Phase.evaluation) if key.startswith("knowledge.")),
)
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


def leaves(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Every value of a configuration under its key with dots; lists are values.

    >>> dict(leaves({"seed": 1, "model": {"name": "x", "targets": [1, 2]}}))
    {'seed': 1, 'model.name': 'x', 'model.targets': [1, 2]}
    """
    # A list, and no question to an abstract class about what most values are: reports read half a million leaves.
    found = []
    for key, value in config.items():
        if type(value) not in _PLAIN and isinstance(value, Mapping):
            found += leaves(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


_PLAIN = frozenset((str, int, float, bool, list, type(None)))


def unused(config: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a key of a run's configuration has no effect, because another key switches off what it is about.

    Keys that a configuration of an older version lacks switch nothing off.
    """
    idle = _idle_by_method(config)
    knowledge, prompting, finetuning = config["knowledge"], config["prompting"], config["finetuning"]
    sources = {knowledge["source"], *knowledge.get("also", ())} if "source" in knowledge else set()
    if sources:
        # A key that begins with the name of a source is for that source.
        idle += [f"knowledge.{source.value}_" for source in Source if source.value not in sources]
        in_use = {key for source in sources for key in keys_used_by(source)}
        idle += [key for source in Source for key in keys_used_by(source.value) if key not in in_use]
    if not knowledge.get("by_aspects", True):
        idle += ["knowledge.instruction_aspects.", "knowledge.aspects_"]
    if not knowledge.get("show_transcript", True):
        idle.append("knowledge.instruction_transcript.")
    if knowledge.get("temperature") == 0:
        idle.append("knowledge.sampling_seed")
    if knowledge.get("control") == "none":
        idle.append("knowledge.control_split")
    if not prompting.get("fewshot", {}).get("k", 1):
        idle += [f"prompting.fewshot.{key}" for key in ("choice", "seed", "example.", "clip.", "options.")]
    options = prompting.get("options", "words")
    idle += [key for other in Options for key in keys_used_by(other.value) if key not in keys_used_by(options)]
    if prompting.get("options_order", "fixed") != "shuffled":
        idle.append("prompting.options_seed")
    if prompting.get("system_turn") == "none":
        idle.append("prompting.system.")
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
    if "lora" not in map(finetuning.get, TOWERS):
        idle += [f"finetuning.{key}" for key in ("rank", "alpha", "dropout", "targets", "method")]
    if finetuning.get("alignment_epochs") == 0:
        idle.append("finetuning.alignment_learning_rate")
    if len(config["datasets"]) == 1:
        idle.append("finetuning.mixing")
    idle += [f"finetuning.mixing_{how}" for how in ("temperature", "weights") if finetuning.get("mixing") != how]
    intervention = config["intervention"]["name"] if "intervention" in config else "none"
    in_use = keys_used_by(intervention)
    idle += [key for strength in STRENGTHS if (key := f"intervention.{strength}") not in in_use]
    if all(dataset.get("transcribe", "none") == "none" for dataset in config["datasets"].values()):
        idle.append("transcription.")
    for name, dataset in config["datasets"].items():
        if dataset.get("fraction") is None and not any((dataset.get("subset") or {}).values()):
            idle.append(f"datasets.{name}.subset_seed")
        if (dataset.get("subset") or {}).get("train") is None:
            idle.append(f"datasets.{name}.subset_classes")
    return _beginning_with(tuple(idle))


@cache  # many runs have the same prefixes, and each is asked about a hundred keys
def _beginning_with(prefixes: tuple[str, ...]) -> Callable[[str], bool]:
    return cache(lambda key: key.startswith(prefixes))


OF_ANY_TRAINING = tuple(
    key.name for key in _SCHEMA if key.name.startswith("finetuning.") and key.methods != (Method.language,)
)
"""Keys of fine-tuning that other methods have a use for too."""


def _idle_by_method(config: Mapping[str, Any]) -> list[str]:
    """Prefixes of the keys that the run's method has no use for."""
    method = _method(FAMILIES.get(config["model"]["family"]))
    idle = list(_of_other_methods(method))
    if method is Method.language:
        return idle
    for name, dataset in config["datasets"].items():
        task_names = dataset.get("task_definitions", {})
        idle += [f"datasets.{name}.task_definitions.{task}.{key}." for task in task_names for key in OF_QUESTIONS]
    chosen = config["features"]["kind"]
    reads_features = method in (Method.network, Method.vectors)
    reads_clips = reads_features and chosen == FeatureKind.computed.value
    if not (reads_clips and "v" in config["modalities"]):
        idle += ["model.num_frames", "model.frame_size"]
    if config["modalities"] == "t" or (reads_features and not reads_clips):  # else longer clips are excluded
        idle.append("model.max_seconds")
    idle += [key for kind in FeatureKind if kind.value != chosen for key in keys_used_by(kind.value)]
    return idle + [f"features.{name}" for letter, name in MODALITIES.items() if letter not in config["modalities"]]


@cache
def _of_other_methods(method: Method) -> tuple[str, ...]:
    return tuple(key.name.partition("*")[0] for key in _SCHEMA if key.methods and method not in key.methods)


OF_QUESTIONS = ("question", "words", "none")
"""Keys of a task that say how it is put in a prompt."""


def _method(schema: type | None) -> Method:
    if schema is None or not issubclass(schema, BaselineConfig):
        return Method.language
    if issubclass(schema, NetworkConfig):
        return Method.network
    return Method.vectors if issubclass(schema, VectorsConfig) else Method.counts


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
    cfg.label_maps = None if cfg.label_maps is None else _absolute(cfg.label_maps)
    for dataset in cfg.datasets.values():
        dataset.root = _absolute(dataset.root)
    knowledge = cfg.knowledge
    for key in ("store", "file_path", "mllm_run"):
        if (path := getattr(knowledge, key)) is not None:
            setattr(knowledge, key, _absolute(path))
    for group in (cfg.features, cfg.transcription, cfg.model, *knowledge.mllm_models.values()):
        _weights_absolute(group)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


BUILT_IN = ("conv", "acoustic", "egemaps", "faces", *WHEELS)
"""Names that stand for no folder, whatever lies in the folder that a run starts from."""


def _weights_absolute(config: Any) -> None:
    """Weights may be named by a folder, or by their name on the hub, which is no path."""
    for key in tagged(config, Tag.weights):
        name = getattr(config, key)
        if name not in (None, *BUILT_IN) and Path(name).is_dir():
            setattr(config, key, os.path.abspath(name))


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
