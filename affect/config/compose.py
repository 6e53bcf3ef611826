"""From Hydra's composed configuration to a typed, checked one."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from affect.config import label_maps
from affect.config.errors import ConfigError, near
from affect.config.schema import Config


def load(raw: DictConfig, program: str, conflicts: Callable[[Config, str], Iterator[str]]) -> Config:
    """The typed configuration of one job of `program` (one of PROGRAMS), or one ConfigError with all its
    problems. `conflicts(cfg, program)` gives a sentence for every rule that is broken."""
    unknown = list(_unknown_keys(raw))
    if unknown:
        raise ConfigError("\n".join(unknown))
    missing = sorted(OmegaConf.missing_keys(raw))
    if missing:
        raise ConfigError("\n".join(f"{key} is not set: give it a value, {key}=…" for key in missing))
    cfg = typed(raw)
    label_maps.settle(cfg)
    broken = list(conflicts(cfg, program))
    if broken:
        raise ConfigError("\n".join(broken))
    return cfg


def typed(raw: DictConfig) -> Config:
    """A configuration in which nothing is missing as an object, its tasks with their names."""
    cfg = OmegaConf.to_object(raw)
    assert isinstance(cfg, Config)
    for dataset in cfg.datasets.values():
        for name, task in dataset.task_definitions.items():
            task.name = name
    return cfg


def _unknown_keys(node: Any, path: str = "") -> Iterator[str]:
    """Keys that a `+key=…` brought past the schema."""
    if not isinstance(node, DictConfig) or node._is_missing() or node._is_none():
        return
    kind = OmegaConf.get_type(node)
    names = [f.name for f in fields(kind)] if is_dataclass(kind) else None
    for key in node:
        full = f"{path}.{key}" if path else str(key)
        if names is not None and key not in names:
            yield f"the key '{full}' is not in {kind.__name__}{near(str(key), names)} Its keys: {', '.join(names)}"
        elif not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from _unknown_keys(node._get_node(key), full)
