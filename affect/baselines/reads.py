"""What a method reads. Imports no torch."""

from affect.config import Config, FeatureKind, NetworkConfig, VectorsConfig


def reads_features(cfg: Config) -> bool:
    """Whether the method of a run reads features."""
    return isinstance(cfg.model, NetworkConfig | VectorsConfig)


def reads_feature_files(cfg: Config) -> bool:
    """Whether the method of a run reads features that come from a file."""
    return reads_features(cfg) and cfg.features.kind is FeatureKind.mmsa
