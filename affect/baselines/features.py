"""The features of a run: read from a file, or computed from its clips."""

from collections.abc import Sequence

from affect.baselines.reads import reads_features
from affect.config import Config
from affect.data.clips import ClipSource
from affect.data.features import FeatureSource
from affect.data.part import Part


def exclude_without_features(parts: Sequence[Part], cfg: Config) -> None:
    """Moves the records that the feature files of a run lack to their part's exclusions."""
    raise NotImplementedError


def prepare(parts: Sequence[Part], cfg: Config, source: ClipSource) -> FeatureSource | None:
    """The features of all records of `parts`, None where the method reads none."""
    if not reads_features(cfg):
        return None
    raise NotImplementedError
