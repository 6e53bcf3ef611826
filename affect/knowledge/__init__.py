"""Generated knowledge: text descriptions of a clip's audio and video in its prompt (arXiv 2508.02429)."""

from affect.knowledge.protocol import MODALITIES, Description, Failure, Source, request_hash

__all__ = [
    "MODALITIES",
    "Description",
    "Failure",
    "Source",
    "request_hash",
]
