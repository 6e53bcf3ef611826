"""affect: fine-tuning and benchmarking multimodal language models on affective computing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affect.reports.frames import load_runs

__all__ = ["load_runs"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`affect.load_runs`, imported with pandas when it is asked for."""
    if name == "load_runs":
        from affect.reports.frames import load_runs

        return load_runs
    raise AttributeError(f"module 'affect' has no attribute '{name}'")
