"""The files of a checkpoint that the configuration names. Nothing is loaded."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import snapshot_download

from affect.config import ConfigError
from affect.models.pretrained import refusals
from affect.models.wheels.checkpoints import resolved

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


def files(
    key: str, name: str, revision: str | None, cache_root: Path, settings: tuple[str, ...] = SETTINGS
) -> Mapping[str, Path]:
    """The files that a model is loaded from, all in one folder, by their names: weights, and those beside them whose
    names match `settings`. `name`, the value of the `key` of the configuration, is a folder, a name on the hub, or one
    of affect.config.WHEELS.

    Raises ConfigError where the checkpoint is neither on this machine nor on the hub, or has no weights.
    """
    with refusals(key, name, "a checkpoint"):
        folder = _folder(resolved(key, name, cache_root), revision, settings)
        weights = _matching(folder, NEW_WEIGHTS) or _matching(folder, OLD_WEIGHTS)
    if not weights:
        raise ConfigError(
            f"{key}={name} has no weights ({', '.join((*NEW_WEIGHTS, *OLD_WEIGHTS))}) in {folder}: give a complete"
            " folder, or download it again"
        )
    return {path.name: path for path in [*weights, *_matching(folder, settings)]}


def _folder(name: str, revision: str | None, settings: tuple[str, ...]) -> Path:
    if Path(name).is_dir():
        return Path(name)
    folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*NEW_WEIGHTS, *settings]))
    if not _matching(folder, NEW_WEIGHTS):
        snapshot_download(name, revision=revision, allow_patterns=list(OLD_WEIGHTS))
    return folder


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if any(fnmatch(path.name, like) for like in patterns))
