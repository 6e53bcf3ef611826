"""Language models that take text, audio and video: families, adapters, heads, generation, caches."""

from affect.models.loading import load, settle
from affect.models.protocol import Conversation, Encoder, Model
from affect.models.unanswered import NOT_FINITE, Unanswered

__all__ = [
    "NOT_FINITE",
    "Conversation",
    "Encoder",
    "Model",
    "Unanswered",
    "load",
    "settle",
]
