"""Interface of a source of descriptions.

A source is a module of affect.knowledge.sources, named by cfg.knowledge.source, with one function:

    load(cfg, parts) -> Describer

`parts` are the records of the run (affect.data.loading). Loading has to be cheap until `describe` is called, since a
run that finds all descriptions in the store needs only the fingerprint and the requests. Descriptions are kept by clip,
modality and generator (store.py) and put into the records of a run (attach.py).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from affect.config import DESCRIPTIONS
from affect.data import Record

MODALITIES = tuple(DESCRIPTIONS)
"""What a description can describe."""

TRANSCRIPT = "transcript"
"""What the store calls the text of a speech recogniser (transcripts.py), in the place of a modality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The text of one source about one modality of one clip. A row of the store."""

    id: str
    """Record id."""
    sha256: str
    """Content hash of the clip: the file's bytes, start and end (store.clip_hash)."""
    modality: str
    """One of MODALITIES, or TRANSCRIPT."""
    generator: str
    """Fingerprint of the source."""
    text: str
    tokens: int | None
    """Generated tokens; None where no model generated any."""
    seconds: float
    """Seconds of work; for a batch, the clip's share."""
    time: str
    """Time of generation: UTC, ISO 8601."""
    request: str = ""
    """Describer.request at that time. Empty for sources that show a generator nothing of the record, and in stores of
    older versions."""

    @classmethod
    def now(
        cls,
        source: "Describer",
        record: Record,
        modality: str,
        sha256: str,
        text: str,
        *,
        tokens: int | None,
        seconds: float,
    ) -> "Description":
        """What a source says of a clip, at this moment."""
        time, request = datetime.now(UTC).isoformat(timespec="seconds"), source.request(record, modality)
        made = {"text": text, "tokens": tokens, "seconds": seconds, "time": time, "request": request}
        return cls(id=record.id, sha256=sha256, modality=modality, generator=source.fingerprint, **made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a description could not be made."""

    id: str
    modality: str
    reason: str
    """A sentence, with the remedy."""


class Describer(Protocol):
    """A loaded source: clips in, descriptions out."""

    fingerprint: str
    """Identifies the generator. Changes with everything that changes a text: hash of model and adapter weights, prompt,
    decoding, settings, version of the source; not with cfg.knowledge.modalities, which only says which texts are
    made."""
    modalities: tuple[str, ...]
    """Those of cfg.knowledge.modalities that it can describe. Where only some are missing, the source is loaded with
    these alone."""

    def request(self, record: Record, modality: str) -> str:
        """`request_hash` of everything that the record contributes to the request beside its media: the messages with
        transcript and language, and how media are decoded. Empty where nothing is contributed. A description is reused
        only for the same request."""

    def describe(self, records: Sequence[Record], hashes: Mapping[str, str]) -> Iterator[Description | Failure]:
        """Yields one Description or Failure for every record and modality, in any order.

        hashes: content hash of the clip by record id.
        """


def request_hash(content: Any) -> str:
    """SHA-256 of `content` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
