"""Loads the model that a configuration names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from affect.config import ComposedConfig, Config, ModelConfig, NativeConfig
from affect.models.protocol import Encoder, Model

if TYPE_CHECKING:
    from affect.data.media import OwnFrames


def load(config: ModelConfig, *, modalities: str, cache_root: Path) -> tuple[Model, Encoder]:
    """Loads the model that `config` names, on the CPU and with the towers that `modalities` (letters of "tav") needs.

    A batch may have fewer modalities than the model was loaded with, never more. Raises ConfigError where the model
    cannot be loaded, or lacks weights.
    """
    import transformers

    from affect.models import kernels

    transformers.utils.logging.disable_progress_bar()  # loading takes a second, and the bar breaks up our own output
    if isinstance(config, NativeConfig):
        from affect.models.native import loading

        model, encoder = loading.load(config, modalities)
    elif isinstance(config, ComposedConfig):
        from affect.models.composed import model as composed

        model, encoder = composed.load(config, modalities=modalities, cache_root=cache_root)
    else:
        from affect.models import server

        model, encoder = server.load(config, modalities=modalities, cache_root=cache_root)
    kernels.use(model)
    return model, encoder


@contextmanager
def borrowed(cfg: Config, modalities: str | None = None) -> Iterator[tuple[Model, Encoder]]:
    """The model and encoder of a run for the block, whose pretrained parts are kept for the next job of this process.
    `modalities` are those of the run unless given."""
    from affect.models import precision, weights_cache

    with weights_cache.keeping():
        yield load(
            precision.settled(cfg.model, cfg.trainer),
            modalities=cfg.modalities if modalities is None else modalities,
            cache_root=Path(cfg.cache_root).expanduser(),
        )


def own_frames(config: NativeConfig) -> "OwnFrames":
    """The frames that the own video processor of the model's checkpoint samples, where its family has one
    (NativeVideoConfig). Raises ConfigError where the checkpoint cannot be loaded."""
    from affect.models.native import loading

    return loading.own_frames(config)


def settle(model: Model) -> None:
    """To be called when the predictions of a run are written. A family that has kept answers in case the run ends early
    lets go of them."""
    if hasattr(model, "settle"):
        model.settle()
