"""The interface of a source of descriptions, and the values it gives.

A source is one module of this package with one function,

    load(cfg, parts) -> Source

and `cfg.knowledge.source` is that module's name. `cfg` is the whole configuration and `parts` are the records of the
run (affect.data.loading). Loading one has to be cheap until `describe` is called, since a run that finds all it needs
in the store asks a source for nothing but its fingerprint.

What a source says is kept in the store (store.py), by clip, modality and generator, and put into the records of a run
(attach.py).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from affect.data import Record

MODALITIES = ("audio", "video", "audio_video")
"""What a description can be of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one source says about one modality of one clip. A row of the store."""

    id: str
    """Of the record."""
    sha256: str
    """Content hash of the clip: the file's bytes, start and end (store.clip_hash)."""
    modality: str
    """One of MODALITIES."""
    generator: str
    """The fingerprint of the source that said it."""
    text: str
    tokens: int | None
    """Tokens that were generated; None where no model generated any."""
    seconds: float
    """Seconds of work it took; of a batch, its share."""
    time: str
    """When it was made: UTC, ISO 8601."""
    request: str = ""
    """Source.request of the clip when the description was made. Empty where a source shows nothing of the record, and
    in stores of before this was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A description that could not be made."""

    id: str
    modality: str
    reason: str
    """A sentence, with the remedy."""


class Source(Protocol):
    """Clips in, descriptions out."""

    fingerprint: str
    """Changes with everything that changes a text: model and adapter weights' hash, prompt, decoding, settings, code
    version of the source; not with `cfg.knowledge.modalities`, which says only which texts are made."""
    modalities: tuple[str, ...]
    """What it describes: those of `cfg.knowledge.modalities` that it can. It is loaded with fewer of them where only
    those are missing."""

    def request(self, record: Record, modality: str) -> str:
        """`request_hash` over everything that this record brings into the request for a description, beside its media:
        the rendered messages with transcript and language, and how its media are decoded. Empty where nothing does. A
        description is reused only for the same request."""

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """One Description or Failure for every record and modality, streamed, in any order.

        hashes: content hash of the clip by record id.
        """


def request_hash(content: Any) -> str:
    """SHA-256 of `content` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
