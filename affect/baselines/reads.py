"""What a method reads. Imports no torch."""

from affect.config import MODALITIES, Config, FeatureKind, NetworkConfig, PriorConfig, VectorsConfig


def reads_features(cfg: Config) -> bool:
    """Whether the method of a run reads features."""
    return isinstance(cfg.model, NetworkConfig | VectorsConfig)


def reads_feature_files(cfg: Config) -> bool:
    """Whether the method of a run reads features that come from a file."""
    return reads_features(cfg) and cfg.features.kind is FeatureKind.mmsa


def in_words(cfg: Config) -> str:
    """What the method of a run reads, for messages."""
    if not reads_features(cfg):
        return "labels alone" if isinstance(cfg.model, PriorConfig) else "transcripts"
    features = cfg.features
    if features.kind is FeatureKind.mmsa:
        return f"features={features.name}, {features.file}"
    chosen = [
        f"{name} {getattr(features, name)}"
        + (f" (layer {layer})" if (layer := getattr(features, f"{name}_layer")) != "last" else "")
        for letter, name in MODALITIES.items()
        if letter in cfg.modalities
    ]
    return f"features={features.name}: {', '.join(chosen)}"
