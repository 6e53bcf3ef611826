"""A run folder read back: configuration, status and metrics."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from affect.config import Config, ConfigError, read_yaml
from affect.runs.lifecycle import state


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The contents of a run folder that tables need."""

    folder: Path
    config: dict[str, Any]
    status: dict[str, Any]
    metrics: dict[str, Any] | None

    @property
    def model(self) -> str:
        """The name of the model, for a server with the name of the served model."""
        model = self.config["model"]
        return f"{model['name']} {model['served']}" if "served" in model else model["name"]


def read(folder: Path) -> RunSummary:
    """A run folder, finished or not. Raises ConfigError when it is none."""
    config = folder / "config.yaml"
    if not config.is_file():
        there = next(place for place in (folder, *folder.parents) if place.is_dir())
        near = there if there != folder or _runs_in(there) else folder.parent
        runs = f"{near} has {', '.join(_runs_in(near)) or 'none'}"
        if there != folder:
            raise ConfigError(f"{folder} does not exist: name a run folder ({runs})")
        raise ConfigError(f"{folder} is not a run folder, it has no config.yaml: name one that has ({runs})")
    metrics, status = folder / "metrics.json", status_of(folder)
    plain = read_yaml(config)
    lacking = sorted(KEYS - plain.keys())
    if lacking:
        raise ConfigError(
            f"{config} is not the configuration of a run of affect, it has no {', '.join(lacking)}: name a folder that"
            " train.py or evaluate.py made"
        )
    return RunSummary(
        folder=folder,
        config=plain,
        status=status,
        metrics=read_json(metrics) if metrics.is_file() else None,
    )


def status_of(folder: Path) -> dict[str, Any]:
    """status.json with the present state. Raises ConfigError where it is damaged."""
    path = folder / "status.json"
    stated = read_json(path) if path.is_file() else {"state": "not begun"}  # killed in its first moments
    return stated | {"state": state(stated)}


KEYS = frozenset(field.name for field in fields(Config) if field.default is MISSING)
"""Keys that the configuration of every run has: the groups. Older runs have the default of a newer key."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a run folder. Raises ConfigError where it is lost or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it has no keys and values")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): restore the file, or delete {path.parent} and run again"
        ) from error


def _runs_in(folder: Path) -> list[str]:
    """The newest run folders in `folder`."""
    return sorted((p.parent.name for p in folder.glob("*/config.yaml")), reverse=True)[:3]
