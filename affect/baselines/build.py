"""The learner that a configuration names."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from affect.baselines.collate import in_words
from affect.config import Config, NetworkConfig, PriorConfig, TfidfConfig, VectorsConfig, chosen_tasks
from affect.config.fusion import SelfMmConfig
from affect.data.features import FeatureSource
from affect.models.learner import Learner

if TYPE_CHECKING:
    from torch import nn


def learner(cfg: Config, source: FeatureSource | None) -> Learner:
    """An untrained learner. source: the features, where the method reads any."""
    model, modalities = cfg.model, in_words(cfg.modalities)
    if isinstance(model, PriorConfig):
        from affect.baselines.prior import Prior

        return Prior(model, cfg.seed)
    if isinstance(model, TfidfConfig):
        from affect.baselines.tfidf import Tfidf

        return Tfidf(model)
    assert source is not None, "the others read features"
    if isinstance(model, VectorsConfig):
        from affect.baselines.vectors import Vectors

        return Vectors(model, source, modalities)
    from affect.baselines.network_learner import NetworkLearner
    from affect.baselines.self_mm import SelfMmLearner

    assert isinstance(model, NetworkConfig), f"{model.family} is no baseline"
    kind = SelfMmLearner if isinstance(model, SelfMmConfig) else NetworkLearner
    return kind(partial(_network, model), model, source, modalities, chosen_tasks(cfg))


def _network(model: NetworkConfig, widths: Mapping[str, int]) -> "nn.Module":
    """The network of a configuration on features of these widths."""
    from affect.baselines.networks.lmf import LMF
    from affect.baselines.networks.misa import MISA
    from affect.baselines.networks.mult import MulT
    from affect.baselines.networks.self_mm import SelfMM
    from affect.baselines.networks.tfn import TFN

    networks = {"tfn": TFN, "lmf": LMF, "mult": MulT, "misa": MISA, "self_mm": SelfMM}
    return networks[model.family](widths, model)
