"""Records, readers, media and what is known about clips."""

from affect.data.record import SPLITS, Prediction, Record

__all__ = [
    "SPLITS",
    "Prediction",
    "Record",
]
