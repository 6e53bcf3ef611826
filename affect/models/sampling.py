"""How the clips of a run are sampled: modalities, frames, size, length."""

from affect.config import Config, Media
from affect.data.media import Sampling
from affect.models.loading import own_frames


def sampling(cfg: Config) -> Sampling:
    """How clips are sampled for the modalities and the model of this run."""
    return Sampling(
        audio="a" in cfg.modalities,
        video="v" in cfg.modalities,
        num_frames=cfg.model.num_frames,
        frame_size=cfg.model.frame_size,
        max_seconds=cfg.model.max_seconds,
        own=own_frames(cfg.model) if cfg.model.media is Media.native and "v" in cfg.modalities else None,
    )
