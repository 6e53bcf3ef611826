"""Metrics, from a list of predictions alone. A metric is one function and one line of registry.py."""

from affect.evaluation.metrics.compute import READERS, aggregate, compute, headline, headline_metric

__all__ = [
    "READERS",
    "aggregate",
    "compute",
    "headline",
    "headline_metric",
]
