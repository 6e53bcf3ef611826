"""Sources of descriptions, one module each: cues, mllm, server, file."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from affect.knowledge.protocol import Describer

if TYPE_CHECKING:
    from affect.config import Config
    from affect.data.part import Part


def load(cfg: "Config", parts: "Sequence[Part]") -> Describer:
    """The source that cfg.knowledge.source names."""
    return import_module(f"affect.knowledge.sources.{cfg.knowledge.source.value}").load(cfg, parts)
