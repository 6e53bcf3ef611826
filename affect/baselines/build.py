"""The learner that a configuration names."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from affect.baselines.collate import in_words
from affect.config import Config, NetworkConfig, PriorConfig, TfidfConfig, VectorsConfig, chosen_tasks
from affect.data.class_balance import ByClass
from affect.data.features import FeatureSource
from affect.models.learner import Learner

if TYPE_CHECKING:
    from torch import nn


def learner(cfg: Config, source: FeatureSource | None, weights: ByClass) -> Learner:
    """An untrained learner. source: the features, where the method reads any. weights: by task and label, those of
    training examples, for methods that are fitted at once; training weights the losses of others."""
    model, modalities = cfg.model, in_words(cfg.modalities)
    if isinstance(model, PriorConfig):
        from affect.baselines.prior import Prior

        return Prior(model, cfg.seed, weights)
    if isinstance(model, TfidfConfig):
        from affect.baselines.tfidf import Tfidf

        return Tfidf(model, weights)
    assert source is not None, "the others read features"
    if isinstance(model, VectorsConfig):
        from affect.baselines.vectors import Vectors

        return Vectors(model, source, modalities, weights)
    from affect.baselines.network_learner import NetworkLearner

    assert isinstance(model, NetworkConfig), f"{model.family} is no baseline"
    return NetworkLearner(partial(_network, model), model, source, modalities, chosen_tasks(cfg))


def _network(model: NetworkConfig, widths: Mapping[str, int]) -> "nn.Module":
    """The network of a configuration on features of these widths."""
    raise NotImplementedError(model.family)
