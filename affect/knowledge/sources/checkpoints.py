"""Fingerprint of a generator's checkpoint files. Nothing is loaded."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from affect.config import ModelConfig
from affect.config.fields import Role, Tag, tagged
from affect.data.file_hashes import content_hashes
from affect.models import checkpoint_files
from affect.models.precision import dtype

COVERED = ("precision", "revision", "media", "max_seconds")
"""Keys whose effect is in the dtype or in the hashes of files, that have one value for all generators (media), or that
only exclude clips (max_seconds). Those that name weights are too."""


def identity(config: ModelConfig, cache_root: Path) -> dict[str, Any]:
    """Everything of `config` that changes a text: settings, type of the weights on this machine (which precision=auto
    leaves open), and SHA-256 of every file the model is loaded from.

    Raises ConfigError as `files` does, and DataError where a file cannot be read.
    """
    paths = files(config, cache_root)
    hashes = content_hashes([str(path) for path in paths.values()], cache_root, num_workers=2)
    left_out = {field.name for field in fields(config) if field.metadata.get("role", Role.result) is not Role.result}
    left_out |= {*COVERED, *tagged(config, Tag.weights)}
    return {
        "model": {key: value for key, value in asdict(config).items() if key not in left_out},
        "dtype": str(dtype(config)),
        "files": {name: hashes[str(path)] for name, path in paths.items()},
    }


def files(config: ModelConfig, cache_root: Path) -> Mapping[str, Path]:
    """The files that the model is loaded from, by key of the configuration and name: `checkpoint/config.json`.

    Raises ConfigError where a checkpoint is neither on this machine nor on the hub, or has no weights.
    """
    paths: dict[str, Path] = {}
    keys = tagged(config, Tag.weights)
    assert keys, f"{type(config).__name__} has no key that names weights"
    for key in keys:
        name = getattr(config, key)
        if name is not None and name != "conv":
            revision = getattr(config, "revision", None)
            own = checkpoint_files.files(f"model.{key}", name, revision, cache_root)
            paths |= {f"{key}/{file}": path for file, path in own.items()}
    return paths
