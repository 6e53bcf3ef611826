"""Loads the model that a configuration names."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from affect.models.protocol import Encoder, Model

if TYPE_CHECKING:
    from affect.config import ModelConfig
    from affect.data.media import OwnFrames


def load(config: "ModelConfig", *, modalities: str, cache_root: Path) -> tuple[Model, Encoder]:
    """Loads the model that `config` names, with the towers that `modalities` (letters of "tav") needs.

    A batch may have fewer modalities than the model was loaded with, never more.
    """
    import transformers

    from affect.models import kernels, patches

    transformers.utils.logging.disable_progress_bar()  # a second of loading needs none, and it breaks up our own output
    family = import_module(_module_of(config.family))
    model, encoder = family.load(config, modalities=modalities, cache_root=cache_root)
    kernels.use(model)
    patches.use(model)
    return model, encoder


def own_frames(config: "ModelConfig") -> "OwnFrames":
    """Which frames the own processor of the model that `config` names takes of a video; affect/config/schema.py's
    NATIVE_VIDEO has the families that can say it. Raises ConfigError where the checkpoint cannot be had."""
    return import_module(_module_of(config.family)).own_frames(config)


def _module_of(family: str) -> str:
    """The module of a family: its own file in models/native, unless it is put together here or served elsewhere."""
    own = {"composed": "affect.models.composed.model", "server": "affect.models.server"}
    return own.get(family, f"affect.models.native.{family}")


def settle(model: Model) -> None:
    """To be called when the predictions of a run are written. A family that has kept what a run which ends early would
    lose lets go of it."""
    if hasattr(model, "settle"):
        model.settle()
