"""How the clips of a run are sampled: modalities, frames, size, length."""

from affect.config import Config, Media
from affect.data.media import Sampling
from affect.models.loading import own_frames


def sampling(cfg: Config) -> Sampling:
    """How clips are sampled for the modalities and the model of this run."""
    own = own_frames(cfg.model) if cfg.model.media is Media.native and "v" in cfg.modalities else None
    return Sampling.of_model(cfg.model, cfg.modalities, own)
