"""The folder of a model that the configuration names."""

from pathlib import Path

from affect.models.wheels import fetching, smollm2, whisper_base

MODELS = {model.name: model for model in (smollm2.MODEL, whisper_base.MODEL)}


def resolved(key: str, name: str, cache_root: Path) -> str:
    """What `from_pretrained` takes: of a model out of wheels the folder that it is converted into on first use, and any
    other name, of a folder or on the hub, as it is. `key` is the key of the configuration, for messages.

    Raises ConfigError when the wheels cannot be had, are not the expected ones, or cannot be kept.
    """
    return str(fetching.prepare(MODELS[name], key, cache_root)) if name in MODELS else name
